// The packet table as a stream: however the network cuts it, the same packets come out, and nothing
// comes out of what is not whole yet.

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decode } from '../../src/protocol/mqtt/decode.ts'
import { FrameReader, type FrameSink } from '../../src/protocol/mqtt/frame.ts'
import type { PacketError } from '../../src/protocol/mqtt/packets.ts'
import { bytesOf, type PacketRow } from './packets.row.ts'
import { PACKETS } from './packets.table.ts'

const LIMIT = 1024
const ROWS = PACKETS.filter((row) => !row.unframed)

/** Keeps a copy of every frame, and what the decoder makes of it where a row tells the version. */
class Collector implements FrameSink {
  readonly frames: string[] = []
  readonly #row: PacketRow | null

  constructor(row: PacketRow | null = null) {
    this.#row = row
  }

  frame(bytes: Buffer, start: number, body: number, end: number): boolean {
    this.frames.push(bytes.toString('hex', start, end))
    if (this.#row !== null) this.#decode(this.#row, bytes, start, body, end)
    return true
  }

  alike(_bytes: Buffer, at: number): number {
    return at
  }

  #decode(row: PacketRow, bytes: Buffer, start: number, body: number, end: number): void {
    if (bytes[start]! >> 4 === 3) return
    let found: unknown
    try {
      found = decode(bytes[start]!, bytes, body, end, row.version)
    } catch (error) {
      found = error
    }
    if (row.packet !== undefined) expect(found, row.name).toEqual(row.packet)
    else expect((found as PacketError).reason, row.name).toBe(row.reason)
  }
}

function hex(row: PacketRow): string {
  return bytesOf(row).toString('hex')
}

describe('a packet', () => {
  it('split at any byte is the same packet', () => {
    for (const row of ROWS) {
      const bytes = bytesOf(row)
      for (let cut = 1; cut < bytes.length; cut++) {
        const reader = new FrameReader()
        const sink = new Collector(row)
        reader.read(Buffer.from(bytes.subarray(0, cut)), sink, LIMIT)
        expect(sink.frames, `${row.name}, first ${cut} bytes`).toEqual([])
        expect(reader.kept).toBe(cut)
        reader.read(Buffer.from(bytes.subarray(cut)), sink, LIMIT)
        expect(sink.frames, `${row.name}, cut at ${cut}`).toEqual([hex(row)])
        expect(reader.kept).toBe(0)
      }
    }
  })

  it('that comes byte by byte is the same packet', () => {
    for (const row of ROWS) {
      const reader = new FrameReader()
      const sink = new Collector(row)
      for (const byte of bytesOf(row)) {
        expect(sink.frames).toEqual([])
        reader.read(Buffer.from([byte]), sink, LIMIT)
      }
      expect(sink.frames).toEqual([hex(row)])
    }
  })

  it('split at any byte does not disturb the one before or behind it', () => {
    const before = Buffer.from('c000', 'hex')
    for (const row of ROWS) {
      const bytes = Buffer.concat([before, bytesOf(row), before])
      for (let cut = 1; cut < bytes.length; cut++) {
        const reader = new FrameReader()
        const sink = new Collector()
        reader.read(Buffer.from(bytes.subarray(0, cut)), sink, LIMIT)
        reader.read(Buffer.from(bytes.subarray(cut)), sink, LIMIT)
        expect(sink.frames, `${row.name}, cut at ${cut}`).toEqual(['c000', hex(row), 'c000'])
      }
    }
  })
})

describe('the whole table as one stream', () => {
  it('comes out the same in any chunks', () => {
    const stream = Buffer.concat(ROWS.map(bytesOf))
    const chunks = fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 50 })
    fc.assert(
      fc.property(chunks, (sizes) => {
        const reader = new FrameReader()
        const sink = new Collector()
        for (let at = 0, i = 0; at < stream.length; i++) {
          const to = at + sizes[i % sizes.length]!
          reader.read(Buffer.from(stream.subarray(at, to)), sink, LIMIT)
          at = to
        }
        expect(sink.frames).toEqual(ROWS.map(hex))
      }),
      { numRuns: 100, seed: 5 },
    )
  })
})

describe('a fixed header that is wrong', () => {
  it('is malformed, whole or byte by byte', () => {
    const rows = PACKETS.filter((row) => row.unframed)
    expect(rows.length).toBeGreaterThan(0)
    for (const row of rows) {
      const sink = new Collector()
      const whole = (): void => new FrameReader().read(bytesOf(row), sink, LIMIT)
      const bytewise = (): void => {
        const reader = new FrameReader()
        for (const byte of bytesOf(row)) reader.read(Buffer.from([byte]), sink, LIMIT)
      }
      for (const attempt of [whole, bytewise]) {
        expect(attempt, row.name).toThrow(expect.objectContaining({ reason: row.reason }))
      }
      expect(sink.frames).toEqual([])
    }
  })
})
