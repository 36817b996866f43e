// Session records whose save only spares duplicates: in lots, oldest first. Where nodes share the engine, the saves
// of all clients that acknowledge would alone be more than it takes, so there each lot is bounded.

import type { Runtime } from './runtime.ts'

/** Milliseconds between two lots. */
const LOT_MS = 250
/** How many a lot of one node has where several share the engine: 500 a second. */
const SHARED_LOT = 125
/** Milliseconds after which one is saved, whatever the bound. */
const OLDEST_MS = 30_000

export interface LazySavesOptions<T> {
  /** Whether several nodes share the engine. */
  readonly shared: boolean
  /** Whether nothing can be saved just now: then lots wait. */
  readonly isAway: () => boolean
  /** Told of each that is to be saved. */
  readonly due: (one: T) => void
}

export class LazySaves<T> {
  readonly #runtime: Runtime
  readonly #options: LazySavesOptions<T>
  /** Since when each waits, the oldest first. */
  readonly #since = new Map<T, number>()
  #timer = false

  constructor(runtime: Runtime, options: LazySavesOptions<T>) {
    this.#runtime = runtime
    this.#options = options
  }

  get size(): number {
    return this.#since.size
  }

  /** Some time soon, at most 30 s from now unless the engine is away; one that waits keeps its place. */
  add(one: T): void {
    if (!this.#since.has(one)) this.#since.set(one, this.#runtime.now())
    this.#arm()
  }

  /** It was saved, or never will be. */
  delete(one: T): void {
    this.#since.delete(one)
  }

  /** All of them, now. */
  flush(): void {
    this.#give([...this.#since.keys()])
  }

  #arm(): void {
    if (this.#timer) return
    this.#timer = true
    this.#runtime.after(LOT_MS, () => {
      this.#timer = false
      if (!this.#options.isAway()) this.#give(this.#lot())
      if (this.#since.size > 0) this.#arm()
    })
  }

  #lot(): T[] {
    if (!this.#options.shared) return [...this.#since.keys()]
    const lot: T[] = []
    const overdue = this.#runtime.now() - OLDEST_MS
    for (const [one, since] of this.#since) {
      if (lot.length >= SHARED_LOT && since > overdue) break
      lot.push(one)
    }
    return lot
  }

  #give(lot: readonly T[]): void {
    for (const one of lot) {
      this.#since.delete(one)
      this.#options.due(one)
    }
  }
}
