// A simulated disk below the real disk engine: one transaction at a time, visible once synced. What was
// not synced is lost with the process, or torn; a sync takes long or fails; there is no room, for a while.

import { copySound } from '../src/engine/maintenance.ts'
import type { Place } from '../src/engine/place.ts'
import { inspectStore } from '../src/engine/scan.ts'
import type { FreeSpace } from '../src/engine/space.ts'
import { type Database, type KeyRange, Store, TABLES, type Table } from '../src/engine/store.ts'
import type { Chance } from './chance.ts'
import type { Clock, SimRuntime } from './clock.ts'
import { Violation } from './ledger.ts'

export interface StorageFaults {
  /** Longest time a sync takes, milliseconds. */
  readonly syncMs: number
  /** How often a sync takes as long as a busy disk may: seconds. */
  readonly slow: number
  /** How often the disk is filled by somebody else, for seconds, asked with each transaction. */
  readonly full: number
  /** How often a sync fails: nobody knows then what the disk holds. */
  readonly broken: number
  /** How often reading records fails. */
  readonly unreadable: number
  /** How often what was under way when the process was killed leaves damaged records. */
  readonly torn: number
  /** How often the process is killed right before or right after a transaction is synced. */
  readonly kill: number
  /** Bytes the log may hold. */
  readonly cap: number
  /** Bytes the engine leaves free. */
  readonly reserve: number
  /** Record sequences reserved at a time. */
  readonly block: number
}

export const SOUND: StorageFaults = {
  syncMs: 0,
  slow: 0,
  full: 0,
  broken: 0,
  unreadable: 0,
  torn: 0,
  kill: 0,
  cap: Number.POSITIVE_INFINITY,
  reserve: 0,
  block: 1_024,
}

type Contents = ReadonlyMap<string, Map<string, Buffer>>

interface Change {
  readonly table: string
  readonly key: string
  readonly value: Buffer | null
}

const SIZE = 1e9
/** Bytes a change takes beside its value. */
const ENTRY_BYTES = 50
/** What the simulated clients publish begins with its name. */
const MESSAGE_KEY = /[cw]\d+:\d+(?= x)/g

/** What outlives a process. */
export class Medium {
  contents: Contents = emptyContents()
  /** The last process left it in order. */
  clean = true
  /** Bytes that may still be written. */
  free = SIZE
  /** Keys of records that are not what was written. */
  readonly damaged = new Set<string>()
  /** Messages some transaction holds, and whether one of these was synced. */
  readonly #written = new Map<string, boolean>()
  readonly counts = { transactions: 0, torn: 0, full: 0, broken: 0, compacted: 0 }

  /** Whether the message was given to the disk, and is not on it. */
  isUnsynced(message: string): boolean {
    return this.#written.get(message) === false
  }

