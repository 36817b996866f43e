// How long the log remembers: no longer than somebody needs it, and no more than it may hold.
// Forgets what every durable session and group has finished; under pressure the slowest pay.

import type { Broker } from './broker.ts'
import type { LogRecord } from './engine.ts'
import { MESSAGE_OVERHEAD } from './log.ts'
import { type Pos, RECORD_MESSAGES_MAX } from './types.ts'

/** Milliseconds between two rounds of forgetting, while there is something to forget. */
const ROUND_MS = 1_000
/** Share of the log's bytes above which those who hold it back are made to let go. */
const PRESSURE = 0.8
/** Share of the log given up then, oldest first. */
const GIVEN_UP = 0.25

export class Retention {
  readonly #broker: Broker
  #scheduled = false

  constructor(broker: Broker) {
    this.#broker = broker
  }

  /** Something was stored: look soon whether something else can go. */
  stored(): void {
    const { bytes, cap } = this.#broker.engine.bounds()
    if (bytes > cap * PRESSURE) this.#evict(cap * PRESSURE)
    if (this.#scheduled) return
    this.#scheduled = true
    this.#broker.runtime.after(ROUND_MS, () => {
      this.#scheduled = false
      this.round()
      if (this.#broker.engine.bounds().bytes > 0) this.stored()
    })
  }

  /**
   * A record is about to be stored. Where it would not fit, those who are behind let go: a client that is away
   * must not be the reason why others cannot publish.
   */
  makeRoom(record: LogRecord): void {
    const { bytes, cap } = this.#broker.engine.bounds()
    const size = record.bytes + record.messages.length * MESSAGE_OVERHEAD
    if (bytes + size > cap && size <= cap && record.wanted.includes(true)) this.#evict(cap - size)
  }

  /** Forgets what nobody needs any more. */
  round(): void {
    const floor = this.#floor()
    const { first } = this.#broker.engine.bounds()
    if (floor > first) this.#forget(floor - 1)
  }

  #floor(): Pos {
    let floor = this.#broker.log.last + 1
    for (const session of this.#broker.sessions.all()) {
      if (session.durable) floor = Math.min(floor, session.floor)
    }
    for (const group of this.#broker.groups.values()) {
      if (group.durable) floor = Math.min(floor, group.floor)
    }
    return floor
  }

  /** Gives up the oldest records, at least one, until about `most` bytes are left. */
  #evict(most: number): void {
    this.round()
    const { first, last, bytes } = this.#broker.engine.bounds()
    if (bytes <= most) return
    const oldest = Math.ceil(first / RECORD_MESSAGES_MAX)
    const records = Math.floor(last / RECORD_MESSAGES_MAX) - oldest + 1
    const givenUp = Math.ceil(records * Math.max(GIVEN_UP, 1 - most / bytes))
    const before = Math.min((oldest + givenUp) * RECORD_MESSAGES_MAX, last + 1)
    for (const session of this.#broker.sessions.all()) {
      if (session.durable && session.floor < before) session.evict(before)
    }
    for (const group of this.#broker.groups.values()) group.evict(before)
    this.round()
  }

  #forget(upTo: Pos): void {
    this.#broker.engine.truncate(upTo).catch(() => {
      // The engine reports its own faults; what could not be forgotten is tried again next round.
    })
  }
}
