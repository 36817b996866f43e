// Whether NATS is there for this node: up, down while it is not, failed when its log is not what
// it was, which is final.

import type { Connection } from './connection.ts'
import type { Presence } from './presence.ts'

const LOOK_MS = 250
/** Milliseconds a connection may need to find another server before anybody is told. */
const RECONNECT_MS = 1_500
/**
 * Milliseconds without a stored refresh. Longer than the elections measured: all nodes sit one out together, and
 * none of them would be better than another.
 */
const SILENCE_MS = 10_000

export class Health {
  readonly #connections: readonly Connection[]
  readonly #presence: Presence
  readonly #tell: (state: 'up' | 'down' | 'failed', why: string) => void
  #state: 'up' | 'down' | 'failed' = 'up'
  #timer: NodeJS.Timeout | null = null

  constructor(
    work: Connection,
    listening: Connection,
    presence: Presence,
    tell: (state: 'up' | 'down' | 'failed', why: string) => void,
  ) {
    this.#connections = [work, listening]
    this.#presence = presence
    this.#tell = tell
  }

  get failed(): boolean {
    return this.#state === 'failed'
  }

  start(): void {
    this.#timer = setInterval(() => this.#look(), LOOK_MS)
    this.#timer.unref()
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
  }

  fail(why: string): void {
    if (this.#state === 'failed') return
    this.#state = 'failed'
    this.#tell('failed', why)
  }

  #look(): void {
    if (this.#state === 'failed') return
    const trouble = this.#trouble()
    if (this.#state === 'up' && trouble !== null) {
      this.#state = 'down'
      this.#tell('down', trouble)
    } else if (this.#state === 'down' && trouble === null) {
      this.#state = 'up'
      this.#tell('up', 'the NATS servers store again')
    }
  }

  #trouble(): string | null {
    const limit = this.#state === 'up' ? RECONNECT_MS : 0
    if (this.#connections.some(({ connected, awayFor }) => !connected && awayFor >= limit)) {
      return 'no NATS server can be reached: QoS 1 and 2 wait, QoS 0 goes on within this node'
    }
    const silence = this.#presence.silentFor
    if (silence > (this.#state === 'up' ? SILENCE_MS : SILENCE_MS / 4)) {
      return `the NATS servers have stored nothing for ${Math.round(silence / 1000)} s: QoS 1 and 2 wait; a majority of them must run`
    }
    return null
  }
}
