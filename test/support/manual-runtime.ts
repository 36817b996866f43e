// Time and chance that move only when a test says so. Turns of the event loop are played by hand, so
// that what happens within one and what in the next is the same in every run.

import type { Runtime, Timer } from '../../src/core/runtime.ts'

interface Due {
  readonly at: number
  readonly order: number
  readonly call: () => void
}

export class ManualRuntime implements Runtime {
  #now = Date.UTC(2026, 0, 1)
  #timers: Due[] = []
  #order = 0
  #turnEnd: (() => void)[] = []
  #nextTurn: (() => void)[] = []
  #seed: number

  constructor(seed = 1) {
    this.#seed = seed
  }

  now(): number {
    return this.#now
  }

  after(ms: number, call: () => void): Timer {
    const due = { at: this.#now + Math.max(0, ms), order: this.#order++, call }
    this.#timers.push(due)
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((timer) => timer !== due)
      },
    }
  }

  atTurnEnd(call: () => void): void {
    this.#turnEnd.push(call)
  }

  nextTurn(call: () => void): void {
    this.#nextTurn.push(call)
  }

  /** Mulberry32: small, and good enough for tests. */
  random(): number {
    this.#seed = (this.#seed + 0x6d2b79f5) | 0
    let t = Math.imul(this.#seed ^ (this.#seed >>> 15), 1 | this.#seed)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }

  /** Timers that were set and have neither rung nor been called off. */
  get timers(): number {
    return this.#timers.length
  }

  /** Plays turns until nothing is left to do at this moment. */
  async settle(): Promise<void> {
    for (let quiet = 0; quiet < 2; ) {
      await new Promise<void>((done) => setImmediate(done))
      quiet = this.#playTurn() ? 0 : quiet + 1
    }
  }

  /** Lets time pass; timers ring in order, each in a turn of its own. */
  async pass(ms: number): Promise<void> {
    const end = this.#now + ms
    await this.settle()
    for (;;) {
      const due = this.#timers
        .filter((timer) => timer.at <= end)
        .sort((a, b) => a.at - b.at || a.order - b.order)[0]
      if (due === undefined) break
      this.#timers = this.#timers.filter((timer) => timer !== due)
      this.#now = Math.max(this.#now, due.at)
      due.call()
      await this.settle()
    }
    this.#now = end
  }

  /** The end of this turn and the beginning of the next; false when there was nothing to do. */
  #playTurn(): boolean {
    const before = this.#turnEnd.length + this.#nextTurn.length
    while (this.#turnEnd.length > 0) for (const call of this.#turnEnd.splice(0)) call()
    for (const call of this.#nextTurn.splice(0)) call()
    return before > 0
  }
}
