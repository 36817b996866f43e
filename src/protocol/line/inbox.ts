// Lines on their way in: cuts what the wire brings, hands lines on one after the other, and keeps back
// what has to wait, while the wire is not read. Ends when everything before the end of input was handled.

import type { Wire } from '../../net/wire.ts'
import { LineSplitter } from './codec.ts'

/** Why lines have to wait; several reasons may hold at once. */
export const Hold = {
  /** The line before is not answered yet. */
  answer: 1,
  /** The log has no room for more messages. */
  room: 2,
  /** Answers are not read. */
  reader: 4,
  /** It is the others' turn. */
  turn: 8,
} as const
type Hold = (typeof Hold)[keyof typeof Hold]

export interface InboxEvents {
  /** Handles the line at that index, and as many after it as it likes; returns the first it did not. */
  lines(lines: readonly Buffer[], at: number): number
  /** The input has ended and every line was handled. */
  ended(): void
}

export class Inbox {
  readonly #wire: Wire
  readonly #splitter: LineSplitter
  readonly #events: InboxEvents
  #held = 0
  #waiting: Buffer[] = []
  #taking = false
  #paused = false
  #ended = false
  #stopped = false

  /** `limit` is the longest line, in bytes. */
  constructor(wire: Wire, limit: number, events: InboxEvents) {
    this.#wire = wire
    this.#splitter = new LineSplitter(limit)
    this.#events = events
  }

  read(chunk: Buffer): void {
    if (!this.#stopped) this.#add(this.#splitter.split(chunk))
  }

  /** An unfinished last line counts as a line. */
  end(): void {
    const rest = this.#splitter.rest()
    this.#ended = true
    this.#add(rest === null ? [] : [rest])
  }

  hold(why: Hold): void {
    this.#held |= why
    this.#pauseOrResume()
  }

  release(why: Hold): void {
    this.#held &= ~why
    this.#take()
  }

  /** Nothing that comes from now on counts. Read all the same, so that the other side is seen to leave. */
  stop(): void {
    this.#stopped = true
    this.#waiting = []
    this.#pauseOrResume()
  }

  #add(lines: Buffer[]): void {
    this.#waiting = this.#waiting.length === 0 ? lines : this.#waiting.concat(lines)
    this.#take()
  }

  #take(): void {
    if (this.#taking) return
    this.#taking = true
    const lines = this.#waiting
    let at = 0
    while (at < lines.length && this.#held === 0 && !this.#stopped) {
      at = this.#events.lines(lines, at)
    }
    this.#waiting = at === 0 ? lines : lines.slice(at)
    this.#taking = false
    if (this.#stopped) return
    this.#pauseOrResume()
    if (!this.#ended || this.#held !== 0 || this.#waiting.length > 0) return
    this.stop()
    this.#events.ended()
  }

  #pauseOrResume(): void {
    const pause = this.#held !== 0 && !this.#stopped
    if (pause === this.#paused) return
    this.#paused = pause
    if (pause) this.#wire.pause()
    else this.#wire.resume()
  }
}
