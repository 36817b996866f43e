// The engine of a cluster: equal nodes over NATS JetStream, which replicates, orders and syncs.
// What is resolved here is stored on a majority of the servers. docs/durability.md says more.

import {
  type Bounds,
  type Claim,
  type Engine,
  EngineError,
  type EngineEvents,
  type LogRecord,
  type RetainedMessage,
  type SessionSave,
} from '../../core/engine.ts'
import type { Timer } from '../../core/runtime.ts'
import { type Pos, RECORD_MESSAGES_MAX, type StoredSession } from '../../core/types.ts'
import { newLogIdentity } from '../identity.ts'
import { RecordCodec } from '../record.ts'
import { DamageError } from '../sealed.ts'
import { firstPosition } from '../store.ts'
import { Api, sleep } from './api.ts'
import { Appends, type Group, placed, RECORD_OVERHEAD } from './appends.ts'
import { Cast } from './cast.ts'
import { Connection } from './connection.ts'
import { Health } from './health.ts'
import { Intents } from './intents.ts'
import { askWhetherSynced } from './monitor.ts'
import { Names, type NatsOptions } from './options.ts'
import { Presence } from './presence.ts'
import { Reader, type Stored } from './reader.ts'
import { Replay } from './replay.ts'
import { NatsRetained } from './retained.ts'
import { NatsSessions } from './sessions.ts'
import { Streams } from './streams.ts'
import { Tail } from './tail.ts'

/** Milliseconds between two tries to tell a node that a session is not its own any more. */
const REMIND_MS = 2_000
/** Rounds of presence between two looks for sessions of dead nodes. */
const BURY_ROUNDS = 5

export class NatsEngine implements Engine {
  readonly name = 'nats'
  readonly durable = true
  readonly #options: NatsOptions
  readonly #names: Names
  readonly #codec: RecordCodec
  readonly #notify: (message: string) => void
  #events!: EngineEvents
  #work!: Connection
  #listening!: Connection
  #reader!: Reader
  #tail!: Tail
  #replay!: Replay
  #appends!: Appends
  #sessions!: NatsSessions
  #retained!: NatsRetained
  #presence!: Presence
  #cast!: Cast
  #health!: Health
  #log = ''
  #last: Pos = 0
  /** Everything stored after it is still there. */
  #floor: Pos = 0
  #bytes = 0
  #cap = Number.POSITIVE_INFINITY
  #damaged = 0
  #rounds = 0
  #closed = false
  #nonces = 0

  /** Throws when an option cannot be. */
  constructor(options: NatsOptions) {
    this.#options = options
    this.#names = new Names(options)
    this.#codec = new RecordCodec(options.resolve)
    this.#notify = options.notify ?? (() => {})
  }

  get log(): string {
    return this.#log
  }

  /** This node's name among the others, new with each start. */
  get node(): string {
    return this.#names.node
  }

  /** Stored values found damaged, and skipped, since `open`. */
  get damaged(): number {
    return this.#damaged
  }

  /** Records that had to be read because they did not arrive by themselves. */
  get repaired(): number {
    return this.#tail.repaired
  }

