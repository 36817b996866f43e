// The variable byte integer of MQTT: seven bits a byte, least significant first, the high bit says
// that more follow. Remaining Length, Property Length and Subscription Identifier are written so.

/** Largest value four bytes hold; also the largest Remaining Length [MQTT-1.5.5]. */
export const VARINT_MAX = 268_435_455

/** `readVarint`: the bytes end before the integer does. */
export const VARINT_INCOMPLETE = -1
/** `readVarint`: a fifth byte would be needed, or fewer bytes would have done [MQTT-1.5.5-1]. */
export const VARINT_MALFORMED = -2

/** Bytes that `value` (0 … VARINT_MAX) takes: 1 … 4. */
export function varintSize(value: number): number {
  return value < 128 ? 1 : value < 16_384 ? 2 : value < 2_097_152 ? 3 : 4
}

/** Writes `value` (0 … VARINT_MAX) at `at` and returns the offset behind it. */
export function writeVarint(block: Buffer, at: number, value: number): number {
  let rest = value
  let to = at
  while (rest > 127) {
    block[to++] = (rest & 127) | 128
    rest >>>= 7
  }
  block[to++] = rest
  return to
}

/**
 * Reads the integer at `at`, looking at no byte from `end` on. Returns its value, or one of
 * VARINT_INCOMPLETE and VARINT_MALFORMED, which are negative. As only the shortest form is taken,
 * the integer occupied exactly `varintSize(value)` bytes.
 */
export function readVarint(bytes: Uint8Array, at: number, end: number): number {
  let value = 0
  for (let i = 0; i < 4; i++) {
    if (at + i >= end) return VARINT_INCOMPLETE
    const byte = bytes[at + i]!
    value |= (byte & 127) << (7 * i)
    if (byte < 128) return byte === 0 && i > 0 ? VARINT_MALFORMED : value
  }
  return VARINT_MALFORMED
}
