// Copies of a data folder: a backup beside a running server, and a compacted one in its place
// that leaves out free pages and damaged values.

import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { RECORD_MESSAGES_MAX } from '../core/types.ts'
import { fileFault } from './file-fault.ts'
import { DATABASE_FILE, DataFolder, makeFolder } from './folder.ts'
import { RecordCodec } from './record.ts'
import { looseTopic } from './scan.ts'
import { type ScanResult, scanInChild } from './scan-process.ts'
import { DamageError } from './sealed.ts'
import { decodeFlow, decodeProfile } from './session-codec.ts'
import {
  type Change,
  FIRST_KEY,
  firstPosition,
  type LogState,
  recordSequence,
  Store,
  type Table,
} from './store.ts'

export interface Compacted {
  /** Bytes of the database file. */
  readonly before: number
  readonly after: number
  /** Damaged values that were left out. */
  readonly dropped: number
}

/** Positions a log whose state was lost may have used beyond its last stored record. */
const LOST_SEQUENCES = 2 ** 20
const EPOCHS_PER_RUN = 2 ** 32

/**
 * Copies the folder `from`, whether a server runs on it or not, into `to`, which must be new or
 * empty, and looks through the copy. Throws an Error for people.
 */
export async function backUp(from: string, to: string): Promise<ScanResult> {
  const source = new DataFolder(from)
  source.checkStored()
  const target = new DataFolder(to)
  try {
    makeFolder(target.directory)
  } catch (error) {
    throw new Error(`${to} cannot be made: ${fileFault(error)}; name another folder`, {
      cause: error,
    })
  }
  if (fs.readdirSync(target.directory).length > 0) {
    throw new Error(`${to} is not empty: name a new folder for the copy`)
  }
  const fault = source.sizeFault()
  if (fault) throw new Error(`${from} cannot be copied: ${fault}`)
  const store = Store.open(source.directory, true)
  try {
    await store.copyTo(target.directory, true)
  } finally {
    await store.close()
  }
  target.syncDatabase()
  target.markFormat()
  const result = await scanInChild(target)
  target.forgetReaders()
  // What the copy holds is one moment of the log, whole: no scan is needed before it is served.
  if ('found' in result && result.found.damaged === 0) target.markClean()
  return result
}

/** Writes the folder anew, without free pages and damaged values. No server may run on it. */
export async function compact(directory: string): Promise<Compacted> {
  const folder = new DataFolder(directory)
  folder.checkStored()
  folder.lock()
  try {
    const result = await scanInChild(folder)
    if ('unreadable' in result) {
      throw new Error(
        `${directory} cannot be compacted: ${result.unreadable}; put back a copy made with \`partyline data backup\``,
      )
    }
    return await rewrite(folder)
  } finally {
    folder.unlock()
  }
}

async function rewrite(folder: DataFolder): Promise<Compacted> {
  const before = folder.size()
  const fresh = path.join(folder.directory, 'compacting')
  fs.rmSync(fresh, { recursive: true, force: true })
  const source = Store.open(folder.directory, true)
  const target = Store.open(fresh)
  let dropped: number
  try {
    dropped = await copySound(source, target)
  } finally {
    await target.close()
    await source.close()
  }
  folder.replaceDatabase(path.join(fresh, DATABASE_FILE))
  fs.rmSync(fresh, { recursive: true })
  folder.markClean()
  return { before, after: folder.size(), dropped }
}

/** Every sound value of one store, into an empty one. Resolves with how many damaged ones were left out. */
export function copySound(source: Store, target: Store): Promise<number> {
  return new Copy(source, target).run()
}

class Copy {
  readonly #source: Store
  readonly #target: Store
  readonly #codec = new RecordCodec(looseTopic)
  #dropped = 0
  #lastSequence = 0
  #lastEpoch = 0

  constructor(source: Store, target: Store) {
    this.#source = source
    this.#target = target
  }

  async run(): Promise<number> {
    const from = this.#source
    const to = this.#target
    await this.#table(from.log, to.log, (key, value) => {
      const sequence = recordSequence(key)
      this.#lastSequence = sequence
      this.#codec.decode(key, value, firstPosition(sequence))
    })
    await this.#table(from.profile, to.profile, (key, value) => {
      this.#lastEpoch = Math.max(this.#lastEpoch, decodeProfile(key, value).epoch)
    })
    await this.#table(from.flow, to.flow, (key, value) => {
      this.#lastEpoch = Math.max(this.#lastEpoch, decodeFlow(key, value).epoch)
      // A session whose profile was left out has lost its subscriptions: it ends as a whole.
      if (from.profile.doesExist(key) && !to.profile.doesExist(key)) {
        throw new DamageError('a flow without its profile')
      }
    })
    await this.#table(from.retained, to.retained, (key, value) => {
      const { pos } = this.#codec.decodeRetained(key, value)
      const sequence = Math.floor(pos / RECORD_MESSAGES_MAX)
      this.#lastSequence = Math.max(this.#lastSequence, sequence)
    })
    await to.commit([to.stateChange(this.#state())])
    return this.#dropped
  }

  async #table(from: Table, to: Table, verify: (key: Buffer, value: Buffer) => void) {
    let start: Buffer | null = FIRST_KEY
    while (start) {
      const chunk = this.#source.chunk(from, start)
      const changes: Change[] = []
      for (const { key, value } of chunk.entries) {
        if (this.#isSound(() => verify(key, value))) changes.push({ table: to, key, value })
      }
      if (changes.length > 0) await this.#target.commit(changes)
      start = chunk.next
    }
  }

  #state(): LogState {
    let state: LogState | null = null
    this.#isSound(() => {
      state = this.#source.readState()
    })
    // Nobody knows how far the old positions went: a new log, in which they mean nothing.
    return (
      state ?? {
        log: randomBytes(16).toString('hex'),
        next: this.#lastSequence + LOST_SEQUENCES,
        run: Math.floor(this.#lastEpoch / EPOCHS_PER_RUN) + 1,
        floor: 0,
      }
    )
  }

  #isSound(look: () => void): boolean {
    try {
      look()
      return true
    } catch (error) {
      if (!(error instanceof DamageError)) throw error
      this.#dropped++
      return false
    }
  }
}
