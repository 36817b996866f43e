// Two brokers over three NATS servers, as clients meet them: any node will do, and a session is
// where its client is.

import { afterAll, beforeAll, expect, test } from 'vitest'
import { ClusterProcess } from '../support/cluster-process.ts'
import { join } from '../support/mqtt-js.ts'
import { NatsCluster } from '../support/nats.ts'
import { until } from '../support/nats-nodes.ts'
import { describeWith } from '../support/programs.ts'
import { dial } from '../support/raw-client.ts'
import { startServer, type TestServer } from '../support/server.ts'

describeWith(['nats-server'], 'cluster', (programs) => {
  let nats: NatsCluster
  let engine: string
  let a: TestServer
  let b: TestServer

  beforeAll(async () => {
    nats = await NatsCluster.start(programs['nats-server'], 3)
    engine = nats.addresses.map((address) => `nats://${address}`).join(',')
    const natsMonitor = nats.servers.map(({ monitor }) => monitor)
    a = await startServer({ engine, natsMonitor, natsName: 'a' })
    b = await startServer({ engine, natsMonitor, natsName: 'b' })
  })

  afterAll(async () => {
    await a?.stop()
    await b?.stop()
    await nats.remove()
  })

  test('what is published on one node arrives on the other, in order', async () => {
    const reader = await join(b, { clientId: 'reader' })
    await reader.client.subscribeAsync('news/#', { qos: 1 })
    const writer = await join(a, { clientId: 'writer' })
    for (let n = 1; n <= 20; n++) {
      await writer.client.publishAsync('news/today', String(n), { qos: n % 2 === 0 ? 1 : 2 })
    }
    const arrived = await reader.inbox.take(20)
    expect(arrived.map(({ payload }) => Number(payload))).toEqual(
      Array.from({ length: 20 }, (_, n) => n + 1),
    )
    await reader.leave()
    await writer.leave()
  })

  test('retained messages are the same on every node', async () => {
    const writer = await join(a, { clientId: 'writer' })
    await writer.client.publishAsync('kept/1', 'stored', { qos: 1, retain: true })
    await writer.client.publishAsync('kept/0', 'quick', { qos: 0, retain: true })
    await until('b has both', () => b.broker.retained.count === 2)
    const reader = await join(b, { clientId: 'reader' })
    await reader.client.subscribeAsync('kept/+', { qos: 1 })
    const texts = (await reader.inbox.take(2)).map(({ payload }) => payload.toString())
    expect(texts.sort()).toEqual(['quick', 'stored'])
    await reader.leave()
    await writer.leave()
  })

  test('a client finds its session and what it missed on another node', async () => {
    const asked = { clientId: 'traveller', clean: false, properties: { sessionExpiryInterval: 60 } }
    const here = await join(a, asked)
    await here.client.subscribeAsync('mail/traveller', { qos: 1 })
    await here.leave()
    const writer = await join(a, { clientId: 'writer' })
    for (const text of ['1', '2', '3']) {
      await writer.client.publishAsync('mail/traveller', text, { qos: 1 })
    }
    const there = await join(b, asked)
    expect(there.connack.sessionPresent).toBe(true)
    const missed = (await there.inbox.take(3)).map(({ payload }) => payload.toString())
    expect(missed).toEqual(['1', '2', '3'])
    await writer.client.publishAsync('mail/traveller', '4', { qos: 1 })
    expect(await there.inbox.text()).toBe('4')
    await there.leave()
    await writer.leave()
  })

  test('a QoS 0 message for a shared group reaches one member, also where none is at its node', async () => {
    const members = [
      await join(b, { clientId: 'member-1' }),
      await join(b, { clientId: 'member-2' }),
    ]
    for (const { client } of members) await client.subscribeAsync('$share/crew/jobs', { qos: 0 })
    const writer = await join(a, { clientId: 'writer' })
    const topic = a.broker.topics.named('jobs')
    if (topic === null) throw new Error('no topic')
    await until('a knows of them', () => !a.broker.router.audience(topic).empty)
    for (let n = 1; n <= 20; n++) await writer.client.publishAsync('jobs', String(n), { qos: 0 })
    const heard = (): number => members.reduce((sum, { inbox }) => sum + inbox.size, 0)
    await until('all arrived', () => heard() >= 20)
    const all = await Promise.all(members.map(({ inbox }) => inbox.take(inbox.size)))
    const numbers = all.flat().map(({ payload }) => Number(payload))
    expect(numbers.sort((x, y) => x - y)).toEqual(Array.from({ length: 20 }, (_, n) => n + 1))
    expect(all.every(({ length }) => length > 0)).toBe(true)
    for (const member of members) await member.leave()
    await writer.leave()
  })

  test('kill -9 of a node: its client goes on elsewhere at once, and its wills are published once', async () => {
    const node = await ClusterProcess.start('doomed', engine)
    const watcher = await join(a, { clientId: 'watcher' })
    await watcher.client.subscribeAsync('gone/#', { qos: 1 })
    const asked = { clientId: 'survivor', clean: false, properties: { sessionExpiryInterval: 60 } }
    const will = (of: string) => ({
      topic: `gone/${of}`,
      payload: Buffer.from('bye'),
      qos: 1 as const,
    })
    const survivor = await join(node.address, { ...asked, will: will('survivor') })
    await survivor.client.subscribeAsync('work', { qos: 1 })
    await join(node.address, { clientId: 'victim', will: will('victim') })
    const writer = await join(a, { clientId: 'writer' })
    const write = (n: number) => writer.client.publishAsync('work', String(n), { qos: 1 })
    for (let n = 1; n <= 5; n++) await write(n)
    await survivor.inbox.take(5)
    const began = performance.now()
    await node.kill()
    for (let n = 6; n <= 10; n++) await write(n)
    const back = await join(b, asked)
    expect(performance.now() - began).toBeLessThan(2_000)
    expect(back.connack.sessionPresent).toBe(true)
    await until('all is there', () => back.inbox.size >= 5)
    const texts = new Set((await back.inbox.take(back.inbox.size)).map((m) => Number(m.payload)))
    // What the dead node had not saved yet may come again.
    for (let n = 6; n <= 10; n++) expect(texts).toContain(n)
    const gone = await watcher.inbox.next(60_000)
    expect(gone.topic).toBe('gone/victim')
    // Nobody else's: the survivor's connection is new, and without a will.
    await write(11)
    await until('it goes on', () => back.inbox.size > 0)
    expect(watcher.inbox.size).toBe(0)
    await Promise.all([back.leave(), watcher.leave(), writer.leave()])
  })

  test('a node that wakes takes nobody back who asked it, left, and went elsewhere', async () => {
    const node = await ClusterProcess.start('sleepy', engine)
    const watcher = await join(a, { clientId: 'watcher' })
    await watcher.client.subscribeAsync('gone/#', { qos: 1 })
    const ids = Array.from({ length: 20 }, (_, n) => `fickle-${n}`)
    const willOf = (id: string) => ({
      topic: `gone/${id}`,
      payload: Buffer.from('bye'),
      qos: 1 as const,
    })
    node.pause()
    for (const id of ids) {
      const asked = await dial(node.address)
      asked.connect({ clientId: id, clean: false, will: { ...willOf(id), retain: false } })
      asked.end()
    }
    const guests = await Promise.all(
      ids.map((clientId) =>
        join(b, {
          clientId,
          clean: false,
          properties: { sessionExpiryInterval: 60 },
          will: willOf(clientId),
        }),
      ),
    )
    node.resume()
    const late = await join(node.address, { clientId: 'late' })
    await late.client.subscribeAsync('any', { qos: 1 })
    expect(guests.map(({ client }) => client.connected)).not.toContain(false)
    await Promise.all(guests.map(({ client }) => client.publishAsync('any', 'here', { qos: 1 })))
    await late.inbox.take(ids.length)
    expect(watcher.inbox.size).toBe(0)
    await Promise.all([...guests, late, watcher].map((guest) => guest.leave()))
    await node.kill()
  })
})
