// The last retained message of each topic: a fold of the log, kept in memory for those who
// subscribe later. Engines keep the durable copy.

import { loneCopy } from './copies.ts'
import type { Counters } from './counters.ts'
import type { RetainedMessage } from './engine.ts'
import type { Limits } from './limits.ts'
import { Trie } from './trie.ts'
import { type Message, NO_BYTES, type Pos } from './types.ts'

export interface RetainedEntry {
  message: Message
  pos: Pos
}

export class Retained {
  readonly #limits: Limits
  readonly #counters: Counters
  readonly #byName = new Trie<RetainedEntry>()
  /** Topics cleared by a change from another node that the log here has not come to yet, with its position. */
  readonly #cleared = new Map<string, Pos>()
  #count = 0
  #bytes = 0

  constructor(limits: Limits, counters: Counters) {
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
    if (known !== null) {
      this.#bytes -= weight(known.message)
      this.#count--
    }
    if (message.payload.length === 0) {
      if (known !== null) this.#byName.delete(name)
      return true
    }
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
    return true
  }

  /** A message of the log: what takes its place behind the same position came after it. */
  applyLogged(message: Message, pos: Pos): void {
    const { name } = message.topic
    if (this.#byName.get(name)?.pos === pos || this.#cleared.get(name) === pos) return
    this.apply(message, pos)
  }

  /** What an engine brings from an earlier run or another node. `last` is the position this node has heard. */
  restore(change: RetainedMessage, last: Pos): void {
    const { topic, message, pos } = change
    if (message !== null) {
      if (this.apply(message, pos)) this.#cleared.delete(topic)
      return
    }
    this.#remove(topic, pos)
    if (pos > last) this.#cleared.set(topic, Math.max(pos, this.#cleared.get(topic) ?? 0))
  }

  /** The log here came that far: nothing older can come any more. */
  heard(last: Pos): void {
    if (this.#cleared.size === 0) return
    for (const [topic, pos] of this.#cleared) if (pos <= last) this.#cleared.delete(topic)
  }

  #remove(name: string, pos: Pos): void {
    const known = this.#byName.get(name)
    if (known === null || known.pos > pos) return
    this.#bytes -= weight(known.message)
    this.#count--
    this.#byName.delete(name)
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
