// The newest version of each topic's retained record that is known here. As many as there are retained messages: those
// removed are remembered for a while, those that expire until then. Who is forgotten costs a question to the servers.

import { type Clock, Deadlines } from '../../core/deadlines.ts'
import type { Pos } from '../../core/types.ts'

/** Removed ones that are remembered, the latest. */
const REMOVED_MAX = 10_000
/** Milliseconds by which an expired one may stay too long. */
const GRANULARITY_MS = 10_000

export interface KnownVersion {
  readonly seq: number
  readonly pos: Pos
}

/** What of a message says how long its version is of use. */
export interface Lasting {
  readonly removed: boolean
  /** In milliseconds since 1970, Infinity for ever. */
  readonly expires: number
}

export class Versions {
  /** By the part of the subject that stands for the topic. */
  readonly #kept = new Map<string, KnownVersion>()
  readonly #removed = new Map<string, KnownVersion>()
  readonly #expiring: Deadlines<string>

  constructor(clock: Clock) {
    this.#expiring = new Deadlines(clock, GRANULARITY_MS, (token) => this.#kept.delete(token))
  }

  get size(): number {
    return this.#kept.size + this.#removed.size
  }

  get(token: string): KnownVersion | undefined {
    return this.#kept.get(token) ?? this.#removed.get(token)
  }

  set(token: string, version: KnownVersion, { removed, expires }: Lasting): void {
    this.#removed.delete(token)
    if (!removed) {
      this.#kept.set(token, version)
      this.#expiring.set(token, expires)
      return
    }
    this.#kept.delete(token)
    this.#expiring.clear(token)
    this.#removed.set(token, version)
    if (this.#removed.size <= REMOVED_MAX) return
    for (const oldest of this.#removed.keys()) {
      this.#removed.delete(oldest)
      return
    }
  }

  stop(): void {
    this.#expiring.stop()
  }
}
