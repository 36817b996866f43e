// Every kind of PROXY header, whole, cut at each byte, and damaged.
import { describe, expect, test } from 'vitest'
import { readProxyHeader } from '../../src/net/proxy-protocol.ts'

const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')

function v2(command: number, family: number, body: Buffer): Buffer {
  const fixed = Buffer.from([command, family, 0, 0])
  fixed.writeUInt16BE(body.length, 2)
  return Buffer.concat([SIGNATURE, fixed, body])
}

const four = Buffer.from([192, 0, 2, 7, 10, 0, 0, 1, 0xc3, 0x50, 0x13, 0x88])
const six = Buffer.concat([
  Buffer.from('20010db8000000000000000000000009', 'hex'),
  Buffer.from('00000000000000000000000000000001', 'hex'),
  Buffer.from([0x01, 0xbb, 0x13, 0x88]),
])
const mapped = Buffer.concat([
  Buffer.from('00000000000000000000ffffc0000207', 'hex'),
  Buffer.alloc(16),
  Buffer.from([0, 80, 0, 80]),
])

const headers: [string, Buffer, { address: string; port: number } | null][] = [
  [
    'version 1, IPv4',
    Buffer.from('PROXY TCP4 192.0.2.7 10.0.0.1 50000 5000\r\n'),
    { address: '192.0.2.7', port: 50_000 },
  ],
  [
    'version 1, IPv6',
    Buffer.from('PROXY TCP6 2001:db8::9 ::1 443 5000\r\n'),
    { address: '2001:db8::9', port: 443 },
  ],
  ['version 1, unknown', Buffer.from('PROXY UNKNOWN\r\n'), null],
  ['version 1, unknown with words', Buffer.from('PROXY UNKNOWN ff ff 1 2\r\n'), null],
  ['version 2, IPv4', v2(0x21, 0x11, four), { address: '192.0.2.7', port: 50_000 }],
  ['version 2, IPv6', v2(0x21, 0x21, six), { address: '2001:db8::9', port: 443 }],
  ['version 2, IPv4 in IPv6', v2(0x21, 0x21, mapped), { address: '192.0.2.7', port: 80 }],
  [
    'version 2 with more values behind the addresses',
    v2(0x21, 0x11, Buffer.concat([four, Buffer.from([4, 0, 2, 9, 9])])),
    { address: '192.0.2.7', port: 50_000 },
  ],
  ['version 2, the proxy itself', v2(0x20, 0x00, Buffer.alloc(0)), null],
  ['version 2, a Unix socket', v2(0x21, 0x31, Buffer.alloc(216)), null],
]

describe.each(headers)('%s', (_name, header, peer) => {
  test('is read, whatever follows it', () => {
    const expected = { kind: 'header', length: header.length, peer }
    expect(readProxyHeader(header)).toEqual(expected)
    expect(readProxyHeader(Buffer.concat([header, Buffer.from('SUBSCRIBER')]))).toEqual(expected)
  })

  test('waits for its last byte', () => {
    for (let size = 0; size < header.length; size++) {
      expect(readProxyHeader(header.subarray(0, size)).kind).toBe('partial')
    }
  })
})

describe('no header', () => {
  test.each([
    ['a line', 'PUBLISHER SPORTS\n'],
    ['a word that begins alike', 'PROXIES\n'],
    ['MQTT', '\x10\x0c'],
    ['an empty line and text', '\r\nhello\r\n'],
  ])('%s', (_name, text) => {
    expect(readProxyHeader(Buffer.from(text, 'latin1'))).toEqual({ kind: 'none' })
  })
})

describe('invalid', () => {
  test.each([
    ['another family', Buffer.from('PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n')],
    ['no addresses', Buffer.from('PROXY TCP4\r\n')],
    ['names for addresses', Buffer.from('PROXY TCP4 here there 1 2\r\n')],
    ['IPv4 out of range', Buffer.from('PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n')],
    ['IPv6 that is none', Buffer.from('PROXY TCP6 1::2::3 ::1 1 2\r\n')],
    ['a port too large', Buffer.from('PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n')],
    ['one port', Buffer.from('PROXY TCP4 1.2.3.4 1.2.3.4 65535\r\n')],
    ['too many words', Buffer.from('PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n')],
    ['a line without end', Buffer.from(`PROXY ${'x'.repeat(110)}`)],
    ['version 3', v2(0x31, 0x11, four)],
    ['another command', v2(0x2f, 0x11, four)],
    ['addresses cut short', v2(0x21, 0x11, four.subarray(0, 11))],
    ['a huge body', Buffer.concat([SIGNATURE, Buffer.from([0x21, 0x11, 0xff, 0xff])])],
  ])('%s', (_name, bytes) => {
    const header = readProxyHeader(bytes)
    expect(header.kind).toBe('invalid')
    expect(header.kind === 'invalid' && header.why).toMatch(/PROXY header/)
  })
})
