// An engine that takes its time, refuses now and then, and loses what it had not committed when
// its process is killed. What was committed is on the `Disk`, which outlives the process.

import {
  type Bounds,
  type Claim,
  type Engine,
  EngineError,
  type EngineEvents,
  type EngineFault,
  type LogRecord,
  type RetainedMessage,
  type SessionSave,
} from '../src/core/engine.ts'
import type { Topic } from '../src/core/topics.ts'
import {
  type Message,
  type Pos,
  RECORD_MESSAGES_MAX,
  type StoredSession,
} from '../src/core/types.ts'
import { isWanted, keptRecord, recordEnd, wantedBytes } from '../src/engine/kept.ts'
import { EMPTY_PROFILE, emptyFlow, Owners } from '../src/engine/owners.ts'
import type { Chance } from './chance.ts'
import type { Clock, SimRuntime } from './clock.ts'

type Frozen = Omit<Message, 'topic'> & { readonly topic: string }

interface FrozenRecord {
  readonly first: Pos
  readonly messages: readonly Frozen[]
  readonly wanted: boolean[]
  readonly bytes: number
}

/** What was committed. */
export class Disk {
  readonly log: string
  records: FrozenRecord[] = []
  bytes = 0
  last: Pos = 0
  /** What was stored up to here was forgotten. */
  floor: Pos = 0
  sequence = 0
  epoch = 0
  readonly sessions = new Map<string, StoredSession>()
  readonly retained = new Map<string, { message: Frozen | null; pos: Pos }>()

  constructor(log: string) {
    this.log = log
  }
}

export interface EngineFaults {
  readonly durable: boolean
  /** Longest time a commit takes, milliseconds. */
  readonly commitMs: number
  /** How often a commit takes as long as a busy disk may: seconds. */
  readonly slow: number
  /** How often an append is refused. */
  readonly refuse: number
  /** How often saving a session or reading the log fails. */
  readonly fail: number
  /** Bytes the log may hold. */
  readonly cap: number
}

interface Operation {
  /** Puts it on the disk. */
  readonly commit: () => void
  /** Tells the process. */
  readonly tell: () => void
}

export class SimEngine implements Engine {
  readonly name = 'simulated'
  readonly durable: boolean
  readonly node = null
  readonly log: string
  readonly #disk: Disk
  readonly #clock: Clock
  readonly #runtime: SimRuntime
  readonly #chance: Chance
  readonly #faults: EngineFaults
  readonly #owners: Owners
  #events: EngineEvents | null = null
  readonly #queue: Operation[] = []
  #due = 0
  /** Bytes of records accepted and not committed. */
  #promised = 0
  /** Nothing goes wrong any more. */
  calm = false
  /** Makes a topic of a stored name; the broker's table once there is a broker. */
  topicOf: (name: string) => Topic = () => {
    throw new Error('no broker')
  }

  constructor(disk: Disk, clock: Clock, runtime: SimRuntime, chance: Chance, faults: EngineFaults) {
    this.#disk = disk
    this.#clock = clock
    this.#runtime = runtime
    this.#chance = chance
    this.#faults = faults
    this.durable = faults.durable
    this.log = disk.log
    this.#owners = new Owners(disk.epoch)
    // As in the disk engine: a session that is stored belongs to whoever claims it in this run.
    for (const { id, epoch } of disk.sessions.values()) {
      this.#owners.found({ id, epoch })
    }
  }

