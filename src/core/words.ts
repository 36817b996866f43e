// Bytes read and compared four at a time: what tells frames apart that are mostly the same, and names of topics.

import { NO_BYTES } from './types.ts'

let inWords: Buffer = NO_BYTES
let words = new DataView(NO_BYTES.buffer)

/** The bytes in words. Those asked for last are kept, since one read is asked about more than once. */
export function wordsOf(bytes: Buffer): DataView {
  if (bytes !== inWords) {
    inWords = bytes
    words = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  }
  return words
}

/** Whether the same `length` bytes, four at least, are at both places. */
export function isSame(words: DataView, one: number, other: number, length: number): boolean {
  const last = length - 4
  for (let i = 0; i < last; i += 4) {
    if (words.getInt32(one + i) !== words.getInt32(other + i)) return false
  }
  return words.getInt32(one + last) === words.getInt32(other + last)
}
