// Retained messages as a subscriber meets them: the last of each topic, with every option of MQTT 5, removed by an
// empty one. What expires is in test/slow/expiry.test.ts.
import { describe, expect, it } from 'vitest'
import { join, type Version } from '../support/mqtt-js.ts'
import { serverForTests } from '../support/server.ts'

const server = serverForTests()
const versions: readonly Version[] = [3, 4, 5]

async function retain(topic: string, payload: string, qos: 0 | 1 | 2 = 1): Promise<void> {
  const writer = await join(server())
  await writer.client.publishAsync(topic, payload, { qos, retain: true })
  await writer.leave()
}

describe.for(versions)('MQTT %i', (version) => {
  it.for([0, 1, 2] as const)('is given the last one, of QoS %i', async (qos) => {
    const topic = `last/${version}/${qos}`
    await retain(topic, 'older', qos)
    await retain(topic, 'newer', qos)
    const reader = await join(server(), { version })
    await reader.client.subscribeAsync(`last/${version}/#`, { qos: 2 })
    const arrived = (await reader.inbox.take(qos + 1)).filter((one) => one.topic === topic)
    expect(arrived.map(({ payload, packet }) => [`${payload}`, packet.qos, packet.retain])).toEqual(
      [['newer', qos, true]],
    )
    await reader.leave()
  })

  it('sees no retain flag on what is published while it listens', async () => {
    const reader = await join(server(), { version })
    await reader.client.subscribeAsync(`live/${version}`, { qos: 1 })
    await retain(`live/${version}`, 'now')
    expect((await reader.inbox.next()).packet.retain).toBe(false)
    await reader.leave()
  })

  it('removes one with an empty payload', async () => {
    const topic = `removed/${version}`
    await retain(topic, 'here')
    const remover = await join(server(), { version })
    await remover.client.publishAsync(topic, '', { qos: 1, retain: true })
    expect(server().broker.retained.get(topic)).toBeNull()
    await remover.client.subscribeAsync(topic, { qos: 1 })
    await remover.client.publishAsync(topic, 'live', { qos: 1 })
    expect(await remover.inbox.text()).toBe('live')
    await remover.leave()
  })

  it('is given them again at each subscription', async () => {
    const topic = `again/${version}`
    await retain(topic, 'x')
    const reader = await join(server(), { version })
    for (let i = 0; i < 3; i++) await reader.client.subscribeAsync(topic, { qos: 1 })
    expect(await reader.inbox.take(3)).toHaveLength(3)
    await reader.leave()
  })
})

describe('the options of MQTT 5', () => {
  it('retain handling: always, for a new subscription, never', async () => {
    await retain('handling/x', 'kept')
    const reader = await join(server())
    const subscribe = (rh: 0 | 1 | 2) => reader.client.subscribeAsync('handling/#', { qos: 1, rh })
    const count = async () => {
      await reader.client.publishAsync('handling/mark', 'mark', { qos: 1 })
      let before = 0
      while ((await reader.inbox.text()) !== 'mark') before++
      return before
    }
    const counts: number[] = []
    for (const rh of [2, 1, 0, 1, 2, 0] as const) {
      await subscribe(rh)
      counts.push(await count())
    }
    // The first one made the subscription, so 1 finds it there.
    expect(counts).toEqual([0, 0, 1, 0, 0, 1])
    await reader.client.unsubscribeAsync('handling/#')
    await subscribe(1)
    expect(await count()).toBe(1)
    await reader.leave()
  })

  it('retain as published keeps the flag', async () => {
    const reader = await join(server())
    await reader.client.subscribeAsync('rap/#', { qos: 2, rap: true })
    const writer = await join(server())
    for (const qos of [0, 1, 2] as const) {
      for (const retain of [true, false]) {
        await writer.client.publishAsync(`rap/${qos}`, `${retain}`, { qos, retain })
      }
    }
    const arrived = await reader.inbox.take(6)
    // QoS 0 may overtake what must be stored first; each says for itself what it should be.
    for (const { payload, packet } of arrived) expect(`${packet.retain}`).toBe(`${payload}`)
    await Promise.all([reader.leave(), writer.leave()])
  })

  it('none for a shared subscription', async () => {
    await retain('unshared', 'kept')
    const reader = await join(server())
    await reader.client.subscribeAsync('$share/some/unshared', { qos: 1 })
    await reader.client.publishAsync('unshared', 'live', { qos: 1 })
    expect(await reader.inbox.text()).toBe('live')
    await reader.leave()
  })

  it('its properties come with it, and its subscription identifier', async () => {
    const writer = await join(server())
    await writer.client.publishAsync('proper', 'x', {
      qos: 1,
      retain: true,
      properties: { contentType: 'text/plain', userProperties: { colour: 'green' } },
    })
    const reader = await join(server())
    await reader.client.subscribeAsync('proper', {
      qos: 1,
      properties: { subscriptionIdentifier: 9 },
    })
    const { properties } = (await reader.inbox.next()).packet
    expect(properties).toMatchObject({ contentType: 'text/plain', subscriptionIdentifier: 9 })
    expect({ ...properties?.userProperties }).toEqual({ colour: 'green' })
    await Promise.all([reader.leave(), writer.leave()])
  })
})
