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
    if (known !== null && known.pos > pos) return false
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

  /** What an engine brings from an earlier run or another node. */
  restore(change: RetainedMessage): void {
    if (change.message !== null) this.apply(change.message, change.pos)
    else this.#remove(change.topic, change.pos)
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
