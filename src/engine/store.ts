// The LMDB environment of one data folder: five tables, one atomic synced commit at a time.
// Visible means synced here (overlappingSync: false); nothing is ever cleared or dropped, and no
// cursor is held across turns, because an old reader keeps every page freed since from reuse.

import { createHash } from 'node:crypto'
import { open } from 'lmdb'
import { type Pos, RECORD_MESSAGES_MAX } from '../core/types.ts'
import { DamageError, SEAL_BYTES, seal, unseal } from './sealed.ts'

/** Keys from `start` on and before `end`, at most `limit` of them. */
export interface KeyRange {
  readonly start: Buffer
  readonly end?: Buffer
  readonly limit?: number
}

/** What the store asks of one table of the database. Reads see what was committed. */
export interface Table {
  getBinary(key: Buffer): Buffer | undefined
  doesExist(key: Buffer): boolean
  getKeys(range: KeyRange): Iterable<Buffer>
  getRange(range: KeyRange): Iterable<{ key: Buffer; value: Buffer }>
  /** Only within `Database.batch`. */
  put(key: Buffer, value: Buffer): unknown
  remove(key: Buffer): unknown
  /** Counts of pages as LMDB names them. */
  getStats(): object
}

/** What the store asks of the database as a whole. */
export interface Database {
  /** All that `write` puts and removes, or nothing of it; resolves when it is synced. */
  batch(write: () => void): Promise<unknown>
  backup(directory: string, compact: boolean): Promise<void>
  close(): Promise<void>
}

/** How long a read goes on, and how it makes way for others. */
export interface Pace {
  /** Milliseconds of a clock that only goes forward. */
  now(): number
  pause(): Promise<void>
}

const REAL_PACE: Pace = {
  now: () => performance.now(),
  pause: () => new Promise((resolve) => setImmediate(resolve)),
}

/** The names of the tables, in the order a store takes them. */
export const TABLES: readonly string[] = ['log', 'ses', 'prof', 'ret', 'meta']

/** One change of a commit; a null value removes the key. */
export interface Change {
  readonly table: Table
  readonly key: Buffer
  readonly value: Buffer | null
}

/** What the whole log hangs on; written when positions are reserved and at a clean end. */
export interface LogState {
  /** Identity of the log. */
  readonly log: string
  /** No record sequence at or above this one was ever used. */
  readonly next: number
  /** How often the folder was opened for writing; epochs grow with it. */
  readonly run: number
  /** Stored messages up to here were forgotten, all later ones are there. */
  readonly floor: Pos
}

export interface Sizes {
  /** Bytes of the pages the log occupies. */
  readonly log: number
  /** Bytes of the pages everything occupies. */
  readonly live: number
  /** Bytes of the file in use or free for reuse. */
  readonly file: number
}

/** A commit that did not happen: nothing of it is stored. `code` is the system's or LMDB's number. */
export class CommitError extends Error {
  override readonly name = 'CommitError'
  readonly code: number
  constructor(cause: unknown) {
    super(messageOf(cause), { cause })
    const code = cause instanceof Error && 'code' in cause ? Number(cause.code) : Number.NaN
    this.code = Number.isNaN(code) ? 0 : code
  }
}

const STATE_VERSION = 1
const STATE_KEY = Buffer.from('state')
/** LMDB keys end at 1 978 bytes; a longer name is stored under its hash. */
const KEY_BYTES_MAX = 1024
const CHUNK_BYTES = 1024 * 1024
const CHUNK_MS = 2
/** Appended to a key: the smallest key after it. */
const AFTER = Buffer.from([0])
/** The smallest key. */
export const FIRST_KEY: Buffer = Buffer.from([0])
const PLAIN = Buffer.from('=')
const HASHED = Buffer.from('#')

export class Store {
  readonly log: Table
  readonly flow: Table
  readonly profile: Table
  readonly retained: Table
  readonly meta: Table
  readonly #root: Database
  readonly #pace: Pace

  /** `tables` are those of TABLES, in that order. */
  constructor(root: Database, tables: readonly Table[], pace: Pace = REAL_PACE) {
    this.#root = root
    this.#pace = pace
    const [log, flow, profile, retained, meta] = tables
    this.log = log!
    this.flow = flow!
    this.profile = profile!
    this.retained = retained!
    this.meta = meta!
  }

  /**
   * Opens for writing and makes what is missing, or for reading beside a running server.
   * Throws when a read-only folder was never written.
   */
  static open(directory: string, readOnly = false): Store {
    const format = { encoding: 'binary', keyEncoding: 'binary' } as const
    const root = open<Buffer, Buffer>({
      path: directory,
      // A folder name with a dot in it would be taken for a file name.
      noSubdir: false,
      maxDbs: 8,
      readOnly,
      overlappingSync: false,
      // We make the batches ourselves: one commit at a time, for all that waited.
      eventTurnBatching: false,
      ...format,
    })
    const tables: Table[] = []
    for (const name of TABLES) {
      const table = root.openDB<Buffer, Buffer>({ name, ...format })
      if (!table)
        throw new Error(`${directory} has no table "${name}": nothing was ever stored in it`)
      tables.push(table)
    }
    return new Store(root, tables)
  }

