// How a line connection ends, told once to the server's terminal: with a goodbye, or lost. Knows how to
// find out which, when all there is to see is the end of input.

import type { Broker } from '../../core/broker.ts'
import type { Link } from '../../core/link.ts'
import type { Wire } from '../../net/wire.ts'
import { GOODBYE } from './answers.ts'
import type { Receiving } from './receiving.ts'

/** Milliseconds in which the reset of somebody who is gone arrives, on this machine and nearby. */
const STILL_THERE_MS = 20

export class Farewell {
  readonly #link: Link
  readonly #wire: Wire
  readonly #broker: Broker
  readonly #receiving: Receiving
  #told = false
  #over = false

  constructor(link: Link, wire: Wire, broker: Broker, receiving: Receiving) {
    this.#link = link
    this.#wire = wire
    this.#broker = broker
    this.#receiving = receiving
  }

  /** Says the line and ends. */
  part(line: string): void {
    this.#receiving.say(line)
    this.#goodbye()
  }

  /** The same, for somebody who has to go. `why` is half a sentence for the server's terminal. */
  dismiss(line: string, why: string): void {
    this.lost(why)
    this.#receiving.say(line)
    this.#wire.end()
  }

  /**
   * The input has ended: a goodbye, unless nobody is there any more. The input of a process that was killed ends,
   * too, but what it is told then is answered with a reset; so the end of the line follows a moment later.
   */
  partWhoEnded(): void {
    const { runtime } = this.#broker
    this.#receiving.write(Buffer.from(GOODBYE))
    runtime.after(STILL_THERE_MS, () => {
      this.#receiving.say('')
      runtime.nextTurn(() => runtime.nextTurn(() => this.#goodbye()))
    })
  }

  /** The wire is closed. */
  closed(fault: (Error & { readonly code?: string }) | undefined): void {
    this.#over = true
    this.lost(reasonOf(fault))
  }

  lost(why: string): void {
    if (!this.#told) this.#broker.activity.lost(this.#link, why)
    this.#told = true
  }

  #goodbye(): void {
    if (this.#over) return
    if (!this.#told) this.#broker.activity.goodbye(this.#link)
    this.#told = true
    this.#wire.end()
  }
}

function reasonOf(fault: (Error & { readonly code?: string }) | undefined): string {
  switch (fault?.code) {
    case 'ECONNRESET':
    case 'EPIPE':
      return 'the other side is gone'
    case 'ETIMEDOUT':
      return 'no sign of life'
    default:
      return fault?.message ?? 'the connection was closed'
  }
}
