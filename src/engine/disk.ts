// The engine that keeps its promises: what it resolved survives kill -9 and power loss. Records,
// sessions and retained messages in one LMDB folder, one sync for everything that waited.
// docs/durability.md says what is on disk when.

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
import type { Runtime } from '../core/runtime.ts'
import type { Pos, StoredSession } from '../core/types.ts'
import { Commits } from './commits.ts'
import { diskFailed, diskFull, isFull } from './disk-faults.ts'
import { newLogIdentity } from './identity.ts'
import { wantedBytes } from './kept.ts'
import { LogTable } from './log-table.ts'
import { Owners } from './owners.ts'
import { FolderPlace, type Place } from './place.ts'
import { RecordCodec, type ResolveTopic } from './record.ts'
import { RetainedTable } from './retained-table.ts'
import { SessionTable } from './session-table.ts'
import { DiskSpace, type FreeSpace } from './space.ts'
import {
  type Change,
  firstPosition,
  type LogState,
  recordKey,
  type Sizes,
  type Store,
} from './store.ts'

/** Record sequences reserved at a time: at 10 000 records a second one extra write in 100 s. */
const BLOCK = 2 ** 20
/** Epochs of one run stay below the first of the next. */
const EPOCHS_PER_RUN = 2 ** 32
const LOG_BYTES_MAX = 10 * 1024 ** 3

export interface DiskOptions {
  /** The data folder, made when it is not there; or what stands for it. */
  readonly directory: string | Place
  readonly runtime: Pick<Runtime, 'now' | 'after' | 'random'>
  /** Topics of stored messages. */
  readonly resolve: ResolveTopic
  /** Bytes the log may occupy. Default: 10 GiB or half the free disk, whichever is less. */
  readonly logBytes?: number
  /** Bytes of the disk that stay free. Default: 5 %, see `defaultReserve`. */
  readonly reserveBytes?: number
  /** Record sequences reserved at a time. Default: 2²⁰. */
  readonly reserveSequences?: number
  /** Told of damage and of long steps, one sentence each. */
  readonly notify?: (message: string) => void
  /** Asks for free space in place of the file system. */
  readonly freeSpace?: () => Promise<FreeSpace>
}

export class DiskEngine implements Engine {
  readonly name = 'disk'
  readonly durable = true
  readonly node = null
  readonly #options: DiskOptions
  readonly #place: Place
  readonly #codec: RecordCodec
  readonly #block: number
  #events: EngineEvents | null = null
  #store!: Store
  #commits!: Commits
  #owners!: Owners
  #table!: LogTable
  #sessions!: SessionTable
  #retained!: RetainedTable
  #space!: DiskSpace
  #log = ''
  #run = 0
  /** Sequence of the next record. */
  #next = 1
  /** Sequences below it are reserved on disk. */
  #mark = 1
  /** As `#mark`, or already on its way there: no state written may say less. */
  #markAsked = 1
  #reserving = false
  #last: Pos = 0
  /** Everything kept after it is still there. */
  #floor: Pos = 0
  #logBytes = 0
  /** Bytes of records that wait for their commit. */
  #pendingBytes = 0
  #cap = LOG_BYTES_MAX
  #damaged = 0
  #failed = false
  #closing = false

  constructor(options: DiskOptions) {
    this.#options = options
    const { directory } = options
    this.#place = typeof directory === 'string' ? new FolderPlace(directory) : directory
    this.#codec = new RecordCodec(options.resolve)
    this.#block = options.reserveSequences ?? BLOCK
  }

  get log(): string {
    return this.#log
  }

  /** Stored values found damaged, and skipped, since `open`. */
  get damaged(): number {
    return this.#damaged
  }

  async open(events: EngineEvents): Promise<void> {
    this.#events = events
    this.#store = await this.#place.open(this.#notify)
    try {
      await this.#start()
      await this.#retained.load((change) => events.retained(change))
    } catch (error) {
      await this.#store.close()
      this.#place.leave(false)
      throw error
    }
  }

