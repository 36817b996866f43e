// The last retained message of each topic: a fold of the log, kept in memory for those who
// subscribe later. Engines keep the durable copy.

import { loneCopy } from './copies.ts'
import type { Counters } from './counters.ts'
import type { RetainedMessage } from './engine.ts'
import type { Limits } from './limits.ts'
import { Trie } from './trie.ts'
import { type Message, NO_BYTES, type Pos } from './types.ts'

/** Cleared topics that are remembered. */
const CLEARED_MAX = 10_000

export interface RetainedEntry {
  message: Message
  pos: Pos
}

export class Retained {
  readonly #limits: Limits
  readonly #counters: Counters
  readonly #byName = new Trie<RetainedEntry>()
  /**
   * Topics cleared lately, with the position: with several nodes, changes of QoS 0 and those of the log come by
   * two ways, and what was stored before may be heard after.
   */
  readonly #cleared = new Map<string, Pos>()
  readonly #shared: boolean
  #count = 0
  #bytes = 0
  /** Told of each that does not stay for ever, and the engine time it ends; Infinity when that does not hold any more. */
  onExpiring: (name: string, expires: number) => void = () => {}

  /** `shared` where other nodes change retained messages too. */
  constructor(limits: Limits, counters: Counters, shared = false) {
    this.#shared = shared
    this.#limits = limits
    this.#counters = counters
  }

  get count(): number {
    return this.#count
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Whether the limits leave room for this one; removing always has room, and so has what grows nothing. */
  room(message: Message): boolean {
    if (message.payload.length === 0) return true
    const known = this.#byName.get(message.topic.name)
    const grows = weight(message) - (known === null ? 0 : weight(known.message))
    const fits =
      (known !== null || this.#count < this.#limits.retainedMessages) &&
      (grows <= 0 || this.#bytes + grows <= this.#limits.retainedBytes)
    if (fits) return true
    this.#counters.limitsReached++
    return false
  }

  /**
   * Replaces the topic's retained message, or removes it when the payload is empty. [MQTT-3.3.1-5]
   * [MQTT-3.3.1-6] [MQTT-3.3.1-7] Applies only over an equal or lower position, so that every node and every
   * restart ends with the highest. Returns whether it applied. Keeps a copy: the message may be a slice.
   */
  apply(message: Message, pos: Pos): boolean {
    const { name } = message.topic
    const known = this.#byName.get(name)
    if ((known !== null && known.pos > pos) || (this.#cleared.get(name) ?? 0) > pos) return false
    if (known !== null) this.#uncount(name, known)
    if (message.payload.length === 0) {
      if (known !== null) this.#byName.delete(name)
      this.#rememberCleared(name, pos)
      return true
    }
    if (this.#cleared.size > 0) this.#cleared.delete(name)
    const own: Message = {
      ...message,
      payload: loneCopy(message.payload),
      properties: message.properties.length === 0 ? NO_BYTES : loneCopy(message.properties),
    }
    this.#count++
    this.#bytes += weight(own)
    if (known === null) this.#byName.set(name, { message: own, pos })
    else {
      known.message = own
      known.pos = pos
    }
    if (own.expires !== Number.POSITIVE_INFINITY) this.onExpiring(name, own.expires)
    return true
  }

  /** A message of the log: what takes its place behind the same position came after it. */
  applyLogged(message: Message, pos: Pos): void {
    const { name } = message.topic
    if (this.#byName.get(name)?.pos === pos || this.#cleared.get(name) === pos) return
    this.apply(message, pos)
  }

  /** What an engine brings from an earlier run or another node. */
  restore({ topic, message, pos }: RetainedMessage): void {
    if (message !== null) this.apply(message, pos)
    else this.#remove(topic, pos)
  }

  /** Removes it if its time is over by then; returns its position, or null when it stays. */
  expire(name: string, now: number): Pos | null {
    const known = this.#byName.get(name)
    if (known === null || known.message.expires > now) return null
    this.#uncount(name, known)
    this.#byName.delete(name)
    return known.pos
  }

  /** Position of the last change of the topic, as far as it is known; 0 when it is not. */
  posOf(name: string): Pos {
    return this.#byName.get(name)?.pos ?? this.#cleared.get(name) ?? 0
  }

  #rememberCleared(name: string, pos: Pos): void {
    if (!this.#shared) return
    this.#cleared.delete(name)
    this.#cleared.set(name, pos)
    if (this.#cleared.size <= CLEARED_MAX) return
    for (const oldest of this.#cleared.keys()) {
      this.#cleared.delete(oldest)
      return
    }
  }

  #remove(name: string, pos: Pos): void {
    const known = this.#byName.get(name)
    if ((known?.pos ?? this.#cleared.get(name) ?? 0) > pos) return
    this.#rememberCleared(name, pos)
    if (known === null) return
    this.#uncount(name, known)
    this.#byName.delete(name)
  }

  #uncount(name: string, { message }: RetainedEntry): void {
    this.#bytes -= weight(message)
    this.#count--
    if (message.expires !== Number.POSITIVE_INFINITY) {
      this.onExpiring(name, Number.POSITIVE_INFINITY)
    }
  }

  get(name: string): RetainedEntry | null {
    return this.#byName.get(name)
  }

  /** Those a filter matches, lazily: what changes meanwhile is seen as it is when its turn comes. */
  matched(filter: string): Generator<RetainedEntry> {
    return this.#byName.matched(filter)
  }
}

function weight(message: Message): number {
  return message.topic.bytes.length + message.payload.length + message.properties.length
}
