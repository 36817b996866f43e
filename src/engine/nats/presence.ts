// Who is there. Each node refreshes its record every 2 s, the next only after the last was stored.
// One is dead when nine refreshes of ours follow its last: an outage of NATS counts for nobody.

import type { Pos } from '../../core/types.ts'
import { isPassing, Patience, sleep } from './api.ts'
import type { Names } from './options.ts'
import type { Reader, Stored } from './reader.ts'

/** Milliseconds between two refreshes. */
const REFRESH_MS = 2_000
/** Refreshes of ours after a node's last that make it dead: at least 16 s of engine time. */
const MISSES_MAX = 9
/** Milliseconds without a refresh stored after which this node must expect to be taken for dead; random between. */
const LAPSE_MS = [11_000, 14_000] as const
/** Rounds of refreshes that must agree before anything is forgotten. */
const ROUNDS = 4
/** The newest layout of records this version reads; writers use the lowest among all nodes. */
const READS = 1

interface Card {
  readonly version: number
  /** Positions up to here this node needs no more. */
  readonly wish: Pos
  readonly left: boolean
}

interface Known {
  seq: number
  misses: number
  up: boolean
  card: Card
}

export interface PresenceDeps {
  readonly reader: Reader
  readonly names: Names
  readonly random: () => number
  /** The wall clock, in milliseconds. */
  readonly wall: () => number
  readonly node: (id: string, up: boolean) => void
  /** Called once when this node could not prove for long that it lives. */
  readonly lapsed: () => void
  /** Called once when it could again. */
  readonly proved: () => void
  readonly refreshed: () => Promise<void>
}

export class Presence {
  readonly #deps: PresenceDeps
  readonly #others = new Map<string, Known>()
  #wish: Pos = 0
  #lastStored = performance.now()
  #hasLapsed = false
  #lapseAfter: number
  #stopped = false
  #running: Promise<void> = Promise.resolve()
  /** Leader time minus wall clock, and how sure that is. */
  #offset = 0
  #samples: { offset: number; trip: number }[] = []
  /** When our last record was stored, by the wall clock, and how long that took. */
  #stamp = { middle: 0, trip: 0 }
  /** Others may be there whom we do not know: nobody looked yet, or somebody took something of ours since. */
  #company = true
  #disturbedAt = 0
  /** What all nodes could do without, by round; the last is the newest. */
  #agreed: Pos[] = []

  constructor(deps: PresenceDeps) {
    this.#deps = deps
    this.#lapseAfter = this.#newLapse()
  }

  /** Milliseconds since this node last proved that it lives. */
  get silentFor(): number {
    return performance.now() - this.#lastStored
  }

  /** Milliseconds to add to the wall clock for the time of the servers. */
  get offset(): number {
    return this.#offset
  }

