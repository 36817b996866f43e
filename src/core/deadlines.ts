// Things that are due some time: session expiry, will delay, keep alive. One coarse wheel and
// one timer for all of them, so that an idle link or a session that is away owns no timer.

import type { Runtime, Timer } from './runtime.ts'

/** What it needs of time. */
export type Clock = Pick<Runtime, 'now' | 'after'>

export class Deadlines<T> {
  readonly #runtime: Clock
  readonly #granularity: number
  readonly #due: (item: T) => void
  readonly #ticks = new Map<number, Set<T>>()
  readonly #tickOf = new Map<T, number>()
  #timer: Timer | null = null
  #done: number

  /** `granularity` in milliseconds: an item is told that much late at most, never early. */
  constructor(runtime: Clock, granularity: number, due: (item: T) => void) {
    this.#runtime = runtime
    this.#granularity = granularity
    this.#due = due
    this.#done = Math.floor(runtime.now() / granularity)
  }

  /** Items waiting. */
  get size(): number {
    return this.#tickOf.size
  }

  /** `due` is called once for the item, not before that time. Replaces its earlier deadline. */
  set(item: T, time: number): void {
    this.clear(item)
    if (time === Number.POSITIVE_INFINITY) return
    const tick = Math.max(this.#done + 1, Math.ceil(time / this.#granularity))
    let items = this.#ticks.get(tick)
    if (items === undefined) {
      items = new Set()
      this.#ticks.set(tick, items)
    }
    items.add(item)
    this.#tickOf.set(item, tick)
    if (this.#timer === null) this.#arm()
  }

  clear(item: T): void {
    const tick = this.#tickOf.get(item)
    if (tick === undefined) return
    this.#tickOf.delete(item)
    const items = this.#ticks.get(tick)
    items?.delete(item)
    if (items?.size === 0) this.#ticks.delete(tick)
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = null
    this.#ticks.clear()
    this.#tickOf.clear()
  }

  #arm(): void {
    this.#timer = this.#runtime.after(this.#granularity, () => this.#turn())
  }

  #turn(): void {
    this.#timer = null
    const now = Math.floor(this.#runtime.now() / this.#granularity)
    // After a long pause it is cheaper to look at what there is than at every tick that passed.
    const passed =
      now - this.#done > this.#ticks.size
        ? [...this.#ticks.keys()].filter((tick) => tick <= now).sort((a, b) => a - b)
        : Array.from({ length: Math.max(0, now - this.#done) }, (_, i) => this.#done + 1 + i)
    this.#done = Math.max(this.#done, now)
    for (const tick of passed) {
      const items = this.#ticks.get(tick)
      if (items === undefined) continue
      this.#ticks.delete(tick)
      for (const item of items) {
        if (this.#tickOf.get(item) !== tick) continue
        this.#tickOf.delete(item)
        this.#due(item)
      }
    }
    if (this.#ticks.size > 0 && this.#timer === null) this.#arm()
  }
}
