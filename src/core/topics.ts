// The table of topics in use: from the bytes of a name, as they stand in a packet, to what is
// known about the topic. A name seen before costs one hash and one comparison, and no string.

import type { AccessClass } from './access.ts'
import { type Audience, NOBODY } from './audience.ts'
import { Copies } from './copies.ts'
import type { Counters } from './counters.ts'
import type { Limits } from './limits.ts'
import { NameTable } from './name-table.ts'
import type { Runtime } from './runtime.ts'
import { NO_STANDING } from './standings.ts'
import { isMqttText } from './utf8.ts'
import { wordsOf } from './words.ts'

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
  #young = new NameTable()
  #old = new NameTable()
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
    return this.#young.size + this.#old.size
  }

  /** The topic of that name; null when the name is not valid (`fault` says why). */
  find(bytes: Buffer, start: number, length: number): Topic | null {
    const words = wordsOf(bytes)
    const hash = this.#hash(words, start, length)
    const row = this.#young.find(words, start, length, hash)
    return row >= 0 ? this.#young.at(row) : this.#admit(bytes, start, length, hash)
  }

  /** The row of a name that was used lately, -1 for others. Rows are others as soon as a topic is added. */
  row(bytes: Buffer, start: number, length: number): number {
    const words = wordsOf(bytes)
    return this.#young.find(words, start, length, this.#hash(words, start, length))
  }

  at(row: number): Topic {
    return this.#young.at(row)
  }

  /** What `stand` was told of the topic in that row. */
  standing(row: number): number {
    return this.#young.standing(row)
  }

  /** Notes a number of `Standings` beside the name. */
  stand(row: number, standing: number): void {
    if (standing !== NO_STANDING) this.#young.stand(row, standing)
  }

  forgetStandings(): void {
    this.#young.forgetStandings()
    this.#old.forgetStandings()
  }

  /** As `find`, by name. */
  named(name: string): Topic | null {
    const bytes = Buffer.from(name, 'utf8')
    return this.find(bytes, 0, bytes.length)
  }

  /** The topic of that name if it is in the table; looking does not count as use. */
  known(name: string): Topic | null {
    const bytes = Buffer.from(name, 'utf8')
    const words = wordsOf(bytes)
    const hash = this.#hash(words, 0, bytes.length)
    for (const table of [this.#young, this.#old]) {
      const row = table.find(words, 0, bytes.length, hash)
      if (row >= 0) return table.at(row)
    }
    return null
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
    this.#young.forEach(visit)
    this.#old.forEach((topic) => {
      if (!this.#young.has(topic)) visit(topic)
    })
  }

  #admit(bytes: Buffer, start: number, length: number, hash: number): Topic | null {
    const row = this.#old.find(wordsOf(bytes), start, length, hash)
    let topic = row >= 0 ? this.#old.at(row) : null
    if (topic === null) {
      if (this.#limitReached(bytes, start, length) !== null) return null
      if (invalid(bytes, start, length) !== null) return null
      topic = new Topic(this.#names.copy(bytes.subarray(start, start + length)), hash)
    }
    const most = Math.max(1, this.#limits.topicsRemembered >>> 1)
    if (this.#young.size >= most) this.#turnGeneration()
    if (this.#young.add(topic) > PROBES_MAX) {
      this.#reseed()
      return this.find(bytes, start, length)
    }
    return topic
  }

  #turnGeneration(): void {
    const forgotten = this.#old
    this.#old = this.#young
    this.#young = new NameTable()
    forgotten.forEach((topic) => {
      if (!this.#old.has(topic)) this.#evict(topic)
    })
  }

  #evict(topic: Topic): void {
    topic.evicted = true
    this.#counters.topicsEvicted++
    this.onEvict(topic)
  }

  /** Takes new random constants. Every name hashes differently after that: all are forgotten, none is wrong. */
  #reseed(): void {
    this.#seed = (this.#runtime.random() * 0x1_0000_0000) | 0
    this.#factor = (this.#runtime.random() * 0x1_0000_0000) | 1
    const gone = [this.#young, this.#old]
    this.#young = new NameTable()
    this.#old = new NameTable()
    for (const table of gone) {
      table.forEach((topic) => {
        if (topic.evicted) return
        topic.evicted = true
        this.onEvict(topic)
      })
    }
  }

  /** Four bytes at a time, then one at a time. */
  #hash(words: DataView, start: number, length: number): number {
    const factor = this.#factor
    const end = start + length
    let h = this.#seed ^ length
    let i = start
    for (; i + 4 <= end; i += 4) {
      h = Math.imul(h ^ words.getInt32(i, true), factor)
      // A product moves what differs up: without this, what the top bytes say would be lost.
      h ^= h >>> 15
    }
    for (; i < end; i++) h = Math.imul(h ^ words.getUint8(i), factor)
    return h ^ (h >>> 15)
  }
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
