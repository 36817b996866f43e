// Topics by the bytes of their names. Hashes and names lie side by side in flat memory, because with many
// topics what a lookup costs is the places in memory that it has to look at.

import type { Topic } from './topics.ts'

/** Two words a slot: the hash, and one more than where the name is; 0 where the slot is free. */
const SLOT_WORDS = 2
const SLOTS_MIN = 1024
const NAMES_MIN = 16 * 1024
/** Bytes before each name that hold its length. */
const LENGTH_BYTES = 2

export class NameTable {
  #slots = new Int32Array(SLOTS_MIN * SLOT_WORDS)
  #topics: (Topic | null)[] = new Array<Topic | null>(SLOTS_MIN).fill(null)
  #mask = SLOTS_MIN - 1
  #names = new Uint8Array(NAMES_MIN)
  #namesEnd = 0
  #size = 0

  get size(): number {
    return this.#size
  }

  /** The topic of that name, whose hash it is; null when it is not there. */
  find(bytes: Buffer, start: number, length: number, hash: number): Topic | null {
    const slots = this.#slots
    const mask = this.#mask
    for (let i = hash & mask; ; i = (i + 1) & mask) {
      const at = slots[2 * i + 1] as number
      if (at === 0) return null
      if (slots[2 * i] === hash && this.#isAt(at - 1, bytes, start, length)) {
        return this.#topics[i] as Topic
      }
    }
  }

  has(topic: Topic): boolean {
    const { bytes, hash } = topic
    return this.find(bytes, 0, bytes.length, hash) === topic
  }

  /** Adds one that is not there. Returns how many places were taken before a free one. */
  add(topic: Topic): number {
    if (this.#size * 2 >= this.#topics.length) this.#grow()
    this.#size++
    return this.#enter(topic, this.#write(topic.bytes) + 1)
  }

  forEach(visit: (topic: Topic) => void): void {
    for (const topic of this.#topics) if (topic !== null) visit(topic)
  }

  #isAt(at: number, bytes: Buffer, start: number, length: number): boolean {
    const names = this.#names
    if (((names[at] as number) << 8) + (names[at + 1] as number) !== length) return false
    const from = at + LENGTH_BYTES
    for (let i = 0; i < length; i++) if (names[from + i] !== bytes[start + i]) return false
    return true
  }

  #enter(topic: Topic, at: number): number {
    const slots = this.#slots
    let i = topic.hash & this.#mask
    let taken = 0
    while (slots[2 * i + 1] !== 0) {
      i = (i + 1) & this.#mask
      taken++
    }
    slots[2 * i] = topic.hash
    slots[2 * i + 1] = at
    this.#topics[i] = topic
    return taken
  }

  #write(name: Buffer): number {
    const at = this.#namesEnd
    this.#namesEnd += LENGTH_BYTES + name.length
    if (this.#namesEnd > this.#names.length) {
      const names = new Uint8Array(Math.max(this.#names.length * 2, this.#namesEnd))
      names.set(this.#names)
      this.#names = names
    }
    this.#names[at] = name.length >> 8
    this.#names[at + 1] = name.length & 255
    this.#names.set(name, at + LENGTH_BYTES)
    return at
  }

  #grow(): void {
    const topics = this.#topics
    const slots = this.#slots
    this.#topics = new Array<Topic | null>(topics.length * 2).fill(null)
    this.#slots = new Int32Array(this.#topics.length * SLOT_WORDS)
    this.#mask = this.#topics.length - 1
    topics.forEach((topic, i) => {
      if (topic !== null) this.#enter(topic, slots[2 * i + 1] as number)
    })
  }
}
