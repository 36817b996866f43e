// How many connections, how long they may keep quiet, and what becomes of those that stopped half-way: each test
// that waits for a real second does so beside the others.
import { createConnection, type Socket } from 'node:net'
import { afterAll, describe, it } from 'vitest'
import type { Limits } from '../../src/core/limits.ts'
import { openLine, openRole } from '../support/line-client.ts'
import { type Guest, join } from '../support/mqtt-js.ts'
import { dial } from '../support/raw-client.ts'
import { enter, startServer, subscribed, type TestServer, until } from '../support/server.ts'

const servers: TestServer[] = []

afterAll(() => Promise.all(servers.map((server) => server.stop())))

async function serverWith(
  limits: Partial<Limits>,
  beyond: Partial<Limits> = {},
): Promise<TestServer> {
  const server = await startServer({ limits }, beyond)
  servers.push(server)
  return server
}

/** A bare socket, open, and what it has heard when the server is done with it. */
async function open(
  server: TestServer,
  allowHalfOpen = false,
): Promise<{ socket: Socket; ended: Promise<string> }> {
  const socket = createConnection({ host: server.host, port: server.port, allowHalfOpen })
  let heard = ''
  socket.setEncoding('latin1').on('data', (text: string) => {
    heard += text
  })
  const ended = new Promise<string>((resolve) => {
    socket.on('end', () => resolve(heard))
    socket.on('error', () => resolve(heard))
    socket.on('close', () => resolve(heard))
  })
  await new Promise<void>((resolve) => socket.once('connect', resolve))
  return { socket, ended }
}

const bounds = [['connections'], ['connectionsPerAddress']] as const

describe.concurrent('a bound on connections', () => {
  it.for(bounds)('%s: who comes beyond is refused', async ([bound], { expect }) => {
    const server = await serverWith({ [bound]: 2 })
    const [reader, writer] = await Promise.all([join(server), join(server)])
    const third = await open(server)
    expect(await third.ended).toBe('')
    expect(server.broker.counters.connectionsRefused).toBe(1)
    expect(server.broker.counters.connectionsOpen).toBe(2)
    await reader.client.subscribeAsync('x', { qos: 1 })
    await writer.client.publishAsync('x', 'unharmed', { qos: 1 })
    expect(await reader.inbox.text()).toBe('unharmed')
    await writer.leave()
    await until(() => server.broker.counters.connectionsOpen === 1)
    const next = await join(server)
    await Promise.all([reader.leave(), next.leave()])
  })
})

