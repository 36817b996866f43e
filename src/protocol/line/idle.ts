// How long a line connection without a role may say nothing. One timer, asked again only when it
// rings: whoever types does not touch it.

import type { Runtime, Timer } from '../../core/runtime.ts'

export class IdleWatch {
  readonly #runtime: Runtime
  readonly #limit: number
  readonly #tooLong: () => void
  #heardAt: number
  #timer: Timer | null = null

  /** Calls `tooLong` once nothing was heard for `limit` milliseconds. */
  constructor(runtime: Runtime, limit: number, tooLong: () => void) {
    this.#runtime = runtime
    this.#limit = limit
    this.#tooLong = tooLong
    this.#heardAt = runtime.now()
    this.#wait(limit)
  }

  heard(): void {
    this.#heardAt = this.#runtime.now()
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = null
  }

  #wait(ms: number): void {
    this.#timer = this.#runtime.after(ms, () => {
      const left = this.#heardAt + this.#limit - this.#runtime.now()
      if (left > 0) this.#wait(left)
      else this.#tooLong()
    })
  }
}
