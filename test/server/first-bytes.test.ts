// A table of beginnings, each fed byte by byte: the verdict may come early, but it never changes.
import { describe, expect, test } from 'vitest'
import { type Caller, recognise } from '../../src/server/first-bytes.ts'

const beginnings: [string, Caller][] = [
  ['\x10\x0c\x00\x04MQTT', 'mqtt'],
  ['\x16\x03\x01\x02\x00', 'tls'],
  ['GET / HTTP/1.1\r\n', 'http'],
  ['GET /topics/a%20b?x=1 HTTP/1.0\n', 'http'],
  ['POST /topics/SPORTS HTTP/1.1\r\nHost: x\r\n', 'http'],
  ['OPTIONS * HTTP/1.1\r\n', 'http'],
  ['CONNECT example.org:443 HTTP/1.1\r\n', 'http'],
  ['PUBLISHER SPORTS\n', 'line'],
  ['PUB topic text\r\n', 'line'],
  ['P\n', 'line'],
  ['GET\n', 'line'],
  ['GET the milk\n', 'line'],
  ['GET the HTTP/1.1 milk\n', 'line'],
  ['POST is late\n', 'line'],
  ['GET  HTTP/1.1\n', 'line'],
  ['get / HTTP/1.1\n', 'line'],
  ['HELP\n', 'line'],
  ['DELETED SCENES\n', 'line'],
  ['\n', 'line'],
  ['\r\n\r\n', 'line'],
  ['\x00\x01\x02', 'line'],
  ['\x20\x02\x00\x00', 'line'],
  ['PRI * HTTP/2.0\r\n', 'line'],
  ['\xff\xfb\x01 telnet', 'line'],
]

describe.each(beginnings)('%j', (text, caller) => {
  const bytes = Buffer.from(text, 'latin1')
  test(`is ${caller}`, () => expect(recognise(bytes)).toBe(caller))

  test('is never taken for something else on the way', () => {
    for (let size = 1; size < bytes.length; size++) {
      expect(['wait', caller]).toContain(recognise(bytes.subarray(0, size)))
    }
  })
})

test('waits for each byte of a request line', () => {
  const line = Buffer.from('GET /a HTTP/1.1\r\n')
  for (let size = 1; size < line.length; size++) {
    expect(recognise(line.subarray(0, size))).toBe('wait')
  }
})

test('does not wait for an endless request line', () => {
  expect(recognise(Buffer.from(`GET /${'a'.repeat(1000)}`))).toBe('wait')
  expect(recognise(Buffer.from(`GET /${'a'.repeat(20_000)}`))).toBe('line')
})
