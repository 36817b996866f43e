// Every row of the packet table through decoder and encoder, and no byte more or less than it has:
// what is cut short or mutilated is refused with a PacketError and never reads as the same packet.

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decode } from '../../src/protocol/mqtt/decode.ts'
import { peekVersion } from '../../src/protocol/mqtt/decode-connect.ts'
import {
  type ClientPacket,
  type Connect,
  PacketError,
  type Version,
} from '../../src/protocol/mqtt/packets.ts'
import { PublishProperties, readPublishProperties } from '../../src/protocol/mqtt/properties.ts'
import { bytesOf, type PacketRow } from './packets.row.ts'
import { PACKETS, PUBLISH_PROPERTIES } from './packets.table.ts'

const isPublish = (row: PacketRow): boolean => bytesOf(row)[0]! >> 4 === 3
const FRAMED = PACKETS.filter((row) => !row.unframed)
const OURS = FRAMED.filter((row) => !isPublish(row))

/** Body of a whole packet: where it begins, having checked that the length is right. */
function bodyStart(bytes: Buffer): number {
  let at = 1
  let length = 0
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at++]!
    length += (byte & 127) << shift
    if (byte < 128) break
  }
  expect(bytes.length - at).toBe(length)
  return at
}

/** What the decoder makes of it: the packet, or the reason why not. Anything else thrown fails the test. */
function read(first: number, bytes: Buffer, start: number, end: number, version: Version) {
  try {
    return decode(first, bytes, start, end, version)
  } catch (error) {
    if (error instanceof PacketError) return error
    throw error
  }
}

describe('the packet table', () => {
  it('has a name for every row, and one meaning', () => {
    expect(new Set(PACKETS.map((row) => row.name)).size).toBe(PACKETS.length)
    for (const row of PACKETS) {
      const meanings = [row.packet, row.publish, row.reason].filter((x) => x !== undefined)
      expect(meanings, row.name).toHaveLength(1)
    }
  })

  it.each(OURS)('$name', (row) => {
    const bytes = bytesOf(row)
    const found = read(bytes[0]!, bytes, bodyStart(bytes), bytes.length, row.version)
    if (row.packet !== undefined) {
      expect(found).toEqual(row.packet)
    } else {
      expect(found).toBeInstanceOf(PacketError)
      expect((found as PacketError).reason.toString(16)).toBe(row.reason!.toString(16))
      expect((found as PacketError).message).toMatch(/^[A-Z].*\.$/)
    }
    if (row.encoded !== undefined) {
      expect(row.encoded().toString('hex')).toBe(bytes.toString('hex'))
    }
  })
})

describe('a packet within other bytes', () => {
  it('is read by its bounds alone', () => {
    for (const row of OURS) {
      const bytes = bytesOf(row)
      const start = bodyStart(bytes)
      // Neighbours of all sorts: nothing of them may be taken for part of the packet.
      for (const neighbour of [0x00, 0x01, 0x7f, 0xff]) {
        const around = Buffer.alloc(bytes.length + 64, neighbour)
        bytes.copy(around, 32)
        const end = 32 + bytes.length
        const found = read(bytes[0]!, around, 32 + start, end, row.version)
        if (row.packet !== undefined) expect(found, row.name).toEqual(row.packet)
        else expect((found as PacketError).reason, row.name).toBe(row.reason)
      }
    }
  })

  it('is another packet or malformed when cut at any length', () => {
    for (const row of OURS) {
      if (row.packet === undefined) continue
      const bytes = bytesOf(row)
      const start = bodyStart(bytes)
      for (let end = start; end < bytes.length; end++) {
        const found = read(bytes[0]!, bytes, start, end, row.version)
        if (!(found instanceof PacketError)) expect(mayBeCut(row, found), row.name).toBe(true)
      }
    }
  })
})

/**
 * Some packets are whole when they end early: an acknowledgement or DISCONNECT behind its identifier
 * or reason, a list of filters behind any filter, and in 3.1 a CONNECT before user name and password.
 */
function mayBeCut(row: PacketRow, found: ClientPacket): boolean {
  const whole = row.packet!
  if (found.type === 'connect' && whole.type === 'connect') {
    return row.version === 3 && found.username === null && found.clientId === whole.clientId
  }
  if (found.type === 'subscribe' && whole.type === 'subscribe') {
    return found.filters.length < whole.filters.length
  }
  if (found.type === 'unsubscribe' && whole.type === 'unsubscribe') {
    return found.filters.length < whole.filters.length
  }
  return row.version === 5 && (found.type.startsWith('pub') || found.type === 'disconnect')
}

