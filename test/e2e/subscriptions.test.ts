// Who receives what: overlapping subscriptions, identifiers, no local, wildcards, and shared groups whose
// members come and go.
import { describe, expect, it } from 'vitest'
import { type Guest, join, type Version } from '../support/mqtt-js.ts'
import { enter, serverForTests, subscribed, until } from '../support/server.ts'

const server = serverForTests({ denySubscribe: ['closed/filter'] })
const versions: readonly Version[] = [3, 4, 5]

describe.for(versions)('overlapping subscriptions in MQTT %i', (version) => {
  it('bring one copy, at the highest QoS', async () => {
    const reader = await join(server(), { version })
    const at = (level: string) => `over/${version}/${level}`
    await reader.client.subscribeAsync(at('+'), { qos: 0 })
    await reader.client.subscribeAsync(at('#'), { qos: 2 })
    await reader.client.subscribeAsync(at('x'), { qos: 1 })
    for (const qos of [0, 1, 2] as const)
      await reader.client.publishAsync(at('x'), `${qos}`, { qos })
    const arrived = await reader.inbox.take(3)
    for (const { payload, packet } of arrived) expect(`${packet.qos}`).toBe(`${payload}`)
    await reader.leave()
    expect(reader.inbox.size).toBe(0)
  })

  it('a subscription made again replaces the first', async () => {
    const reader = await join(server(), { version })
    const topic = `replaced/${version}`
    await reader.client.subscribeAsync(topic, { qos: 2 })
    await reader.client.subscribeAsync(topic, { qos: 0 })
    await reader.client.publishAsync(topic, 'x', { qos: 2 })
    expect((await reader.inbox.next()).packet.qos).toBe(0)
    await reader.client.unsubscribeAsync(topic)
    await reader.client.publishAsync(topic, 'y', { qos: 1 })
    await reader.leave()
    expect(reader.inbox.size).toBe(0)
  })

  it('a filter closed to everybody is refused, and the rest of the packet is not', async () => {
    const { client } = await enter(server(), { clientId: `closed${version}` }, { version })
    client.subscribe(['closed/filter', 'open/filter', '$share/g/closed/filter'], { qos: 1 })
    const { granted } = await client.hears('suback')
    expect([...granted]).toEqual([0x80, 1, 0x80])
    client.drop()
  })
})

describe('subscription identifiers', () => {
  it('all of one message, and none where there is none', async () => {
    const { client: reader } = await enter(server(), { clientId: 'identifier' })
    await subscribed(reader, 'ids/#', { qos: 1, identifier: 1 })
    await subscribed(reader, 'ids/+', { qos: 0, identifier: 268_435_455 })
    await subscribed(reader, 'ids/plain', { qos: 0 })
    const writer = await join(server())
    const identifiers = async (topic: string, qos: 0 | 1) => {
      await writer.client.publishAsync(topic, 'x', { qos })
      const { properties } = await reader.receives({ topic })
      return [properties?.subscriptionIdentifier ?? []].flat().sort()
    }
    for (const qos of [0, 1] as const) {
      expect(await identifiers('ids/a', qos)).toEqual([1, 268_435_455])
      expect(await identifiers('ids/plain', qos)).toEqual([1, 268_435_455])
      expect(await identifiers('ids/a/b', qos)).toEqual([1])
    }
    await subscribed(reader, 'ids/#', { qos: 1 })
    expect(await identifiers('ids/a/b', 1)).toEqual([])
    reader.drop()
    await writer.leave()
  })
})

describe('no local', () => {
  it.for([0, 1, 2] as const)('keeps a client from hearing itself at QoS %i', async (qos) => {
    const [one, other] = await Promise.all([join(server()), join(server())])
    const topic = `local/${qos}`
    await one.client.subscribeAsync(topic, { qos: 2, nl: true })
    await other.client.subscribeAsync(topic, { qos: 2, nl: false })
    await one.client.publishAsync(topic, 'from one', { qos })
    await other.client.publishAsync(topic, 'from other', { qos })
    expect(await one.inbox.text()).toBe('from other')
    expect([await other.inbox.text(), await other.inbox.text()]).toEqual(['from one', 'from other'])
    await Promise.all([one.leave(), other.leave()])
    expect(one.inbox.size).toBe(0)
  })
})

