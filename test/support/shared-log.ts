// The servers of a cluster in memory: one log, session records, retained messages, who is there. What
// reaches them is done at once and in order; trips, losses and deaths are the business of the nodes'
// engines (shared-engine.ts). All chance comes from one seed, so that a run can be repeated.

import { EngineError, type SessionSave } from '../../src/core/engine.ts'
import type { Runtime } from '../../src/core/runtime.ts'
import {
  type Message,
  type Pos,
  RECORD_MESSAGES_MAX,
  type SessionFlow,
  type SessionProfile,
} from '../../src/core/types.ts'
import type { SharedEngine } from './shared-engine.ts'

/** Milliseconds for which a lower wish holds after a higher one: longer than a session takes to move. */
const WISH_MS = 10_000

export interface SharedFaults {
  /** Longest one-way trip, milliseconds. */
  readonly delayMs: number
  /** How often a record's copy, a cast or an answer is lost. */
  readonly lost: number
}

export type Frozen = Omit<Message, 'topic'> & { readonly topic: string }

export interface Stored {
  readonly first: Pos
  readonly messages: readonly Frozen[]
  readonly bytes: number
  /** Whose append it was. */
  readonly mark: string
}

export interface Owned {
  node: string
  epoch: number
  /** Grows with every write. */
  version: number
  /** When it was last written. */
  at: number
  /** When the client came that it was last claimed for. */
  came: number
  ended: boolean
  profile: SessionProfile | null
  flow: SessionFlow | null
}

export interface Change {
  readonly topic: string
  readonly message: Frozen | null
  readonly pos: Pos
  readonly node: string
}

export interface Card {
  seq: number
  left: boolean
}

/** What the servers hold. */
export class SharedLog {
  readonly log: string
  readonly runtime: Runtime
  readonly faults: SharedFaults
  readonly nodes = new Map<string, SharedEngine>()
  records: Stored[] = []
  /** Records forgotten. */
  forgotten = 0
  readonly sessions = new Map<string, Owned>()
  readonly retained = new Map<string, Change>()
  /** Retained messages of QoS 0, in the order they were stored. */
  readonly changes: Change[] = []
  readonly cards = new Map<string, Card>()
  /** What each node said lately that it can do without: the lowest counts, since sessions move. */
  readonly #wishes = new Map<string, { at: number; upTo: Pos }[]>()
  /** The servers are away: nobody is answered. */
  away = false
  /** Nothing goes wrong any more. */
  calm = false
  #sequence = 0
  #versions = 0
  #refreshes = 0
  last: Pos = 0
  floor: Pos = 0

  constructor(log: string, runtime: Runtime, faults: SharedFaults) {
    this.log = log
    this.runtime = runtime
    this.faults = faults
  }

  trip(): number {
    return this.runtime.random() * this.faults.delayMs
  }

  loses(): boolean {
    return !this.calm && this.runtime.random() < this.faults.lost
  }

  /** Records so far, forgotten ones included. */
  get count(): number {
    return this.forgotten + this.records.length
  }

  at(index: number): Stored {
    return this.records[index - this.forgotten] as Stored
  }

  append(node: string, mark: string, messages: readonly Frozen[], saves: readonly SessionSave[]) {
    for (const save of saves) if (this.#isFenced(node, save)) throw fenced(save.id)
    this.save(node, saves)
    const first = ++this.#sequence * RECORD_MESSAGES_MAX
    this.last = first + messages.length - 1
    const bytes = messages.reduce((sum, { payload }) => sum + payload.length, 0)
    this.records.push({ first, messages, bytes, mark })
    messages.forEach((message, i) => {
      if (message.retain) this.keep({ topic: message.topic, message, pos: first + i, node })
    })
    for (const engine of this.nodes.values()) if (!this.loses()) engine.wake()
  }

  /** True when it is the newest of its topic. */
  keep(change: Change): boolean {
    const known = this.retained.get(change.topic)
    if (known !== undefined && known.pos > change.pos) return false
    const gone = change.message === null || change.message.payload.length === 0
    this.retained.set(change.topic, gone ? { ...change, message: null } : change)
    return true
  }

  retain(change: Change): void {
    if (!this.keep(change)) return
    this.changes.push(this.retained.get(change.topic) as Change)
    for (const engine of this.nodes.values()) engine.wake()
  }

  /** Identifiers of those that were refused. */
  save(node: string, saves: readonly SessionSave[]): string[] {
    const refused: string[] = []
    for (const save of saves) {
      const owned = this.sessions.get(save.id)
      if (owned === undefined || this.#isFenced(node, save)) {
        refused.push(save.id)
        continue
      }
      owned.version = ++this.#versions
      owned.at = this.runtime.now()
      owned.ended = save.ended === true
      owned.profile = save.ended ? null : (save.profile ?? owned.profile)
      owned.flow = save.ended ? null : (save.flow ?? owned.flow)
    }
    return refused
  }

  #isFenced(node: string, { id, epoch }: SessionSave): boolean {
    const owned = this.sessions.get(id)
    return owned === undefined || owned.node !== node || owned.epoch !== epoch
  }

  /** The session is that node's if nobody wrote since. `client` is when one came that it is for, null for none. */
  take(id: string, node: string, version: number, client: number | null): Owned | null {
    const known = this.sessions.get(id)
    if ((known?.version ?? 0) !== version) return null
    const epoch = ++this.#versions
    const ended = known === undefined || known.ended
    const profile = ended ? null : known.profile
    const flow = ended ? null : known.flow
    const at = this.runtime.now()
    const came = client ?? known?.came ?? 0
    const owned: Owned = { node, epoch, version: epoch, at, came, ended: false, profile, flow }
    this.sessions.set(id, owned)
    if (flow !== null) {
      const said = this.#wishes.get(node)?.at(-1)?.upTo ?? Number.POSITIVE_INFINITY
      this.wish(node, Math.min(said, floorOf(flow) - 1))
    }
    return { ...owned }
  }

  refresh(node: string, left: boolean): { seq: number; cards: Map<string, Card> } {
    const seq = ++this.#refreshes
    this.cards.set(node, { seq, left })
    const cards = new Map([...this.cards].map(([id, card]) => [id, { ...card }]))
    return { seq, cards }
  }

  wish(node: string, upTo: Pos): void {
    const at = this.runtime.now()
    const said = this.#wishes.get(node) ?? []
    // The newest that is old enough to count alone stays.
    const since = said.findLastIndex((wish) => wish.at <= at - WISH_MS)
    this.#wishes.set(node, [...said.slice(Math.max(0, since)), { at, upTo }])
  }

  /** Forgets what no node needs; what a dead one said holds while a session names it. */
  forget(): void {
    const owners = new Set<string>()
    for (const { node, ended } of this.sessions.values()) if (!ended) owners.add(node)
    let upTo = this.last
    for (const [node, said] of this.#wishes) {
      const gone = this.nodes.get(node)?.dead !== false
      if (gone && !owners.has(node)) this.#wishes.delete(node)
      else for (const wish of said) upTo = Math.min(upTo, wish.upTo)
    }
    while (this.records[0] !== undefined) {
      const { first, messages } = this.records[0]
      if (first + messages.length - 1 > upTo) break
      this.records.shift()
      this.forgotten++
    }
    this.floor = Math.max(this.floor, upTo)
  }
}

function floorOf({ cursor, sending }: SessionFlow): Pos {
  let floor = cursor + 1
  for (const { positions } of sending) for (const pos of positions) floor = Math.min(floor, pos)
  return floor
}

export function fenced(id: string): EngineError {
  return new EngineError('fenced', `session "${id}" was claimed by another node`)
}
