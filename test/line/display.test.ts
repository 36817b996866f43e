// Strangers' text cannot drive a terminal and cannot forge a line.

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  shown,
  shownBytes,
  shownName,
  shownNumber,
  shownPayload,
} from '../../src/protocol/line/display.ts'

describe('text on a screen', () => {
  it.each([
    ['goal', 'goal'],
    ['a\tb', 'a\tb'],
    ['C:\\new', 'C:\\new'],
    ['Grüße, 日本, 🏴󠁧󠁢󠁥󠁮󠁧󠁿 👩‍🚀', 'Grüße, 日本, 🏴󠁧󠁢󠁥󠁮󠁧󠁿 👩‍🚀'],
    ['one\ntwo\r\n', 'one\\ntwo\\r\\n'],
    ['\x1b[2J\x07\x00\x7f', '\\x1b[2J\\x07\\x00\\x7f'],
    ['\u009b2J\u0085', '\\u009b2J\\u0085'],
    ['a\u202eb\u2066c\u200f\u061c', 'a\\u202eb\\u2066c\\u200f\\u061c'],
    ['a\u2028b\u2029c\ufeff', 'a\\u2028b\\u2029c\\ufeff'],
  ])('%j is shown as %j', (text, screen) => {
    expect(shown(text)).toBe(screen)
    expect(shownBytes(Buffer.from(text))).toBe(screen)
    expect(shownPayload(Buffer.from(text)).toString()).toBe(screen)
  })

  it('shows bytes that are not UTF-8 one by one and keeps what is', () => {
    const bytes = (...parts: (string | number)[]) =>
      Buffer.concat(parts.map((p) => (typeof p === 'string' ? Buffer.from(p) : Buffer.from([p]))))
    expect(shownBytes(bytes('ü', 0xff, '🎉', 0xc3))).toBe('ü\\xff🎉\\xc3')
    expect(shownBytes(bytes(0xc0, 0x80))).toBe('\\xc0\\x80') // overlong
    expect(shownBytes(bytes(0xed, 0xa0, 0x80))).toBe('\\xed\\xa0\\x80') // surrogate
    expect(shownBytes(bytes(0xf4, 0x90, 0x80, 0x80))).toBe('\\xf4\\x90\\x80\\x80') // above U+10FFFF
    expect(shownBytes(bytes(0xe2, 0x82, 'x\n'))).toBe('\\xe2\\x82x\\n')
  })

  it('ends a topic at the first bracket', () => {
    expect(shownName('a] OK\tb\n')).toBe('a\\x5d OK\\tb\\n')
  })

  it('writes numbers as English does', () => {
    fc.assert(
      fc.property(fc.nat(), (n) => {
        expect(shownNumber(n)).toBe(n.toLocaleString('en'))
      }),
      { examples: [[0], [999], [1_000], [1_000_000]] },
    )
  })

  it('hands plain payloads on without copying them', () => {
    const payload = Buffer.from('goal')
    expect(shownPayload(payload)).toBe(payload)
  })

  it('never lets a control character through, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        const screen = shownBytes(Buffer.from(bytes))
        expect(screen.replaceAll('\t', '')).not.toMatch(/\p{Cc}/u)
        expect(screen).not.toContain('\ufffd'.repeat(2))
      }),
      { numRuns: 500 },
    )
  })
})
