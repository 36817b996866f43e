// Sessions whose node is gone: claims them one by one, so that their wills are published and they
// expire. Every node that is left does so, each in an order of its own; a claim that finds the session
// changed leaves it alone, since its client is back or another node was faster.

import type { Broker } from './broker.ts'
import { EngineError } from './engine.ts'
import type { Timer } from './runtime.ts'
import { isGroupRecord } from './share.ts'

/** Milliseconds after the start, and between two rounds when nothing happens. */
const FIRST_MS = 30_000
const ROUND_MS = 3_600_000
/** Milliseconds a node that nobody has heard of may own sessions: it may just have started. */
const STRANGE_MS = 30_000
/** Milliseconds after which a claim that was not answered is looked for. */
const DOUBT_MS = 5_000
/** Milliseconds over which the nodes that are left spread their rounds. */
const JITTER_MS = 1_000
/** Claims at once, and milliseconds between two lots of them: clients that come back go first. */
const LOT = 16
const PAUSE_MS = 10
/** Milliseconds within which a node that is back has said so. */
const PROVED_MS = 5_000
/** Milliseconds a client of a session that this node gave up has to come back. */
const OWN_GRACE_MS = 30_000

interface Orphan {
  readonly id: string
  readonly epoch: number
  readonly node: string
  readonly ours: boolean
}

export class Sweep {
  readonly #broker: Broker
  readonly #live = new Set<string>()
  readonly #dead = new Set<string>()
  /** Owners nobody has told us of, and since when. */
  readonly #strange = new Map<string, number>()
  #timer: Timer | null = null
  #running = false
  #again = false
  #lapsed = false
  /** Sessions that this node owns may be stored without being here: nothing may be forgotten that they need. */
  #owes = false
  #stopped = false

  constructor(broker: Broker) {
    this.#broker = broker
  }

  /** The engine is open. */
  start(): void {
    this.#in(FIRST_MS)
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
  }

  /** A node came, or died or left. */
  node(id: string, up: boolean): void {
    this.#strange.delete(id)
    if (up) {
      this.#live.add(id)
      this.#dead.delete(id)
      return
    }
    this.#live.delete(id)
    this.#dead.add(id)
    this.#in(0)
  }

  /** Whether the node is there, as far as is known. */
  isLive(node: string): boolean {
    return this.#live.has(node)
  }

  /** Whether the node died or left. */
  isDead(node: string): boolean {
    return this.#dead.has(node)
  }

  /** Whether this node may have been taken for dead. */
  get isLapsed(): boolean {
    return this.#lapsed
  }

  /** Whether a stored session of this node may not be here. */
  get owes(): boolean {
    return this.#owes
  }

  /** A claim may have happened that nobody here knows of. */
  doubt(): void {
    this.#owes = true
    this.#in(DOUBT_MS)
  }

  /** This node gave up its sessions; those that nobody took are its own again when the engine is back. */
  lapsed(): void {
    this.#lapsed = true
    this.#owes = true
  }

  /** This node has proved again that it lives. */
  resumed(): void {
    if (!this.#lapsed) return
    this.#lapsed = false
    this.#in(0)
  }

  #in(ms: number): void {
    if (this.#stopped) return
    this.#timer?.cancel()
    const { runtime } = this.#broker
    this.#timer = runtime.after(ms + runtime.random() * JITTER_MS, () => void this.#round())
  }

  async #round(): Promise<void> {
    this.#timer = null
    if (this.#running) {
      this.#again = true
      return
    }
    this.#running = true
    const sound = this.#broker.state === 'up' && !this.#lapsed
    this.#again = false
    try {
      const orphans = await this.#orphans()
      // Where the servers were away, one that is taken for dead may have come back first, and its clients with it.
      if (orphans.some(({ ours }) => !ours)) await this.#pause(PROVED_MS)
      await this.#claimAll(orphans.filter(({ ours, node }) => ours || !this.#live.has(node)))
      if (sound && !this.#again && !this.#lapsed) this.#owes = false
    } catch (error) {
      this.#broker.report('sessions of dead nodes not taken up', String(error))
      this.#again = true
    }
    this.#running = false
    if (this.#stopped || this.#timer !== null) return
    if (this.#owes) this.#in(DOUBT_MS)
    else if (this.#again || this.#strange.size > 0) this.#in(STRANGE_MS)
    else this.#in(ROUND_MS)
  }

  async #orphans(): Promise<Orphan[]> {
    const { engine, groups, sessions } = this.#broker
    const found: Orphan[] = []
    const strange = new Set<string>()
    for await (const { id, epoch, node } of engine.sessions()) {
      if (this.#stopped) return []
      if (node === undefined) continue
      const ours = node === engine.node
      if (groups.owns(id)) continue
      if (sessions.has(id)) {
        if (!ours) sessions.moves.lostTo(id, epoch)
        continue
      }
      if (ours || this.#isGone(node, strange)) found.push({ id, epoch, node, ours })
    }
    for (const node of this.#strange.keys()) if (!strange.has(node)) this.#strange.delete(node)
    return found
  }

  #isGone(node: string, strange: Set<string>): boolean {
    if (this.#live.has(node)) return false
    if (this.#dead.has(node)) return true
    const now = this.#broker.runtime.now()
    const since = this.#strange.get(node) ?? now
    this.#strange.set(node, since)
    strange.add(node)
    return now - since >= STRANGE_MS
  }

  async #claimAll(orphans: Orphan[]): Promise<void> {
    const { runtime } = this.#broker
    shuffle(orphans, () => runtime.random())
    for (let i = 0; i < orphans.length && !this.#stopped; i += LOT) {
      await Promise.all(orphans.slice(i, i + LOT).map((orphan) => this.#claim(orphan)))
      await this.#pause(PAUSE_MS)
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#broker.runtime.after(ms, resolve))
  }

  async #claim({ id, epoch, ours }: Orphan): Promise<void> {
    const { engine, groups, sessions, report } = this.#broker
    if (sessions.has(id) || groups.owns(id)) return
    try {
      const claim = await engine.claim(id, epoch)
      if (isGroupRecord(id)) {
        groups.adopt(id, claim)
        return
      }
      if (this.#stopped || sessions.has(id)) return
      // Claimed and never saved: nothing is left but the claim.
      if (claim.stored === null) await engine.save([{ id, epoch: claim.epoch, ended: true }])
      else sessions.adopt(claim, ours ? OWN_GRACE_MS : 0)
    } catch (error) {
      if (!isFenced(error)) {
        this.#again = true
        report('session of a dead node not taken up', `${id}: ${String(error)}`)
      }
    }
  }
}

function isFenced(error: unknown): boolean {
  return error instanceof EngineError && error.fault === 'fenced'
}

function shuffle<T>(items: T[], random: () => number): void {
  for (let i = items.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    const swapped = items[i] as T
    items[i] = items[j] as T
    items[j] = swapped
  }
}
