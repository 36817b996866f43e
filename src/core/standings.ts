// Numbers for what topics have in common for who publishes on them: the same audience, and that the publisher may.
// A topic's number lies beside its name, so that a message on one of very many topics needs no look at the topic.

import type { AccessClass } from './access.ts'
import type { Audience } from './audience.ts'

/** Of a topic with which no other has anything in common; no row of the table of topics has this one. */
export const NO_STANDING = -1
const MOST = 0x7fff_ffff

export class Standings {
  readonly #numbers = new Map<AccessClass, Map<Audience, number>>()
  readonly #forget: () => void
  readonly #most: number
  #last = 0

  /** `forget` makes every topic forget its number: called when all up to `most` were given, and counting begins anew. */
  constructor(forget: () => void, most = MOST) {
    this.#forget = forget
    this.#most = most
  }

  /** Of the topics with that audience on which that class may publish: another one after each change of subscriptions. */
  of(audience: Audience, access: AccessClass): number {
    if (audience.topics < 2) return NO_STANDING
    let numbers = this.#numbers.get(access)
    if (numbers === undefined) {
      numbers = new Map()
      this.#numbers.set(access, numbers)
    }
    let number = numbers.get(audience)
    if (number === undefined) {
      number = this.#next()
      numbers.set(audience, number)
    }
    return number
  }

  /** What was given says nothing about topics any more. */
  change(): void {
    if (this.#numbers.size > 0) this.#numbers.clear()
  }

  #next(): number {
    if (this.#last === this.#most) {
      this.#last = 0
      this.#forget()
    }
    return ++this.#last
  }
}
