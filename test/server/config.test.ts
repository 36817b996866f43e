// The one table: complete, consistent, read from flags, environment and code, and what the docs say.

import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { pages } from '../../scripts/docs.ts'
import { Counters } from '../../src/core/counters.ts'
import { DEFAULT_LIMITS } from '../../src/core/limits.ts'
import {
  amount,
  ConfigError,
  settingsFromCode,
  settingsFromShell,
  unknownVariables,
} from '../../src/server/config.ts'
import { OPTIONS } from '../../src/server/options.ts'

function errorOf(make: () => unknown): ConfigError {
  try {
    make()
  } catch (error) {
    if (error instanceof ConfigError) return error
    throw error
  }
  throw new Error('nothing was refused')
}

describe('the table', () => {
  it('has every limit with its default, and nothing twice', () => {
    const limits = OPTIONS.filter((o) => o.key.startsWith('limits.'))
    expect(Object.fromEntries(limits.map((o) => [o.key.slice(7), o.default]))).toEqual(
      DEFAULT_LIMITS,
    )
    for (const part of ['key', 'flag', 'env'] as const) {
      const names = OPTIONS.map((o) => o[part])
      expect(new Set(names).size, part).toBe(names.length)
    }
  })

  it('names counters that exist, defaults within their range, and a doc of one sentence', () => {
    const counters = Object.keys(new Counters())
    for (const option of OPTIONS) {
      if (option.counter !== null) expect(counters).toContain(option.counter)
      if (typeof option.default === 'number') {
        expect(option.default, option.key).toBeGreaterThanOrEqual(option.min)
        expect(option.default, option.key).toBeLessThanOrEqual(option.max)
      }
      expect(option.doc, option.key).toMatch(/^[^.]+([^.]*\.[^ .][^.]*)*$/)
      expect(option.env).toMatch(/^PARTYLINE_[A-Z_]+$/)
    }
  })

  it.each([...pages()])('docs/%s is what the table says (else: npm run docs)', (name, text) => {
    expect(readFileSync(new URL(`../../docs/${name}`, import.meta.url), 'utf8')).toBe(text)
  })
})

