// The table of topics in use: from the bytes of a name, as they stand in a packet, to what is
// known about the topic. A name seen before costs one hash and one comparison, and no string.

import type { AccessClass } from './access.ts'
import { type Audience, NOBODY } from './audience.ts'
import { Copies } from './copies.ts'
import type { Counters } from './counters.ts'
import type { Limits } from './limits.ts'
import type { Runtime } from './runtime.ts'
import { isMqttText } from './utf8.ts'

/** `Topic.seen` of a topic whose audience must be looked up anew. */
export const STALE = -1

/** A topic name in use and what was found out about it. */
export class Topic {
  readonly bytes: Buffer
  readonly hash: number
  /** The router's: whom it goes to, as of change number `seen`. */
  audience: Audience = NOBODY
  seen: number = STALE
  /** The last access class that was asked about, and its answer. */
  judgedFor: AccessClass | null = null
  mayPublish = false
  /** Set once the table has forgotten it: holders look it up again before they trust `audience`. */
  evicted = false
  #name: string | null = null

  constructor(bytes: Buffer, hash: number) {
    this.bytes = bytes
    this.hash = hash
  }

  get name(): string {
    this.#name ??= this.bytes.toString('utf8')
    return this.#name
  }
}

const SLASH = 0x2f
const PLUS = 0x2b
const HASH = 0x23
const SLOTS_MIN = 1024
/** Longer chains mean that somebody found colliding names: the table takes a new seed. */
const PROBES_MAX = 64

/**
 * Bounded by two generations: names go into the young table; when it is full it becomes the old one and
 * the old one's names that nobody asked for since are forgotten. Seeded, so that collisions cannot be prepared.
 */
export class Topics {
  readonly #limits: Limits
  readonly #counters: Counters
  readonly #runtime: Runtime
  #seed = 0
  #factor = 0
  #young: (Topic | null)[] = new Array<Topic | null>(SLOTS_MIN).fill(null)
  #youngCount = 0
  #old: (Topic | null)[] = [null]
  #oldCount = 0
  /** Told of each topic that is forgotten, so that its audience can be let go. */
  onEvict: (topic: Topic) => void = () => {}

  readonly #names = new Copies()

  constructor(limits: Limits, counters: Counters, runtime: Runtime) {
    this.#limits = limits
    this.#counters = counters
    this.#runtime = runtime
    this.#reseed()
  }

  /** Names in the table; one that moved to the young generation may be counted twice. */
  get size(): number {
    return this.#youngCount + this.#oldCount
  }

  /** The topic of that name; null when the name is not valid (`fault` says why). */
  find(bytes: Buffer, start: number, length: number): Topic | null {
    let h = this.#seed ^ length
    const factor = this.#factor
    for (let i = start, end = start + length; i < end; i++) {
      h = Math.imul(h ^ (bytes[i] as number), factor)
    }
    h ^= h >>> 15
    const young = this.#young
    const mask = young.length - 1
    for (let i = h & mask; ; i = (i + 1) & mask) {
      const topic = young[i]
      if (topic === null || topic === undefined) break
      if (topic.hash === h && same(topic.bytes, bytes, start, length)) return topic
    }
    return this.#admit(bytes, start, length, h)
  }

  /** As `find`, by name. */
  named(name: string): Topic | null {
    const bytes = Buffer.from(name, 'utf8')
    return this.find(bytes, 0, bytes.length)
  }

  /** The topic of that name if it is in the table; looking does not count as use. */
  known(name: string): Topic | null {
    const bytes = Buffer.from(name, 'utf8')
    const h = this.#hash(bytes)
    return (
      probe(this.#young, bytes, 0, bytes.length, h) ?? probe(this.#old, bytes, 0, bytes.length, h)
    )
  }

  /** Why a name cannot be used, or null. To be asked when somebody is refused for it: reached limits are counted. */
  fault(bytes: Buffer, start: number, length: number): string | null {
    const limit = this.#limitReached(bytes, start, length)
    if (limit !== null) this.#counters.limitsReached++
    return limit ?? invalid(bytes, start, length)
  }

  #limitReached(bytes: Buffer, start: number, length: number): string | null {
    const { topicBytes, topicLevels } = this.#limits
    if (length > topicBytes) return `a topic is at most ${topicBytes} bytes`
    let levels = 1
    for (let i = start; i < start + length; i++) if (bytes[i] === SLASH) levels++
    return levels > topicLevels ? `a topic has at most ${topicLevels} levels` : null
  }

