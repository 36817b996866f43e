// The signs of life of one node over the shared log: its own, renewed while the servers answer, and those of the others;
// what it makes of their silence, and of that of the servers.

import type { EngineEvents } from '../../src/core/engine.ts'
import type { Runtime } from '../../src/core/runtime.ts'
import type { Card, SharedLog } from './shared-log.ts'

/** Milliseconds between two signs of life. */
export const REFRESH_MS = 2_000
const MISSES_MAX = 9
const LAPSE_MS = [11_000, 14_000] as const
const SILENCE_MS = 5_000
const LOOK_MS = 250
/** Milliseconds without a way to the servers that a node does not yet speak of. */
const AWAY_MS = 1_500

interface Known {
  seq: number
  misses: number
  up: boolean
}

/** The node's engine, as far as this needs it. */
export interface PresenceHost {
  ask<T>(what: () => T): Promise<T>
  isDead(): boolean
  isUnreachable(): boolean
  /** Something may have been missed. */
  looks(): void
}

export class SharedPresence {
  readonly #servers: SharedLog
  readonly #node: string
  readonly #runtime: Runtime
  readonly #host: PresenceHost
  #events: EngineEvents | null = null
  readonly #others = new Map<string, Known>()
  #lastStored = 0
  #cutSince = 0
  #hasLapsed = false
  #lapseAfter = 0
  #state: 'up' | 'down' = 'up'

  constructor(servers: SharedLog, node: string, runtime: Runtime, host: PresenceHost) {
    this.#servers = servers
    this.#node = node
    this.#runtime = runtime
    this.#host = host
  }

  /** Resolves when the others may know of the node. */
  begin(events: EngineEvents): Promise<void> {
    this.#events = events
    this.#lapseAfter = this.#newLapse()
    return this.#refresh()
  }

  goOn(): void {
    this.#later(REFRESH_MS)
    this.#look()
  }

  #later(ms: number): void {
    this.#runtime.after(ms, () => {
      if (this.#host.isDead()) return
      this.#refresh().then(
        () => this.#later(REFRESH_MS),
        () => this.#later(LOOK_MS),
      )
    })
  }

  async #refresh(): Promise<void> {
    const { seq, cards } = await this.#host.ask(() => this.#servers.refresh(this.#node, false))
    this.#watchLapse()
    this.#lastStored = this.#servers.runtime.now()
    this.#lapseAfter = this.#newLapse()
    if (this.#hasLapsed) this.#events?.proved?.()
    this.#hasLapsed = false
    for (const [id, card] of cards) if (id !== this.#node) this.#judge(id, card, seq)
  }

  #judge(id: string, { seq, left }: Card, mine: number): void {
    const known = this.#others.get(id)
    if (known === undefined || seq > known.seq) {
      this.#others.set(id, { seq, misses: 0, up: !left })
      if (known?.up !== !left) this.#events?.node?.(id, !left)
      return
    }
    if (!known.up) return
    if (mine > known.seq) known.misses++
    if (known.misses < MISSES_MAX) return
    known.up = false
    this.#events?.node?.(id, false)
  }

  /** Whether it lives, as far as it knows; and whether something was missed. */
  #look(): void {
    this.#runtime.after(LOOK_MS, () => {
      if (this.#host.isDead()) return
      this.#watchLapse()
      this.#cutSince = this.#host.isUnreachable()
        ? this.#cutSince || this.#servers.runtime.now()
        : 0
      const away = this.#cutSince > 0 && this.#servers.runtime.now() - this.#cutSince >= AWAY_MS
      const silent = this.#servers.runtime.now() - this.#lastStored > SILENCE_MS
      if (this.#state === 'up' && (away || silent)) this.#turn('down', 'the servers are away')
      else if (this.#state === 'down' && this.#cutSince === 0 && !silent) {
        this.#turn('up', 'the servers are back')
      }
      this.#host.looks()
      this.#look()
    })
  }

  #turn(state: 'up' | 'down', why: string): void {
    this.#state = state
    this.#events?.state(state, why)
  }

  #watchLapse(): void {
    if (this.#hasLapsed || this.#lastStored === 0) return
    if (this.#servers.runtime.now() - this.#lastStored < this.#lapseAfter) return
    this.#hasLapsed = true
    this.#events?.lapsed?.()
  }

  #newLapse(): number {
    const [least, most] = LAPSE_MS
    return least + this.#runtime.random() * (most - least)
  }
}
