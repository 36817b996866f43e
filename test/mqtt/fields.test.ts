// The smallest parts of the codec: text that is well-formed, variable byte integers, and what the
// property table says. Node's own decoder and a plain restatement of the rules are the referees.

import { isUtf8 } from 'node:buffer'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { NO_BYTES } from '../../src/core/types.ts'
import { isMqttText } from '../../src/core/utf8.ts'
import { PacketError } from '../../src/protocol/mqtt/packets.ts'
import {
  PROPERTIES,
  PropertyCursor,
  PublishProperties,
  readPublishProperties,
} from '../../src/protocol/mqtt/properties.ts'
import { propertiesSize, writeProperties } from '../../src/protocol/mqtt/property-writer.ts'
import {
  readVarint,
  VARINT_INCOMPLETE,
  VARINT_MALFORMED,
  VARINT_MAX,
  varintSize,
  writeVarint,
} from '../../src/protocol/mqtt/varint.ts'

describe('well-formed text', () => {
  const referee = (bytes: Buffer): boolean => isUtf8(bytes) && !bytes.includes(0)

  it('is what Node calls UTF-8, without the null character, for every two bytes', () => {
    for (let i = 0; i < 65_536; i++) {
      const bytes = Buffer.from([i >> 8, i & 255])
      if (isMqttText(bytes, 0, 2) !== referee(bytes)) expect.fail(bytes.toString('hex'))
    }
  })

  it('and for three and four bytes at every border the standard draws', () => {
    const seconds = [0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0]
    const rest = [0x00, 0x41, 0x7f, 0x80, 0xbf, 0xc0]
    for (let lead = 0xdf; lead < 256; lead++) {
      for (const b of seconds) {
        for (const c of rest) {
          for (const bytes of [[lead, b, c], ...rest.map((d) => [lead, b, c, d])]) {
            const buffer = Buffer.from(bytes)
            expect(isMqttText(buffer, 0, buffer.length), buffer.toString('hex')).toBe(
              referee(buffer),
            )
          }
        }
      }
    }
  })

  it('and for any text, whole or broken', () => {
    const text = fc.string({ unit: 'binary' }).map((s) => Buffer.from(s))
    const noise = fc.uint8Array({ maxLength: 24 }).map((b) => Buffer.from(b))
    fc.assert(
      fc.property(fc.oneof(text, noise), (bytes) => {
        expect(isMqttText(bytes, 0, bytes.length)).toBe(referee(bytes))
      }),
      { numRuns: 5_000, seed: 5 },
    )
  })

  it('is judged within its bounds, however it goes on behind them', () => {
    const bytes = Buffer.from('ff61c3a9ff', 'hex')
    expect(isMqttText(bytes, 1, 4)).toBe(true)
    expect(isMqttText(bytes, 1, 3)).toBe(false) // ends within a character
    expect(isMqttText(bytes, 1, 1)).toBe(true)
    expect(isMqttText(bytes, 0, 4)).toBe(false)
  })
})

describe('a variable byte integer', () => {
  const borders = [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, VARINT_MAX]

  it('takes the bytes that table 1-1 gives it', () => {
    expect(borders.map(varintSize)).toEqual([1, 1, 1, 2, 2, 3, 3, 4, 4])
    const written = (value: number) => {
      const block = Buffer.alloc(6, 0xee)
      return block.toString('hex', 1, writeVarint(block, 1, value))
    }
    expect(borders.map(written)).toEqual([
      '00',
      '01',
      '7f',
      '8001',
      'ff7f',
      '808001',
      'ffff7f',
      '80808001',
      'ffffff7f',
    ])
  })

  it('comes back as it was written, and not before its last byte', () => {
    fc.assert(
      fc.property(fc.oneof(fc.nat(VARINT_MAX), fc.constantFrom(...borders)), (value) => {
        const block = Buffer.alloc(4)
        const end = writeVarint(block, 0, value)
        expect(end).toBe(varintSize(value))
        expect(readVarint(block, 0, 4)).toBe(value)
        for (let cut = 0; cut < end; cut++) {
          expect(readVarint(block, 0, cut)).toBe(VARINT_INCOMPLETE)
        }
      }),
      { seed: 5 },
    )
  })

  it('is refused with more bytes than it needs, or more than four', () => {
    for (const hex of ['8000', 'ff00', '808000', '80808000', '8080808001', 'ffffffff']) {
      const bytes = Buffer.from(hex, 'hex')
      expect(readVarint(bytes, 0, bytes.length), hex).toBe(VARINT_MALFORMED)
    }
  })
})