describe('wildcards', () => {
  it('do not reach topics that begin with a dollar sign', async () => {
    const reader = await join(server())
    await reader.client.subscribeAsync(['#', '+/inner'], { qos: 1 })
    await reader.client.publishAsync('$hidden/inner', 'no', { qos: 1 })
    await reader.client.publishAsync('seen/inner', 'yes', { qos: 1 })
    expect(await reader.inbox.text()).toBe('yes')
    await reader.client.subscribeAsync('$hidden/#', { qos: 1 })
    await reader.client.publishAsync('$hidden/inner', 'asked for', { qos: 1 })
    expect(await reader.inbox.text()).toBe('asked for')
    await reader.leave()
  })

  it.for([
    ['+/+', '/x', true],
    ['/+', '/x', true],
    ['+', '/x', false],
    ['a/#', 'a', true],
    ['a/+', 'a', false],
    ['a/+/c', 'a//c', true],
    ['A', 'a', false],
    ['a b/#', 'a b/ä', true],
  ] as const)('%s and %s: %s', async ([filter, topic, matches]) => {
    const reader = await join(server())
    const [under, prefix] = [filter, topic].map((end) => `${reader.client.options.clientId}/${end}`)
    await reader.client.subscribeAsync([under as string, 'mark'], { qos: 1 })
    await reader.client.publishAsync(prefix as string, 'x', { qos: 1 })
    await reader.client.publishAsync('mark', 'mark', { qos: 1 })
    expect(await reader.inbox.text()).toBe(matches ? 'x' : 'mark')
    await reader.leave()
  })
})

describe.for([4, 5] as const)('a shared group in MQTT %i', (version) => {
  const members = (count: number): Promise<Guest[]> =>
    Promise.all(Array.from({ length: count }, () => join(server(), { version })))

  it.for([0, 1, 2] as const)('splits messages of QoS %i among its members', async (qos) => {
    const topic = `shared/${version}/${qos}`
    const group = await members(3)
    for (const { client } of group) await client.subscribeAsync(`$share/g/${topic}`, { qos: 2 })
    const alone = await join(server(), { version })
    await alone.client.subscribeAsync(topic, { qos: 2 })
    const texts = Array.from({ length: 96 }, (_, i) => `${i}`)
    await Promise.all(texts.map((text) => alone.client.publishAsync(topic, text, { qos })))
    expect((await alone.inbox.take(texts.length)).map((a) => `${a.payload}`)).toEqual(texts)
    await until(() => group.reduce((sum, { inbox }) => sum + inbox.size, 0) >= texts.length)
    const shares = await Promise.all(group.map(({ inbox }) => inbox.take(inbox.size)))
    expect(shares.every((share) => share.length > 0)).toBe(true)
    expect(
      shares
        .flat()
        .map((a) => Number(`${a.payload}`))
        .sort((a, b) => a - b),
    ).toEqual(texts.map(Number))
    await Promise.all([...group, alone].map((guest) => guest.leave()))
  })

  it('gives what a member took and did not acknowledge to another', async () => {
    const topic = `handed-on/${version}`
    const { client: taker } = await enter(server(), { clientId: `taker${version}` }, { version })
    await subscribed(taker, `$share/g/${topic}`, { qos: 1 })
    const writer = await join(server())
    const texts = ['a', 'b', 'c']
    for (const text of texts) await writer.client.publishAsync(topic, text, { qos: 1 })
    for (const text of texts) await taker.hears('publish', { payload: text })
    const heir = await join(server(), { version })
    await heir.client.subscribeAsync(`$share/g/${topic}`, { qos: 1 })
    taker.drop()
    expect((await heir.inbox.take(3)).map(({ payload }) => `${payload}`)).toEqual(texts)
    await Promise.all([heir.leave(), writer.leave()])
  })

  it('keeps for its lasting members what comes while all are away', async () => {
    const topic = `kept-shared/${version}`
    const lasting = {
      version,
      clientId: `member${version}`,
      clean: false,
      ...(version === 5 && { properties: { sessionExpiryInterval: 60 } }),
    }
    const member = await join(server(), lasting)
    await member.client.subscribeAsync(`$share/g/${topic}`, { qos: 1 })
    await member.leave()
    const writer = await join(server())
    await writer.client.publishAsync(topic, 'waits', { qos: 1 })
    const again = await join(server(), lasting)
    expect(await again.inbox.text()).toBe('waits')
    await again.client.unsubscribeAsync(`$share/g/${topic}`)
    await Promise.all([again.leave(), writer.leave()])
  })
})

it('refuses no local on a shared subscription as the protocol error it is', async () => {
  const { client } = await enter(server(), { clientId: 'shared-no-local' })
  client.subscribe('$share/g/x', { nl: true })
  expect(await client.closed()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x82 }])
})