  /** Nodes that are there, without this one. */
  get others(): string[] {
    return [...this.#others].filter(([, { up }]) => up).map(([id]) => id)
  }

  /** Nodes whose sessions wait for another owner. */
  get dead(): string[] {
    return [...this.#others].filter(([, { up }]) => !up).map(([id]) => id)
  }

  /** Whether nobody else has, or ever had, a word about what may be forgotten. */
  get alone(): boolean {
    return this.#others.size === 0 && !this.#company
  }

  /** Another node took a session of ours: what it needs is not agreed on yet. */
  disturbed(): void {
    this.#company = true
    this.#disturbedAt = performance.now()
    this.#agreed = []
  }

  /** Resolves when the first record is stored and the others' are read. */
  async start(): Promise<void> {
    await this.#round()
    this.#running = this.#run()
  }

  /** Tells the others that this node left, if the servers can be reached. */
  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.race([this.#running, sleep(3_000)])
    await this.#store(true, 1).catch(() => {})
  }

  /** Positions up to here this node needs no more; lower again when it takes a session over. */
  set wish(pos: Pos) {
    this.#wish = pos
  }

  get wish(): Pos {
    return this.#wish
  }

  /** What nobody needs any more: all said so some rounds ago, and again now; 0 while a node is not heard of. */
  get forgettable(): Pos {
    if (this.#agreed.length < ROUNDS) return 0
    return Math.min(this.#wish, ...this.#agreed)
  }

  /** No session names the dead node any more: it is forgotten. */
  async bury(node: string): Promise<void> {
    const { reader, names } = this.#deps
    await reader.api.ask(`STREAM.PURGE.${names.nodes}`, { filter: names.subject('p', node) })
    this.#others.delete(node)
  }

  async #run(): Promise<void> {
    let due = performance.now() + REFRESH_MS
    while (!this.#stopped) {
      this.#watchLapse()
      if (performance.now() < due) {
        await sleep(100)
        continue
      }
      due = performance.now() + REFRESH_MS
      try {
        await this.#round()
      } catch {
        // Not stored: no refresh of ours, so nobody comes closer to being dead. Soon again.
        due = performance.now() + 250
      }
    }
  }

  #watchLapse(): void {
    if (this.#hasLapsed || this.silentFor < this.#lapseAfter) return
    this.#hasLapsed = true
    this.#deps.lapsed()
  }

  async #round(): Promise<void> {
    const asked = performance.now()
    const seq = await this.#store(false, 1_500)
    this.#watchLapse()
    this.#lastStored = performance.now()
    this.#lapseAfter = this.#newLapse()
    if (this.#hasLapsed) this.#deps.proved()
    this.#hasLapsed = false
    await this.#look(seq, asked)
    await this.#deps.refreshed()
  }

  async #store(left: boolean, patienceMs: number): Promise<number> {
    const { reader, names } = this.#deps
    const card: Card = { version: READS, wish: this.#wish, left }
    const patience = new Patience(patienceMs)
    for (;;) {
      try {
        const asked = this.#deps.wall()
        const bytes = Buffer.from(JSON.stringify(card))
        const { seq } = await reader.api.store(names.subject('p', names.node), bytes, {})
        const trip = this.#deps.wall() - asked
        this.#stamp = { middle: asked + trip / 2, trip }
        return seq
      } catch (error) {
        if (!isPassing(error) || patience.over) throw error
        await patience.pause()
      }
    }
  }

  async #look(mine: number, asked: number): Promise<void> {
    const { reader, names } = this.#deps
    const { messages, pending } = await reader.batch(names.nodes, {
      seq: 1,
      batch: 1_000,
      next_by_subj: names.subject('p', '*'),
    })
    const seen = new Set<string>()
    let fresh = true
    // A replica that has our own record has every one before it.
    let complete = false
    for (const stored of messages) {
      const id = stored.subject.slice(names.subject('p', '').length)
      if (id === names.node) {
        complete = stored.seq >= mine && pending === 0
        if (stored.seq >= mine) this.#sample(stored)
        continue
      }
      seen.add(id)
      if (!(await this.#judge(id, stored, mine))) fresh = false
    }
    if (complete) {
      for (const id of this.#others.keys()) if (!seen.has(id)) this.#others.delete(id)
      // Whoever took something of ours before we asked had said before that it is there.
      if (this.#disturbedAt < asked) this.#company = false
    }
    this.#agree(fresh && complete)
  }

  /** Whether the node is heard of. */
  async #judge(id: string, stored: Stored, mine: number): Promise<boolean> {
    const { reader, names, node } = this.#deps
    const known = this.#others.get(id)
    if (known === undefined || stored.seq > known.seq) {
      const card = JSON.parse(stored.data.toString()) as Card
      const up = !card.left
      this.#others.set(id, { seq: stored.seq, misses: 0, up, card })
      if (known?.up !== up) node(id, up)
      return up
    }
    if (!known.up) return false
    if (mine > known.seq) known.misses++
    if (known.misses < MISSES_MAX) return known.misses < 2
    // A replica that lags must not kill anybody.
    const newest = await reader.lastOfLeader(names.nodes, stored.subject)
    if (newest !== null && newest.seq > known.seq) {
      known.misses = 0
      return this.#judge(id, newest, mine)
    }
    known.up = false
    node(id, false)
    return false
  }

  #agree(fresh: boolean): void {
    if (!fresh) {
      this.#agreed = []
      return
    }
    let least = this.#wish
    for (const { card } of this.#others.values()) least = Math.min(least, card.wish)
    this.#agreed.push(least)
    if (this.#agreed.length > ROUNDS) this.#agreed.shift()
  }

  /** The leader stamped our record half way between asking and hearing; the quickest of the last is the surest. */
  #sample(stored: Stored): void {
    const { middle, trip } = this.#stamp
    this.#samples.push({ offset: stored.time - middle, trip })
    if (this.#samples.length > 8) this.#samples.shift()
    const best = this.#samples.reduce((a, b) => (b.trip < a.trip ? b : a))
    this.#offset = best.offset
  }

  #newLapse(): number {
    const [least, most] = LAPSE_MS
    return least + this.#deps.random() * (most - least)
  }
}