  async close(): Promise<void> {
    if (!this.#commits) return
    // Whatever came before is written; who comes now must not use a position that the last state calls unused.
    this.#closing = true
    await this.#retained.stop()
    await this.#commits.settled()
    let clean = !this.#failed
    if (clean) {
      try {
        await this.#write([this.#stateChange(this.#next)])
      } catch (error) {
        clean = false
        this.#notify(`the data folder was not closed in order: ${(error as Error).message}`)
      }
    }
    await this.#commits.stop(stopping())
    await this.#store.close()
    this.#place.leave(clean)
  }

  append(record: LogRecord): Promise<void> {
    let changes: Change[]
    const bytes = wantedBytes(record)
    try {
      this.#admit(record, bytes)
      changes = this.#changesOf(record, bytes)
    } catch (error) {
      return Promise.reject(error)
    }
    record.first = firstPosition(this.#next++)
    for (const save of record.saves) this.#owners.saved(save)
    if (this.#next > this.#mark - this.#block / 2) this.#reserve()
    if (changes.length === 0 && this.#commits.idle) {
      this.#emit(record)
      return DONE
    }
    return new Promise((resolve, reject) => {
      const who = {
        done: () => {
          this.#pendingBytes -= bytes
          this.#emit(record)
          resolve()
        },
        refused: (error: EngineError) => {
          this.#pendingBytes -= bytes
          this.#retained.settle(record)
          reject(error)
        },
      }
      this.#pendingBytes += bytes
      if (changes.length === 0) return this.#commits.follow(who)
      this.#retained.expect(record)
      this.#commits.write(changes, who)
    })
  }

  read(after: Pos, until: Pos): Promise<{ records: LogRecord[]; scanned: Pos }> {
    if (this.#closing) return Promise.reject(stopping())
    const end = Math.min(until, this.#last)
    return Promise.resolve(
      end > after ? this.#table.read(after, end) : { records: [], scanned: after },
    )
  }

  bounds(): Bounds {
    const first = this.#floor + 1
    return { first, last: this.#last, bytes: this.#logBytes, cap: this.#cap }
  }

  async truncate(upTo: Pos): Promise<void> {
    const target = Math.min(upTo, this.#last)
    if (target <= this.#floor) return
    if (this.#closing) throw stopping()
    // Before anything goes: a cursor below it must be known to have missed something.
    this.#floor = target
    const keep = this.#table.sequenceAfter(target)
    for (;;) {
      const changes = this.#table.removalsBefore(keep)
      if (changes.length === 0) return
      await this.#write([this.#stateChange(this.#markAsked), ...changes])
    }
  }

  async claim(id: string): Promise<Claim> {
    if (this.#closing) throw stopping()
    const epoch = this.#owners.claim(id)
    // Saves made before the claim are part of what it hands over.
    if (!this.#commits.idle) await this.#commits.settled()
    if (this.#closing) throw stopping()
    const stored = this.#sessions.read(id)
    return { epoch, stored: stored && { ...stored, epoch } }
  }

  save(saves: readonly SessionSave[]): Promise<void> {
    let changes: Change[]
    try {
      if (this.#closing) throw stopping()
      this.#owners.check(saves)
      changes = this.#sessions.changes(saves)
    } catch (error) {
      return Promise.reject(error)
    }
    for (const save of saves) this.#owners.saved(save)
    return changes.length === 0 ? DONE : this.#write(changes)
  }

  async *sessions(): AsyncIterable<StoredSession> {
    await this.#commits.settled()
    for await (const session of this.#sessions.all()) {
      this.#owners.found(session)
      yield session
    }
  }

  retain(changes: readonly RetainedMessage[]): Promise<void> {
    return this.#closing ? Promise.reject(stopping()) : this.#retained.add(changes)
  }

  cast(_node: string | null, _bytes: Buffer): void {
    // One process has no other nodes.
  }

  now(): number {
    return this.#options.runtime.now()
  }

  /** Bytes of the log, of everything stored, and of the file. */
  sizes(): Sizes {
    return this.#store.sizes()
  }

  /** Copies everything into an empty folder while this engine goes on. */
  backup(directory: string): Promise<void> {
    return this.#store.copyTo(directory, true)
  }

  async #start(): Promise<void> {
    const { runtime, reserveBytes } = this.#options
    const { directory } = this.#place
    const store = this.#store
    const ask = this.#options.freeSpace ?? (() => this.#place.freeSpace())
    this.#space = new DiskSpace(runtime, ask, () => store.sizes(), reserveBytes)
    const damage = (what: string) => this.#damage(what)
    this.#table = new LogTable(store, this.#codec, damage)
    this.#sessions = new SessionTable(store, damage, () => this.#log)
    this.#retained = new RetainedTable(
      store,
      this.#codec,
      runtime,
      (changes) => this.#write(changes),
      damage,
    )
    this.#commits = new Commits(
      store,
      (error) => this.#judge(error, ask),
      () => {
        this.#logBytes = store.logBytes()
      },
    )
    const state = this.#readState()
    if (!state && store.firstRecord() !== null) {
      throw new Error(`${directory} has a log without its state: ${WAY_OUT}`)
    }
    this.#log = state?.log ?? newLogIdentity(runtime)
    this.#run = (state?.run ?? 0) + 1
    this.#next = state?.next ?? 1
    this.#floor = state?.floor ?? 0
    this.#owners = new Owners(this.#run * EPOCHS_PER_RUN)
    // Every position below is taken, whether it was used or only reserved.
    this.#last = this.#next > 1 ? firstPosition(this.#next) - 1 : 0
    const mark = this.#next + this.#block
    await store.commit([this.#stateChange(mark)])
    this.#mark = mark
    this.#markAsked = mark
    this.#logBytes = store.logBytes()
    const { free } = await ask()
    this.#cap = this.#options.logBytes ?? Math.min(LOG_BYTES_MAX, (free + this.#logBytes) / 2)
    await this.#space.refresh()
  }

  #readState(): LogState | null {
    try {
      return this.#store.readState()
    } catch (error) {
      const why = (error as Error).message
      throw new Error(
        `the state of the log in ${this.#place.directory} is damaged: ${why}; ${WAY_OUT}`,
        {
          cause: error,
        },
      )
    }
  }

  /** Throws when the record cannot be taken now. */
  #admit(record: LogRecord, bytes: number): void {
    if (this.#failed) throw diskFailed()
    if (this.#closing) throw stopping()
    if (record.saves.length > 0) this.#owners.check(record.saves)
    if (this.#next >= this.#mark) {
      this.#reserve()
      throw new EngineError('full', 'no positions could be reserved on the disk: see the log')
    }
    if (bytes === 0) return
    if (bytes > this.#cap) {
      throw new EngineError('too-large', `${bytes} bytes do not fit into a log of ${this.#cap}`)
    }
    if (this.#logBytes + this.#pendingBytes + bytes > this.#cap) {
      throw new EngineError(
        'full',
        `the log holds ${this.#logBytes} of ${this.#cap} bytes for sessions that are behind; end them or raise its limit`,
      )
    }
  }

  #changesOf(record: LogRecord, bytes: number): Change[] {
    const store = this.#store
    const changes = record.saves.length > 0 ? this.#sessions.changes(record.saves) : []
    let size = 0
    if (bytes > 0) {
      const key = recordKey(this.#next)
      const value = this.#codec.encode(key, record)
      changes.push({ table: store.log, key, value })
      size += value.length
    }
    for (const change of this.#retained.changesOf(record, firstPosition(this.#next))) {
      changes.push(change)
      size += change.value?.length ?? 0
    }
    // Saves alone pass: acknowledgements are what makes room again.
    if (size > 0 && !this.#space.hasRoomFor(size)) {
      throw diskFull(this.#place.directory)
    }
    this.#space.wrote(size)
    return changes
  }

  #emit(record: LogRecord): void {
    const { first, messages } = record
    this.#last = first + Math.max(messages.length, 1) - 1
    this.#retained.settle(record)
    this.#events!.record(record)
  }

  #reserve(): void {
    if (this.#reserving) return
    this.#reserving = true
    const mark = this.#mark + this.#block
    this.#markAsked = mark
    this.#write([this.#stateChange(mark)]).then(
      () => {
        this.#mark = mark
        this.#reserving = false
      },
      () => {
        this.#reserving = false
      },
    )
  }

  #write(changes: readonly Change[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#commits.write(changes, { done: resolve, refused: reject })
    })
  }

  /** What a failed commit means: a full disk is refused and may recover, all else is the end. */
  async #judge(error: unknown, ask: () => Promise<FreeSpace>): Promise<EngineError> {
    if (await isFull(error, ask)) {
      await this.#space.refresh()
      return diskFull(this.#place.directory, error)
    }
    this.#failed = true
    const refusal = diskFailed(error)
    this.#events!.state('failed', refusal.message)
    return refusal
  }

  #stateChange(next: number): Change {
    const state = { log: this.#log, next, run: this.#run, floor: this.#floor }
    return this.#store.stateChange(state)
  }

  #damage(what: string): void {
    this.#damaged++
    this.#notify(`damage in ${this.#place.directory}, skipped: ${what}`)
  }

  readonly #notify = (message: string): void => this.#options.notify?.(message)
}

function stopping(): EngineError {
  return new EngineError('down', 'the server is stopping')
}

const DONE: Promise<void> = Promise.resolve()

const WAY_OUT =
  'see `partyline data check`, then put back a copy made with `partyline data backup` or keep what is sound with `partyline data compact`'
