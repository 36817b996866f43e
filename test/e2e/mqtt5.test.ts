// What only MQTT 5 has, seen from outside: limits both sides announce, topic aliases, properties that are carried
// through, reasons in codes and words. Message expiry, which takes real seconds, is in test/slow/expiry.test.ts.
import { describe, expect, it } from 'vitest'
import { text } from '../support/bytes.ts'
import { join } from '../support/mqtt-js.ts'
import { propertiesOf } from '../support/police.ts'
import { dial } from '../support/raw-client.ts'
import { enter, serverForTests, subscribed } from '../support/server.ts'

const server = serverForTests({
  limits: {
    receiveMaximum: 10,
    topicAliases: 5,
    packetBytes: 100_000,
    keepAliveMaximum: 60,
    sessionExpiryMaximum: 1000,
  },
})

let count = 0
const name = (): string => `five-${++count}`

describe('CONNACK', () => {
  it('announces what the server can do', async () => {
    const { connack } = await enter(server(), {
      clientId: '',
      keepalive: 300,
      properties: { sessionExpiryInterval: 0xffffffff },
    })
    expect(connack.properties).toMatchObject({
      receiveMaximum: 10,
      topicAliasMaximum: 5,
      maximumPacketSize: 100_000,
      serverKeepAlive: 60,
      sessionExpiryInterval: 1000,
    })
    expect(connack.properties?.assignedClientIdentifier).toMatch(/^auto-.{16,}/)
  })

  it('leaves a keep alive that is short enough to the client', async () => {
    const { connack } = await enter(server(), { clientId: name(), keepalive: 30 })
    expect(connack.properties?.serverKeepAlive).toBeUndefined()
    expect(connack.properties?.assignedClientIdentifier).toBeUndefined()
  })

  it('gives two nameless clients two names', async () => {
    const names = await Promise.all(
      [0, 1].map(async () => {
        const { connack } = await enter(server(), { clientId: '' })
        return connack.properties?.assignedClientIdentifier
      }),
    )
    expect(new Set(names).size).toBe(2)
  })

  it('refuses enhanced authentication, which is not configured', async () => {
    const client = await dial(server(), { version: 5 })
    client.connect({
      clientId: name(),
      properties: { authenticationMethod: 'SCRAM-SHA-256', authenticationData: Buffer.from('n,,') },
    })
    expect(await client.closed()).toMatchObject([{ cmd: 'connack', reasonCode: 0x8c }])
  })

  it('is not followed by an exchange of AUTH', async () => {
    const { client } = await enter(server(), { clientId: name() })
    client.sendPacket({ cmd: 'auth', reasonCode: 0x19, properties: { authenticationMethod: 'x' } })
    expect(await client.closed()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x82 }])
  })
})

describe('topic aliases', () => {
  it('from a client stand for its topics, and may be given to others', async () => {
    const reader = await join(server())
    await reader.client.subscribeAsync('alias/#', { qos: 2 })
    const { client } = await enter(server(), { clientId: name() })
    const publish = (topic: string, payload: string, topicAlias: number, qos: 0 | 1 = 0) =>
      client.publish(topic, payload, { qos, properties: { topicAlias } })
    publish('alias/one', '1', 1)
    publish('', '2', 1)
    publish('alias/five', '3', 5)
    publish('', '4', 5)
    publish('alias/other', '5', 1)
    publish('', '6', 1)
    const seen = (await reader.inbox.take(6)).map(({ topic, payload }) => `${topic} ${payload}`)
    expect(seen).toEqual([
      'alias/one 1',
      'alias/one 2',
      'alias/five 3',
      'alias/five 4',
      'alias/other 5',
      'alias/other 6',
    ])
    publish('', 'stored', 5, 1)
    expect((await reader.inbox.next()).topic).toBe('alias/five')
    await reader.leave()
    client.drop()
  })

  it.for([
    [6, 0x94],
    [4, 0x82],
  ] as const)(
    '%i that nobody allowed or defined ends with %i',
    async ([topicAlias, reasonCode]) => {
      const { client } = await enter(server(), { clientId: name() })
      client.publish(topicAlias === 4 ? '' : 'alias/x', 'x', { properties: { topicAlias } })
      expect(await client.closed()).toMatchObject([{ cmd: 'disconnect', reasonCode }])
    },
  )

  it('from the server save a topic its name, as many as the client allows', async () => {
    const { client } = await enter(server(), {
      clientId: name(),
      properties: { topicAliasMaximum: 2 },
    })
    await subscribed(client, 'aliased/#', { qos: 1 })
    const writer = await join(server())
    const hears = async (topic: string, qos: 0 | 1) => {
      await writer.client.publishAsync(`aliased/${topic}`, 'x', { qos })
      const heard = await client.receives()
      return [heard.topic, heard.properties?.topicAlias]
    }
    expect(await hears('a', 0)).toEqual(['aliased/a', 1])
    expect(await hears('a', 1)).toEqual(['', 1])
    expect(await hears('b', 1)).toEqual(['aliased/b', 2])
    expect(await hears('c', 0)).toEqual(['aliased/c', undefined])
    expect(await hears('c', 1)).toEqual(['aliased/c', undefined])
    expect(await hears('b', 0)).toEqual(['', 2])
    client.drop()
    await writer.leave()
  })
})

