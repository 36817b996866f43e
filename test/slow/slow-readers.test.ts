// A reader that is behind is its own problem: QoS 0 beyond its queue is dropped and counted, QoS 1 and 2 wait in the
// log, retained messages are paced, and everybody else gets everything at once.
import { describe, expect, it } from 'vitest'
import { join } from '../support/mqtt-js.ts'
import type { RawClient } from '../support/raw-client.ts'
import { enter, serverForTests, startServer, subscribed, until } from '../support/server.ts'

const server = serverForTests({ limits: { queueBytes: 256 * 1024, tailBytes: 4 * 1024 * 1024 } })
const MESSAGES = 300
/** More than loopback holds between two sockets of which one is not read. */
const payload = (i: number): Buffer => Buffer.alloc(64 * 1024, i % 251)

const doors = [
  ['TCP', {}],
  ['WebSocket', { websocket: '/mqtt' }],
] as const

interface Stuck {
  readonly qos: 0 | 1 | 2
  readonly websocket?: string
  /** Seconds the session may outlive the connection. */
  readonly sessionExpiryInterval?: number
}

async function stuckReader(clientId: string, filter: string, stuck: Stuck): Promise<RawClient> {
  const { qos, sessionExpiryInterval = 0, ...door } = stuck
  const { client } = await enter(
    server(),
    { clientId, properties: { sessionExpiryInterval } },
    { version: 5, deadline: 10_000, ...door },
  )
  await subscribed(client, filter, { qos })
  client.pause()
  return client
}

async function fastReader(filter: string, qos: 0 | 1 | 2) {
  const guest = await join(server())
  await guest.client.subscribeAsync(filter, { qos })
  return guest
}

/** Reads until a message with this text, acknowledging; the sizes of those before it. */
async function readTo(client: RawClient, last: string): Promise<Buffer[]> {
  const seen: Buffer[] = []
  for (;;) {
    const { payload: heard } = await client.receives()
    if (heard.length === last.length && `${heard}` === last) return seen
    seen.push(Buffer.from(heard))
  }
}

describe.for(doors)('a reader over %s that does not read', ([name, options]) => {
  it('loses QoS 0, which is counted, and nobody else does', async () => {
    const topic = `slow/${name}`
    const slow = await stuckReader(`stuck-${name}`, topic, { qos: 0, ...options })
    const fast = await fastReader(topic, 0)
    const writer = await join(server())
    const before = server().broker.counters.droppedSlow
    for (let i = 0; i < MESSAGES; i++) {
      await writer.client.publishAsync(topic, payload(i))
      if (i % 20 === 0) await writer.client.publishAsync('pace', '', { qos: 1 })
    }
    const all = await fast.inbox.take(MESSAGES)
    expect(all.every((one, i) => one.payload.equals(payload(i)))).toBe(true)
    const dropped = server().broker.counters.droppedSlow - before
    expect(dropped).toBeGreaterThan(0)
    slow.resume()
    // Once it reads again it gets what is published from then on.
    await until(
      () => (server().broker.sessions.get(`stuck-${name}`)?.link?.congested ?? true) === false,
    )
    await writer.client.publishAsync(topic, 'the end')
    const seen = await readTo(slow, 'the end')
    expect(seen.length).toBe(MESSAGES - dropped)
    slow.drop()
    await Promise.all([fast.leave(), writer.leave()])
  })

  it.for([1, 2] as const)('loses nothing of QoS %i in a session that lasts', async (qos) => {
    const topic = `patient/${name}/${qos}`
    const slow = await stuckReader(`patient-${name}-${qos}`, topic, {
      qos,
      sessionExpiryInterval: 60,
      ...options,
    })
    const fast = await fastReader(topic, qos)
    const writer = await join(server())
    for (let i = 0; i < MESSAGES / 2; i++) {
      await writer.client.publishAsync(topic, payload(i), { qos })
    }
    expect(await fast.inbox.take(MESSAGES / 2)).toHaveLength(MESSAGES / 2)
    // Meanwhile no more waits for it than its queue and what the kernel was given.
    slow.resume()
    await writer.client.publishAsync(topic, 'the end', { qos })
    const seen = await readTo(slow, 'the end')
    expect(seen.map((one, i) => one.equals(payload(i)))).toEqual(seen.map(() => true))
    expect(seen.length).toBe(MESSAGES / 2)
    slow.drop()
    await Promise.all([fast.leave(), writer.leave()])
  })
})

it('tailBytes: a session that ends with its connection loses what memory has forgotten, counted', async () => {
  const slow = await stuckReader('fleeting', 'fleeting', { qos: 1 })
  const writer = await join(server())
  const before = server().broker.counters.droppedOverrun
  for (let i = 0; i < MESSAGES; i++) {
    await writer.client.publishAsync('fleeting', payload(i), { qos: 1 })
  }
  slow.resume()
  await writer.client.publishAsync('fleeting', 'the end', { qos: 1 })
  const seen = (await readTo(slow, 'the end')).map(([first]) => first)
  expect(seen.length).toBeLessThan(MESSAGES)
  expect(seen.at(-1)).toBe((MESSAGES - 1) % 251)
  expect(server().broker.counters.droppedOverrun).toBeGreaterThan(before)
  slow.drop()
  await writer.leave()
})

