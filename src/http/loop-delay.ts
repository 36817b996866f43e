// How long whatever is due has to wait for its turn: the one figure that says whether a process
// with one thread keeps up. Measured all the time, judged over the last seconds.

import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks'

export interface DelayReading {
  /** Seconds. */
  readonly p50: number
  readonly p99: number
}

/** Milliseconds between two samples. */
const RESOLUTION_MS = 50
/** What is older than this many milliseconds says nothing about now. */
const WINDOW_MS = 15_000

export class LoopDelay {
  readonly #histogram: IntervalHistogram
  readonly #timer: NodeJS.Timeout
  #last: DelayReading | null = null

  constructor() {
    this.#histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
    this.#histogram.enable()
    this.#timer = setInterval(() => {
      this.#last = this.#reading()
      this.#histogram.reset()
    }, WINDOW_MS).unref()
  }

  /** The worse of the current window and the one before, so that a fresh window hides nothing. */
  read(): DelayReading {
    const now = this.#reading()
    const last = this.#last ?? now
    return { p50: Math.max(now.p50, last.p50), p99: Math.max(now.p99, last.p99) }
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#histogram.disable()
  }

  #reading(): DelayReading {
    return { p50: this.#percentile(50), p99: this.#percentile(99) }
  }

  #percentile(percentile: number): number {
    const nanoseconds = this.#histogram.percentile(percentile)
    // A sample is the time between two timers, so the interval asked for is part of it.
    return Math.max(0, nanoseconds / 1e9 - RESOLUTION_MS / 1000)
  }
}