describe('receive maximum', () => {
  it('of the server is a limit to the client', async () => {
    const { client } = await enter(server(), { clientId: name() })
    // QoS 2 stays under way until released.
    for (let i = 0; i < 10; i++) client.publish('flow', 'x', { qos: 2 })
    for (let i = 0; i < 10; i++) await client.hears('pubrec')
    await client.hearsNothing()
    client.publish('flow', 'one too many', { qos: 2 })
    expect(await client.closed()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x93 }])
  })

  it('is not touched by QoS 0 and is free again after PUBCOMP', async () => {
    const { client } = await enter(server(), { clientId: name() })
    for (let round = 0; round < 3; round++) {
      const ids = Array.from({ length: 10 }, () => client.publish('flow', 'x', { qos: 2 }))
      client.publish('flow', 'not counted')
      for (const messageId of ids) {
        await client.hears('pubrec', { messageId })
        client.ack('pubrel', messageId)
      }
      for (const messageId of ids) await client.finds('pubcomp', (p) => p.messageId === messageId)
    }
    client.drop()
  })

  it('of the client is a limit to the server', async () => {
    const { client } = await enter(server(), {
      clientId: name(),
      properties: { receiveMaximum: 2 },
    })
    await subscribed(client, 'window/#', { qos: 2 })
    const writer = await join(server())
    for (let i = 0; i < 6; i++) {
      await writer.client.publishAsync('window/x', `${i}`, { qos: ((i % 2) + 1) as 1 | 2 })
    }
    await writer.client.publishAsync('window/x', 'QoS 0', { qos: 0 })
    const [first, second] = [await client.hears('publish'), await client.hears('publish')]
    expect([`${first.payload}`, `${second.payload}`]).toEqual(['0', '1'])
    await client.hears('publish', { qos: 0 })
    await client.hearsNothing()
    client.ack('puback', first.messageId ?? 0)
    const third = await client.hears('publish', { payload: '2' })
    client.ack('pubrec', second.messageId ?? 0)
    await client.hears('pubrel')
    await client.hearsNothing()
    client.ack('pubcomp', second.messageId ?? 0)
    await client.hears('publish', { payload: '3' })
    client.ack('puback', third.messageId ?? 0)
    await client.hears('publish', { payload: '4' })
    client.drop()
    await writer.leave()
  })
})

describe('maximum packet size', () => {
  it('of the server is a limit to the client', async () => {
    const { client } = await enter(server(), { clientId: name() })
    client.publish('size', Buffer.alloc(99_000))
    await client.hearsNothing()
    client.publish('size', Buffer.alloc(100_000))
    expect(await client.closed()).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x95 }])
  })

  it.for([0, 1, 2] as const)('of the client drops what is larger at QoS %i', async (qos) => {
    const before = server().broker.counters.droppedTooLarge
    const topic = `size/${qos}`
    const { client } = await enter(server(), {
      clientId: name(),
      properties: { maximumPacketSize: 100 },
    })
    await subscribed(client, topic, { qos })
    const writer = await join(server())
    await writer.client.publishAsync(topic, 'x'.repeat(200), { qos })
    await writer.client.publishAsync(topic, 'fits', { qos })
    await client.receives({ payload: 'fits' })
    expect(server().broker.counters.droppedTooLarge).toBe(before + 1)
    client.drop()
    await writer.leave()
  })

  it('leaves reason strings out where they would not fit', async () => {
    const { client } = await enter(server(), {
      clientId: name(),
      properties: { maximumPacketSize: 20 },
    })
    client.subscribe('a/#/b', { qos: 1 })
    const { granted, properties } = await client.hears('suback')
    expect([...granted]).toEqual([0x8f])
    expect(properties?.reasonString).toBeUndefined()
    client.drop()
  })
})