describe('what the log holds for who is away', () => {
  it('memoryLogBytes: the slowest pays, and it is counted', async () => {
    const small = await startServer({
      limits: { memoryLogBytes: 1024 * 1024, tailBytes: 1024 * 1024 },
    })
    const lasting = { clean: false, properties: { sessionExpiryInterval: 60 } }
    const away = await join(small, { clientId: 'away', ...lasting })
    await away.client.subscribeAsync('log', { qos: 1 })
    await away.leave()
    const [writer, present] = [await join(small), await join(small)]
    await present.client.subscribeAsync('log', { qos: 1 })
    for (let i = 0; i < 100; i++) {
      await writer.client.publishAsync('log', Buffer.alloc(32 * 1024, i), { qos: 1 })
    }
    expect((await present.inbox.take(100)).map(({ payload: [first] }) => first)).toEqual(
      Array.from({ length: 100 }, (_, i) => i),
    )
    expect(small.broker.counters.sessionsEvicted).toBeGreaterThan(0)
    expect(small.broker.engine.bounds().bytes).toBeLessThanOrEqual(1024 * 1024)
    const back = await join(small, { clientId: 'away', ...lasting })
    const rest = await back.inbox.take(1)
    // The newest are there, in order and without a gap.
    await until(() => back.inbox.size > 10)
    const seen = [...rest, ...(await back.inbox.take(back.inbox.size))].map((one) => one.payload[0])
    expect(seen.at(-1)).toBe(99)
    expect(seen).toEqual(seen.map((_, i) => (seen[0] as number) + i))
    await Promise.all([writer.leave(), present.leave(), back.leave()])
    await small.stop()
  })

  it('memoryLogBytes: makes room for large messages too', async () => {
    const small = await startServer({ limits: { memoryLogBytes: 1024 * 1024 } })
    const lasting = { clientId: 'away', properties: { sessionExpiryInterval: 60 } }
    const away = await join(small, { ...lasting, clean: false })
    await away.client.subscribeAsync('log', { qos: 1 })
    await away.leave()
    const { client } = await enter(small, { clientId: 'large' })
    for (let i = 0; i < 10; i++) {
      client.publish('log', Buffer.alloc(400 * 1024, i), { qos: 1 })
      await client.hears('puback', { reasonCode: 0 })
    }
    const back = await join(small, { ...lasting, clean: false })
    const newest = await back.inbox.next()
    expect(newest.payload[0]).toBeGreaterThan(6)
    client.drop()
    await back.leave()
    await small.stop()
  })

  it('memoryLogBytes: a message larger than the log is refused, and that is counted', async () => {
    const small = await startServer({ limits: { memoryLogBytes: 1024 * 1024 } })
    const { client: away } = await enter(small, {
      clientId: 'away',
      properties: { sessionExpiryInterval: 60 },
    })
    await subscribed(away, 'log', { qos: 1 })
    away.drop()
    const { client } = await enter(small, { clientId: 'large' })
    client.publish('log', Buffer.alloc(2 * 1024 * 1024), { qos: 1 })
    const { reasonCode } = await client.hears('puback')
    expect([0x95, 0x97]).toContain(reasonCode)
    expect(small.broker.counters.refusedFull).toBe(1)
    client.publish('log', 'small', { qos: 1 })
    await client.hears('puback', { reasonCode: 0 })
    client.drop()
    await small.stop()
  })
})

describe('a publisher faster than its messages can be stored', () => {
  it('intakeBytesPerLink: is not read for a while, counted, and loses nothing', async () => {
    const small = await startServer({ limits: { intakeBytesPerLink: 1024 } })
    const reader = await join(small)
    await reader.client.subscribeAsync('in', { qos: 1 })
    const { client } = await enter(small, { clientId: 'eager' })
    for (let i = 0; i < 500; i++) client.publish('in', `${i}`.padEnd(300), { qos: 1 })
    for (let i = 0; i < 500; i++) await client.hears('puback', { messageId: i + 1, reasonCode: 0 })
    const texts = (await reader.inbox.take(500)).map(({ payload: text }) => Number(`${text}`))
    expect(texts).toEqual(texts.map((_, i) => i))
    expect(small.broker.counters.linksPaused).toBeGreaterThan(0)
    client.drop()
    await reader.leave()
    await small.stop()
  })
})

describe('retained messages for a new subscription', () => {
  it.for([0, 1, 2] as const)('more than the queue holds all arrive at QoS %i', async (qos) => {
    const writer = await join(server())
    const count = 400
    for (let i = 0; i < count; i++) {
      await writer.client.publishAsync(`paced/${qos}/${i}`, Buffer.alloc(4096, 'x'), {
        qos,
        retain: true,
      })
    }
    await writer.client.publishAsync(`paced/${qos}/large`, Buffer.alloc(2 * 1024 * 1024), {
      qos: 1,
      retain: true,
    })
    const { client } = await enter(
      server(),
      { clientId: `paced-${qos}`, properties: { receiveMaximum: 20 } },
      { version: 5, deadline: 10_000 },
    )
    client.sips(2)
    client.subscribe(`paced/${qos}/#`, { qos })
    await client.hears('suback')
    const topics = new Set<string>()
    for (let i = 0; i <= count; i++) topics.add((await client.receives({ retain: true })).topic)
    expect(topics.size).toBe(count + 1)
    client.drop()
    await writer.leave()
  })
})
