// The frame round every value on disk: a format version and a checksum over key and value, so
// that a flipped bit, a stale page or a value under the wrong key is noticed on each read.
//
// Format policy: byte 0 is the version of this kind of value. A reader knows its own version and
// all older ones; a change of layout takes a new number and keeps the old decoder. Bytes 1 to 4
// are the CRC-32 (zlib's, little endian) of the key, the version byte and everything after byte 4.

import { crc32 } from 'node:zlib'

/** Bytes the frame takes before the contents. */
export const SEAL_BYTES = 5

/** A stored value that is not what was written: never serve it. */
export class DamageError extends Error {
  override readonly name = 'DamageError'
}

function checksum(key: Uint8Array, value: Buffer): number {
  let sum = crc32(key)
  sum = crc32(value.subarray(0, 1), sum)
  return crc32(value.subarray(SEAL_BYTES), sum)
}

/** Writes version and checksum into the first SEAL_BYTES of `value`, whose rest is complete. */
export function seal(key: Uint8Array, value: Buffer, version: number): Buffer {
  value[0] = version
  value.writeUInt32LE(checksum(key, value), 1)
  return value
}

/** Checks the frame and answers the version. Throws DamageError; `newest` is the newest version known. */
export function unseal(key: Uint8Array, value: Buffer, newest: number): number {
  if (value.length < SEAL_BYTES) throw new DamageError(`only ${value.length} bytes long`)
  const stored = value.readUInt32LE(1)
  const actual = checksum(key, value)
  if (stored !== actual) {
    throw new DamageError(`checksum ${actual.toString(16)} where ${stored.toString(16)} was stored`)
  }
  const version = value[0]!
  if (version < 1 || version > newest) {
    throw new DamageError(`format ${version}, newer than ${newest}, the newest known here`)
  }
  return version
}