  /** All changes or none; resolves when they are synced. Rejects with CommitError. */
  async commit(changes: readonly Change[]): Promise<void> {
    try {
      await this.#root.batch(() => {
        for (const { table, key, value } of changes) {
          if (value) table.put(key, value)
          else table.remove(key)
        }
      })
    } catch (error) {
      throw await commitError(error)
    }
  }

  /** Throws DamageError when it is not what was written. */
  readState(): LogState | null {
    const value = this.meta.getBinary(STATE_KEY)
    if (!value) return null
    unseal(STATE_KEY, value, STATE_VERSION)
    const state: unknown = JSON.parse(value.toString('utf8', SEAL_BYTES))
    if (!isLogState(state)) throw new DamageError('not the state of a log')
    return state
  }

  stateChange(state: LogState): Change {
    const text = JSON.stringify(state)
    const value = Buffer.allocUnsafe(SEAL_BYTES + Buffer.byteLength(text))
    value.write(text, SEAL_BYTES)
    return { table: this.meta, key: STATE_KEY, value: seal(STATE_KEY, value, STATE_VERSION) }
  }

  /** Sequence of the first stored record at or after the given one, or null. */
  firstRecord(from = 0): number | null {
    for (const key of this.log.getKeys({ start: recordKey(from), limit: 1 })) {
      return recordSequence(key)
    }
    return null
  }

  sizes(): Sizes {
    let live = 0
    let log = 0
    let file = 0
    for (const table of [this.log, this.flow, this.profile, this.retained, this.meta]) {
      const stats = readStats(table)
      live += stats.own
      file = stats.file
      if (table === this.log) log = stats.own
      // The root tree, the list of free pages and the two meta pages are counted once.
      if (table === this.meta) live += stats.shared
    }
    return { log, live, file }
  }

  /** Bytes of the pages the log occupies. */
  logBytes(): number {
    return readStats(this.log).own
  }

  /** A consistent copy of everything, taken while others write; `compact` leaves free pages out. */
  copyTo(directory: string, compact: boolean): Promise<void> {
    return this.#root.backup(directory, compact)
  }

  /**
   * Entries from `start` on, about 1 MiB or 2 ms of them and at least one if there is any. `next` is
   * where to go on, null at the end. The cursor ends within the call: an old reader would keep every
   * page freed meanwhile from reuse.
   */
  chunk(
    table: Table,
    start: Buffer,
    end?: Buffer,
  ): { entries: { key: Buffer; value: Buffer }[]; next: Buffer | null } {
    const entries: { key: Buffer; value: Buffer }[] = []
    const deadline = this.#pace.now() + CHUNK_MS
    let bytes = 0
    for (const entry of table.getRange(end ? { start, end } : { start })) {
      entries.push(entry)
      bytes += entry.value.length
      if (bytes >= CHUNK_BYTES || this.#pace.now() > deadline) {
        return { entries, next: Buffer.concat([entry.key, AFTER]) }
      }
    }
    return { entries, next: null }
  }

  /** Between two chunks: others have their turns. */
  pause(): Promise<void> {
    return this.#pace.pause()
  }

  close(): Promise<void> {
    return this.#root.close()
  }
}

/** The key of a record: its sequence, 8 bytes big endian, so that keys sort by position. */
export function recordKey(sequence: number): Buffer {
  const key = Buffer.allocUnsafe(8)
  key.writeUInt32BE(Math.floor(sequence / 2 ** 32), 0)
  key.writeUInt32BE(sequence % 2 ** 32, 4)
  return key
}

export function recordSequence(key: Buffer): number {
  return key.readUInt32BE(0) * 2 ** 32 + key.readUInt32BE(4)
}

export function firstPosition(sequence: number): Pos {
  return sequence * RECORD_MESSAGES_MAX
}

/** The key of a session or topic, and whether it is only a hash of the name. */
export function nameKey(name: Buffer): { key: Buffer; hashed: boolean } {
  if (name.length <= KEY_BYTES_MAX) return { key: Buffer.concat([PLAIN, name]), hashed: false }
  const hash = createHash('sha256').update(name).digest()
  return { key: Buffer.concat([HASHED, hash]), hashed: true }
}

/** The name a key was made of; null when the key is a hash. */
export function nameOf(key: Buffer): string | null {
  return key[0] === PLAIN[0] ? key.toString('utf8', 1) : null
}

interface Stats {
  pageSize: number
  treeBranchPageCount: number
  treeLeafPageCount: number
  overflowPages: number
}

function readStats(table: Table): { own: number; shared: number; file: number } {
  // A read first: the counts are those of the transaction the last read used.
  table.doesExist(STATE_KEY)
  const stats = table.getStats() as Stats & { root: Stats; free: Stats; lastPageNumber: number }
  const pages = (of: Stats) => of.treeBranchPageCount + of.treeLeafPageCount + of.overflowPages
  return {
    own: pages(stats) * stats.pageSize,
    shared: (pages(stats.root) + pages(stats.free) + 2) * stats.pageSize,
    file: (stats.lastPageNumber + 1) * stats.pageSize,
  }
}

function isLogState(state: unknown): state is LogState {
  if (typeof state !== 'object' || state === null) return false
  const { log, next, run, floor } = state as Record<string, unknown>
  return typeof log === 'string' && [next, run, floor].every(Number.isSafeInteger)
}

/** lmdb tells the reason in a second promise, which must be heard or the process ends. */
async function commitError(error: unknown): Promise<CommitError> {
  if (!(error instanceof Error) || !('commitError' in error)) return new CommitError(error)
  try {
    await error.commitError
    return new CommitError(error)
  } catch (reason) {
    return new CommitError(reason)
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