  given(changes: readonly Change[]): void {
    for (const message of messagesIn(changes)) {
      if (this.#written.get(message) !== true) this.#written.set(message, false)
    }
  }

  synced(changes: readonly Change[]): void {
    for (const message of messagesIn(changes)) this.#written.set(message, true)
    for (const { table, key, value } of changes) {
      const entries = this.contents.get(table) as Map<string, Buffer>
      if (value === null) {
        entries.delete(key)
        if (table === 'log') this.damaged.delete(key)
      } else entries.set(key, value)
    }
  }

  /** The process that gave them is gone, and with it whoever could acknowledge them. */
  lost(changes: readonly Change[]): void {
    for (const message of messagesIn(changes)) {
      if (this.#written.get(message) === false) this.#written.delete(message)
    }
  }

  /** Of the transaction under way, nothing counts; some of its records are there, in part. */
  torn(changes: readonly Change[], chance: Chance): void {
    const log = this.contents.get('log') as Map<string, Buffer>
    for (const { table, key, value } of changes) {
      if (table !== 'log' || value === null || log.has(key)) continue
      log.set(key, spoiled(value, chance))
      this.damaged.add(key)
      this.counts.torn++
    }
  }
}

/** One process's hold on the medium. */
export class SimPlace implements Place, Database {
  readonly directory = 'simulated'
  readonly #medium: Medium
  readonly #clock: Clock
  readonly #runtime: SimRuntime
  readonly #chance: Chance
  readonly #faults: StorageFaults
  #collecting: Change[] | null = null
  /** Under way, until it is known to be synced. */
  #flying: readonly Change[] | null = null
  #left = false
  /** Nothing goes wrong any more. */
  calm = false
  /** Whether a sync failed in this process, or found no room: it may not have been able to start. */
  troubled = false
  /** Right before or right after a transaction becomes durable. */
  onMoment: () => void = () => {}

  constructor(
    medium: Medium,
    clock: Clock,
    runtime: SimRuntime,
    chance: Chance,
    faults: StorageFaults,
  ) {
    this.#medium = medium
    this.#clock = clock
    this.#runtime = runtime
    this.#chance = chance
    this.#faults = faults
  }

  // ---- The folder ----------------------------------------------------------------------------

  async open(): Promise<Store> {
    const medium = this.#medium
    // Somebody who does not look first meets the damage later, value by value.
    if (!medium.clean && !this.#chance.is(this.#faults.torn / 2)) await this.#lookThrough()
    medium.clean = false
    return this.#store(this, medium.contents, true)
  }

  async #lookThrough(): Promise<void> {
    const medium = this.#medium
    const pause = () => new Promise<void>((resolve) => this.#runtime.nextTurn(resolve))
    const found = await inspectStore(this.#store(DIRECT, medium.contents, false), pause)
    if (found.damaged !== medium.damaged.size) {
      throw new Violation(`${medium.damaged.size} values are damaged, ${found.damaged} were found`)
    }
    if (found.damaged === 0) return
    // `serve` refuses and names the way out, which the operator takes.
    const fresh = emptyContents()
    const target = this.#store(DIRECT, fresh, false)
    const dropped = await copySound(this.#store(DIRECT, medium.contents, false), target)
    if (dropped !== found.damaged) throw new Violation(`${dropped} values were left out`)
    medium.contents = fresh
    medium.damaged.clear()
    medium.counts.compacted++
  }

  leave(clean: boolean): void {
    this.#medium.clean = clean
    this.#left = true
  }

  async freeSpace(): Promise<FreeSpace> {
    return { free: this.#medium.free, size: SIZE }
  }

  /** The process is gone: of the transaction under way all, nothing or torn pieces are on the disk. */
  crash(): void {
    const changes = this.#flying
    this.#flying = null
    if (changes === null || this.#left) return
    const medium = this.#medium
    const what = this.#chance.random()
    if (what < this.#faults.torn) medium.torn(changes, this.#chance)
    else if (what > 0.7) medium.synced(changes)
    medium.lost(changes)
  }

  // ---- The database --------------------------------------------------------------------------

  async batch(write: () => void): Promise<void> {
    const changes: Change[] = []
    this.#collecting = changes
    write()
    this.#collecting = null
    if (this.#flying !== null) throw new Violation('two transactions at a time')
    const medium = this.#medium
    medium.given(changes)
    medium.counts.transactions++
    this.#flying = changes
    const ms = this.#misfortune()
    await this.#wait(ms)
    if (bytesOf(changes) > medium.free) {
      medium.counts.full++
      throw this.#failed(28, 'No space left on device')
    }
    // On a disk without room EIO is what a short write looks like, and no failed sync.
    if (!this.calm && medium.free === SIZE && this.#chance.is(this.#faults.broken)) {
      medium.counts.broken++
      // What it holds is on its way to nowhere, or on the disk: the next process sees.
      this.troubled = true
      throw refusedCommit(5, 'Input/output error')
    }
    await this.#moment()
    this.#flying = null
    medium.synced(changes)
    await this.#moment()
    // The process hears of it a little later.
    await this.#wait(this.#chance.between(0, 1))
  }

  #failed(code: number, why: string): Error {
    this.#medium.lost(this.#flying as Change[])
    this.#flying = null
    this.troubled = true
    return refusedCommit(code, why)
  }

  /** A last chance to be killed; if so, nothing follows any more. */
  async #moment(): Promise<void> {
    if (!this.calm && this.#chance.is(this.#faults.kill)) this.onMoment()
    if (this.#runtime.dead) await new Promise(() => {})
  }

  /** How long this transaction takes; may begin a time without room. */
  #misfortune(): number {
    const { full, slow, syncMs } = this.#faults
    const medium = this.#medium
    if (!this.calm && medium.free === SIZE && this.#chance.is(full)) {
      medium.free = this.#chance.pick([0, 500, 3_000])
      this.#clock.at(this.#chance.between(100, 5_000), () => {
        medium.free = SIZE
      })
    }
    if (!this.calm && this.#chance.is(slow)) return this.#chance.between(500, 4_000)
    return this.#chance.between(0, syncMs)
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => this.#runtime.after(ms, resolve))
  }

  backup(): Promise<void> {
    return Promise.reject(new Error('nothing to copy to'))
  }

  async close(): Promise<void> {
    // What was given is synced: the engine waits for that before.
  }

  #store(database: Database, contents: Contents, collects: boolean): Store {
    const tables = TABLES.map((name) => {
      const entries = contents.get(name) as Map<string, Buffer>
      const take = (change: Change): void => {
        if (collects) (this.#collecting as Change[]).push(change)
        else if (change.value === null) entries.delete(change.key)
        else entries.set(change.key, change.value)
      }
      const read = (): void => {
        const bad = collects && name === 'log' && !this.calm
        if (bad && this.#chance.is(this.#faults.unreadable)) throw new Error('cannot be read')
      }
      return new SimTable(name, entries, take, read)
    })
    let now = 0
    return new Store(database, tables, {
      // Some portions are one entry long.
      now: () => {
        now += this.#chance.pick([0, 0, 1, 5])
        return now
      },
      pause: () => new Promise((resolve) => this.#runtime.nextTurn(resolve)),
    })
  }
}

/** Writes at once: the operator's tools, while no server runs. */
const DIRECT: Database = {
  batch: async (write) => write(),
  backup: () => Promise.reject(new Error('nothing to copy to')),
  close: async () => {},
}

class SimTable implements Table {
  readonly #name: string
  readonly #entries: Map<string, Buffer>
  readonly #take: (change: Change) => void
  /** Throws when reading fails. */
  readonly #read: () => void

  constructor(
    name: string,
    entries: Map<string, Buffer>,
    take: (change: Change) => void,
    read: () => void,
  ) {
    this.#name = name
    this.#entries = entries
    this.#take = take
    this.#read = read
  }

  getBinary(key: Buffer): Buffer | undefined {
    const value = this.#entries.get(textOf(key))
    return value && Buffer.from(value)
  }

  doesExist(key: Buffer): boolean {
    return this.#entries.has(textOf(key))
  }

  *getKeys(range: KeyRange): Iterable<Buffer> {
    for (const key of this.#keys(range)) yield Buffer.from(key, 'latin1')
  }

  *getRange(range: KeyRange): Iterable<{ key: Buffer; value: Buffer }> {
    this.#read()
    for (const key of this.#keys(range)) {
      yield {
        key: Buffer.from(key, 'latin1'),
        value: Buffer.from(this.#entries.get(key) as Buffer),
      }
    }
  }

  #keys({ start, end, limit }: KeyRange): string[] {
    const from = textOf(start)
    const to = end && textOf(end)
    const found = [...this.#entries.keys()].filter(
      (key) => key >= from && (to === undefined || key < to),
    )
    return found.sort().slice(0, limit)
  }

  put(key: Buffer, value: Buffer): void {
    this.#take({ table: this.#name, key: textOf(key), value: Buffer.from(value) })
  }

  remove(key: Buffer): void {
    this.#take({ table: this.#name, key: textOf(key), value: null })
  }

  /** Pages of one byte: what is stored is what is counted. */
  getStats(): object {
    let bytes = 0
    for (const value of this.#entries.values()) bytes += value.length
    const none = { treeBranchPageCount: 0, treeLeafPageCount: 0, overflowPages: 0 }
    const own = { ...none, treeLeafPageCount: bytes, pageSize: 1 }
    return { ...own, root: none, free: none, lastPageNumber: bytes }
  }
}

function emptyContents(): Contents {
  return new Map(TABLES.map((name) => [name, new Map<string, Buffer>()]))
}

function textOf(key: Buffer): string {
  return key.toString('latin1')
}

function bytesOf(changes: readonly Change[]): number {
  return changes.reduce((bytes, { value }) => bytes + ENTRY_BYTES + (value?.length ?? 0), 0)
}

function messagesIn(changes: readonly Change[]): string[] {
  return changes.flatMap(({ table, value }) =>
    (table === 'log' || table === 'ret') && value !== null
      ? (value.toString('latin1').match(MESSAGE_KEY) ?? [])
      : [],
  )
}

/** Cut short, or with one bit turned. */
function spoiled(value: Buffer, chance: Chance): Buffer {
  if (chance.is(0.5)) return Buffer.from(value.subarray(0, chance.between(0, value.length - 1)))
  const copy = Buffer.from(value)
  const at = chance.between(0, copy.length - 1)
  copy[at] = (copy[at] as number) ^ (1 << chance.between(0, 7))
  return copy
}

/** As lmdb says it: the reason comes in a second promise. */
function refusedCommit(code: number, why: string): Error {
  const commitError = Promise.reject(Object.assign(new Error(why), { code }))
  return Object.assign(new Error('Commit failed (see commitError for details)'), { commitError })
}
