// Two HAProxy with the configuration of deploy/ in front of two nodes: who comes through either is the
// same to everybody, and neither a balancer nor a node is missed when it goes.

import net from 'node:net'
import { connect, type IConnackPacket, type IDisconnectPacket } from 'mqtt'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { BrokerProcess } from '../support/broker-process.ts'
import { freePorts } from '../support/free-ports.ts'
import { HaproxyProcess } from '../support/haproxy-process.ts'
import { type Guest, join } from '../support/mqtt-js.ts'
import { NatsCluster } from '../support/nats.ts'
import { until } from '../support/nats-nodes.ts'
import { describeWith } from '../support/programs.ts'

/** What makes a client at home on any node. */
const STAYS = { clean: false, properties: { sessionExpiryInterval: 60 } }

describeWith(['nats-server', 'haproxy'], 'two HAProxy in front of two nodes', (programs) => {
  let nats: NatsCluster
  let a: BrokerProcess
  let b: BrokerProcess
  let first: HaproxyProcess
  let second: HaproxyProcess

  beforeAll(async () => {
    nats = await NatsCluster.start(programs['nats-server'], 1)
    const ports = await freePorts(6)
    const args = (name: string): string[] => [
      ...['--engine', `nats://${nats.addresses[0]}`, '--nats-name', name],
      ...['--trust-proxy', '127.0.0.1', '--drain', '4'],
    ]
    a = new BrokerProcess(ports[0]!, args('a'))
    b = new BrokerProcess(ports[1]!, args('b'))
    await Promise.all([a.start(), b.start()])
    const brokers = [a.address, b.address]
    first = new HaproxyProcess(programs.haproxy, ports[2]!, ports[3]!, brokers)
    second = new HaproxyProcess(programs.haproxy, ports[4]!, ports[5]!, brokers, '127.0.0.2')
    await Promise.all([first.start(), second.start()])
    await until('both know both', async () => {
      const known = [first.sendsTo(1), first.sendsTo(2), second.sendsTo(1), second.sendsTo(2)]
      return (await Promise.all(known)).every(Boolean)
    })
  })

  afterAll(async () => {
    await Promise.all([first?.kill(), second?.kill(), a?.kill(), b?.kill()])
    await nats?.remove()
  })

  test('who comes through either reaches everybody, on both nodes', async () => {
    const guests = await Promise.all(
      [first, second, first, second].map(({ address }) => join(address)),
    )
    expect(await a.clients()).toBeGreaterThan(0)
    expect(await b.clients()).toBeGreaterThan(0)
    for (const { client } of guests) await client.subscribeAsync('news', { qos: 1 })
    for (const [n, { client }] of guests.entries()) {
      await client.publishAsync('news', String(n), { qos: 1 })
    }
    for (const { inbox } of guests) {
      const texts = (await inbox.take(4)).map(({ payload }) => payload.toString())
      expect(texts.sort()).toEqual(['0', '1', '2', '3'])
    }
    await Promise.all(guests.map((guest) => guest.leave()))
  })

  test('the log names the client, not the balancer; who only pretends to be one is turned away', async () => {
    const caller = net.connect({ ...first.address, localAddress: '127.0.0.77' })
    caller.write('PUBLISHER SPORTS\n')
    await until('the log to say who it is', () => `${a.log}${b.log}`.includes('127.0.0.77:'))
    caller.end('terminate\n')

    const liar = net.connect({ ...a.address, localAddress: '127.0.0.9' })
    liar.resume()
    const gone = new Promise((resolve) => liar.once('close', resolve))
    liar.write('PROXY TCP4 192.0.2.7 192.0.2.1 50000 5000\r\nPUBLISHER SPORTS\n')
    await gone
    await until('the log to say so', () => a.log.includes('--trust-proxy 127.0.0.9'))
    expect(a.log).not.toContain('192.0.2.7')
  })

  test('a node that is told to go: nobody new, a reason for who is there, no will, sessions elsewhere', async () => {
    const watcher = await join(b.address)
    await watcher.client.subscribeAsync('wills/#', { qos: 1 })
    const asked = [1, 2, 3, 4].map((n) => ({
      ...STAYS,
      clientId: `stays-${n}`,
      will: { topic: `wills/${n}`, payload: Buffer.from('gone'), qos: 1 as const },
    }))
    const before = await a.clients()
    const guests = await Promise.all(asked.map((options) => join(second.address, options)))
    for (const [n, { client }] of guests.entries()) {
      await client.subscribeAsync(`for/${n + 1}`, { qos: 1 })
    }
    const onA = (await a.clients()) - before
    expect(onA).toBeGreaterThan(0)
    const heard = guests.map(goodbye)

    const stopping = a.stop()
    await until('/readyz to say so', async () => {
      const { status } = await fetch(`http://${a.address.host}:${a.address.port}/readyz`)
      return status === 503
    })
    await until('it gets nobody new', async () => {
      return !(await first.sendsTo(1)) && !(await second.sendsTo(1))
    })
    // Who is there is served until the time is over.
    const late = await join(second.address)
    for (const n of [1, 2, 3, 4]) await late.client.publishAsync(`for/${n}`, 'draining', { qos: 1 })
    for (const { inbox } of guests) expect(await inbox.text()).toBe('draining')

    await stopping
    const left = (): number[] => [0, 1, 2, 3].filter((n) => !guests[n]!.client.connected)
    await until('all on it to be gone', () => left().length === onA)
    for (const n of left()) {
      expect((await heard[n])?.reasonCode).toBe(0x9c)
      await late.client.publishAsync(`for/${n + 1}`, 'missed', { qos: 1 })
      const back = await join(first.address, asked[n])
      expect(back.connack.sessionPresent).toBe(true)
      expect(await back.inbox.text()).toBe('missed')
      guests[n] = back
    }
    await late.client.publishAsync('wills/none', 'none', { qos: 1 })
    expect((await watcher.inbox.next()).topic).toBe('wills/none')
    await Promise.all([late, watcher, ...guests].map((guest) => guest.leave()))
    await a.start()
    await until('it is back', () => second.sendsTo(1))
  })

  test('kill -9 of a balancer: who knows both addresses goes on', async () => {
    const servers = [first.address, second.address]
    const options = { ...STAYS, protocolVersion: 5 as const, clientId: 'knows-both' }
    const client = connect({ ...options, servers, reconnectPeriod: 100 })
    client.on('error', () => {})
    const connected = (): Promise<IConnackPacket> =>
      new Promise((resolve) => client.once('connect', resolve))
    await connected()
    await client.subscribeAsync('orders', { qos: 1 })
    const arrived: string[] = []
    client.on('message', (_topic, payload) => arrived.push(payload.toString()))
    const again = connected()
    await first.kill()
    expect((await again).sessionPresent).toBe(true)
    const writer = await join(second.address)
    await writer.client.publishAsync('orders', 'one more', { qos: 1 })
    await until('the order', () => arrived.includes('one more'))
    await Promise.all([client.endAsync(), writer.leave()])
  })
})

/** The DISCONNECT a client hears; null when its connection ends without. */
function goodbye({ client }: Guest): Promise<IDisconnectPacket | null> {
  return new Promise((resolve) => {
    client.once('disconnect', resolve)
    client.once('close', () => resolve(null))
  })
}
