// How many may be here at once, in all and from one address: counted from the first moment of
// a connection, before a byte of it is read.

import type { Counters } from '../core/counters.ts'

export class Admission {
  readonly #total: number
  readonly #perAddress: number
  readonly #counters: Counters
  readonly #addresses = new Map<string, number>()

  /** Bounds of 1 and above; connections beyond are refused and counted. */
  constructor(total: number, perAddress: number, counters: Counters) {
    this.#total = total
    this.#perAddress = perAddress
    this.#counters = counters
  }

  /** Lets one connection in; false when there is no room. Every true needs one `leave`. */
  enter(address: string): boolean {
    if (this.#counters.connectionsOpen >= this.#total) return this.refuse()
    if (!this.#countAddress(address)) return this.refuse()
    this.#counters.connectionsAccepted++
    this.#counters.connectionsOpen++
    return true
  }

  /** A proxy has said who is really there: counts that address instead; false when it has too many. */
  rename(from: string, to: string): boolean {
    if (!this.#countAddress(to)) return this.refuse()
    this.#forgetAddress(from)
    return true
  }

  leave(address: string): void {
    this.#counters.connectionsOpen--
    this.#forgetAddress(address)
  }

  /** Counts a refusal, also one the operating system or Node made; always false. */
  refuse(): false {
    this.#counters.connectionsRefused++
    this.#counters.limitsReached++
    return false
  }

  /** An empty address is nobody's: a trusted proxy is not bounded by its own address. */
  #countAddress(address: string): boolean {
    if (address === '') return true
    const there = this.#addresses.get(address) ?? 0
    if (there >= this.#perAddress) return false
    this.#addresses.set(address, there + 1)
    return true
  }

  #forgetAddress(address: string): void {
    const there = this.#addresses.get(address)
    if (there === undefined) return
    if (there === 1) this.#addresses.delete(address)
    else this.#addresses.set(address, there - 1)
  }
}
