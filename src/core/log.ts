// The log as the broker sees it: the engine's records as they come, a tail of them in memory,
// and everything older by reading. Delivers each new record to whoever is live.

import type { Audience, Delivery } from './audience.ts'
import type { Engine, LogRecord } from './engine.ts'
import type { Limits } from './limits.ts'
import { OldRecords } from './old-records.ts'
import type { Retained } from './retained.ts'
import type { Router } from './router.ts'
import type { Runtime } from './runtime.ts'
import type { Message, Pos } from './types.ts'

/** Messages one cursor works through in one turn while it catches up. */
const CATCH_UP_TURN = 8_192
/** Milliseconds after which a read that failed is tried again. */
const READ_AGAIN_MS = 1_000
/** Members from which on it pays to know, for all messages of a record, who of them listens. */
const WIDE_MEMBERS = 4
const NO_ONE: readonly Delivery[] = []
/** Memory a message takes besides its bytes, roughly. */
export const MESSAGE_OVERHEAD = 128

export class Log {
  readonly #engine: Engine
  readonly #router: Router
  readonly #retained: Retained
  readonly #limits: Limits
  readonly #runtime: Runtime
  readonly #old: OldRecords
  /** Oldest first; `#head` is the index of the oldest still kept. */
  #tail: LogRecord[] = []
  #head = 0
  #tailBytes = 0
  #last: Pos = 0
  #floor: Pos = 0
  readonly catchUpBudget = CATCH_UP_TURN
  /** Whom the latest message of the record at hand went to, and who of them was live: those away cost it nothing. */
  #served: Audience | null = null
  #listening = NO_ONE
  /** Who waits for positions that other nodes have heard of and this one has not. */
  #awaited: { readonly pos: Pos; readonly tell: () => void }[] = []

  constructor(
    engine: Engine,
    router: Router,
    retained: Retained,
    limits: Limits,
    runtime: Runtime,
  ) {
    this.#engine = engine
    this.#router = router
    this.#retained = retained
    this.#limits = limits
    this.#runtime = runtime
    this.#old = new OldRecords(engine, runtime)
  }

  /** Position of the newest message delivered. */
  get last(): Pos {
    return this.#last
  }

  /** Everything after it is in memory. */
  get floor(): Pos {
    return this.#floor
  }

  get tailBytes(): number {
    return this.#tailBytes
  }

  /** Once the engine is open: the tail starts where the stored log ends. */
  start(): void {
    // What an engine told while it was opened nobody was there for, and it may not reach to the end without a gap.
    this.#tail = []
    this.#head = 0
    this.#tailBytes = 0
    this.#last = this.#engine.bounds().last
    this.#floor = this.#last
  }

  nextTurn(call: () => void): void {
    this.#runtime.nextTurn(call)
  }

  /** For a read that failed. */
  later(call: () => void): void {
    this.#runtime.after(READ_AGAIN_MS, call)
  }

  /** A record that the engine cannot forget any more. */
  accept(record: LogRecord): void {
    this.#keep(record)
    this.#served = null
    const { messages, first } = record
    for (let i = 0; i < messages.length; i++) {
      const message = messages[i] as Message
      const pos = first + i
      this.#last = pos
      if (message.retain) this.#retained.applyLogged(message, pos)
      const audience = this.#router.audience(message.topic)
      const listening = this.#listeners(audience)
      for (let m = 0; m < listening.length; m++) {
        const delivery = listening[m]
        if (delivery !== undefined) delivery.session.offer(pos, message, delivery)
      }
      for (const group of audience.groups) group.offer(pos, message)
    }
    this.#listening = NO_ONE
    if (this.#awaited.length > 0) this.#tellReached()
  }

  #listeners(audience: Audience): readonly Delivery[] {
    const { members } = audience
    if (members.length < WIDE_MEMBERS) return members
    if (audience !== this.#served) {
      this.#served = audience
      this.#listening = members.filter(({ session }) => session.live)
    }
    return this.#listening
  }

  /** A cursor went live: it is to be handed the next message, also in the middle of a record. */
  joined(): void {
    this.#served = null
  }

  /** Resolves when everything up to that position was delivered. */
  reached(pos: Pos): Promise<void> {
    if (pos <= this.#last) return Promise.resolve()
    return new Promise((tell) => this.#awaited.push({ pos, tell }))
  }

  #tellReached(): void {
    const awaited = this.#awaited
    this.#awaited = awaited.filter(({ pos }) => pos > this.#last)
    for (const { pos, tell } of awaited) if (pos <= this.#last) tell()
  }

  #keep(record: LogRecord): void {
    this.#tail.push(record)
    this.#tailBytes += weight(record)
    while (this.#tailBytes > this.#limits.tailBytes && this.#head < this.#tail.length - 1) {
      const oldest = this.#tail[this.#head] as LogRecord
      this.#tailBytes -= weight(oldest)
      this.#floor = oldest.first + oldest.messages.length - 1
      this.#head++
    }
    if (this.#head > 1024 && this.#head * 2 > this.#tail.length) {
      this.#tail = this.#tail.slice(this.#head)
      this.#head = 0
    }
  }

  /** The record in memory that holds the first message after `scan`; null when memory does not reach back so far. */
  after(scan: Pos): LogRecord | null {
    if (scan < this.#floor) return null
    let low = this.#head
    let high = this.#tail.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const record = this.#tail[middle] as LogRecord
      if (record.first + record.messages.length - 1 > scan) high = middle
      else low = middle + 1
    }
    return this.#tail[low] ?? null
  }

  /** Records the engine stored after `scan`, up to what memory holds. */
  read(scan: Pos): Promise<{ records: readonly LogRecord[]; scanned: Pos }> {
    return this.#old.read(scan, this.#floor)
  }

  /** The message at that position, for sending it again; null when it is gone. */
  async message(pos: Pos): Promise<Message | null> {
    if (pos > this.#last) await this.reached(pos)
    const record = this.after(pos - 1) ?? (await this.#oldRecord(pos))
    return record?.messages[pos - record.first] ?? null
  }

  /** The messages after one position, and up to another, that are wanted. Rejects as the engine's `read` does. */
  async between(
    after: Pos,
    until: Pos,
    isWanted: (message: Message) => boolean,
  ): Promise<[Pos, Message][]> {
    const found: [Pos, Message][] = []
    let at = after
    while (at < until) {
      const record = this.after(at)
      const read = record === null ? await this.read(at) : { records: [record], scanned: at }
      const before = at
      for (const { first, messages } of read.records) {
        for (let i = Math.max(0, at + 1 - first); i < messages.length; i++) {
          const message = messages[i] as Message
          if (first + i <= until && isWanted(message)) found.push([first + i, message])
        }
        at = Math.max(at, first + messages.length - 1)
      }
      at = Math.max(at, read.scanned)
      if (at === before) break
    }
    return found
  }

  async #oldRecord(pos: Pos): Promise<LogRecord | undefined> {
    return (await this.#old.read(pos - 1, Math.max(pos, this.#floor))).records[0]
  }
}

function weight(record: LogRecord): number {
  return record.bytes + record.messages.length * MESSAGE_OVERHEAD
}
