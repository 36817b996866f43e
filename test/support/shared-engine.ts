// One node's engine over the shared log in memory: what NATS is to a node, with trips that take time,
// copies and answers that are lost, and a node that may be cut off, paused or dead.

import {
  type Bounds,
  type Claim,
  type Engine,
  EngineError,
  type EngineEvents,
  type LogRecord,
  type RetainedMessage,
  type SessionSave,
} from '../../src/core/engine.ts'
import type { Runtime } from '../../src/core/runtime.ts'
import type { Topic } from '../../src/core/topics.ts'
import type { Message, Pos, StoredSession } from '../../src/core/types.ts'
import { EMPTY_PROFILE, emptyFlow } from '../../src/engine/owners.ts'
import {
  type Change,
  type Frozen,
  fenced,
  type Owned,
  type SharedLog,
  type Stored,
} from './shared-log.ts'
import { REFRESH_MS, SharedPresence } from './shared-presence.ts'

/** Milliseconds a request that is not answered waits before it is asked again. */
const AGAIN_MS = 1_000
const REQUEST_MS = 5_000
const APPEND_MS = 20_000
const KICK_MS = 1_500
/** Milliseconds after which whoever asked for a session may have gone to another node for it. */
const LATE_MS = 2_000

interface Append {
  readonly record: LogRecord
  readonly mark: string
  readonly messages: readonly Frozen[]
  /** What was asked of its sessions earlier. */
  readonly before: readonly (Promise<unknown> | undefined)[]
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
  over: boolean
}

/** What is asked for with a claim, and when, and when the client came that it is for. */
interface Wish {
  readonly epoch: number | undefined
  readonly asked: number
  readonly came: number | undefined
}

/** One node's engine. */
export class SharedEngine implements Engine {
  readonly name = 'shared'
  readonly durable = true
  readonly node: string
  readonly log: string
  readonly #servers: SharedLog
  readonly #runtime: Runtime
  #events: EngineEvents | null = null
  /** No way to the servers and to other nodes. */
  cut = false
  /** Its process is gone, or it was closed. */
  dead = false
  /** Its process does nothing; kicks are not answered. */
  paused = false
  /** Makes a topic of a stored name; the broker's table once there is a broker. */
  topicOf: (name: string) => Topic = () => {
    throw new Error('no broker')
  }
  #heard = 0
  #changesHeard = 0
  #last: Pos = 0
  #waking = false
  #marks = 0
  /** Sessions this node owns, as far as it knows, and their epochs. */
  readonly #owned = new Map<string, number>()
  readonly #chains = new Map<string, Promise<unknown>>()
  /** Claims that the servers may have granted, which nobody here was told yet. */
  readonly #taking = new Map<string, Promise<unknown>>()
  readonly #queue: Append[] = []
  #pumping = false
  /** Packet identifiers by session whose messages were given up before they were stored. */
  readonly #withdrawn = new Map<string, Set<number>>()
  readonly #mine = new Map<string, Append>()
  readonly #retaining = new Map<string, number>()
  readonly #castDue = new Map<string, number>()
  readonly #presence: SharedPresence