describe('settings', () => {
  it('are the defaults when nothing is given', () => {
    const settings = settingsFromShell({}, {})
    expect(settings).toEqual(settingsFromCode({ engine: 'disk' }))
    expect(settings).toMatchObject({
      ports: [5000],
      hosts: [],
      users: '',
      engine: 'disk',
      data: './partyline-data',
      limits: DEFAULT_LIMITS,
    })
  })

  it('of a program of its own write nothing to the disk unless it says so', () => {
    expect(settingsFromCode({}).engine).toBe('memory')
    expect(settingsFromCode({ data: 'here' })).toMatchObject({ engine: 'disk', data: 'here' })
    expect(settingsFromCode({ engine: 'memory', data: 'here' }).engine).toBe('memory')
  })

  it('come from flags before the environment before the default', () => {
    const env = { PARTYLINE_PORT: '6000,6001', PARTYLINE_LIMIT_PACKET: '1MiB', PARTYLINE_HOST: '' }
    expect(settingsFromShell({}, env)).toMatchObject({
      ports: [6000, 6001],
      hosts: [],
      limits: { packetBytes: 1024 * 1024 },
    })
    const flags = { port: ['7000'], 'limit-packet': '2M', 'deny-subscribe': ['a/b', 'c,d'] }
    expect(settingsFromShell(flags, env)).toMatchObject({
      ports: [7000],
      denySubscribe: ['a/b', 'c', 'd'],
      limits: { packetBytes: 2 * 1024 * 1024 },
    })
  })

  it('take times and sizes with units', () => {
    const limits = { 'limit-idle': '15m', 'limit-session-expiry': '7d', 'limit-line': '128 KiB' }
    expect(settingsFromShell(limits, {}).limits).toMatchObject({
      idleTimeout: 900,
      sessionExpiryMaximum: 7 * 86_400,
      lineBytes: 131_072,
    })
    const packet = OPTIONS.find((o) => o.key === 'limits.packetBytes')!
    expect([amount(packet, 4 * 1024 * 1024), amount(packet, 1500)]).toEqual(['4MiB', '1500'])
  })

  it('name an engine, or the NATS servers of a cluster', () => {
    const engine = 'nats://a:4222, tls://b:4222'
    expect(settingsFromShell({ engine }, {}).engine).toBe('nats://a:4222,tls://b:4222')
    expect(settingsFromShell({ engine: 'disk' }, {}).engine).toBe('disk')
    for (const wrong of ['disc', 'disk,memory', 'nats://', 'nats://a,b', 'http://a']) {
      expect(() => settingsFromShell({ engine: wrong }, {})).toThrow(
        /^--engine is one of memory, disk, nats:/,
      )
    }
  })

  it.each([
    ['data', 'here', 'memory', 'the disk engine, and means nothing with the memory engine; leave'],
    [
      'data',
      'here',
      'nats://a',
      'the disk engine, and means nothing with a cluster (--engine nats',
    ],
    ['replicas', '3', 'disk', 'a cluster (--engine nats://HOST:PORT,…), and means nothing with'],
    ['nats-user', 'ann', 'memory', 'a cluster (--engine nats://HOST:PORT,…), and means nothing'],
    [
      'log-bytes',
      '1GiB',
      'memory',
      'the disk engine and a cluster (--engine nats://HOST:PORT,…), and',
    ],
    ['limit-memory', '1GiB', 'disk', 'the memory engine, and means nothing with the disk engine'],
  ])(
    'refuse a flag that the engine has no use for: --%s %s --engine %s',
    (flag, value, engine, message) => {
      const { message: said } = errorOf(() => settingsFromShell({ [flag]: value, engine }, {}))
      expect(said).toContain(`--${flag} is for ${message}`)
      // A variable may be there for other starts, as in an image.
      const { env } = OPTIONS.find((o) => o.flag === flag)!
      expect(settingsFromShell({ engine }, { [env]: value }).engine).toBe(engine)
    },
  )

  it('take origins and names as they are meant', () => {
    const allowed = ['*', 'null', 'https://example.org', 'http://a:8080/', 'chrome-extension://abc']
    expect(settingsFromCode({ allowOrigins: allowed }).allowOrigins).toEqual(allowed)
    expect(settingsFromCode({ allowHosts: ['a.example'] }).allowHosts).toEqual(['a.example'])
  })

  it('say how addresses of NATS servers are written, and never a password', () => {
    for (const wrong of [
      'localhost:4222',
      'a:4222,b:4222',
      'nats://a:x',
      'nats://a,b',
      'http://a',
    ]) {
      const { message } = errorOf(() => settingsFromShell({ engine: wrong }, {}))
      expect(message, wrong).toMatch(/; try --engine nats:\/\/localhost:4222$/)
    }
    const { message } = errorOf(() => settingsFromShell({ engine: 'nats://ann:secret@a:x' }, {}))
    expect(message).not.toMatch(/secret/)
  })

  it('may be partial in code, down to a single limit', () => {
    const settings = settingsFromCode({ ports: [0], limits: { lineBytes: 100 } })
    expect(settings.ports).toEqual([0])
    expect(settings.limits).toEqual({ ...DEFAULT_LIMITS, lineBytes: 100 })
  })

  it.each([
    [
      { port: ['http'] },
      'ports',
      '"http" is no port; ports go from 1 to 65535, and 0 takes a free one; try 5000',
    ],
    [{ port: ['65536'] }, 'ports', '"65536" is no port'],
    [{ 'limit-packet': '12' }, 'limits.packetBytes', '--limit-packet is a size'],
    [{ 'limit-packet': '4 apples' }, 'limits.packetBytes', 'try --limit-packet 4MiB'],
    [{ 'limit-packet': '-1' }, 'limits.packetBytes', 'from 128 to 268435455'],
    [{ 'limit-packet': '1e3' }, 'limits.packetBytes', 'not "1e3"'],
    [{ 'log-level': 'loud' }, 'logLevel', '--log-level is one of fatal, error'],
    [{ 'deny-subscribe': ['a/#/b'] }, 'denySubscribe', '--deny-subscribe a/#/b: "#" must be'],
    [{ host: [' '] }, 'hosts', '--host wants a text'],
    [{ 'allow-origin': ['example.org'] }, 'allowOrigins', 'as browsers do, https://example.org'],
    [{ 'allow-origin': ['https://a/b'] }, 'allowOrigins', '--allow-origin https://a/b: an origin'],
    [{ 'allow-host': ['https://a'] }, 'allowHosts', '--allow-host https://a: a name is wanted'],
    [{ 'allow-host': ['a:5000'] }, 'allowHosts', 'without scheme and port'],
  ])('are refused by the name they were given under: %j', (flags, key, message) => {
    const error = errorOf(() => settingsFromShell(flags, {}))
    expect(error.key).toBe(key)
    expect(error.message).toContain(message)
  })

  it('are refused by the name of their variable or option too', () => {
    expect(errorOf(() => settingsFromShell({}, { PARTYLINE_LIMIT_IDLE: '5' })).message).toBe(
      'PARTYLINE_LIMIT_IDLE is a time (90, 90s, 15m, 30d) from 5m to 365d, not "5"; try PARTYLINE_LIMIT_IDLE=10m',
    )
    expect(
      errorOf(() => settingsFromShell({}, { PARTYLINE_ALLOW_ANONYMOUS: 'perhaps' })).message,
    ).toContain('PARTYLINE_ALLOW_ANONYMOUS is yes or no')
    expect(errorOf(() => settingsFromCode({ limits: { lineBytes: 1 } })).message).toContain(
      'limits.lineBytes is a size',
    )
    const typo = { limits: { lineByte: 1 } } as object
    expect(errorOf(() => settingsFromCode(typo)).message).toContain('limits.lineByte is no option')
  })

  it.each(['0.0.0.0', '::', '192.168.1.4', 'example.org'])(
    'do not open %s to everybody',
    (host) => {
      const error = errorOf(() => settingsFromShell({ host: [host] }, {}))
      expect(error.key).toBe('hosts')
      expect(error.message).toMatch(/--users FILE .*--allow-anonymous/)
      for (const way of [{ users: 'users.txt' }, { 'allow-anonymous': true }]) {
        expect(settingsFromShell({ host: [host], ...way }, {}).hosts).toEqual([host])
      }
    },
  )

  it.each(['127.0.0.1', '127.1.2.3', '::1', 'localhost'])('let %s be open', (host) => {
    expect(settingsFromShell({ host: [host] }, {}).hosts).toEqual([host])
  })

  it('know a misspelt variable', () => {
    expect(unknownVariables({ PARTYLINE_PROT: '1', PARTYLINE_PORT: '1', PATH: '' })).toEqual([
      'PARTYLINE_PROT',
    ])
  })
})
