// Small damage to bytes, of the kinds that break parsers: flipped bits, lengths that lie, pieces lost, doubled
// or swapped, and ends that come too early.
import type { Chance } from '../../sim/chance.ts'

type Damage = (bytes: Buffer, chance: Chance) => Buffer

/** Values that stand at the edges of what a byte or a length may be. */
const EDGES = [0x00, 0x01, 0x7f, 0x80, 0xc0, 0xfe, 0xff]

const place = (bytes: Buffer, chance: Chance): number => chance.between(0, bytes.length - 1)

function piece(bytes: Buffer, chance: Chance): [number, number] {
  const from = place(bytes, chance)
  return [from, Math.min(bytes.length, from + chance.between(1, 16))]
}

function changed(bytes: Buffer, at: number, value: number): Buffer {
  const copy = Buffer.from(bytes)
  copy[at] = value
  return copy
}

const DAMAGE: readonly Damage[] = [
  (bytes, chance) => {
    const at = place(bytes, chance)
    return changed(bytes, at, (bytes[at] as number) ^ (1 << chance.between(0, 7)))
  },
  (bytes, chance) => changed(bytes, place(bytes, chance), chance.pick(EDGES)),
  // The first bytes hold types, flags and lengths.
  (bytes, chance) =>
    changed(bytes, Math.min(bytes.length - 1, chance.between(0, 3)), chance.pick(EDGES)),
  (bytes, chance) => bytes.subarray(0, place(bytes, chance)),
  (bytes, chance) => bytes.subarray(place(bytes, chance)),
  (bytes, chance) => {
    const [from, to] = piece(bytes, chance)
    return Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)])
  },
  (bytes, chance) => {
    const [from, to] = piece(bytes, chance)
    return Buffer.concat([bytes.subarray(0, to), bytes.subarray(from)])
  },
  (bytes, chance) => {
    const at = place(bytes, chance)
    return Buffer.concat([bytes.subarray(0, at), noise(chance, 12), bytes.subarray(at)])
  },
]

/** One to three kinds of damage; the bytes given stay as they are. */
export function mutated(bytes: Buffer, chance: Chance): Buffer {
  let damaged = bytes
  for (let i = chance.between(1, 3); i > 0 && damaged.length > 0; i--) {
    damaged = chance.pick(DAMAGE)(damaged, chance)
  }
  return damaged
}

/** One to `most` random bytes. */
export function noise(chance: Chance, most: number): Buffer {
  return Buffer.from(Array.from({ length: chance.between(1, most) }, () => chance.between(0, 255)))
}

/** The same bytes in one to many pieces. */
export function cut(bytes: Buffer, chance: Chance): Buffer[] {
  if (chance.is(0.5)) return [bytes]
  const pieces: Buffer[] = []
  const most = chance.pick([1, 7, 200, 5_000])
  for (let at = 0; at < bytes.length; ) {
    const end = at + chance.between(1, most)
    pieces.push(bytes.subarray(at, end))
    at = end
    if (pieces.length > 50) return [...pieces, bytes.subarray(at)]
  }
  return pieces
}
