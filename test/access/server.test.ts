// Users, rules, certificates and proxies on a whole server, as clients of every door meet them.

import { scryptSync } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect as connectTcp } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connectAsync, type IClientOptions, type MqttClient } from 'mqtt'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { SILENT } from '../../src/core/activity.ts'
import { type PartialSettings, settingsFromCode } from '../../src/server/config.ts'
import { Server } from '../../src/server/server.ts'
import { until } from '../net/wire.contract.ts'

const folder = mkdtempSync(join(tmpdir(), 'partyline-doors-'))
const users = join(folder, 'users.txt')
afterAll(() => rmSync(folder, { recursive: true }))

const line = (name: string, password: string): string => {
  const key = scryptSync(password, 'salt', 16, { cost: 2, blockSize: 1, parallelization: 1 })
  const plain = (bytes: Buffer) => bytes.toString('base64').replaceAll('=', '')
  return `user ${name} $scrypt$ln=1,r=1,p=1$${plain(Buffer.from('salt'))}$${plain(key)}\n`
}

const clients: MqttClient[] = []
let server: Server | null = null
let notes: string[] = []
afterEach(async () => {
  for (const client of clients.splice(0)) client.end(true)
  await server?.stop()
})

async function open(settings: PartialSettings): Promise<number> {
  notes = []
  const note = (sentence: string): void => {
    notes.push(sentence)
  }
  server = new Server({
    settings: settingsFromCode({ ports: [0], hosts: ['127.0.0.1'], sysInterval: 0, ...settings }),
    notes: { info: note, warn: note, error: note },
    activity: SILENT,
    failed: note,
  })
  await server.start()
  return server.addresses[0]?.port ?? 0
}

async function enter(url: string, options: IClientOptions = {}): Promise<MqttClient> {
  const client = await connectAsync(url, { reconnectPeriod: 0, protocolVersion: 5, ...options })
  clients.push(client)
  return client
}

const alice = { username: 'alice', password: 'wonder' }

describe('users', () => {
  test('the right password opens MQTT over TCP and WebSocket, a wrong one gets its reason', async () => {
    writeFileSync(users, line('alice', 'wonder'))
    const port = await open({ users })
    for (const url of [`mqtt://127.0.0.1:${port}`, `ws://127.0.0.1:${port}`]) {
      expect((await enter(url, alice)).connected).toBe(true)
      await expect(enter(url, { username: 'alice', password: 'x' })).rejects.toMatchObject({
        code: 0x86,
      })
      await expect(enter(url)).rejects.toMatchObject({ code: 0x86 })
      await expect(
        enter(url, { username: 'alice', password: 'x', protocolVersion: 4 }),
      ).rejects.toMatchObject({ code: 4 })
    }
    expect(server?.broker.counters.authenticationsFailed).toBe(6)
  })

  test('rules decide about subscriptions and publishes', async () => {
    writeFileSync(users, `${line('alice', 'wonder')}both home/%u/#\nsubscribe news\n`)
    const port = await open({ users })
    const client = await enter(`mqtt://127.0.0.1:${port}`, alice)
    const granted = await client.subscribeAsync(['home/alice/#', 'news'], { qos: 1 })
    expect(granted.map(({ qos }) => qos)).toEqual([1, 1])
    await expect(client.subscribeAsync('home/#')).rejects.toThrow()
    await expect(client.publishAsync('news', 'x', { qos: 1 })).rejects.toMatchObject({ code: 0x87 })
    await client.publishAsync('home/alice/x', 'x', { qos: 1 })
    expect(server?.broker.counters.publishesDenied).toBe(1)
  })

  test('a reload closes who must go, and judges the others by the new rules', async () => {
    writeFileSync(users, line('alice', 'wonder') + line('bob', 'builder') + line('carol', 'c'))
    const port = await open({ users })
    const url = `mqtt://127.0.0.1:${port}`
    const [first, second, third] = [
      await enter(url, alice),
      await enter(url, { username: 'bob', password: 'builder' }),
      await enter(url, { username: 'carol', password: 'c' }),
    ]
    const heard: string[] = []
    first.on('message', (topic) => heard.push(topic))
    await first.subscribeAsync(['news', 'secret'])
    const gone = new Set<string>()
    for (const [name, client] of Object.entries({ first, second, third })) {
      client.on('close', () => gone.add(name))
    }
    writeFileSync(users, `${line('alice', 'wonder')}both news\n${line('bob', 'another')}`)
    await server?.reload()
    await until(() => gone.size === 2, 'two to be gone')
    expect([...gone].sort()).toEqual(['second', 'third'])
    expect(notes.at(-1)).toBe('read the users file again (users: 2, connections closed: 2)')
    const bob = await enter(url, { username: 'bob', password: 'another' })
    await bob.publishAsync('secret', 'x', { qos: 1 })
    await bob.publishAsync('news', 'x', { qos: 1 })
    await until(() => heard.length > 0, 'news')
    expect(heard).toEqual(['news'])
    await expect(first.publishAsync('secret', 'x', { qos: 1 })).rejects.toMatchObject({
      code: 0x87,
    })
  })

  test('HTTP asks for the same name and password', async () => {
    writeFileSync(users, `${line('alice', 'wonder')}publish a\n`)
    const port = await open({ users })
    const post = (topic: string, credentials: string) =>
      fetch(`http://127.0.0.1:${port}/topics/${topic}`, {
        method: 'POST',
        body: 'x',
        headers: { Authorization: `Basic ${btoa(credentials)}` },
      })
    expect((await post('a', 'alice:wonder')).status).toBe(200)
    expect((await post('b', 'alice:wonder')).status).toBe(403)
    expect((await post('a', 'alice:x')).status).toBe(401)
  })
})

