// Reads the stored log for whoever is behind: in batches from any replica, and from the leader where
// a replica has nothing, since it may only lag.

import { EngineError, type LogRecord } from '../../core/engine.ts'
import { type Pos, RECORD_MESSAGES_MAX } from '../../core/types.ts'
import { firstPosition } from '../store.ts'
import { isPassing, Patience } from './api.ts'
import type { Names } from './options.ts'
import type { Reader, Stored } from './reader.ts'

const READ_BYTES = 1024 * 1024
const READ_RECORDS = 500
/** Milliseconds a read may wait for servers that do not answer. */
const READ_MS = 20_000

export class Replay {
  readonly #reader: Reader
  readonly #names: Names
  readonly #decode: (stored: Stored) => LogRecord | null

  /** `decode` answers null for what is damaged, having said so. */
  constructor(reader: Reader, names: Names, decode: (stored: Stored) => LogRecord | null) {
    this.#reader = reader
    this.#names = names
    this.#decode = decode
  }

  /** Records with positions after `from` up to `end`, which is higher, as `Engine.read` promises. Rejects with EngineError. */
  async read(from: Pos, end: Pos): Promise<{ records: LogRecord[]; scanned: Pos }> {
    const records: LogRecord[] = []
    let seq = Math.max(1, Math.floor((from + 1) / RECORD_MESSAGES_MAX))
    const lastSeq = Math.floor(end / RECORD_MESSAGES_MAX)
    while (records.length === 0 && seq <= lastSeq) {
      const stored = await this.#stored(seq, lastSeq)
      if (stored.length === 0) return { records, scanned: end }
      for (const one of stored) {
        seq = one.seq + 1
        if (one.seq > lastSeq) break
        const record = one.data.length > 0 ? this.#decode(one) : null
        if (record !== null && record.first + record.messages.length - 1 > from) {
          records.push(record)
        }
      }
    }
    return { records, scanned: seq > lastSeq ? end : firstPosition(seq) - 1 }
  }

  /** What is stored from `seq` on; nothing only when the leader has nothing. */
  async #stored(seq: number, lastSeq: number): Promise<Stored[]> {
    const { log } = this.#names
    const patience = new Patience(READ_MS)
    for (let barren = 0; ; ) {
      try {
        const { messages } = await this.#reader.batch(log, {
          seq,
          batch: Math.min(READ_RECORDS, lastSeq - seq + 1),
          max_bytes: READ_BYTES,
        })
        // A replica that lags has nothing, or not the beginning.
        if (messages[0]?.seq === seq) return messages
        if (++barren < 2) continue
        const subjects = this.#names.subject('l', '*')
        const found = await this.#reader.nextKnown(log, seq, lastSeq, subjects)
        return found === null ? [] : [found]
      } catch (error) {
        if (!isPassing(error) || patience.over) {
          const why = error instanceof Error ? error.message : String(error)
          throw new EngineError('down', `the log could not be read: ${why}`, { cause: error })
        }
        await patience.pause()
      }
    }
  }
}