describe('reason codes', () => {
  // Tables 3-4 to 3-7 of 5.0, and of 3-10 and 3-11 what a client may send.
  const received = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]
  const released = [0x00, 0x92]
  const disconnected = [
    0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
  ]
  it.each([
    ['PUBACK', 0x40, '0001', '', received],
    ['PUBREC', 0x50, '0001', '', received],
    ['PUBREL', 0x62, '0001', '', released],
    ['PUBCOMP', 0x70, '0001', '', released],
    ['DISCONNECT', 0xe0, '', '', disconnected],
    ['AUTH', 0xf0, '', '0415000178', [0x18, 0x19]],
  ] as const)('of %s are those of the standard', (_, first, before, after, allowed) => {
    const found: number[] = []
    for (let reason = 0; reason < 256; reason++) {
      const code = reason.toString(16).padStart(2, '0')
      const body = Buffer.from(before + code + after, 'hex')
      const packet = read(first, body, 0, body.length, 5)
      if (packet instanceof PacketError) expect(packet.reason).toBe(0x82)
      else found.push(reason)
    }
    expect(found).toEqual(allowed)
  })
})

describe('the properties of a PUBLISH', () => {
  /** Where they lie: behind topic, packet identifier and their length, which is below 128 in the table. */
  const bounds = (bytes: Buffer): [start: number, end: number] => {
    const topic = bytes.readUInt16BE(2)
    const at = 4 + topic + ((bytes[0]! & 6) === 0 ? 0 : 2)
    return [at + 1, at + 1 + bytes[at]!]
  }

  it('are read as the table says', () => {
    const rows = PACKETS.filter((row) => row.publish !== undefined && row.version === 5)
    expect(rows.length).toBeGreaterThan(10)
    for (const { publish, ...row } of rows) {
      const into = new PublishProperties()
      readPublishProperties(bytesOf(row), ...bounds(bytesOf(row)), into)
      expect(
        { alias: into.alias, expiry: into.expiry, rest: into.rest.toString('hex') },
        row.name,
      ).toEqual({
        alias: publish!.alias ?? 0,
        expiry: publish!.expiry ?? Infinity,
        rest: publish!.properties ?? '',
      })
    }
  })

  it.each(PUBLISH_PROPERTIES)('$name', (row) => {
    const bytes = bytesOf(row)
    const into = new PublishProperties()
    let thrown: unknown
    try {
      readPublishProperties(bytes, ...bounds(bytes), into)
    } catch (error) {
      thrown = error
    }
    expect(thrown).toBeInstanceOf(PacketError)
    expect((thrown as PacketError).reason).toBe(row.reason)
  })
})

describe('what a stranger sends', () => {
  const versions = fc.constantFrom<Version>(3, 4, 5)

  it('never makes the decoder throw anything but a PacketError', () => {
    fc.assert(
      fc.property(
        fc.nat(255),
        fc.uint8Array({ maxLength: 64 }),
        versions,
        (first, body, version) => {
          read(first, Buffer.from(body), 0, body.length, version)
        },
      ),
      { numRuns: 20_000, seed: 5 },
    )
  })

  it('not even when it is almost right', () => {
    const mutation = fc.record({
      row: fc.constantFrom(...OURS),
      at: fc.nat(),
      byte: fc.nat(255),
      version: versions,
      keep: fc.nat(),
    })
    fc.assert(
      fc.property(mutation, ({ row, at, byte, version, keep }) => {
        const bytes = Buffer.from(bytesOf(row))
        bytes[at % bytes.length] = byte
        const end = keep % 4 === 0 ? (keep >> 2) % (bytes.length + 1) : bytes.length
        if (end >= 2) read(bytes[0]!, bytes, 2, end, version)
      }),
      { numRuns: 20_000, seed: 5 },
    )
  })
})

describe('a will', () => {
  it('is a copy, which outlives the bytes it came in', () => {
    const bytes = Buffer.from(bytesOf(PACKETS.find((r) => r.name.includes('every will property'))!))
    const { will } = decode(bytes[0]!, bytes, 2, bytes.length, 5) as Connect
    const before = structuredClone(will)
    bytes.fill(0xff)
    expect(Buffer.from(will!.properties).equals(before!.properties)).toBe(true)
    expect(will!.properties.length).toBeGreaterThan(0)
  })
})

describe('a CONNECT that is refused', () => {
  it('still tells the version it wants to be answered in', () => {
    for (const row of OURS) {
      if (row.packet?.type !== 'connect') continue
      const bytes = bytesOf(row)
      expect(peekVersion(bytes, 2, 10)).toBe(row.version === 3 ? null : row.version)
      expect(peekVersion(bytes, 2, bytes.length)).toBe(row.version)
      expect(peekVersion(bytes, 2, 4)).toBeNull()
    }
  })

  it('tells none when it names none we speak', () => {
    for (const row of OURS) {
      if (row.reason !== 0x84) continue
      const bytes = bytesOf(row)
      expect(peekVersion(bytes, 2, bytes.length), row.name).toBeNull()
    }
  })
})