describe('wills', () => {
  const leave = async (port: number, topic: string, options: IClientOptions = {}) => {
    const client = await enter(`mqtt://127.0.0.1:${port}`, {
      ...options,
      will: { topic, payload: Buffer.from('lost'), qos: 1, retain: true },
    })
    client.stream.destroy()
    await until(() => (server?.broker.sessions.size ?? 0) === 0, 'the client to be gone')
  }

  test('are bound by the rules of who left them', async () => {
    writeFileSync(users, `${line('alice', 'wonder')}publish home/#\n`)
    const port = await open({ users })
    await leave(port, 'home/lamp', alice)
    await leave(port, 'news', alice)
    const { retained, counters } = (server as Server).broker
    expect(retained.get('home/lamp')?.message.payload.toString()).toBe('lost')
    expect(retained.get('news')).toBeNull()
    expect([counters.willsPublished, counters.publishesDenied]).toEqual([1, 1])
  })

  test("cannot write the server's own topics", async () => {
    const port = await open({})
    await leave(port, '$SYS/broker/version')
    expect(server?.broker.retained.get('$SYS/broker/version')).toBeNull()
    expect(server?.broker.counters.willsPublished).toBe(0)
  })
})

describe('without users', () => {
  test('credentials are taken, and that is noted once', async () => {
    const port = await open({})
    await enter(`mqtt://127.0.0.1:${port}`, alice)
    await enter(`mqtt://127.0.0.1:${port}`, alice)
    expect(notes.filter((note) => note.includes('--users'))).toHaveLength(1)
  })

  test('a filter may be refused to everybody', async () => {
    const port = await open({ denySubscribe: ['test/nosubscribe'] })
    const client = await enter(`mqtt://127.0.0.1:${port}`, { protocolVersion: 4 })
    const granted = await client.subscribeAsync(['test/yes', 'test/#'])
    expect(granted).toHaveLength(2)
    await expect(client.subscribeAsync('test/nosubscribe')).rejects.toThrow()
  })

  test('the server tells about itself', async () => {
    const port = await open({ sysInterval: 10 })
    const client = await enter(`mqtt://127.0.0.1:${port}`)
    const heard = new Map<string, string>()
    client.on('message', (topic, payload) => heard.set(topic, payload.toString()))
    await client.subscribeAsync('$SYS/#')
    await until(() => heard.has('$SYS/broker/version'), 'the version')
    expect(heard.get('$SYS/broker/version')).toMatch(/^partyline \d/)
    expect(heard.get('$SYS/broker/uptime')).toBe('0 seconds')
  })
})

describe('TLS on the same port', () => {
  const certificate = (name: string) => join(import.meta.dirname, '../server/certificates', name)
  const tls = { tlsCert: certificate('first.cert.pem'), tlsKey: certificate('first.key.pem') }

  test('MQTT, WebSocket and HTTP, beside the plain ones', async () => {
    const port = await open(tls)
    const heard: string[] = []
    for (const protocol of ['mqtt', 'mqtts', 'ws', 'wss']) {
      const client = await enter(`${protocol}://127.0.0.1:${port}`, { rejectUnauthorized: false })
      client.on('message', (_topic, payload) => heard.push(`${protocol} ${payload}`))
      await client.subscribeAsync('a')
    }
    await clients[1]?.publishAsync('a', 'x', { qos: 1 })
    await until(() => heard.length === 4, 'all four')
    expect(heard.sort()).toEqual(['mqtt x', 'mqtts x', 'ws x', 'wss x'])
  })

  test('one file alone is refused', () => {
    return expect(open({ tlsCert: tls.tlsCert })).rejects.toThrow(/--tls-cert FILE --tls-key FILE/)
  })
})

test('a trusted proxy says who is calling, and the throttle believes it', async () => {
  writeFileSync(users, line('alice', 'wonder'))
  const port = await open({ users, trustProxy: ['127.0.0.1'] })
  const dial = (password: string) =>
    enter(`mqtt://127.0.0.1:${port}`, { username: 'alice', password }).then(
      () => 0,
      (error: { code: number }) => error.code,
    )
  for (let guess = 0; guess < 10; guess++) await dial(`${guess}`)
  expect(await dial('wonder')).toBe(0x89)
  // The same from somebody else behind the proxy: CONNECT by hand, after the header.
  const socket = connectTcp(port, '127.0.0.1')
  const answer = new Promise<Buffer>((resolve) => socket.once('data', resolve))
  const text = (value: string) =>
    Buffer.concat([Buffer.from([0, value.length]), Buffer.from(value)])
  const body = Buffer.concat([
    text('MQTT'),
    Buffer.from([4, 0xc2, 0, 60]),
    text('x'),
    text('alice'),
    text('wonder'),
  ])
  socket.write('PROXY TCP4 192.0.2.7 10.0.0.1 50000 5000\r\n')
  socket.write(Buffer.concat([Buffer.from([0x10, body.length]), body]))
  expect((await answer).toString('hex')).toBe('20020000')
  socket.destroy()
})