  /** The server that the log is written through, and the one it is heard from: `host:port`. */
  get servers(): { readonly work: string; readonly tail: string } {
    return { work: this.#work.nc.getServer(), tail: this.#listening.nc.getServer() }
  }

  /** Other nodes that are there. */
  get peers(): string[] {
    return this.#presence.others
  }

  async open(events: EngineEvents): Promise<void> {
    this.#events = events
    const { node } = this.#names
    this.#work = await Connection.open(this.#options, `partyline ${node}`)
    try {
      this.#listening = await Connection.open(this.#options, `partyline ${node} tail`)
      await this.#start()
    } catch (error) {
      await this.#work.close()
      await this.#listening?.close()
      throw error
    }
  }

  async close(): Promise<void> {
    if (this.#closed || !this.#presence) return
    this.#closed = true
    this.#health.stop()
    if (this.#work.connected) {
      await this.#appends.settled()
      await this.#retained.settled()
    }
    await this.#presence.stop()
    this.#tail.stop()
    this.#retained.stop()
    await this.#listening.close()
    await this.#work.close()
  }

  append(record: LogRecord): Promise<void> {
    if (this.#health.failed) return Promise.reject(failed())
    // Every node has sessions of its own that may want it: all is kept.
    record.wanted.fill(true)
    if (record.messages.length === 0) return this.#sessions.save(record.saves, null)
    return this.#appends.append(record)
  }

  read(after: Pos, until: Pos): Promise<{ records: LogRecord[]; scanned: Pos }> {
    const from = Math.max(after, this.#floor)
    const end = Math.min(until, this.#last)
    if (end > from) return this.#replay.read(from, end)
    return Promise.resolve({ records: [], scanned: Math.max(after, end) })
  }

  bounds(): Bounds {
    const first = Math.min(this.#floor, this.#last) + 1
    return { first, last: this.#last, bytes: this.#bytes, cap: this.#cap }
  }

  /** Says what this node can do without; goes when all nodes have said so. */
  async truncate(upTo: Pos): Promise<void> {
    this.#presence.wish = Math.min(upTo, this.#last)
    if (this.#presence.alone) await this.#forget(this.#presence.wish)
  }

  claim(id: string, epoch?: number, asked?: number): Promise<Claim> {
    return this.#sessions.claim(id, epoch, asked)
  }

  save(saves: readonly SessionSave[]): Promise<void> {
    return this.#sessions.save(saves, null)
  }

  sessions(): AsyncIterable<StoredSession & { readonly node: string }> {
    return this.#sessions.all()
  }

  retain(changes: readonly RetainedMessage[]): Promise<void> {
    return this.#retained.storeLazily(changes)
  }

  cast(node: string | null, bytes: Buffer): void {
    this.#cast.send(node, bytes)
  }

  now(): number {
    return this.#options.runtime.now() + Math.round(this.#presence.offset)
  }

  // ---- Starting ------------------------------------------------------------------------------

  async #start(): Promise<void> {
    const { runtime } = this.#options
    const api = new Api(this.#work)
    this.#reader = new Reader(api)
    const tailReader = new Reader(new Api(this.#listening))
    const streams = new Streams(api, this.#names, this.#options)
    const { log, cap, copying } = await streams.ensure(newLogIdentity(runtime))
    if (copying !== null) {
      throw new Error(
        `half a data folder lies in the stream ${this.#names.log}: finish it with \`partyline data copy\`, once more from the ` +
          'beginning, or choose another --nats-prefix',
      )
    }
    this.#log = log
    this.#cap = cap
    await askWhetherSynced(this.#options.monitor ?? [], this.#notify)
    this.#make(api, tailReader)
    await this.#cast.start()
    await this.#tail.start(this.#names.repeated('l'), this.#options.lossy ?? (() => false))
    this.#last = this.#tail.last > 0 ? firstPosition(this.#tail.last + 1) - 1 : 0
    await this.#look()
    // Whoever owns nothing yet can do without everything.
    this.#presence.wish = this.#last
    await this.#retained.start()
    await this.#presence.start()
    this.#health.start()
  }

  #make(api: Api, tailReader: Reader): void {
    const { runtime, resolve } = this.#options
    const names = this.#names
    const reader = this.#reader
    const damaged = (what: string): void => this.#damage(what)
    this.#tail = new Tail(tailReader, names.log, names.subject('l', '*'), (stored) =>
      this.#deliver(stored),
    )
    this.#replay = new Replay(reader, names, (stored) => this.#decode(stored))
    this.#retained = new NatsRetained({
      reader,
      tailReader,
      names,
      clock: { now: () => runtime.now(), after },
      codec: this.#codec,
      resolve,
      changed: (change) => this.#events.retained(change),
      damaged,
    })
    this.#cast = new Cast(this.#work, names, {
      cast: (from, bytes) => this.#events.cast(from, bytes),
      kick: (id, epoch) => this.#kicked(id, epoch),
    })
    this.#sessions = new NatsSessions({
      reader,
      names,
      log: this.#log,
      nonce: () => this.#identity(),
      now: () => this.now(),
      intents: new Intents(
        reader,
        names,
        () => this.now(),
        () => this.#tail.last,
      ),
      kick: (node, id) => this.#cast.kick(node, id),
      remind: (node, id, epoch) => void this.#remind(node, id, epoch),
      lost: (id) => void this.#events.kick(id).catch(() => {}),
      damaged,
      needs: (floor) => {
        this.#presence.wish = Math.min(this.#presence.wish, floor - 1)
      },
    })
    this.#presence = new Presence({
      reader,
      names,
      random: () => runtime.random(),
      wall: () => runtime.now(),
      node: (id, up) => this.#events.node?.(id, up),
      lapsed: () => {
        this.#sessions.lapsed()
        this.#events.lapsed?.()
      },
      proved: () => this.#events.proved?.(),
      refreshed: () => this.#refreshed(),
    })
    this.#appends = new Appends({
      api,
      subject: names.subject('l', names.node),
      codec: this.#codec,
      identity: () => this.#identity(),
      save: (saves, group) => this.#sessions.save(saves, group),
      stored: (group, seq, duplicate) => this.#stored(group, seq, duplicate),
      isVoid: async (seq) => {
        const found = await reader.nextKnown(names.log, seq, seq, names.subject('l', '*'))
        return found !== null && found.seq === seq && found.data.length === 0
      },
      settled: (saves, group, stored) => this.#sessions.settled(saves, group, stored),
      landed: (group) => this.#sessions.landed(group),
    })
    this.#health = new Health(this.#work, this.#listening, this.#presence, (state, why) =>
      this.#events.state(state, why),
    )
    this.#listening.onChange((connected) => {
      if (!connected) return
      this.#tail.reconnected()
      void this.#retained.catchUp()
    })
  }

  /** Unique among all nodes and times. */
  #identity(): string {
    return `${this.#names.node}.${(++this.#nonces).toString(36)}`
  }

  // ---- The log -------------------------------------------------------------------------------

  #stored(group: Group, seq: number, duplicate: boolean): void {
    if (group.wasDelivered) return
    if (seq <= this.#tail.last && !duplicate) {
      this.#health.fail(
        `the log on the NATS servers went back from record ${this.#tail.last} to ${seq}: what was acknowledged is lost; ` +
          'put back what they held before, or remove the streams, then start all nodes again',
      )
      return
    }
    const subject = this.#names.subject('l', this.#names.node)
    this.#tail.heard({ seq, subject, time: 0, id: group.id, data: EMPTY })
  }

  /** The next record of the log, from the servers or as our own was acknowledged. */
  #deliver(stored: Stored): void {
    // An empty record of another node means that our append must not be stored any more.
    const isVoid = stored.data.length === 0 && stored.data !== EMPTY
    const group = isVoid ? undefined : this.#appends.waiting(stored.id)
    this.#last = firstPosition(stored.seq)
    this.#bytes += stored.data.length > 0 ? stored.data.length + RECORD_OVERHEAD : 0
    if (group !== undefined && !group.wasDelivered) {
      const records = placed(group, stored.seq)
      if (stored.data.length === 0) this.#bytes += group.size
      group.wasDelivered = true
      // Before anybody hears of it: what is retained after hearing it comes later.
      group.kept = this.#keepRetained(records)
      group.kept.catch(() => {})
      for (const record of records) {
        this.#last = endOf(record)
        this.#events.record(record)
      }
      group.deliver()
      return
    }
    if (stored.data.length === 0) return
    const record = this.#decode(stored)
    if (record === null) return
    this.#last = endOf(record)
    this.#events.record(record)
  }

  #decode(stored: Stored): LogRecord | null {
    try {
      return this.#codec.decode(Buffer.from(stored.subject), stored.data, firstPosition(stored.seq))
    } catch (error) {
      if (!(error instanceof DamageError)) throw error
      this.#damage(`record ${stored.seq}: ${error.message}`)
      return null
    }
  }

  /** Retained messages of stored records are acknowledged when they are found by the next start too. */
  async #keepRetained(records: readonly LogRecord[]): Promise<void> {
    const storing: Promise<void>[] = []
    for (const { messages, first } of records) {
      for (let i = 0; i < messages.length; i++) {
        const message = messages[i]!
        if (message.retain && message.qos > 0)
          storing.push(this.#retained.store(message, first + i))
      }
    }
    if (storing.length > 0) await Promise.all(storing)
  }

  async #forget(upTo: Pos): Promise<void> {
    if (upTo <= this.#floor) return
    // Before anything goes: a cursor below it must be known to have missed something.
    this.#floor = upTo
    const keep =
      upTo >= this.#last ? this.#tail.last + 1 : Math.floor((upTo + 1) / RECORD_MESSAGES_MAX)
    await this.#reader.api.ask(`STREAM.PURGE.${this.#names.log}`, { seq: keep })
    await this.#look()
  }

  /** What the servers hold of the log. */
  async #look(): Promise<void> {
    const { state } = await this.#reader.info(this.#names.log)
    this.#bytes = state.bytes
    if (state.first_seq > 1) {
      const gone = firstPosition(state.first_seq) - 1
      this.#floor = Math.max(this.#floor, Math.min(gone, this.#last))
    }
  }

  // ---- Other nodes ---------------------------------------------------------------------------

  async #kicked(id: string, since: number): Promise<void> {
    this.#presence.disturbed()
    await this.#sessions.release(id, since, () => this.#events.kick(id))
  }

  /** Until the node knows, or is dead: then it has given up its sessions by itself. */
  async #remind(node: string, id: string, epoch: number): Promise<void> {
    do {
      await sleep(REMIND_MS)
      if (this.#closed || (await this.#cast.kick(node, id, epoch))) return
    } while (this.#presence.others.includes(node))
  }

  async #refreshed(): Promise<void> {
    if (this.#closed) return
    await this.#look()
    const { alone, wish, forgettable } = this.#presence
    const upTo = alone ? wish : forgettable
    if (upTo > this.#floor) await this.#forget(upTo)
    if (this.#presence.dead.length > 0 && ++this.#rounds % BURY_ROUNDS === 0) await this.#bury()
  }

  /** What a dead node said about forgetting holds until its last session has another owner. */
  async #bury(): Promise<void> {
    const dead = new Set(this.#presence.dead)
    for await (const { node } of this.#sessions.all()) dead.delete(node)
    for (const node of dead) await this.#presence.bury(node)
  }

  #damage(what: string): void {
    this.#damaged++
    this.#notify(`damage on the NATS servers, skipped: ${what}`)
  }
}

const EMPTY = Buffer.alloc(0)

function endOf(record: LogRecord): Pos {
  return record.first + Math.max(record.messages.length, 1) - 1
}

function failed(): EngineError {
  return new EngineError('failed', 'the log on the NATS servers is not what it was: see the log')
}

/** Calls back once, and never keeps the process alive. */
function after(ms: number, call: () => void): Timer {
  const timer = setTimeout(call, ms).unref()
  return { cancel: () => clearTimeout(timer) }
}
