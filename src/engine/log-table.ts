// The table of records: reading a stretch of the log, and which keys a stretch to forget has.

import type { LogRecord } from '../core/engine.ts'
import { type Pos, RECORD_MESSAGES_MAX } from '../core/types.ts'
import type { RecordCodec } from './record.ts'
import { DamageError } from './sealed.ts'
import {
  type Change,
  FIRST_KEY,
  firstPosition,
  recordKey,
  recordSequence,
  type Store,
} from './store.ts'

/** Records one truncating commit removes at most, so that others never wait long behind it. */
const TRUNCATE_RECORDS = 512

export class LogTable {
  readonly #store: Store
  readonly #codec: RecordCodec
  readonly #damage: (what: string) => void

  /** `damage` is told of records that cannot be served. */
  constructor(store: Store, codec: RecordCodec, damage: (what: string) => void) {
    this.#store = store
    this.#codec = codec
    this.#damage = damage
  }

  /** As `Engine.read`, for a range that is known to be stored. */
  read(after: Pos, until: Pos): { records: LogRecord[]; scanned: Pos } {
    const records: LogRecord[] = []
    const stop = recordKey(Math.floor(until / RECORD_MESSAGES_MAX) + 1)
    let from: Buffer | null = recordKey(Math.floor((after + 1) / RECORD_MESSAGES_MAX))
    // Damage may leave a chunk empty; the answer must hold a record if there is any.
    while (from && records.length === 0) {
      const chunk = this.#store.chunk(this.#store.log, from, stop)
      for (const { key, value } of chunk.entries) {
        const record = this.#decode(key, value)
        if (record) records.push(record)
      }
      from = chunk.next
    }
    const end = from ? firstPosition(recordSequence(from) + 1) - 1 : until
    return { records, scanned: Math.min(until, end) }
  }

  /** The first record that holds a message after the position, or would. */
  sequenceAfter(position: Pos): number {
    const sequence = Math.floor((position + 1) / RECORD_MESSAGES_MAX)
    const key = recordKey(sequence)
    const value = this.#store.log.getBinary(key)
    if (!value) return sequence
    const record = this.#decode(key, value)
    const end = record ? record.first + record.messages.length - 1 : 0
    return end <= position ? sequence + 1 : sequence
  }

  /** Removals of the oldest records before a sequence, a bounded number of them; empty when none is left. */
  removalsBefore(sequence: number): Change[] {
    const table = this.#store.log
    const range = { start: FIRST_KEY, end: recordKey(sequence), limit: TRUNCATE_RECORDS }
    return Array.from(table.getKeys(range), (key) => ({ table, key, value: null }))
  }

  #decode(key: Buffer, value: Buffer): LogRecord | null {
    const sequence = recordSequence(key)
    try {
      return this.#codec.decode(key, value, firstPosition(sequence))
    } catch (error) {
      if (!(error instanceof DamageError)) throw error
      this.#damage(`record ${sequence}: ${error.message}`)
      return null
    }
  }
}