describe('the properties of a PUBLISH', () => {
  const into = new PublishProperties()
  const read = (hex: string): PublishProperties => {
    const bytes = Buffer.from(`ffff${hex}ffff`, 'hex')
    readPublishProperties(bytes, 2, bytes.length - 2, into)
    return into
  }

  it('are carried on as a slice when nothing has to be cut', () => {
    const bytes = Buffer.from('0101030001742600016b000176', 'hex')
    readPublishProperties(bytes, 0, bytes.length, into)
    expect(into.rest.buffer).toBe(bytes.buffer)
    expect(into.rest.byteOffset).toBe(bytes.byteOffset)
    expect(into.rest.equals(bytes)).toBe(true)
  })

  it('lose alias and expiry wherever they stand, and nothing else', () => {
    const pieces = ['230007', '020000000a', '0101', '0300024142', '2600016b000176']
    const kept = new Set(['0101', '0300024142', '2600016b000176'])
    fc.assert(
      fc.property(fc.shuffledSubarray(pieces), (order) => {
        const found = read(order.join(''))
        expect(found.alias).toBe(order.includes('230007') ? 7 : 0)
        expect(found.expiry).toBe(order.includes('020000000a') ? 10 : Infinity)
        expect(found.rest.toString('hex')).toBe(order.filter((x) => kept.has(x)).join(''))
      }),
      { seed: 5 },
    )
  })

  it('hold on to no bytes when none are carried on', () => {
    expect(read('').rest).toBe(NO_BYTES)
    expect(read('020000000a230007').rest).toBe(NO_BYTES)
  })

  it('leave nothing of one packet for the next', () => {
    read('230007020000000a0101')
    expect(read('')).toEqual({ alias: 0, expiry: Infinity, rest: Buffer.alloc(0) })
  })

  it('leave nothing of a refused packet for the next', () => {
    expect(() => read('2300072300080101')).toThrow(PacketError)
    expect(read('0100')).toEqual({ alias: 0, expiry: Infinity, rest: Buffer.from([1, 0]) })
  })
})

describe('the property table', () => {
  /** Table 2-4 of MQTT 5.0: identifiers and the packets (0: will) they belong to, either side. */
  const STANDARD: Readonly<Record<number, readonly number[]>> = {
    1: [3, 0],
    2: [3, 0],
    3: [3, 0],
    8: [3, 0],
    9: [3, 0],
    11: [3, 8],
    17: [1, 2, 14],
    18: [2],
    19: [2],
    21: [1, 2, 15],
    22: [1, 2, 15],
    23: [1],
    24: [0],
    25: [1],
    26: [2],
    28: [2, 14],
    31: [2, 4, 5, 6, 7, 9, 11, 14, 15],
    33: [1, 2],
    34: [1, 2],
    35: [3],
    36: [2],
    37: [2],
    38: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 15],
    39: [1, 2],
    40: [2],
    41: [2],
    42: [2],
  }

  it('has exactly the identifiers and places of the standard', () => {
    const ours = PROPERTIES.map((row) => [
      row.id,
      [...Array(16).keys()].filter((place) => (((row.client | row.server) >> place) & 1) === 1),
    ])
    const theirs = Object.entries(STANDARD).map(([id, places]) => [
      Number(id),
      [...places].sort((a, b) => a - b),
    ])
    expect(ours).toEqual(theirs)
  })

  it('reads back what the writer writes, for everything a client may send', () => {
    const value = { byte: 1, u16: 513, u32: 0xfedcba98, varint: 300, text: 'é', topic: 'a/é' }
    for (const row of PROPERTIES) {
      for (let place = 0; place < 16; place++) {
        if (((row.client >> place) & 1) === 0) continue
        const given =
          row.type === 'pair'
            ? (['k', 'v'] as const)
            : row.type === 'data'
              ? Buffer.from([0, 255])
              : value[row.type]
        const size = propertiesSize([[row.id, given]])
        const block = Buffer.alloc(size + 2)
        expect(writeProperties(block, 0, [[row.id, given]], size)).toBe(size + 1)
        const cursor = new PropertyCursor()
        cursor.openAt(block, 0, size + 1, place as 0)
        expect(cursor.next(block)).toBe(true)
        expect(cursor.id).toBe(row.id)
        if (typeof given === 'number') expect(cursor.number, row.name).toBe(given)
        expect(cursor.next(block)).toBe(false)
        expect(cursor.at).toBe(size + 1)
      }
    }
  })
})
