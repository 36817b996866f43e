// Lines out of bytes however they are cut, and commands out of lines.

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  isTerminate,
  LineSplitter,
  OVERLONG,
  parseCommand,
  parsePublisherLine,
} from '../../src/protocol/line/codec.ts'

const LIMIT = 16
const text = (lines: Buffer[]) => lines.map((l) => (l === OVERLONG ? 'OVERLONG' : l.toString()))

function feed(bytes: Buffer, cuts: readonly number[], limit = LIMIT): string[] {
  const splitter = new LineSplitter(limit)
  const out: Buffer[] = []
  let from = 0
  for (const cut of [...cuts, bytes.length]) {
    // Copied at once: a later chunk may reuse the memory of this one.
    const chunk = Buffer.from(bytes.subarray(from, cut))
    out.push(...splitter.split(chunk).map((l) => (l === OVERLONG ? l : Buffer.from(l))))
    chunk.fill(0)
    from = cut
  }
  const rest = splitter.rest()
  return text(rest === null ? out : [...out, rest])
}

const conversation = Buffer.from('PUB a über\r\nx\r\n\n12345678901234567890\ncr\rin it\n🎉\nlast')
const expected = ['PUB a über', 'x', '', 'OVERLONG', 'cr\rin it', '🎉', 'last']

describe('lines', () => {
  it('ends at LF and CRLF, and an unfinished last line counts', () => {
    expect(feed(conversation, [])).toEqual(expected)
  })

  it('does not care where the bytes are cut', () => {
    for (let a = 0; a <= conversation.length; a++) {
      for (let b = a; b <= conversation.length; b++) {
        expect(feed(conversation, [a, b]), `cut at ${a} and ${b}`).toEqual(expected)
      }
    }
  })

  it('takes one byte at a time', () => {
    const cuts = Array.from(conversation.keys())
    expect(feed(conversation, cuts)).toEqual(expected)
  })

  it('lets a line have exactly the limit, whichever end it has', () => {
    const full = 'x'.repeat(LIMIT)
    for (const end of ['\n', '\r\n']) {
      const bytes = Buffer.from(`${full}${end}y${end}`)
      for (let cut = 0; cut <= bytes.length; cut++) {
        expect(feed(bytes, [cut]), `${JSON.stringify(end)} cut at ${cut}`).toEqual([full, 'y'])
      }
    }
  })

  it('drops a longer line once, as soon as it is too long, and understands the next', () => {
    const splitter = new LineSplitter(LIMIT)
    expect(text(splitter.split(Buffer.from('x'.repeat(LIMIT))))).toEqual([])
    expect(text(splitter.split(Buffer.from('yy')))).toEqual(['OVERLONG'])
    expect(text(splitter.split(Buffer.alloc(1000, 'z')))).toEqual([])
    expect(splitter.rest()).toBe(null)
    expect(text(splitter.split(Buffer.from('z\nnext\n')))).toEqual(['next'])
  })

  it('loses and invents nothing, for any bytes and any cuts', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 12 }),
        (chunks: Uint8Array[]) => {
          const bytes = Buffer.concat(chunks)
          const cuts = chunks.map((_, i) => chunks.slice(0, i).reduce((n, c) => n + c.length, 0))
          // Bytes as latin1, so that each one counts.
          const wide = new LineSplitter(10_000)
          const lines = [...wide.split(bytes)].map((l) => l.toString('latin1'))
          const rest = wide.rest()
          const whole = bytes
            .toString('latin1')
            .split('\n')
            .map((l) => l.replace(/\r$/, ''))
          const last = whole.pop()
          expect(lines).toEqual(whole)
          expect(rest?.toString('latin1') ?? '').toBe(last)
          expect(feed(bytes, cuts, 10_000)).toEqual(feed(bytes, [], 10_000))
        },
      ),
    )
  })
})

