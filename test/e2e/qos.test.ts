// Every QoS in every version over both transports, as MQTT.js speaks them: what is published arrives once, at the
// lower of the two qualities of service, in order.
import { describe, expect, it } from 'vitest'
import { join, type Transport, type Version } from '../support/mqtt-js.ts'
import { serverForTests } from '../support/server.ts'

const server = serverForTests()

const versions: readonly Version[] = [3, 4, 5]
const transports: readonly Transport[] = ['tcp', 'websocket']
const levels = [0, 1, 2] as const

const rows = versions.flatMap((version) =>
  transports.flatMap((transport) => levels.map((qos) => ({ version, transport, qos }))),
)

describe('a publisher and subscribers of every QoS', () => {
  it.for(rows)('MQTT $version over $transport at QoS $qos', async ({ version, transport, qos }) => {
    const topic = `qos/${version}/${transport}/${qos}`
    const subscribers = await Promise.all(
      levels.map(async (granted) => {
        const guest = await join(server(), { version, transport })
        const [grant] = await guest.client.subscribeAsync(topic, { qos: granted })
        expect(grant?.qos).toBe(granted)
        return { granted, guest }
      }),
    )
    const publisher = await join(server(), { version, transport })
    const texts = Array.from({ length: 50 }, (_, i) => `message ${i}`)
    await Promise.all(texts.map((text) => publisher.client.publishAsync(topic, text, { qos })))
    for (const { granted, guest } of subscribers) {
      const arrived = await guest.inbox.take(texts.length)
      expect(arrived.map(({ payload }) => payload.toString())).toEqual(texts)
      expect(new Set(arrived.map(({ packet }) => packet.qos))).toEqual(
        new Set([Math.min(qos, granted)]),
      )
      expect(arrived.some(({ packet }) => packet.dup || packet.retain)).toBe(false)
      await guest.leave()
      expect(guest.inbox.size).toBe(0)
    }
    await publisher.leave()
  })

  it('carries 1 MiB at every QoS, also between transports', async () => {
    const payload = Buffer.alloc(1024 * 1024, 'x')
    const reader = await join(server(), { transport: 'websocket' })
    await reader.client.subscribeAsync('large', { qos: 2 })
    const writer = await join(server(), { version: 4 })
    for (const qos of levels) {
      await writer.client.publishAsync('large', payload, { qos })
      const arrived = await reader.inbox.next()
      expect(arrived.payload.equals(payload)).toBe(true)
      expect(arrived.packet.qos).toBe(qos)
    }
    await Promise.all([reader.leave(), writer.leave()])
  })

  it('leaves nothing unacknowledged and nothing to complain about', () => {
    expect(server().broker.counters.protocolErrors).toBe(0)
    expect(server().broker.intake.bytes).toBe(0)
    expect(server().complaints).toEqual([])
  })
})
