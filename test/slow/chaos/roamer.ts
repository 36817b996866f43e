// Keeps one client connected to whichever node will have it, as a good client library does: it redials
// at once, goes to the next address, and leaves a server that says nothing. Notes how long it was without service.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Address } from '../../support/raw-client.ts'
import type { Client } from '../crash/clients.ts'

/** Milliseconds a server may take for CONNACK, and to be heard of once connected. */
const CONNACK_MS = 6_000
const SILENCE_MS = 2_500
const PING_MS = 500
/** Milliseconds between two attempts after the first, which comes at once. */
const PAUSE_MS = [50, 250] as const

/** One connection the server accepted. */
export interface Connection {
  /** As the client counts: its will says this number. */
  readonly number: number
  /** Both by `performance.now()`; 0 for an end that has not come. */
  readonly began: number
  ended: number
  /** Who ended it; empty while it lasts. */
  by: 'server' | 'client' | ''
}

export class Roamer {
  readonly client: Client
  readonly connections: Connection[] = []
  readonly #addresses: readonly Address[]
  readonly #random: () => number
  readonly #first: number
  #next: number
  #stopped = false
  #away: Promise<void> = Promise.resolve()
  #lost: () => void = () => {}
  #progressAt = 0
  #gap = 0
  /** Milliseconds from each loss of a connection to the CONNACK of the next, since `measure`. */
  #reconnects: number[] = []
  #lostAt = 0
  /** Whether connections that fall silent are left open: what a second device with this identifier would have. */
  abandons = false
  readonly #abandoned: Promise<void>[] = []

  /** `first` is the address it begins with. */
  constructor(client: Client, addresses: readonly Address[], first: number, random: () => number) {
    this.client = client
    this.#addresses = addresses
    this.#first = first
    this.#next = first
    this.#random = random
    client.mayBeCut = true
    client.onLost = () => this.#ended('server')
  }

  /** The address it uses, or uses next. */
  get address(): Address {
    return this.#addresses[this.#next % this.#addresses.length]!
  }

  /** Resolves when it was stopped. */
  async run(): Promise<void> {
    const pings = setInterval(() => this.#listen(), PING_MS)
    while (!this.#stopped) {
      await this.#away
      this.#away = Promise.resolve()
      if (await this.#connect()) await this.#whileConnected()
      else await sleep(PAUSE_MS[0] + this.#random() * (PAUSE_MS[1] - PAUSE_MS[0]))
      this.#next++
    }
    clearInterval(pings)
  }

  stop(): void {
    this.#stopped = true
    this.drop()
  }

  /** Leaves without a word and comes back after so many milliseconds, to the address it began with. */
  leave(ms: number): void {
    this.#away = sleep(ms).then(() => {
      this.#next = this.#first
    })
    this.drop()
    this.#lostAt = 0
  }

  drop(): void {
    const { client } = this
    const wasConnected = client.connected
    client.drop()
    if (wasConnected) this.#ended('client')
  }

  /** Something it wanted came. */
  progress(): void {
    const now = performance.now()
    if (this.#progressAt > 0) this.#gap = Math.max(this.#gap, now - this.#progressAt)
    this.#progressAt = now
  }

  get progressAt(): number {
    return this.#progressAt
  }

  /** Begins to measure anew. */
  measure(): void {
    this.#gap = 0
    this.#reconnects = []
    this.#progressAt = performance.now()
  }

  /** Longest time without progress, and every reconnection, since `measure`; in milliseconds. */
  get measured(): { gap: number; reconnects: readonly number[] } {
    const open = this.#progressAt === 0 ? 0 : performance.now() - this.#progressAt
    return { gap: Math.max(this.#gap, open), reconnects: this.#reconnects }
  }

  get abandoned(): number {
    return this.#abandoned.length
  }

  /** Abandoned connections that are still open after so many milliseconds. */
  async orphans(ms: number): Promise<number> {
    const closed = this.#abandoned.splice(0).map((one) => one.then(() => 0))
    const open = sleep(ms, 1)
    const all = await Promise.all(closed.map((one) => Promise.race([one, open])))
    return all.reduce((sum, one) => sum + one, 0)
  }

  async #connect(): Promise<boolean> {
    const { client } = this
    const patience = new AbortController()
    await Promise.race([
      client.open(this.address),
      sleep(CONNACK_MS, null, { signal: patience.signal }).catch(() => {}),
    ])
    patience.abort()
    if (!client.connected) {
      client.drop()
      return false
    }
    const now = performance.now()
    this.connections.push({ number: client.dialled, began: now, ended: 0, by: '' })
    if (this.#lostAt > 0) this.#reconnects.push(now - this.#lostAt)
    this.#lostAt = 0
    return true
  }

  #whileConnected(): Promise<void> {
    return new Promise((resolve) => {
      this.#lost = resolve
      if (!this.client.connected) resolve()
    })
  }

  #ended(by: 'server' | 'client'): void {
    const now = performance.now()
    const number = this.client.dialled
    let last = this.connections[this.connections.length - 1]
    if (last?.number !== number) {
      // Accepted and lost in one breath.
      last = { number, began: now, ended: 0, by: '' }
      this.connections.push(last)
    }
    if (last.by === '') {
      last.by = by
      last.ended = now
      this.#lostAt = now
    }
    this.#lost()
  }

  #listen(): void {
    const { client } = this
    if (!client.connected) return
    if (performance.now() - client.heardAt < SILENCE_MS) {
      client.send({ cmd: 'pingreq' })
      client.flush()
      return
    }
    if (!this.abandons) {
      this.drop()
      return
    }
    this.#abandoned.push(client.abandon())
    this.#ended('client')
  }
}