  async open(events: EngineEvents): Promise<void> {
    this.#events = events
    for (const [topic, { message, pos }] of this.#disk.retained) {
      events.retained({ topic, message: message === null ? null : this.#thaw(message), pos })
    }
  }

  close(): Promise<void> {
    return new Promise((resolve) => this.#enqueue(() => {}, resolve))
  }

  append(record: LogRecord): Promise<void> {
    const bytes = wantedBytes(record)
    if (!this.calm && this.#chance.is(this.#faults.refuse)) return refuse('full')
    const { cap } = this.#faults
    if (bytes > 0 && this.#disk.bytes + this.#promised + bytes > cap) return refuse('full')
    try {
      this.#owners.check(record.saves)
    } catch (error) {
      return Promise.reject(error)
    }
    for (const save of record.saves) this.#owners.saved(save)
    const disk = this.#disk
    record.first = ++disk.sequence * RECORD_MESSAGES_MAX
    this.#promised += bytes
    const refused = !this.calm && this.#chance.is(this.#faults.refuse)
    return new Promise((resolve, reject) => {
      this.#enqueue(
        () => {
          this.#promised -= bytes
          if (!refused) this.#store(record, bytes)
        },
        () => {
          if (refused) {
            reject(fault('full'))
            return
          }
          this.#events?.record(record)
          resolve()
        },
      )
    })
  }

  #store(record: LogRecord, bytes: number): void {
    const disk = this.#disk
    disk.last = record.first + Math.max(1, record.messages.length) - 1
    if (isWanted(record)) {
      const { messages, wanted } = keptRecord(record, bytes)
      disk.records.push({ first: record.first, messages: messages.map(freeze), wanted, bytes })
      disk.bytes += bytes
    }
    this.#apply(record.saves)
    record.messages.forEach((message, i) => {
      if (message.retain) this.#keep(message.topic.name, message, record.first + i)
    })
  }

  #keep(topic: string, message: Message | null, pos: Pos): void {
    const known = this.#disk.retained.get(topic)
    if (known !== undefined && known.pos > pos) return
    const gone = message === null || message.payload.length === 0
    this.#disk.retained.set(topic, { message: gone ? null : freeze(message), pos })
  }

  async read(after: Pos, until: Pos): Promise<{ records: LogRecord[]; scanned: Pos }> {
    await this.#pause()
    if (!this.calm && this.#chance.is(this.#faults.fail)) throw fault('down')
    const most = this.#chance.between(1, 4)
    const records: LogRecord[] = []
    let scanned = Math.max(after, Math.min(until, this.#disk.last))
    for (const { first, messages, wanted, bytes } of this.#disk.records) {
      if (recordEnd(first) <= after) continue
      if (first > until) break
      if (records.length === most) {
        scanned = Math.min(scanned, first - 1)
        break
      }
      records.push({
        first,
        messages: messages.map((m) => this.#thaw(m)),
        wanted,
        saves: [],
        bytes,
      })
    }
    return { records, scanned }
  }

  bounds(): Bounds {
    const disk = this.#disk
    return { first: disk.floor + 1, last: disk.last, bytes: disk.bytes, cap: this.#faults.cap }
  }

  truncate(upTo: Pos): Promise<void> {
    return new Promise((resolve) => {
      this.#enqueue(() => {
        const disk = this.#disk
        disk.floor = Math.max(disk.floor, Math.min(upTo, disk.last))
        for (;;) {
          const oldest = disk.records[0]
          if (oldest === undefined || oldest.first + oldest.messages.length - 1 > upTo) break
          disk.records.shift()
          disk.bytes -= oldest.bytes
        }
      }, resolve)
    })
  }

  claim(id: string): Promise<Claim> {
    if (!this.calm && this.#chance.is(this.#faults.fail)) return refuse('down')
    const epoch = this.#owners.claim(id)
    return new Promise((resolve) => {
      this.#enqueue(
        () => {
          this.#disk.epoch = Math.max(this.#disk.epoch, epoch)
        },
        () => {
          const stored = this.#disk.sessions.get(id) ?? null
          resolve({ epoch, stored: stored && { ...stored, epoch } })
        },
      )
    })
  }

  save(saves: readonly SessionSave[]): Promise<void> {
    if (!this.calm && this.#chance.is(this.#faults.fail)) return refuse('down')
    try {
      this.#owners.check(saves)
    } catch (error) {
      return Promise.reject(error)
    }
    for (const save of saves) this.#owners.saved(save)
    return new Promise((resolve) => this.#enqueue(() => this.#apply(saves), resolve))
  }

  async *sessions(): AsyncIterable<StoredSession> {
    yield* this.#disk.sessions.values()
  }

  retain(changes: readonly RetainedMessage[]): Promise<void> {
    return new Promise((resolve) => {
      this.#enqueue(() => {
        for (const { topic, message, pos } of changes) this.#keep(topic, message, pos)
      }, resolve)
    })
  }

  cast(): void {
    // One process has no other nodes.
  }

  now(): number {
    return this.#clock.time
  }

  /** The process was killed: of what was not committed, some of the oldest may still have made it. */
  crash(): void {
    const survive = this.#chance.between(0, this.#queue.length)
    for (const { commit } of this.#queue.splice(0).slice(0, survive)) commit()
  }

  /** Whether something waits to be committed. */
  get busy(): boolean {
    return this.#queue.length > 0
  }

  #apply(saves: readonly SessionSave[]): void {
    const { sessions } = this.#disk
    for (const { id, epoch, profile, flow, ended } of saves) {
      this.#disk.epoch = Math.max(this.#disk.epoch, epoch)
      if (ended) {
        sessions.delete(id)
        continue
      }
      const known = sessions.get(id)
      sessions.set(id, {
        id,
        epoch,
        profile: profile ?? known?.profile ?? EMPTY_PROFILE,
        flow: flow ?? known?.flow ?? emptyFlow(this.log),
      })
    }
  }

  /** First in, first out; what comes due together is committed together. */
  #enqueue(commit: () => void, tell: () => void): void {
    const operation = { commit, tell }
    this.#queue.push(operation)
    this.#due = Math.max(this.#due, this.#clock.time + this.#delay())
    this.#runtime.after(this.#due - this.#clock.time, () => {
      this.#queue.shift()
      commit()
      tell()
    })
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => this.#runtime.after(this.#delay(), resolve))
  }

  #delay(): number {
    if (!this.calm && this.#chance.is(this.#faults.slow)) return this.#chance.between(500, 4_000)
    return this.#chance.between(0, this.#faults.commitMs)
  }

  #thaw(frozen: Frozen): Message {
    return { ...frozen, topic: this.topicOf(frozen.topic) }
  }
}

/** A copy that shares nothing with the network reads of the process. */
function freeze(message: Message): Frozen {
  return {
    ...message,
    topic: message.topic.name,
    payload: Buffer.from(message.payload),
    properties: Buffer.from(message.properties),
  }
}

function fault(kind: EngineFault): EngineError {
  return new EngineError(kind, `simulated: ${kind}`)
}

function refuse(kind: EngineFault): Promise<never> {
  return Promise.reject(fault(kind))
}
