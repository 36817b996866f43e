// Messages that expire: not given to who comes too late, and with what is left of their time to who comes before.
// The standard counts in seconds, so these take a real one, side by side.
import { describe, it } from 'vitest'
import { join } from '../support/mqtt-js.ts'
import { serverForTests } from '../support/server.ts'

const server = serverForTests()

const pause = () => new Promise((resolve) => setTimeout(resolve, 1_100))

/** What may be left of so many seconds, of a message that waits from now on at least through a pause. */
function leftOf(seconds: number): () => { least: number; most: number } {
  const began = performance.now()
  return () => {
    const waited = (performance.now() - began) / 1000
    return { least: Math.ceil(seconds - waited), most: seconds - 1 }
  }
}

describe.concurrent('a message that expires', () => {
  it('is counted while a client is away, and says what is left', async ({ expect }) => {
    const properties = { sessionExpiryInterval: 60 }
    const lasting = { clientId: 'away', clean: false, properties }
    const reader = await join(server(), lasting)
    await reader.client.subscribeAsync('expiry', { qos: 1 })
    await reader.leave()
    const writer = await join(server())
    const left = leftOf(50)
    for (const messageExpiryInterval of [1, 50]) {
      await writer.client.publishAsync('expiry', `${messageExpiryInterval}`, {
        qos: 1,
        properties: { messageExpiryInterval },
      })
    }
    await writer.client.publishAsync('expiry', 'for ever', { qos: 1 })
    await pause()
    const before = server().broker.counters.droppedExpired
    const again = await join(server(), lasting)
    const [fifty, ever] = await again.inbox.take(2)
    const { least, most } = left()
    expect(`${fifty?.payload}`).toBe('50')
    expect(fifty?.packet.properties?.messageExpiryInterval).toBeGreaterThanOrEqual(least)
    expect(fifty?.packet.properties?.messageExpiryInterval).toBeLessThanOrEqual(most)
    expect(ever?.packet.properties?.messageExpiryInterval).toBeUndefined()
    expect(server().broker.counters.droppedExpired).toBe(before + 1)
    await Promise.all([again.leave(), writer.leave()])
  })

  it('and is retained: not given when expired, a fresh one tells what is left', async ({
    expect,
  }) => {
    const writer = await join(server())
    const publish = (topic: string, messageExpiryInterval: number) =>
      writer.client.publishAsync(topic, 'x', {
        qos: 1,
        retain: true,
        properties: { messageExpiryInterval },
      })
    const left = leftOf(100)
    await publish('expiring/soon', 1)
    await publish('expiring/late', 100)
    await pause()
    const reader = await join(server())
    await reader.client.subscribeAsync('expiring/#', { qos: 1 })
    const { topic, packet } = await reader.inbox.next()
    const { least, most } = left()
    expect(topic).toBe('expiring/late')
    expect(packet.properties?.messageExpiryInterval).toBeGreaterThanOrEqual(least)
    expect(packet.properties?.messageExpiryInterval).toBeLessThanOrEqual(most)
    await Promise.all([reader.leave(), writer.leave()])
    expect(reader.inbox.size).toBe(0)
  })
})
