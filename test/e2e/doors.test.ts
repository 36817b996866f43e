// A message crosses doors: whichever way it came in, everybody on its topic receives it, each in the words of the
// door he stands at. Every door publishes once to subscribers at every door.
import { describe, expect, it } from 'vitest'
import { openRole } from '../support/line-client.ts'
import { type JoinOptions, join } from '../support/mqtt-js.ts'
import { serverForTests, type TestServer } from '../support/server.ts'

const server = serverForTests()

interface Subscriber {
  /** The text of the next message. */
  hears(): Promise<string>
  leaves(): Promise<void>
}

type Publish = (server: TestServer, topic: string, text: string) => Promise<void>

const mqttDoors: Record<string, JoinOptions> = {
  'MQTT 3.1': { version: 3 },
  'MQTT 3.1.1': { version: 4 },
  'MQTT 5': { version: 5 },
  'MQTT 3.1.1 over WebSocket': { version: 4, transport: 'websocket' },
  'MQTT 5 over WebSocket': { version: 5, transport: 'websocket' },
}

async function mqttSubscriber(topic: string, options: JoinOptions, qos: 0 | 1 | 2) {
  const guest = await join(server(), options)
  await guest.client.subscribeAsync(topic, { qos })
  return { hears: () => guest.inbox.text(), leaves: () => guest.leave() }
}

async function lineSubscriber(line: string, topic: string): Promise<Subscriber> {
  const client = await openRole(server(), line)
  const hears = async () => (await client.hearsThat(`[${topic}] `)).slice(topic.length + 3)
  const leaves = async () => {
    client.says('terminate')
    await client.hearsThat('OK goodbye')
  }
  return { hears, leaves }
}

/** One at every door, and at the MQTT doors one of every QoS. */
function everybody(topic: string): Promise<Subscriber[]> {
  const level = topic.slice(0, topic.lastIndexOf('/'))
  return Promise.all([
    lineSubscriber(`SUBSCRIBER ${topic}`, topic),
    lineSubscriber(`SUBSCRIBER ${level}/+`, topic),
    lineSubscriber(`SUBSCRIBER ${topic} AS ${topic.replaceAll('/', '-')}`, topic),
    ...Object.values(mqttDoors).flatMap((options) =>
      ([0, 1, 2] as const).map((qos) => mqttSubscriber(topic, options, qos)),
    ),
  ])
}

function byMqtt(options: JoinOptions, qos: 0 | 1 | 2): Publish {
  return async (to, topic, text) => {
    const guest = await join(to, options)
    await guest.client.publishAsync(topic, text, { qos })
    await guest.leave()
  }
}

const publishers: [string, Publish][] = [
  [
    'a line publisher',
    async (to, topic, text) => {
      const client = await openRole(to, `PUBLISHER ${topic}`)
      client.says(text)
      client.end()
      await client.hearsThat('OK goodbye')
    },
  ],
  [
    'PUB on a line',
    async (to, topic, text) => {
      const client = await openRole(to, `PUB ${topic} ${text}`)
      client.drop()
    },
  ],
  ...Object.entries(mqttDoors).flatMap(([name, options]) =>
    ([0, 1, 2] as const).map((qos): [string, Publish] => [
      `${name} at QoS ${qos}`,
      byMqtt(options, qos),
    ]),
  ),
]

describe('a message crosses doors', () => {
  it.for(publishers.map(([name, publish], index) => ({ name, publish, index })))(
    '$name to everybody',
    async ({ publish, index }) => {
      const topic = `SPORTS/${index}`
      const subscribers = await everybody(topic)
      await publish(server(), topic, 'Tor für Köln ⚽')
      expect(await Promise.all(subscribers.map((one) => one.hears()))).toEqual(
        subscribers.map(() => 'Tor für Köln ⚽'),
      )
      await publish(server(), topic, 'and that was all')
      expect(new Set(await Promise.all(subscribers.map((one) => one.hears())))).toEqual(
        new Set(['and that was all']),
      )
      await Promise.all(subscribers.map((one) => one.leaves()))
    },
  )

  it('shows a binary payload safely and lets no line feed forge a message', async () => {
    const reader = await openRole(server(), 'SUBSCRIBER forged/#')
    const writer = await join(server(), { version: 4 })
    const payload = Buffer.from('a\n[BANK] all is well\r\x1b[2J\x07\xff', 'latin1')
    await writer.client.publishAsync('forged/topic', payload)
    expect(await reader.hears()).toBe('[forged/topic] a\\n[BANK] all is well\\r\\x1b[2J\\x07\\xff')
    await writer.client.publishAsync('forged/x] OK\n', 'y')
    expect(await reader.hears()).toBe('[forged/x\\x5d OK\\n] y')
    reader.drop()
    await writer.leave()
  })

  it('carries what a line publisher typed byte for byte', async () => {
    const reader = await join(server(), { version: 4 })
    await reader.client.subscribeAsync('bytes', { qos: 1 })
    const writer = await openRole(server(), 'PUBLISHER bytes')
    const typed = Buffer.from([0x00, 0xff, 0xfe, 0x1b, 0x5b, 0x41, 0x0d, 0x20, 0x80])
    writer.says(typed)
    const { payload, packet } = await reader.inbox.next()
    expect(payload).toEqual(typed)
    expect(packet.qos).toBe(1)
    writer.drop()
    await reader.leave()
  })

  it('gives a line subscriber what an MQTT client retained', async () => {
    const writer = await join(server())
    await writer.client.publishAsync('weather/today', 'rain', { qos: 1, retain: true })
    const reader = await openRole(server(), 'SUBSCRIBER weather/#')
    expect(await reader.hears()).toBe('[weather/today] rain')
    reader.drop()
    await writer.leave()
  })

  it('keeps for a named line subscriber what MQTT clients publish while it is away', async () => {
    const bob = await openRole(server(), 'SUBSCRIBER letters AS bob')
    bob.says('terminate')
    await bob.hearsThat('OK goodbye')
    const writer = await join(server())
    for (const text of ['one', 'two']) await writer.client.publishAsync('letters', text, { qos: 1 })
    const again = await openRole(server(), 'SUBSCRIBER letters AS bob')
    expect([await again.hears(), await again.hears()]).toEqual(['[letters] one', '[letters] two'])
    again.says('FORGET')
    await again.hearsThat('OK bob is forgotten')
    await writer.leave()
  })
})