  constructor(servers: SharedLog, node: string, runtime: Runtime) {
    this.#servers = servers
    this.node = node
    this.#runtime = runtime
    this.log = servers.log
    servers.nodes.set(node, this)
    this.#presence = new SharedPresence(servers, node, runtime, {
      ask: (what) => this.#ask(what, KICK_MS),
      isDead: () => this.dead,
      isUnreachable: () => this.#unreachable,
      looks: () => this.wake(),
    })
  }

  async open(events: EngineEvents): Promise<void> {
    this.#events = events
    const servers = this.#servers
    this.#heard = servers.count
    this.#changesHeard = servers.changes.length
    this.#last = servers.last
    await this.#presence.begin(events)
    servers.wish(this.node, this.#last)
    for (const change of servers.retained.values()) events.retained(this.#thawed(change))
    this.#presence.goOn()
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#chains.values())
    if (!this.cut) this.#servers.refresh(this.node, true)
    this.dead = true
  }

  /** The process died. */
  kill(): void {
    this.dead = true
  }

  // ---- Asking the servers --------------------------------------------------------------------

  get #unreachable(): boolean {
    return this.cut || this.#servers.away
  }

  /** Asks until it is answered: what was done on the servers is done once, however often it is asked. */
  #ask<T>(what: () => T, patience: number): Promise<T> {
    const servers = this.#servers
    const end = servers.runtime.now() + patience
    return new Promise((resolve, reject) => {
      let answer: (() => void) | null = null
      let over = false
      const attempt = (): void => {
        if (over || this.dead) return
        if (servers.runtime.now() > end) {
          over = true
          reject(new EngineError('down', 'the servers did not answer'))
          return
        }
        this.#runtime.after(AGAIN_MS, attempt)
        if (this.#unreachable) return
        servers.runtime.after(servers.trip(), () => {
          if (over || this.#unreachable) return
          answer ??= settled(what, resolve, reject)
          if (servers.loses()) return
          this.#runtime.after(servers.trip(), () => {
            if (over || this.dead || this.#unreachable) return
            over = true
            answer?.()
          })
        })
      }
      attempt()
    })
  }

  #inTurn<T>(ids: readonly string[], doing: () => Promise<T>): Promise<T> {
    const before = ids.map((id) => this.#chains.get(id))
    const mine = Promise.allSettled(before).then(doing)
    for (const id of ids) this.#chains.set(id, mine)
    const over = (): void => {
      for (const id of ids) if (this.#chains.get(id) === mine) this.#chains.delete(id)
    }
    mine.then(over, over)
    return mine
  }

  // ---- The log -------------------------------------------------------------------------------

  append(record: LogRecord): Promise<void> {
    const mark = `${this.node}.${++this.#marks}`
    return new Promise((resolve, reject) => {
      const messages = record.messages.map(freeze)
      const ids = record.saves.map(({ id }) => id)
      const before = ids.map((id) => this.#chains.get(id))
      this.#queue.push({ record, mark, messages, before, resolve, reject, over: false })
      const stored = new Promise<void>((done) => {
        const entry = this.#queue[this.#queue.length - 1] as Append
        this.#done.set(entry, done)
      })
      // What is asked of these sessions from now on waits until the record is stored.
      for (const id of ids) this.#chains.set(id, Promise.allSettled([this.#chains.get(id), stored]))
      if (!this.#pumping) void this.#pump()
    })
  }

  readonly #done = new Map<Append, () => void>()

  async #pump(): Promise<void> {
    this.#pumping = true
    for (;;) {
      const entry = this.#queue.shift()
      if (entry === undefined) break
      await this.#store(entry)
      this.#done.get(entry)?.()
      this.#done.delete(entry)
    }
    this.#pumping = false
  }

  async #store(entry: Append): Promise<void> {
    const { record, mark, messages } = entry
    await Promise.allSettled(entry.before)
    this.#mine.set(mark, entry)
    const { saves } = record
    let happened = false
    try {
      await this.#ask(() => {
        this.#servers.append(this.node, mark, messages, saves)
        happened = true
      }, APPEND_MS)
      this.wake()
    } catch (error) {
      if (entry.over) return
      entry.over = true
      if (!happened) this.#withdraw(record)
      if (isFenced(error)) for (const { id } of saves) this.#checkOwner(id)
      entry.reject(error)
    }
  }

  /** Its messages are not in the log: saves that wait must not remember that they were received. */
  #withdraw({ saves }: LogRecord): void {
    for (const { id, flow } of saves) {
      const before = this.#servers.sessions.get(id)?.flow?.receiving ?? []
      const fresh = (flow?.receiving ?? []).filter((packetId) => !before.includes(packetId))
      this.#withdrawn.set(id, new Set([...(this.#withdrawn.get(id) ?? []), ...fresh]))
    }
  }

  /** As the session is saved: without what was withdrawn. */
  #remembered(save: SessionSave): SessionSave {
    const withdrawn = this.#withdrawn.get(save.id)
    if (withdrawn === undefined || save.flow === undefined) return save
    const receiving = save.flow.receiving.filter((packetId) => !withdrawn.has(packetId))
    if (receiving.length === save.flow.receiving.length) this.#withdrawn.delete(save.id)
    return { ...save, flow: { ...save.flow, receiving } }
  }

  /** A copy of the next record comes, or what was missed is read. */
  wake(): void {
    if (this.#waking || this.dead || this.#events === null) return
    this.#waking = true
    const servers = this.#servers
    this.#runtime.after(servers.trip(), () => {
      this.#waking = false
      if (this.dead || this.#unreachable) return
      for (let n = 0; n < 3 && this.#heard < servers.count; n++) this.#hear()
      while (this.#changesHeard < servers.changes.length) this.#hearChange()
      if (this.#heard < servers.count) this.wake()
    })
  }

  #hear(): void {
    const servers = this.#servers
    this.#heard = Math.max(this.#heard, servers.forgotten)
    if (this.#heard >= servers.count) return
    const stored = servers.at(this.#heard++)
    this.#last = stored.first + stored.messages.length - 1
    const mine = this.#mine.get(stored.mark)
    this.#mine.delete(stored.mark)
    if (mine === undefined || mine.over) {
      this.#events?.record(this.#recordOf(stored))
      return
    }
    mine.record.first = stored.first
    this.#events?.record(mine.record)
    mine.over = true
    mine.resolve()
  }

  #hearChange(): void {
    const change = this.#servers.changes[this.#changesHeard++] as Change
    // A newer one of ours is on its way: what it will meet there is told then.
    if (change.node === this.node && (this.#retaining.get(change.topic) ?? 0) > 0) return
    this.#events?.retained(this.#thawed(change))
  }

  #recordOf({ first, messages, bytes }: Stored): LogRecord {
    return {
      first,
      messages: messages.map((message) => this.#thaw(message)),
      wanted: messages.map(() => true),
      saves: [],
      bytes,
    }
  }

  async read(after: Pos, until: Pos): Promise<{ records: LogRecord[]; scanned: Pos }> {
    return this.#ask(() => {
      const records: LogRecord[] = []
      let scanned = Math.max(after, Math.min(until, this.#last))
      for (const stored of this.#servers.records) {
        if (stored.first + stored.messages.length - 1 <= after) continue
        if (stored.first > until) break
        if (records.length === 3) {
          scanned = Math.min(scanned, stored.first - 1)
          break
        }
        records.push(this.#recordOf(stored))
      }
      return { records, scanned }
    }, APPEND_MS)
  }

  bounds(): Bounds {
    const { floor } = this.#servers
    return {
      first: Math.min(floor, this.#last) + 1,
      last: this.#last,
      bytes: this.#servers.records.length,
      cap: Number.POSITIVE_INFINITY,
    }
  }

  async truncate(upTo: Pos): Promise<void> {
    if (this.#unreachable) return
    this.#servers.wish(this.node, Math.min(upTo, this.#last))
    this.#servers.forget()
  }

  // ---- Sessions ------------------------------------------------------------------------------

  claim(id: string, epoch?: number, came?: number): Promise<Claim> {
    const asked = this.now()
    const claiming: Promise<Claim> = this.#inTurn([id], () =>
      this.#claim(id, { epoch, asked, came }, () => this.#taking.set(id, claiming)),
    )
    const over = (): void => {
      if (this.#taking.get(id) === claiming) this.#taking.delete(id)
    }
    claiming.then(over, over)
    return claiming
  }

  async #claim(id: string, wish: Wish, taking: () => void): Promise<Claim> {
    const { epoch, asked, came } = wish
    const servers = this.#servers
    const ask = <T>(what: () => T): Promise<T> => this.#ask(what, REQUEST_MS)
    const read = (): Promise<Owned | null> =>
      ask(() => {
        const owned = servers.sessions.get(id)
        return owned === undefined ? null : { ...owned }
      })
    // A claim that was held up must not take the session from where its client went meanwhile.
    const yieldTo = (found: Owned | null, known: number | null): void => {
      if (found === null || found.ended || found.node === this.node) return
      if (came !== undefined && found.came > came) throw fenced(id)
      const isNew = found.epoch !== known && found.at > asked
      if (isNew && this.now() - asked >= LATE_MS) throw fenced(id)
    }
    let known: number | null = null
    for (;;) {
      let found = await read()
      if (epoch !== undefined && found?.epoch !== epoch) throw fenced(id)
      yieldTo(found, known)
      known = found?.epoch ?? null
      const theirs = found !== null && !found.ended && found.node !== this.node
      // Somebody had it since, who may be done with it. Told and not waited for: what core saves then waits for this claim.
      const isLost = this.#owned.get(id) !== found?.epoch
      if (isLost && this.#owned.delete(id)) void this.#events?.kick(id)
      let unaware: string | null = null
      if (theirs && epoch === undefined) {
        const kicked = found?.epoch
        const owner = found?.node ?? ''
        if (!(await this.#kick(owner, id))) unaware = owner
        found = await read()
        yieldTo(found, known)
        if (found !== null && found.epoch !== kicked && found.node !== this.node) continue
      } else if (theirs) unaware = found?.node ?? null
      const version = found?.version ?? 0
      // Whoever takes up a dead node's session has no client for it.
      const client = epoch === undefined ? (came ?? asked) : null
      taking()
      const owned = await ask(() => servers.take(id, this.node, version, client))
      if (owned === null) continue
      this.#owned.set(id, owned.epoch)
      if (unaware !== null) this.#remind(unaware, id, owned.epoch)
      return { epoch: owned.epoch, stored: this.#storedOf(id, owned) }
    }
  }

  #storedOf(id: string, { epoch, profile, flow }: Owned): StoredSession | null {
    if (profile === null && flow === null) return null
    return { id, epoch, profile: profile ?? EMPTY_PROFILE, flow: flow ?? emptyFlow(this.log) }
  }

  /** Asks the owner to let go; not for long, and not at all when it is gone. False: it may not know. */
  #kick(node: string, id: string): Promise<boolean> {
    const servers = this.#servers
    const owner = servers.nodes.get(node)
    if (owner === undefined || owner.dead) return Promise.resolve(true)
    return new Promise((resolve) => {
      this.#runtime.after(KICK_MS, () => resolve(false))
      this.#reach(owner, () => {
        owner.#letGo(id, Number.POSITIVE_INFINITY).then(() => {
          if (!owner.#unreachable) this.#runtime.after(servers.trip(), () => resolve(true))
        })
      })
    })
  }

  /** The owner could not be asked: it is told until it knows, unless it dies. */
  #remind(node: string, id: string, epoch: number): void {
    const owner = this.#servers.nodes.get(node)
    if (owner === undefined || owner.dead) return
    this.#reach(owner, () => void owner.#letGo(id, epoch))
    this.#runtime.after(REFRESH_MS, () => {
      if ((owner.#owned.get(id) ?? epoch) < epoch) this.#remind(node, id, epoch)
    })
  }

  #reach(owner: SharedEngine, tell: () => void): void {
    const servers = this.#servers
    if (this.#unreachable) return
    servers.runtime.after(servers.trip(), () => {
      if (owner.#unreachable) return
      owner.#runtime.after(servers.trip(), () => {
        if (!owner.dead) tell()
      })
    })
  }

  async #letGo(id: string, before: number): Promise<void> {
    const taking = this.#taking.get(id)
    if (taking !== undefined) {
      await taking.catch(() => {})
      await new Promise<void>((resolve) => this.#runtime.after(0, resolve))
    }
    const epoch = this.#owned.get(id)
    if (epoch === undefined || epoch >= before) return
    await this.#events?.kick(id)
    if (this.#owned.get(id) === epoch) this.#owned.delete(id)
  }

  #checkOwner(id: string): void {
    const owned = this.#servers.sessions.get(id)
    if (owned?.node === this.node) return
    this.#owned.delete(id)
    void this.#events?.kick(id)
  }

  save(saves: readonly SessionSave[]): Promise<void> {
    const ids = saves.map(({ id }) => id)
    return this.#inTurn(ids, async () => {
      const remembered = saves.map((save) => this.#remembered(save))
      const refused = await this.#ask(() => this.#servers.save(this.node, remembered), REQUEST_MS)
      for (const id of refused) this.#checkOwner(id)
      if (refused[0] !== undefined) throw fenced(refused[0])
    })
  }

  async *sessions(): AsyncIterable<StoredSession & { readonly node: string }> {
    const all = await this.#ask(
      () => [...this.#servers.sessions].map(([id, owned]) => ({ id, ...owned })),
      REQUEST_MS,
    )
    for (const { id, node, epoch, ended, profile, flow } of all) {
      if (ended) continue
      yield {
        id,
        node,
        epoch,
        profile: profile ?? EMPTY_PROFILE,
        flow: flow ?? emptyFlow(this.log),
      }
    }
  }

  // ---- Retained messages and casts -----------------------------------------------------------

  async retain(changes: readonly RetainedMessage[]): Promise<void> {
    await Promise.all(changes.map((change) => this.#retain(change)))
  }

  async #retain({ topic, message, pos }: RetainedMessage): Promise<void> {
    const change = { topic, message: message && freeze(message), pos, node: this.node }
    const pending = (by: number): void => {
      this.#retaining.set(topic, (this.#retaining.get(topic) ?? 0) + by)
    }
    pending(1)
    let isPending = true
    const arrived = (): void => {
      if (isPending) pending(-1)
      isPending = false
    }
    try {
      await this.#inTurn([`r/${topic}`], () =>
        this.#ask(() => {
          arrived()
          this.#servers.retain(change)
        }, APPEND_MS),
      )
    } finally {
      arrived()
    }
  }

  cast(node: string | null, bytes: Buffer): void {
    if (this.#unreachable) return
    const servers = this.#servers
    const copy = Buffer.from(bytes)
    for (const [to, engine] of servers.nodes) {
      if (to === this.node || (node !== null && node !== to) || servers.loses()) continue
      const now = servers.runtime.now()
      const due = Math.max(this.#castDue.get(to) ?? 0, now + servers.trip())
      this.#castDue.set(to, due)
      engine.#runtime.after(due - now, () => {
        if (!engine.dead && !engine.#unreachable) engine.#events?.cast(this.node, copy)
      })
    }
  }

  now(): number {
    return this.#servers.runtime.now()
  }

  #thawed({ topic, message, pos }: Change): RetainedMessage {
    return { topic, message: message && this.#thaw(message), pos }
  }

  #thaw(frozen: Frozen): Message {
    return { ...frozen, topic: this.topicOf(frozen.topic) }
  }
}

/** Does it now and tells of it later. */
function settled<T>(
  what: () => T,
  resolve: (value: T) => void,
  reject: (error: unknown) => void,
): () => void {
  try {
    const value = what()
    return () => resolve(value)
  } catch (error) {
    return () => reject(error)
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

function isFenced(error: unknown): boolean {
  return error instanceof EngineError && error.fault === 'fenced'
}
