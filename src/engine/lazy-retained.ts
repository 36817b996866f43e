// Retained messages of QoS 0 on their way to the disk: the newest of each topic, written at most
// every 250 ms however many change, never while nothing does.

import { EngineError, type RetainedMessage } from '../core/engine.ts'
import type { Runtime, Timer } from '../core/runtime.ts'
import type { Pos } from '../core/types.ts'

/** Least time between two writes: four syncs a second. A change waits no longer than this. */
const INTERVAL_MS = 250

export class LazyRetained {
  readonly #runtime: Pick<Runtime, 'now' | 'after'>
  readonly #write: (changes: readonly RetainedMessage[]) => Promise<void>
  #changes = new Map<string, RetainedMessage>()
  #waiting: { resolve: () => void; reject: (error: unknown) => void }[] = []
  #timer: Timer | null = null
  #lastWrite = Number.NEGATIVE_INFINITY
  #stopped = false

  constructor(
    runtime: Pick<Runtime, 'now' | 'after'>,
    write: (changes: readonly RetainedMessage[]) => Promise<void>,
  ) {
    this.#runtime = runtime
    this.#write = write
  }

  /** Resolves when these, or newer ones of their topics, are written. */
  add(changes: readonly RetainedMessage[]): Promise<void> {
    for (const change of changes) {
      const waiting = this.#changes.get(change.topic)
      if (!waiting || waiting.pos <= change.pos) this.#changes.set(change.topic, change)
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
      this.#arm()
    })
  }

  /** A record carries a newer retained message of the topic. */
  supersede(topic: string, pos: Pos): void {
    const waiting = this.#changes.get(topic)
    if (waiting && waiting.pos < pos) this.#changes.delete(topic)
  }

  /** Writes everything now. Those who wait hear of a failure; the changes stay for the next try. */
  async flush(): Promise<void> {
    this.#timer?.cancel()
    this.#timer = null
    if (this.#waiting.length === 0 && this.#changes.size === 0) return
    const changes = this.#changes
    const waiting = this.#waiting
    this.#changes = new Map()
    this.#waiting = []
    this.#lastWrite = this.#runtime.now()
    try {
      if (changes.size > 0) await this.#write([...changes.values()])
      for (const { resolve } of waiting) resolve()
    } catch (error) {
      for (const [topic, change] of changes) {
        if (!this.#changes.has(topic)) this.#changes.set(topic, change)
      }
      for (const { reject } of waiting) reject(error)
      // A full disk may have room again; any other failure is final.
      if (error instanceof EngineError && error.fault === 'full') this.#arm()
    }
  }

  /** Nothing is written any more unless `flush` is called. */
  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
    this.#timer = null
  }

  #arm(): void {
    if (this.#timer || this.#stopped) return
    const wait = Math.max(0, this.#lastWrite + INTERVAL_MS - this.#runtime.now())
    this.#timer = this.#runtime.after(wait, () => void this.flush())
  }
}
