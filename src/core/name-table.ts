// Topics by the bytes of their names. Hashes and names lie side by side in flat memory, because with many
// topics what a lookup costs is the places in memory that it has to look at.

import type { Topic } from './topics.ts'
import { wordsOf } from './words.ts'

/** Two words a slot: the hash, and one more than the topic's row; 0 where the slot is free. */
const SLOT_WORDS = 2
const SLOTS_MIN = 1024
/** A row is the length of the name in bytes, the topic's number, its standing, and the name, four bytes a word. */
const NUMBER = 1
const STANDING = 2
const NAME = 3
const ROWS_MIN = 4 * 1024

export class NameTable {
  #slots = new Int32Array(SLOTS_MIN * SLOT_WORDS)
  #mask = SLOTS_MIN - 1
  /** A row is told by the place of its first word. */
  #rows = new Int32Array(ROWS_MIN)
  #rowsEnd = 0
  readonly #topics: Topic[] = []

  get size(): number {
    return this.#topics.length
  }

  /** The row of that name, whose hash it is; -1 when it is not there. */
  find(words: DataView, start: number, length: number, hash: number): number {
    const slots = this.#slots
    const mask = this.#mask
    for (let i = hash & mask; ; i = (i + 1) & mask) {
      const row = (slots[2 * i + 1] as number) - 1
      if (row < 0) return -1
      if (slots[2 * i] === hash && this.#isAt(row, words, start, length)) return row
    }
  }

  at(row: number): Topic {
    return this.#topics[this.#rows[row + NUMBER] as number] as Topic
  }

  /** What `stand` said last, 0 before. */
  standing(row: number): number {
    return this.#rows[row + STANDING] as number
  }

  stand(row: number, standing: number): void {
    this.#rows[row + STANDING] = standing
  }

  has(topic: Topic): boolean {
    const { bytes, hash } = topic
    const row = this.find(wordsOf(bytes), 0, bytes.length, hash)
    return row >= 0 && this.at(row) === topic
  }

  /** Adds one that is not there. Returns how many places were taken before a free one. */
  add(topic: Topic): number {
    if (this.size * 2 >= this.#mask) this.#grow()
    const row = this.#write(topic)
    this.#topics.push(topic)
    return this.#enter(topic.hash, row)
  }

  forEach(visit: (topic: Topic) => void): void {
    this.#topics.forEach(visit)
  }

  /** Every standing is 0 again. */
  forgetStandings(): void {
    const rows = this.#rows
    for (let row = 0; row < this.#rowsEnd; row += rowWords(rows[row] as number)) {
      rows[row + STANDING] = 0
    }
  }

  #isAt(row: number, words: DataView, start: number, length: number): boolean {
    const rows = this.#rows
    if (rows[row] !== length) return false
    let at = row + NAME
    const end = start + length
    let i = start
    for (; i + 4 <= end; i += 4) if (rows[at++] !== words.getInt32(i, true)) return false
    return i === end || rows[at] === lastWord(words, i, end)
  }

  #enter(hash: number, row: number): number {
    const slots = this.#slots
    let i = hash & this.#mask
    let taken = 0
    while (slots[2 * i + 1] !== 0) {
      i = (i + 1) & this.#mask
      taken++
    }
    slots[2 * i] = hash
    slots[2 * i + 1] = row + 1
    return taken
  }

  #write({ bytes }: Topic): number {
    const row = this.#rowsEnd
    this.#rowsEnd += rowWords(bytes.length)
    if (this.#rowsEnd > this.#rows.length) {
      const rows = new Int32Array(Math.max(this.#rows.length * 2, this.#rowsEnd))
      rows.set(this.#rows)
      this.#rows = rows
    }
    this.#rows[row] = bytes.length
    this.#rows[row + NUMBER] = this.#topics.length
    const words = wordsOf(bytes)
    let at = row + NAME
    let i = 0
    for (; i + 4 <= bytes.length; i += 4) this.#rows[at++] = words.getInt32(i, true)
    if (i < bytes.length) this.#rows[at] = lastWord(words, i, bytes.length)
    return row
  }

  #grow(): void {
    const slots = this.#slots
    this.#slots = new Int32Array(slots.length * 2)
    this.#mask = this.#slots.length / SLOT_WORDS - 1
    for (let i = 0; i < slots.length; i += SLOT_WORDS) {
      const row = (slots[i + 1] as number) - 1
      if (row >= 0) this.#enter(slots[i] as number, row)
    }
  }
}

const rowWords = (length: number): number => NAME + ((length + 3) >> 2)

/** The one to three bytes that are left. */
function lastWord(words: DataView, from: number, end: number): number {
  let word = 0
  for (let i = end - 1; i >= from; i--) word = (word << 8) | words.getUint8(i)
  return word
}