describe('properties of a message', () => {
  const properties = {
    payloadFormatIndicator: true,
    contentType: 'text/plain',
    responseTopic: 'answers/here',
    correlationData: Buffer.from([1, 2, 0, 255]),
    userProperties: { one: ['1', '3'], two: '2' },
  }

  it.for([0, 1, 2] as const)('are carried through at QoS %i', async (qos) => {
    const reader = await join(server(), { transport: 'websocket' })
    await reader.client.subscribeAsync('carried', { qos })
    await reader.client.publishAsync('carried', 'x', { qos, properties })
    const { packet } = await reader.inbox.next()
    expect({
      ...packet.properties,
      userProperties: { ...packet.properties?.userProperties },
    }).toEqual(properties)
    await reader.leave()
  })

  it('keep the order of user properties', async () => {
    const { client } = await enter(server(), { clientId: name() })
    await subscribed(client, 'ordered', { qos: 1 })
    client.publish('ordered', 'x', {
      qos: 1,
      properties: { userProperties: { b: ['1', '2'], a: '3' } },
    })
    const { raw } = await client.finds('publish')
    const pairs = propertiesOf(raw).filter(({ id }) => id === 0x26)
    expect(pairs.map(({ value }) => value)).toEqual(
      ['b1', 'b2', 'a3'].map(([key, value]) => Buffer.concat([text(`${key}`), text(`${value}`)])),
    )
    client.drop()
  })

  it('of a will are carried too', async () => {
    const reader = await join(server())
    await reader.client.subscribeAsync('carried/will', { qos: 1 })
    const { client } = await enter(server(), {
      clientId: name(),
      will: {
        topic: 'carried/will',
        payload: Buffer.from('x'),
        qos: 1,
        retain: false,
        properties: { contentType: 'a/b', messageExpiryInterval: 90, userProperties: { k: 'v' } },
      },
    })
    client.drop()
    const { packet } = await reader.inbox.next()
    expect(packet.properties).toMatchObject({ contentType: 'a/b', messageExpiryInterval: 90 })
    expect({ ...packet.properties?.userProperties }).toEqual({ k: 'v' })
    await reader.leave()
  })

  it('make a request and its response', async () => {
    const [asker, answerer] = await Promise.all([join(server()), join(server())])
    await answerer.client.subscribeAsync('questions', { qos: 1 })
    await asker.client.subscribeAsync('answers/asker', { qos: 1 })
    await asker.client.publishAsync('questions', 'six times seven?', {
      qos: 1,
      properties: { responseTopic: 'answers/asker', correlationData: Buffer.from('q1') },
    })
    const { responseTopic, correlationData } = (await answerer.inbox.next()).packet.properties ?? {}
    await answerer.client.publishAsync(responseTopic ?? '', 'forty-two', {
      qos: 1,
      properties: { correlationData: correlationData ?? Buffer.alloc(0) },
    })
    const answer = await asker.inbox.next()
    expect(`${answer.payload} ${answer.packet.properties?.correlationData}`).toBe('forty-two q1')
    await Promise.all([asker.leave(), answerer.leave()])
  })

  it('are invisible to older clients', async () => {
    const old = await join(server(), { version: 4 })
    await old.client.subscribeAsync('carried/old', { qos: 1 })
    const writer = await join(server())
    await writer.client.publishAsync('carried/old', 'x', { qos: 1, properties })
    expect((await old.inbox.next()).packet.properties).toBeUndefined()
    await Promise.all([old.leave(), writer.leave()])
  })
})

describe('reasons', () => {
  it('in words, unless the client does not want them', async () => {
    const refused = async (requestProblemInformation: boolean) => {
      const { client } = await enter(server(), {
        clientId: name(),
        properties: { requestProblemInformation },
      })
      client.subscribe('a/#/b')
      const { granted, properties } = await client.hears('suback')
      client.drop()
      return [[...granted], properties?.reasonString]
    }
    expect(await refused(true)).toEqual([[0x8f], expect.stringContaining('a/#/b')])
    expect(await refused(false)).toEqual([[0x8f], undefined])
  })

  it('tell an unknown subscription, and who may not publish', async () => {
    const { client } = await enter(server(), { clientId: name() })
    client.unsubscribe(['never/subscribed'])
    expect((await client.hears('unsuback')).granted).toEqual([0x11])
    const messageId = client.publish('$SYS/forged', 'x', { qos: 1 })
    await client.hears('puback', { messageId, reasonCode: 0x87 })
    client.ack('pubrel', 77)
    await client.hears('pubcomp', { messageId: 77, reasonCode: 0x92 })
    client.drop()
  })

  it('stand on DISCONNECT, in words', async () => {
    const { client } = await enter(server(), { clientId: name() })
    client.connect({ clientId: 'again' })
    const [goodbye] = await client.closed()
    expect(goodbye).toMatchObject({ cmd: 'disconnect', reasonCode: 0x82 })
    expect(goodbye).toHaveProperty('properties.reasonString', expect.stringContaining('CONNECT'))
  })
})
