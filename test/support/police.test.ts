// The police of the raw client: what a server may send passes, and what the standard forbids does not.
import { describe, expect, it } from 'vitest'
import { FrameSplitter, frame, props, text, u8, u16, varint } from './bytes.ts'
import { inspect } from './police.ts'

function judge(bytes: Buffer, version: 4 | 5): void {
  for (const one of new FrameSplitter().push(bytes)) inspect(one, version)
}

const fine: [string, 4 | 5, Buffer][] = [
  ['a CONNACK', 4, frame(0x20, u8(1, 0))],
  ['a CONNACK with properties', 5, frame(0x20, u8(0, 0), props(u8(0x21), u16(20)))],
  ['a PUBLISH', 4, frame(0x30, text('a/b'), u8(1))],
  ['a PUBLISH sent again', 5, frame(0x3a, text('a'), u16(1), props(u8(0x0b), varint(300)))],
  ['a PUBREL with reason', 5, frame(0x62, u16(1), u8(0x92))],
  ['a SUBACK', 5, frame(0x90, u16(1), props(), u8(0, 0x9e))],
]

const wrong: [string, 4 | 5, Buffer, RegExp][] = [
  ['acknowledge flags', 4, frame(0x20, u8(2, 0)), /reserved CONNACK flags/],
  ['a PUBREL with flags 0', 4, frame(0x60, u16(1)), /reserved flags/],
  ['identifier 0', 4, frame(0x40, u16(0)), /packet identifier 0/],
  ['QoS 3', 4, frame(0x36, text('a'), u16(1)), /both QoS bits/],
  ['DUP at QoS 0', 4, frame(0x38, text('a')), /DUP/],
  ['a wildcard', 4, frame(0x30, text('a/#')), /wildcard/],
  ['ill-formed text', 4, frame(0x30, text(u8(0xff))), /ill-formed/],
  ['DISCONNECT in 3.1.1', 4, frame(0xe0), /never sends/],
  ['SUBACK code 3', 4, frame(0x90, u16(1), u8(3)), /reserved SUBACK/],
  ['PUBACK code 1', 5, frame(0x40, u16(1), u8(1)), /reason code 0x1/],
  ['session expiry in DISCONNECT', 5, frame(0xe0, u8(0x81), props(u8(0x11, 0, 0, 0, 1))), /0x11/],
  ['content type in PUBACK', 5, frame(0x40, u16(1), u8(0), props(u8(3), text('a'))), /0x3 in/],
  [
    'content type twice',
    5,
    frame(0x30, text('a'), props(u8(3), text('a'), u8(3), text('a'))),
    /twice/,
  ],
  ['topic alias 0', 5, frame(0x30, text('a'), props(u8(0x23, 0, 0))), /alias 0/],
  ['an empty topic', 5, frame(0x30, text(''), props()), /empty topic/],
  [
    'an overlong property length',
    5,
    frame(0x30, text('a'), varint(0, 2)),
    /more bytes than it needs/,
  ],
  ['an overlong remaining length', 4, u8(0xd0, 0x80, 0), /more bytes than it needs/],
]

describe('the police', () => {
  it.each(fine)('lets %s pass in version %i', (_, version, bytes) => {
    expect(() => judge(bytes, version)).not.toThrow()
  })

  it.each(wrong)('stops %s in version %i', (_, version, bytes, complaint) => {
    expect(() => judge(bytes, version)).toThrow(complaint)
  })
})

describe('the frame splitter', () => {
  const stream = Buffer.concat([
    ...fine.map(([, , bytes]) => bytes),
    frame(0x30, Buffer.alloc(300)),
  ])

  it('finds the same frames however the stream is cut', () => {
    const whole = new FrameSplitter().push(stream).map((f) => f.bytes.toString('hex'))
    expect(whole).toHaveLength(fine.length + 1)
    for (let cut = 1; cut < stream.length; cut++) {
      const splitter = new FrameSplitter()
      const parts = [
        ...splitter.push(stream.subarray(0, cut)),
        ...splitter.push(stream.subarray(cut)),
      ]
      expect(parts.map((f) => f.bytes.toString('hex'))).toEqual(whole)
    }
  })

  it('finds them in single bytes', () => {
    const splitter = new FrameSplitter()
    const parts = [...stream].flatMap((byte) => splitter.push(Buffer.from([byte])))
    expect(parts).toHaveLength(fine.length + 1)
  })
})
