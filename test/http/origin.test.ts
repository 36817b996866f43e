// Who may upgrade and write, as a table: each row is what a browser or a program would send.
import { describe, expect, test } from 'vitest'
import { hostFault, originFault } from '../../src/http/origin.ts'

const none = { origins: [], hosts: [] }
const some = { origins: ['https://dash.example'], hosts: ['broker.example'] }

describe('welcome', () => {
  test.each([
    ['a program on this machine', undefined, 'localhost:5000', none],
    ['a program by address', undefined, '127.0.0.1:5000', none],
    ['a program by IPv6 address', undefined, '[::1]:5000', none],
    ['HTTP/1.0', undefined, undefined, none],
    ['our own page', 'http://localhost:5000', 'localhost:5000', none],
    ['our own page by address', 'http://192.168.1.5:5000', '192.168.1.5:5000', none],
    ['our own page by IPv6 address', 'http://[fd00::1]:5000', '[fd00::1]:5000', none],
    ['our own page, default port', 'http://localhost', 'localhost:80', none],
    ['our own page behind TLS', 'https://broker.example', 'broker.example', some],
    ['our own page behind TLS, port said', 'https://broker.example', 'broker.example:443', some],
    ['a subdomain of localhost', 'http://a.localhost:5000', 'a.localhost:5000', none],
    ['a page that is allowed', 'https://dash.example', 'localhost:5000', some],
    ['a page that is allowed, by name', 'https://dash.example', 'broker.example:5000', some],
    ['a configured name in capitals', undefined, 'BROKER.example', some],
    ['any page, when all are', 'https://evil.example', 'localhost', { origins: ['*'], hosts: [] }],
    ['a file, when allowed', 'null', 'localhost', { origins: ['null'], hosts: [] }],
  ])('%s', (_name, origin, host, rules) => {
    expect(originFault({ origin, host }, rules)).toBeNull()
  })
})

describe('refused', () => {
  test.each([
    ['a foreign page', 'https://evil.example', 'localhost:5000', none, /--allow-origin/],
    ['a foreign page, others allowed', 'https://evil.example', 'localhost', some, /--allow-origin/],
    [
      'another port of this machine',
      'http://localhost:3000',
      'localhost:5000',
      none,
      /localhost:3000/,
    ],
    ['another scheme than allowed', 'http://dash.example', 'localhost', some, /dash.example/],
    ['a file or sandbox', 'null', 'localhost:5000', none, /pages from null/],
    ['an extension', 'chrome-extension://abc', 'localhost:5000', none, /chrome-extension/],
    ['DNS rebinding', 'http://evil.example:5000', 'evil.example:5000', none, /--allow-host/],
    ['DNS rebinding without origin', undefined, 'evil.example:5000', none, /--allow-host evil/],
    ['a name that only looks like ours', undefined, 'localhost.evil.example', none, /not known/],
    ['a name that looks like an address', undefined, '127.0.0.1.evil.example', none, /not known/],
    ['a name with a user', undefined, 'localhost@evil.example', none, /cannot be read/],
    ['no name', undefined, ':5000', none, /cannot be read/],
    ['an origin that is a prefix', 'https://dash.example.evil', 'localhost', some, /evil/],
    ['a control character', 'http://a\u001b[2J', 'localhost', none, /a\?\[2J/],
  ])('%s', (_name, origin, host, rules, why) => {
    expect(originFault({ origin, host }, rules)).toMatch(why)
  })
})

test('reading asks for the host only', () => {
  expect(hostFault({ origin: 'https://evil.example', host: 'localhost' }, none)).toBeNull()
  expect(hostFault({ host: 'evil.example' }, none)).toMatch(/--allow-host/)
})
