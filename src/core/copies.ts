// Copies that outlive the turn, in memory of their own. Node's shared pool would do for them alone, but
// what lives for a turn takes turns with them there, and a few bytes that stay keep all of it: 8 KiB, or 64
// since Node 24.

import { NO_BYTES } from './types.ts'

/** Bytes of a slab, which a single copy in it keeps alive. */
export const SLAB_BYTES = 8192

/** Copies up to this size share a slab; larger ones stand alone. */
const SHARED_MAX = SLAB_BYTES / 4

/** Packs small copies of one kind, which are given up about in the order they were made. */
export class Copies {
  #slab: Buffer | null = null
  #at = 0

  copy(bytes: Buffer): Buffer {
    const { length } = bytes
    if (length === 0) return NO_BYTES
    if (length > SHARED_MAX) return loneCopy(bytes)
    if (this.#slab === null || this.#at + length > this.#slab.length) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
      this.#at = 0
    }
    const start = this.#at
    this.#at += bytes.copy(this.#slab, start)
    return this.#slab.subarray(start, this.#at)
  }
}

/** A copy that keeps nothing else alive, for what may stay long after its neighbours are gone. */
export function loneCopy(bytes: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length)
  bytes.copy(copy)
  return copy
}
