// A place in the log from which somebody is served. Live ones are handed each record as it
// comes; others read on from where they stand until they have caught up. Slow and away are one case.

import type { LogRecord } from './engine.ts'
import type { Log } from './log.ts'
import type { Message, Pos } from './types.ts'

export abstract class Cursor {
  /** Served from the tail; `scan` means nothing then. */
  live = false
  /** While not live: everything at or before it was considered. */
  scan: Pos = 0
  /** An engine read or a turn's pause is under way; only one at a time. */
  #busy = false

  /** Whether what is behind the tail of the log in memory can still be had from the engine. */
  abstract readonly durable: boolean
  /** Whether anybody is there to take messages at all. */
  abstract readonly attached: boolean
  /** Takes the message or, when it is not for this cursor, passes over it. False: no room, ask again later. */
  protected abstract consider(pos: Pos, message: Message): boolean
  /** What was behind `scan` is gone: some messages were missed. */
  protected abstract overrun(): void

  /** Not live from here on. `next` is the first position not considered. */
  protected fallBehind(next: Pos): void {
    this.live = false
    this.scan = next - 1
  }

  /** Reads on until there is no room or the tail is reached. Call whenever there may be room again. */
  wake(log: Log): void {
    if (this.live || this.#busy) return
    let budget = log.catchUpBudget
    while (this.attached) {
      if (this.scan === log.last) {
        this.live = true
        log.joined()
        return
      }
      if (this.scan > log.last) {
        this.#await(log)
        return
      }
      if (budget <= 0) {
        this.#busy = true
        log.nextTurn(() => {
          this.#busy = false
          this.wake(log)
        })
        return
      }
      const record = log.after(this.scan)
      if (record === null) {
        this.#fetch(log)
        return
      }
      budget -= record.messages.length
      if (!this.#advance(record)) return
    }
  }

  /** It was further on the node it comes from than this one has heard. */
  #await(log: Log): void {
    this.#busy = true
    log.reached(this.scan).then(() => {
      this.#busy = false
      this.wake(log)
    })
  }

  /** Works through one record; false when there was no room for all of it. */
  #advance(record: LogRecord): boolean {
    const { first, messages } = record
    for (let i = Math.max(0, this.scan + 1 - first); i < messages.length; i++) {
      const message = messages[i]
      if (message !== undefined && !this.consider(first + i, message)) return false
      this.scan = first + i
    }
    return true
  }

  /** What is wanted is not in memory any more. */
  #fetch(log: Log): void {
    if (!this.durable) {
      this.overrun()
      this.scan = log.floor
      this.wake(log)
      return
    }
    this.#busy = true
    log.read(this.scan).then(
      ({ records, scanned }) => {
        this.#busy = false
        for (const record of records) {
          if (!this.attached) return
          if (!this.#advance(record)) return
        }
        if (scanned > this.scan) this.scan = scanned
        // However long the log is that holds nothing for this cursor: others have their turns meanwhile.
        this.#busy = true
        log.nextTurn(() => {
          this.#busy = false
          this.wake(log)
        })
      },
      () => {
        // The engine says itself what is wrong. A client that only listens would never wake us.
        log.later(() => {
          this.#busy = false
          this.wake(log)
        })
      },
    )
  }
}
