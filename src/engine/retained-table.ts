// Retained messages on disk: a fold of the log, so that of two changes of a topic the one with the higher
// position stays. Those of QoS 1 and 2 go with their record, those of QoS 0 lazily.

import type { LogRecord, RetainedMessage } from '../core/engine.ts'
import type { Runtime } from '../core/runtime.ts'
import type { Pos } from '../core/types.ts'
import { LazyRetained } from './lazy-retained.ts'
import type { RecordCodec } from './record.ts'
import { DamageError } from './sealed.ts'
import { type Change, FIRST_KEY, nameKey, type Store } from './store.ts'

export class RetainedTable {
  readonly #store: Store
  readonly #codec: RecordCodec
  readonly #write: (changes: readonly Change[]) => Promise<void>
  readonly #damage: (what: string) => void
  readonly #lazy: LazyRetained
  /** Positions of retained messages whose records wait for their commit, by topic. */
  readonly #waiting = new Map<string, Pos>()

  /** `write` commits changes and may reject; `damage` is told of values that cannot be served. */
  constructor(
    store: Store,
    codec: RecordCodec,
    runtime: Pick<Runtime, 'now' | 'after'>,
    write: (changes: readonly Change[]) => Promise<void>,
    damage: (what: string) => void,
  ) {
    this.#store = store
    this.#codec = codec
    this.#write = write
    this.#damage = damage
    this.#lazy = new LazyRetained(runtime, (changes) => this.#writeLazily(changes))
  }

  /** Every retained message, a bounded chunk a turn. */
  async load(tell: (change: RetainedMessage) => void): Promise<void> {
    let from: Buffer | null = FIRST_KEY
    while (from) {
      const chunk = this.#store.chunk(this.#store.retained, from)
      for (const { key, value } of chunk.entries) {
        const kept = this.#decode(key, value)
        if (kept) tell({ topic: kept.message.topic.name, ...kept })
      }
      from = chunk.next
      await this.#store.pause()
    }
  }

  /** What a record at that position changes here; belongs into the record's commit. */
  changesOf(record: LogRecord, first: Pos): Change[] {
    const changes: Change[] = []
    for (let i = 0; i < record.messages.length; i++) {
      const message = record.messages[i]!
      if (!message.retain || message.qos === 0) continue
      const { key } = nameKey(message.topic.bytes)
      const value =
        message.payload.length > 0 ? this.#codec.encodeRetained(key, message, first + i) : null
      changes.push({ table: this.#store.retained, key, value })
    }
    return changes
  }

  /** The record is on its way: older changes of QoS 0 must not undo it. */
  expect(record: LogRecord): void {
    for (let i = 0; i < record.messages.length; i++) {
      const { retain, qos, topic } = record.messages[i]!
      if (!retain || qos === 0) continue
      this.#waiting.set(topic.name, record.first + i)
      this.#lazy.supersede(topic.name, record.first + i)
    }
  }

  /** The record is stored or refused: nothing it retains is on its way any more. */
  settle(record: LogRecord): void {
    if (this.#waiting.size === 0) return
    for (let i = 0; i < record.messages.length; i++) {
      const { retain, topic } = record.messages[i]!
      if (retain && this.#waiting.get(topic.name) === record.first + i) {
        this.#waiting.delete(topic.name)
      }
    }
  }

  /** Retained messages of QoS 0; resolves when they, or newer ones, are written. */
  add(changes: readonly RetainedMessage[]): Promise<void> {
    const newest = changes.filter(({ topic, pos }) => (this.#waiting.get(topic) ?? 0) <= pos)
    return newest.length === 0 ? Promise.resolve() : this.#lazy.add(newest)
  }

  /** Writes what waits, now, and nothing lazily any more. */
  stop(): Promise<void> {
    this.#lazy.stop()
    return this.#lazy.flush()
  }

  /** Leaves out what is older than what is stored or on its way. */
  async #writeLazily(changes: readonly RetainedMessage[]): Promise<void> {
    const table = this.#store.retained
    const writes: Change[] = []
    for (const { topic, message, pos } of changes) {
      if ((this.#waiting.get(topic) ?? 0) > pos) continue
      const { key } = nameKey(message ? message.topic.bytes : Buffer.from(topic))
      const stored = table.getBinary(key)
      if (stored && (this.#decode(key, stored)?.pos ?? 0) > pos) continue
      const value = message && this.#codec.encodeRetained(key, message, pos)
      writes.push({ table, key, value })
    }
    if (writes.length > 0) await this.#write(writes)
  }

  #decode(key: Buffer, value: Buffer) {
    try {
      return this.#codec.decodeRetained(key, value)
    } catch (error) {
      if (!(error instanceof DamageError)) throw error
      this.#damage(`a retained message: ${error.message}`)
      return null
    }
  }
}