  /** Calls back for every topic in the table. */
  forEach(visit: (topic: Topic) => void): void {
    for (const topic of this.#young) if (topic) visit(topic)
    for (const topic of this.#old) if (topic && !this.#isYoung(topic)) visit(topic)
  }

  #isYoung(topic: Topic): boolean {
    return probe(this.#young, topic.bytes, 0, topic.bytes.length, topic.hash) === topic
  }

  #admit(bytes: Buffer, start: number, length: number, hash: number): Topic | null {
    let topic = probe(this.#old, bytes, start, length, hash)
    if (topic === null) {
      if (this.#limitReached(bytes, start, length) !== null) return null
      if (invalid(bytes, start, length) !== null) return null
      topic = new Topic(this.#names.copy(bytes.subarray(start, start + length)), hash)
    }
    if (this.#youngCount >= Math.max(1, this.#limits.topicsRemembered >>> 1)) this.#turnGeneration()
    else if (this.#youngCount * 2 >= this.#young.length) this.#rebuild(this.#young.length * 2)
    if (this.#insert(topic) > PROBES_MAX) {
      this.#reseed()
      return this.find(bytes, start, length)
    }
    this.#youngCount++
    return topic
  }

  /** Returns how many places were taken before a free one. */
  #insert(topic: Topic): number {
    const mask = this.#young.length - 1
    let i = topic.hash & mask
    let probes = 0
    while (this.#young[i]) {
      i = (i + 1) & mask
      probes++
    }
    this.#young[i] = topic
    return probes
  }

  #turnGeneration(): void {
    const forgotten = this.#old
    const young = this.#young
    for (const topic of forgotten) {
      if (topic === null || this.#isYoung(topic)) continue
      topic.evicted = true
      this.#counters.topicsEvicted++
      this.onEvict(topic)
    }
    this.#old = young
    this.#oldCount = this.#youngCount
    this.#young = new Array<Topic | null>(SLOTS_MIN).fill(null)
    this.#youngCount = 0
  }

  #rebuild(slots: number): void {
    const before = this.#young
    this.#young = new Array<Topic | null>(slots).fill(null)
    for (const topic of before) if (topic) this.#insert(topic)
  }

  /** Takes new random constants. Every name hashes differently after that: all are forgotten, none is wrong. */
  #reseed(): void {
    this.#seed = (this.#runtime.random() * 0x1_0000_0000) | 0
    this.#factor = (this.#runtime.random() * 0x1_0000_0000) | 1
    const gone = [...this.#young, ...this.#old]
    this.#young = new Array<Topic | null>(SLOTS_MIN).fill(null)
    this.#old = [null]
    this.#youngCount = 0
    this.#oldCount = 0
    for (const topic of gone) {
      if (topic === null || topic.evicted) continue
      topic.evicted = true
      this.onEvict(topic)
    }
  }

  #hash(bytes: Buffer): number {
    let h = this.#seed ^ bytes.length
    for (const b of bytes) h = Math.imul(h ^ b, this.#factor)
    return h ^ (h >>> 15)
  }
}

function probe(
  table: readonly (Topic | null)[],
  bytes: Buffer,
  start: number,
  length: number,
  hash: number,
): Topic | null {
  const mask = table.length - 1
  for (let i = hash & mask, n = 0; n <= mask; i = (i + 1) & mask, n++) {
    const topic = table[i]
    if (!topic) return null
    if (topic.hash === hash && same(topic.bytes, bytes, start, length)) return topic
  }
  return null
}

function same(known: Buffer, bytes: Buffer, start: number, length: number): boolean {
  if (known.length !== length) return false
  for (let i = 0; i < length; i++) if (known[i] !== bytes[start + i]) return false
  return true
}

/** Which rule of the standard a name breaks, or null. */
function invalid(bytes: Buffer, start: number, length: number): string | null {
  if (length === 0) return 'a topic needs at least one character' // [MQTT-4.7.3-1]
  for (let i = start; i < start + length; i++) {
    const b = bytes[i]
    if (b === PLUS || b === HASH) return 'a topic to publish to must not contain wildcards' // [MQTT-3.3.2-2]
  }
  return isMqttText(bytes, start, start + length) ? null : 'a topic must be UTF-8 without U+0000'
}