describe('commands', () => {
  const parse = (line: string) => parseCommand(Buffer.from(line))

  it.each([
    ['PUBLISHER', { verb: 'publisher', topics: [] }],
    ['publisher SPORTS  NEWS\t', { verb: 'publisher', topics: ['SPORTS', 'NEWS'] }],
    ['Subscriber', { verb: 'subscriber', filters: [], name: '' }],
    ['SUBSCRIBER SPORTS/# +', { verb: 'subscriber', filters: ['SPORTS/#', '+'], name: '' }],
    ['SUBSCRIBER a b AS bob', { verb: 'subscriber', filters: ['a', 'b'], name: 'bob' }],
    ['SUBSCRIBER as bob', { verb: 'subscriber', filters: [], name: 'bob' }],
    ['SUBSCRIBER as', { verb: 'subscriber', filters: ['as'], name: '' }],
    ['SUB a b', { verb: 'sub', filters: ['a', 'b'] }],
    ['unsub a', { verb: 'unsub', filters: ['a'] }],
    ['LOGIN ann s3cret', { verb: 'login', name: 'ann', password: 's3cret' }],
    ['help', { verb: 'help' }],
    [' WHO ', { verb: 'who' }],
    ['Topics', { verb: 'topics' }],
    ['FORGET', { verb: 'forget' }],
    ['TERMINATE', { verb: 'terminate' }],
    ['', { verb: 'nothing' }],
    [' \t', { verb: 'nothing' }],
  ])('%j', (line, command) => {
    expect(parse(line)).toEqual(command)
  })

  it.each(['help me', 'who won?', 'topics of today', 'hello', 'terminate now', ' terminate'])(
    '%j is text',
    (line) => {
      expect(parse(line)).toEqual({ verb: 'text' })
    },
  )

  it.each([
    'PUB',
    'PUB a',
    'SUB',
    'UNSUB ',
    'LOGIN ann',
    'LOGIN a b c',
    'SUBSCRIBER a AS',
    `SUBSCRIBER a AS ${'x'.repeat(129)}`,
  ])('%j is wrong and says what to do', (line) => {
    expect(parse(line)).toEqual({ verb: 'wrong', why: expect.stringMatching(/^[^;]+; .+/) })
  })

  it('keeps the text of PUB byte for byte', () => {
    const line = Buffer.from([...Buffer.from('pub a  two spaces '), 0xff, 0x00])
    expect(parseCommand(line)).toEqual({
      verb: 'pub',
      topic: 'a',
      text: Buffer.from([...Buffer.from(' two spaces '), 0xff, 0x00]),
    })
    expect(parse('PUB a ')).toEqual({ verb: 'pub', topic: 'a', text: Buffer.alloc(0) })
  })

  it('wants UTF-8 where words have a meaning', () => {
    const bad = (before: string) =>
      Buffer.concat([Buffer.from(before), Buffer.from([0xff, 0x20, 0x78])])
    for (const line of ['SUB ', 'PUB ', 'PUBLISHER ', 'SUBSCRIBER x AS ']) {
      expect(parseCommand(bad(line)), line).toEqual({
        verb: 'wrong',
        why: 'this line is not UTF-8; set your terminal to UTF-8',
      })
    }
    expect(parseCommand(bad('h'))).toEqual({ verb: 'text' })
  })
})

describe("a publisher's lines", () => {
  const parse = (line: string) => parsePublisherLine(Buffer.from(line))

  it.each([
    'Sub in for Messi',
    'who won?',
    'help me',
    'pub quiz tonight',
    'terminate the contract',
    ' terminate',
    '',
    'PUBLISHER NEWS',
  ])('%j is a message as typed', (line) => {
    expect(parse(line)).toEqual({ is: 'message', payload: Buffer.from(line) })
  })

  it('ends at terminate, in any case', () => {
    for (const line of ['terminate', 'TERMINATE', 'Terminate']) {
      expect(parse(line)).toEqual({ is: 'terminate' })
      expect(isTerminate(Buffer.from(line))).toBe(true)
    }
  })

  it('has commands behind a slash, and two slashes for one', () => {
    expect(parse('/help')).toEqual({ is: 'command', line: Buffer.from('help') })
    expect(parse('//x')).toEqual({ is: 'message', payload: Buffer.from('/x') })
  })
})