describe.concurrent('time to say who one is', () => {
  const beginnings: [string, Buffer][] = [
    ['one byte of a CONNECT', Buffer.from([0x10])],
    ['a CONNECT without its end', Buffer.from([0x10, 0x20, 0, 4, 0x4d, 0x51])],
    ['an HTTP request without its end', Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n')],
  ]

  it.for(beginnings)('connectTimeout: %s', async ([, bytes], { expect }) => {
    const server = await serverWith({ connectTimeout: 1 })
    const { socket, ended } = await open(server)
    const start = performance.now()
    socket.write(bytes)
    await ended
    expect(performance.now() - start).toBeGreaterThan(900)
    await until(() => server.broker.counters.connectionsOpen === 0)
    if (bytes[0] === 0x10) expect(server.broker.counters.limitsReached).toBe(1)
  })

  it('connectTimeout: a WebSocket without CONNECT', async ({ expect }) => {
    const server = await serverWith({ connectTimeout: 1 })
    const client = await dial(server, { version: 5, websocket: '/mqtt' })
    await client.closed(4_000)
    expect(server.broker.counters.limitsReached).toBe(1)
  })

  it('does not run for a person at a prompt', async ({ expect }) => {
    const server = await serverWith({ connectTimeout: 1 })
    const [silent, speaking] = [await openLine(server), await openLine(server)]
    speaking.says('hello?')
    await speaking.hearsThat('OK received')
    await new Promise((resolve) => setTimeout(resolve, 1_800))
    silent.says('WHO')
    expect(await silent.hears()).toMatch(/^- /)
    speaking.says('HELP')
    await speaking.hearsThat('- ')
    silent.drop()
    speaking.drop()
  })

  it('idleTimeout: a silent connection and one without a role, but no subscriber', async ({
    expect,
  }) => {
    const server = await serverWith({}, { idleTimeout: 1 })
    const subscriber = await openRole(server, 'SUBSCRIBER x')
    const [silent, roleless] = [await open(server), await openLine(server)]
    roleless.says('hello?')
    await silent.ended
    await roleless.closed()
    expect(server.broker.counters.limitsReached).toBe(2)
    const publisher = await openRole(server, 'PUB x still here')
    expect(await subscriber.hears()).toBe('[x] still here')
    publisher.drop()
    subscriber.drop()
  })
})

describe.concurrent('who left half-way', () => {
  it('a client that closes its side without DISCONNECT is lost, and its will is published', async ({
    expect,
  }) => {
    const server = await serverWith({})
    const witness = await join(server)
    await witness.client.subscribeAsync('will', { qos: 1 })
    const will = { topic: 'will', payload: Buffer.from('gone'), qos: 1 as const, retain: false }
    const { client } = await enter(server, { clientId: 'half', will })
    client.end()
    await client.closed()
    expect(await witness.inbox.text()).toBe('gone')
    await witness.leave()
  })

  it('a client that closes its side after DISCONNECT still hears everything', async ({
    expect,
  }) => {
    const server = await serverWith({})
    const { client } = await enter(server, { clientId: 'polite' })
    for (let i = 0; i < 100; i++) client.publish('x', 'x', { qos: 1 })
    client.disconnect()
    client.end()
    const said = await client.closed()
    expect(said.every(({ cmd }) => cmd === 'puback')).toBe(true)
    await until(() => server.broker.counters.connectionsOpen === 0)
  })

  it('a WebSocket that was refused is let go, whatever else it has sent', async ({ expect }) => {
    const server = await serverWith({})
    const { socket, ended } = await open(server, true)
    const upgrade = [
      'GET / HTTP/1.1',
      'Host: localhost',
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
      'Sec-WebSocket-Protocol: chat',
    ]
    socket.write(`${upgrade.join('\r\n')}\r\n\r\n`)
    socket.write(Buffer.alloc(20_000))
    expect(await ended).toMatch(/^HTTP\/1.1 400 .*subprotocol mqtt/s)
    await until(() => server.broker.counters.connectionsOpen === 0)
    socket.destroy()
  })

  it('100 KiB sent right behind CONNECT are not lost', async ({ expect }) => {
    const server = await serverWith({})
    const reader = await join(server)
    await reader.client.subscribeAsync('early', { qos: 1 })
    for (const options of [{ version: 5 }, { version: 5, websocket: '/' }] as const) {
      const client = await dial(server, options)
      const packets = [
        client.encode({
          cmd: 'connect',
          protocolId: 'MQTT',
          protocolVersion: 5,
          clean: true,
          keepalive: 0,
          clientId: 'early',
        }),
        ...Array.from({ length: 400 }, (_, i) =>
          client.encode({
            cmd: 'publish',
            topic: 'early',
            payload: Buffer.alloc(256, i),
            qos: 1,
            messageId: i + 1,
            dup: false,
            retain: false,
          }),
        ),
      ]
      client.sends(...packets)
      await client.hears('connack', { reasonCode: 0 })
      expect(await reader.inbox.take(400)).toHaveLength(400)
      client.drop()
    }
    await reader.leave()
  })
})

describe.concurrent('a reader that takes nothing', () => {
  /** Publishes until the server has more for somebody than the kernel takes, and a bit. */
  async function flood(writer: Guest): Promise<void> {
    for (let i = 0; i < 200; i++) {
      await writer.client.publishAsync('flood', Buffer.alloc(256 * 1024))
    }
  }

  it.for([
    ['TCP', {}],
    ['WebSocket', { websocket: '/mqtt' }],
  ] as const)(
    'stallTimeout: is closed over %s, and nobody else',
    async ([, options], { expect }) => {
      const server = await serverWith({ stallTimeout: 1, queueBytes: 1024 * 1024 })
      const [witness, writer] = await Promise.all([join(server), join(server)])
      await witness.client.subscribeAsync('witness', { qos: 1 })
      const { client } = await enter(server, { clientId: 'stuck' }, { version: 5, ...options })
      await subscribed(client, 'flood')
      client.pause()
      await flood(writer)
      await until(() => server.broker.counters.stalledClosed === 1)
      expect(server.broker.counters.droppedSlow).toBeGreaterThan(0)
      await until(() => server.broker.sessions.get('stuck') === null)
      await writer.client.publishAsync('witness', 'unharmed', { qos: 1 })
      expect(await witness.inbox.text()).toBe('unharmed')
      client.drop()
      await Promise.all([witness.leave(), writer.leave()])
    },
  )

  it.for([
    ['TCP', {}],
    ['WebSocket', { websocket: '/mqtt' }],
  ] as const)('is not closed over %s while it makes progress', async ([, options], { expect }) => {
    const server = await serverWith({ stallTimeout: 1, packetBytes: 32 * 1024 * 1024 })
    const writer = await join(server)
    const { client } = await enter(
      server,
      { clientId: 'slow' },
      { version: 5, deadline: 15_000, ...options },
    )
    await subscribed(client, 'large')
    const payload = Buffer.alloc(24 * 1024 * 1024, 'x')
    // Far below a message a second, far above nothing.
    client.sips(10)
    await writer.client.publishAsync('large', payload)
    await new Promise((resolve) => setTimeout(resolve, 2_300))
    expect(client.pending.length).toBe(0)
    client.resume()
    const { payload: heard } = await client.hears('publish')
    expect(heard.length).toBe(payload.length)
    expect(server.broker.counters.stalledClosed).toBe(0)
    client.drop()
    await writer.leave()
  })
})
