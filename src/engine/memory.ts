// The engine that forgets with the process: the log is an array, sessions are a map.
// For brokers that must not write at all, and the yardstick the contract suite starts from.

import {
  type Bounds,
  type Claim,
  type Engine,
  EngineError,
  type EngineEvents,
  type LogRecord,
  type RetainedMessage,
  type SessionSave,
} from '../core/engine.ts'
import { DEFAULT_LIMITS, type Limits } from '../core/limits.ts'
import type { Runtime } from '../core/runtime.ts'
import {
  type Pos,
  RECORD_MESSAGES_MAX,
  type SessionFlow,
  type SessionProfile,
  type StoredSession,
} from '../core/types.ts'
import { newLogIdentity } from './identity.ts'
import { detach, keptRecord, recordEnd, wantedBytes } from './kept.ts'
import { EMPTY_PROFILE, emptyFlow, Owners } from './owners.ts'

/** Bytes one `read` answers with, about. */
const READ_BYTES = 1024 * 1024

/** One promise for every append: what is kept in memory is as safe as it gets at once. */
const DONE: Promise<void> = Promise.resolve()

interface StoredParts {
  profile: SessionProfile
  flow: SessionFlow
  epoch: number
}

export class MemoryEngine implements Engine {
  readonly name = 'memory'
  readonly durable = false
  readonly node = null
  readonly log: string
  readonly #runtime: Pick<Runtime, 'now' | 'random'>
  readonly #cap: number
  readonly #owners = new Owners(0)
  readonly #sessions = new Map<string, StoredParts>()
  #events: EngineEvents | null = null
  /** Kept records from `#head` on, in order of position; before it, forgotten ones. */
  #records: (LogRecord | null)[] = []
  #head = 0
  #bytes = 0
  #sequence = 0
  #last: Pos = 0
  /** Highest position ever given to `truncate`. */
  #floor: Pos = 0

  /** `memoryLogBytes` bounds what is kept for sessions that are away, 128 B a message included. */
  constructor(
    runtime: Pick<Runtime, 'now' | 'random'>,
    limits: Pick<Limits, 'memoryLogBytes'> = DEFAULT_LIMITS,
  ) {
    this.#runtime = runtime
    this.#cap = limits.memoryLogBytes
    this.log = newLogIdentity(runtime)
  }

  open(events: EngineEvents): Promise<void> {
    this.#events = events
    return DONE
  }

  close(): Promise<void> {
    return DONE
  }

  append(record: LogRecord): Promise<void> {
    const bytes = wantedBytes(record)
    if (bytes > 0 && this.#bytes + bytes > this.#cap) return Promise.reject(this.#full())
    if (record.saves.length > 0) {
      try {
        this.#store(record.saves)
      } catch (error) {
        return Promise.reject(error)
      }
    }
    record.first = ++this.#sequence * RECORD_MESSAGES_MAX
    this.#last = record.first + Math.max(record.messages.length, 1) - 1
    if (bytes > 0) {
      this.#records.push(keptRecord(record, bytes))
      this.#bytes += bytes
    }
    this.#events!.record(record)
    // After the call, so that payloads core has copied already are not copied again.
    if (bytes > 0) detach(record)
    return DONE
  }

  read(after: Pos, until: Pos): Promise<{ records: LogRecord[]; scanned: Pos }> {
    const records: LogRecord[] = []
    let bytes = 0
    let scanned = Math.max(after, Math.min(until, this.#last))
    for (let i = this.#find(after); i < this.#records.length; i++) {
      const record = this.#records[i]!
      if (record.first > until) break
      if (bytes >= READ_BYTES) {
        scanned = Math.min(scanned, record.first - 1)
        break
      }
      records.push(record)
      bytes += record.bytes
    }
    return Promise.resolve({ records, scanned })
  }

  bounds(): Bounds {
    return { first: this.#floor + 1, last: this.#last, bytes: this.#bytes, cap: this.#cap }
  }

  truncate(upTo: Pos): Promise<void> {
    this.#floor = Math.max(this.#floor, Math.min(upTo, this.#last))
    for (; this.#head < this.#records.length; this.#head++) {
      const record = this.#records[this.#head]!
      if (record.first + record.messages.length - 1 > upTo) break
      this.#bytes -= record.bytes
      this.#records[this.#head] = null
    }
    // Moving the rest down costs its length, so it waits until half is gone.
    if (this.#head > 1024 && this.#head * 2 > this.#records.length) {
      this.#records = this.#records.slice(this.#head)
      this.#head = 0
    }
    return DONE
  }

  claim(id: string): Promise<Claim> {
    const epoch = this.#owners.claim(id)
    const parts = this.#sessions.get(id)
    if (!parts) return Promise.resolve({ epoch, stored: null })
    parts.epoch = epoch
    return Promise.resolve({ epoch, stored: { id, ...parts } })
  }

  save(saves: readonly SessionSave[]): Promise<void> {
    try {
      this.#store(saves)
    } catch (error) {
      return Promise.reject(error)
    }
    return DONE
  }

  async *sessions(): AsyncIterable<StoredSession> {
    for (const [id, parts] of this.#sessions) yield { id, ...parts }
  }

  retain(_changes: readonly RetainedMessage[]): Promise<void> {
    // Core holds the retained messages of this process; there is nobody else to tell.
    return DONE
  }

  cast(_node: string | null, _bytes: Buffer): void {
    // One process has no other nodes.
  }

  now(): number {
    return this.#runtime.now()
  }

  #store(saves: readonly SessionSave[]): void {
    this.#owners.check(saves)
    for (const save of saves) {
      this.#owners.saved(save)
      if (save.ended) {
        this.#sessions.delete(save.id)
        continue
      }
      const parts = this.#sessions.get(save.id)
      this.#sessions.set(save.id, {
        epoch: save.epoch,
        profile: save.profile ?? parts?.profile ?? EMPTY_PROFILE,
        flow: save.flow ?? parts?.flow ?? emptyFlow(this.log),
      })
    }
  }

  /** Index of the first kept record that can hold a message after the position. */
  #find(after: Pos): number {
    let low = this.#head
    let high = this.#records.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (recordEnd(this.#records[middle]!.first) > after) high = middle
      else low = middle + 1
    }
    return low
  }

  #full(): EngineError {
    return new EngineError(
      'full',
      `${this.#bytes} of ${this.#cap} bytes wait in memory for sessions that are away; ` +
        'raise memoryLogBytes, end such sessions, or use the disk engine',
    )
  }
}
