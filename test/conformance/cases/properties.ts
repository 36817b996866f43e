// MQTT 5 properties of messages: what is carried through unaltered, expiry, aliases, subscription identifiers.
import { frame, props, text, u8, u16, varint } from '../../support/bytes.ts'
import { propertiesOf } from '../../support/police.ts'
import type { Heard, Properties } from '../../support/raw-client.ts'
import { type Case, equal, must, NotHere, only, seconds, type Talk } from '../case.ts'

/** Property identifiers by name, section 2.2.2.2. */
const id = {
  payloadFormat: 0x01,
  expiry: 0x02,
  contentType: 0x03,
  responseTopic: 0x08,
  correlation: 0x09,
  subscription: 0x0b,
  alias: 0x23,
  user: 0x26,
} as const

const user = (key: string, value: string) => Buffer.concat([u8(id.user), text(key), text(value)])

/** The literal properties with this identifier, in the order in which they arrived. */
function values(heard: Heard<'publish'>, wanted: number): string[] {
  return propertiesOf(heard.raw)
    .filter((property) => property.id === wanted)
    .map((property) => property.value.toString('hex'))
}

/** Publishes literal properties at each QoS, live and retained, and returns what subscribers are given. */
async function carried(t: Talk, wanted: number, ...properties: Buffer[]): Promise<string[][]> {
  const topic = t.retainedTopic(t.id())
  const [one, two] = [await t.subscriber(topic, { qos: 2 }), await t.subscriber(topic)]
  const speaker = await t.client()
  speaker.sends(frame(0x31, text(topic), props(...properties), Buffer.from('x')))
  const live = [await one.hears('publish'), await two.hears('publish')]
  speaker.sends(frame(0x33, text(topic), u16(1), props(...properties), Buffer.from('x')))
  await speaker.hears('puback')
  live.push(await one.receives(), await two.hears('publish'))
  const late = await t.subscriber(topic)
  live.push(await late.hears('publish', { retain: true }))
  return live.map((heard) => values(heard, wanted))
}

/** This one property arrives five times as it was sent. */
async function unaltered(t: Talk, wanted: number, value: Buffer): Promise<void> {
  const heard = await carried(t, wanted, Buffer.concat([u8(wanted), value]))
  for (const found of heard) equal(found, [value.toString('hex')], 'property')
}

const publishing = (t: Talk, ...properties: Buffer[]) =>
  frame(0x30, text(t.topic('a')), props(...properties), Buffer.from('x'))

const passing: Case[] = [
  ...only(5, ['3.3.2-4'], 'the payload format indicator is passed on', async (t) => {
    await unaltered(t, id.payloadFormat, u8(1))
    await unaltered(t, id.payloadFormat, u8(0))
  }),
  ...only(5, ['3.3.2-15'], 'the response topic is passed on', (t) =>
    unaltered(t, id.responseTopic, text('answers/é/ here')),
  ),
  ...only(5, ['3.3.2-16'], 'correlation data is passed on', async (t) => {
    await unaltered(t, id.correlation, text(Buffer.from([0, 255, 1, 0xc3, 0x28])))
    await unaltered(t, id.correlation, text(''))
  }),
  ...only(5, ['3.3.2-20'], 'the content type is passed on', (t) =>
    unaltered(t, id.contentType, text('application/ünusual+json')),
  ),
  ...only(
    5,
    ['3.3.2-17', '3.3.2-18'],
    'user properties are passed on in their order',
    async (t) => {
      const pairs = [user('b', '1'), user('a', '2'), user('b', '1'), user('', ''), user('a', '0')]
      const expected = pairs.map((pair) => pair.subarray(1).toString('hex'))
      for (const found of await carried(t, id.user, ...pairs))
        equal(found, expected, 'user properties')
    },
  ),
  ...only(
    5,
    ['3.3.2-4', '3.3.2-15', '3.3.2-16', '3.3.2-17', '3.3.2-20'],
    'the properties of a will are passed on',
    async (t) => {
      const listener = await t.subscriber(t.topic('will'))
      const properties = {
        payloadFormatIndicator: true,
        contentType: 'text/plain',
        responseTopic: 'answers',
        correlationData: Buffer.from([1, 2]),
        userProperties: { name: 'value' },
      }
      const will = { topic: t.topic('will'), payload: 'x', qos: 0 as const, properties }
      const dying = await t.client({ will })
      dying.drop()
      const heard = await listener.hears('publish')
      const hexes = [
        id.payloadFormat,
        id.contentType,
        id.responseTopic,
        id.correlation,
        id.user,
      ].map((wanted) => values(heard, wanted))
      const expected = [
        u8(1),
        text('text/plain'),
        text('answers'),
        text(Buffer.from([1, 2])),
        user('name', 'value').subarray(1),
      ].map((value) => [value.toString('hex')])
      equal(hexes, expected, 'will properties')
    },
  ),
  ...only(
    5,
    ['3.3.2-13', '3.3.2-19'],
    'ill-formed text in properties closes the connection',
    async (t) => {
      for (const bad of [u8(0x61, 0xff), u8(0xed, 0xa0, 0x80), u8(0x61, 0)]) {
        await t.closesFor('response topic', publishing(t, u8(id.responseTopic), text(bad)))
        await t.closesFor('content type', publishing(t, u8(id.contentType), text(bad)))
      }
    },
  ),
  ...only(5, ['3.3.2-14'], 'a wildcard in the response topic closes the connection', async (t) => {
    for (const bad of ['a/#', '+/a', '#'])
      await t.closesFor(`response topic ${bad}`, publishing(t, u8(id.responseTopic), text(bad)))
  }),
  ...only(5, ['4.13.1-1'], 'forbidden PUBLISH properties close the connection', async (t) => {
    await t.closesFor(
      'content type twice',
      publishing(t, u8(id.contentType), text('a'), u8(id.contentType), text('a')),
    )
    await t.closesFor('an unknown property', publishing(t, u8(0x7e, 0)))
    await t.closesFor('a property of CONNECT', publishing(t, u8(0x21), u16(1)))
  }),
  ...only(5, ['3.3.4-6'], 'a PUBLISH with subscription identifier closes the connection', (t) =>
    t
      .closesFor('a subscription identifier', publishing(t, u8(id.subscription), varint(1)))
      .then(() => {}),
  ),
]

const expiring: Case[] = [
  ...only(5, ['3.3.2-5'], 'an expired message is not delivered', async (t) => {
    const clientId = t.id()
    const away = await t.persistent(clientId)
    await t.subscribes(away, t.topic('a'), { qos: 1 })
    away.drop()
    const speaker = await t.client()
    const short = { messageExpiryInterval: 1 }
    const topic = t.retainedTopic('r')
    await t.publishes(speaker, t.topic('a'), 'short', { qos: 1, properties: short })
    await t.publishes(speaker, t.topic('a'), 'long', {
      qos: 1,
      properties: { messageExpiryInterval: 60 },
    })
    await t.publishes(speaker, topic, 'short', { qos: 1, retain: true, properties: short })
    await seconds(2.2)
    const back = await t.client(t.lasting(clientId))
    await back.receives({ payload: Buffer.from('long') })
    await t.subscribes(back, topic)
    await t.silence(back, speaker)
  }),
  ...only(5, ['3.3.2-6'], 'the expiry interval counts down while a message waits', async (t) => {
    const clientId = t.id()
    const away = await t.persistent(clientId)
    await t.subscribes(away, t.topic('a'), { qos: 1 })
    const live = await t.subscriber(t.topic('a'), { qos: 0 })
    away.drop()
    const speaker = await t.client()
    const properties = { messageExpiryInterval: 100 }
    await t.publishes(speaker, t.topic('a'), 'x', { qos: 1, properties })
    await t.publishes(speaker, t.retainedTopic('r'), 'x', { retain: true, properties })
    const left = (heard: Heard<'publish'>) => heard.properties?.messageExpiryInterval ?? -1
    equal(left(await live.hears('publish')), 100, 'expiry of a message that did not wait')
    await seconds(2.3)
    const back = await t.client(t.lasting(clientId))
    const waited = left(await back.receives())
    must(waited >= 95 && waited <= 98, `expiry ${waited} after more than 2 of 100 s`)
    const late = await t.subscriber(t.topic('r'))
    const retained = left(await late.hears('publish', { retain: true }))
    must(retained >= 95 && retained <= 98, `expiry ${retained} of a retained message`)
  }),
  ...only(5, ['4.3.3-7'], 'a message once sent does not expire', async (t) => {
    const clientId = t.id()
    const first = await t.persistent(clientId)
    await t.subscribes(first, t.topic('a'), { qos: 2 })
    const properties = { messageExpiryInterval: 1 }
    await t.publishes(await t.client(), t.topic('a'), 'x', { qos: 2, properties })
    const { messageId = 0 } = await first.hears('publish')
    await seconds(2.2)
    first.drop()
    const back = await t.client(t.lasting(clientId))
    await back.hears('publish', { messageId, dup: true, payload: Buffer.from('x') })
  }),
  ...only(5, ['4.3.3-13'], 'a QoS 2 exchange goes on although the message expired', async (t) => {
    const speaker = await t.client()
    const id = speaker.publish(t.topic('a'), 'x', {
      qos: 2,
      properties: { messageExpiryInterval: 1 },
    })
    await speaker.hears('pubrec', { messageId: id })
    await seconds(2.2)
    speaker.ack('pubrel', id)
    await speaker.hears('pubcomp', { messageId: id, reasonCode: 0 })
  }),
]

async function aliasMaximum(t: Talk): Promise<number> {
  const { connack } = await t.enter()
  return connack.properties?.topicAliasMaximum ?? 0
}

const aliased = (topic: string, alias: number, payload = 'x') =>
  frame(0x30, text(topic), props(u8(id.alias), u16(alias)), Buffer.from(payload))

const aliases: Case[] = [
  ...only(5, ['3.3.2-12'], 'every alias up to the maximum is accepted', async (t) => {
    const maximum = await aliasMaximum(t)
    if (maximum === 0) throw new NotHere('the server announces no topic aliases')
    const tried = [...Array(Math.min(maximum, 60)).keys()].map((i) => i + 1)
    if (maximum > 60) tried.push(maximum)
    const listener = await t.subscriber(t.topic('+'))
    const speaker = await t.client()
    for (const alias of tried) speaker.sends(aliased(t.topic(`${alias}`), alias))
    for (const alias of tried) speaker.sends(aliased('', alias))
    for (let round = 0; round < 2; round++)
      for (const alias of tried) {
        const heard = await listener.hears('publish', { topic: t.topic(`${alias}`) })
        equal(values(heard, id.alias), [], 'the alias of the publisher, passed on')
      }
    speaker.sends(aliased(t.topic('again'), 1), aliased('', 1))
    await listener.hears('publish', { topic: t.topic('again') })
    await listener.hears('publish', { topic: t.topic('again') })
  }),
  ...only(
    5,
    ['3.2.2-17', '3.3.2-9'],
    'an alias above the maximum closes the connection',
    async (t) => {
      const maximum = await aliasMaximum(t)
      if (maximum === 65535) throw new NotHere('every alias is allowed')
      const said = await t.closesFor('an alias too high', aliased(t.topic('a'), maximum + 1))
      for (const p of said) if (p.cmd === 'disconnect') equal(p.reasonCode, 0x94, 'reason code')
    },
  ),
  ...only(5, ['3.3.2-8'], 'alias 0 closes the connection', async (t) => {
    await t.closesFor('alias 0', aliased(t.topic('a'), 0))
  }),
  ...only(5, ['3.3.2-7'], 'aliases end with the connection', async (t) => {
    if ((await aliasMaximum(t)) === 0) throw new NotHere('the server announces no topic aliases')
    const clientId = t.id()
    const first = await t.persistent(clientId)
    await t.subscribes(first, t.topic('a'))
    first.sends(aliased(t.topic('a'), 1))
    await first.hears('publish')
    first.drop()
    const back = await t.client(t.lasting(clientId))
    back.sends(aliased('', 1))
    const said = await t.closesWithError('an alias of another connection', back)
    must(!said.some((p) => p.cmd === 'publish'), 'the old alias was used')
  }),
  ...only(
    5,
    ['3.1.2-29', '3.3.2-11', '3.3.2-7'],
    'the server keeps to the aliases a client allows',
    async (t) => {
      const speaker = await t.client()
      const listener = await t.client({ properties: { topicAliasMaximum: 2 } })
      await t.subscribes(listener, t.topic('+'))
      const known = new Map<string, string>()
      for (let i = 0; i < 24; i++) speaker.publish(t.topic(`${i % 4}`), `${i}`)
      for (let i = 0; i < 24; i++) {
        const heard = await listener.hears('publish', { payload: Buffer.from(`${i}`) })
        const [alias] = values(heard, id.alias)
        must(alias === undefined || parseInt(alias, 16) <= 2, `alias ${alias}`)
        if (alias !== undefined && heard.topic !== '') known.set(alias, heard.topic)
        const topic = heard.topic || known.get(alias!)
        equal(topic, t.topic(`${i % 4}`), 'topic meant')
      }
    },
  ),
  ...only(5, ['3.1.2-30'], 'no alias goes to a client that allows none', async (t) => {
    const speaker = await t.client()
    for (const properties of [{}, { topicAliasMaximum: 0 }]) {
      const listener = await t.subscriber(t.topic('a'), {}, { properties })
      for (let i = 0; i < 8; i++) speaker.publish(t.topic('a'), 'x')
      for (let i = 0; i < 8; i++)
        equal(
          values(await listener.hears('publish', { topic: t.topic('a') }), id.alias),
          [],
          'alias',
        )
    }
  }),
]

/** Subscription identifiers on a message, smallest first. */
function identifiers(heard: Heard<'publish'>): number[] {
  const given = heard.properties?.subscriptionIdentifier ?? []
  return [given].flat().sort((a, b) => a - b)
}

/** All copies of the message published now, as the listener got them before the next mark. */
async function copies(
  t: Talk,
  topic: string,
  properties?: Properties,
): Promise<Map<string, Heard<'publish'>[]>> {
  const { client, connack } = await t.enter()
  if (connack.properties?.subscriptionIdentifiersAvailable === false)
    throw new NotHere('subscription identifiers are not available')
  await t.marks(client)
  await t.subscribes(client, t.topic('a/b'), { qos: 0, identifier: 1 })
  await t.subscribes(client, t.topic('a/+'), { qos: 2, identifier: 268435455 })
  await t.subscribes(client, t.topic('#'), { qos: 1 })
  await t.subscribes(client, t.topic('c'), { qos: 1, identifier: 3 })
  const speaker = await t.client()
  await t.publishes(speaker, topic, 'x', { qos: 2, ...(properties && { properties }) })
  speaker.publish(t.markTopic, 'mark')
  await client.finds('publish', (p) => p.topic === t.markTopic)
  const heard = client.takes().filter((p): p is Heard<'publish'> => p.cmd === 'publish')
  return new Map([[topic, heard]])
}

const overlapping: Case[] = [
  ...only(
    5,
    ['3.3.4-2', '3.3.4-3', '3.3.4-4'],
    'overlapping subscriptions: highest QoS, all identifiers',
    async (t) => {
      const heard = (await copies(t, t.topic('a/b'))).get(t.topic('a/b'))!
      const all = heard.flatMap(identifiers).sort((a, b) => a - b)
      equal(all, [1, 268435455], 'identifiers')
      equal(Math.max(...heard.map((p) => p.qos)), 2, 'highest QoS')
      if (heard.length === 1) equal(identifiers(heard[0]!), [1, 268435455], 'in the single copy')
    },
  ),
  ...only(5, ['3.3.4-5'], 'each copy carries the identifier of its own subscription', async (t) => {
    const { client, connack } = await t.enter()
    if (connack.properties?.sharedSubscriptionAvailable === false)
      throw new NotHere('shared subscriptions are not available')
    await t.marks(client)
    // A shared subscription is apart from the others, so this client is owed two copies.
    await t.subscribes(client, t.topic('a'), { identifier: 5 })
    await t.subscribes(client, `$share/${t.id('g')}/${t.topic('a')}`, { identifier: 6 })
    const speaker = await t.client()
    speaker.publish(t.topic('a'), 'x')
    speaker.publish(t.markTopic, 'mark')
    await client.finds('publish', (p) => p.topic === t.markTopic)
    const heard = client.takes().filter((p): p is Heard<'publish'> => p.cmd === 'publish')
    equal(heard.length, 2, 'copies')
    equal(heard.flatMap(identifiers).sort(), [5, 6], 'identifiers')
    must(
      heard.every((p) => identifiers(p).length === 1),
      'a copy with two identifiers',
    )
  }),
  ...only(
    5,
    ['3.3.4-3', '3.8.4-3'],
    'identifiers are replaced with their subscription',
    async (t) => {
      const listener = await t.subscriber(t.topic('a'), { identifier: 7 })
      const speaker = await t.client()
      const next = async () => {
        speaker.publish(t.topic('a'), 'x')
        return identifiers(await listener.hears('publish'))
      }
      equal(await next(), [7], 'at first')
      await t.subscribes(listener, t.topic('a'), { identifier: 8 })
      equal(await next(), [8], 'replaced')
      await t.subscribes(listener, t.topic('a'))
      equal(await next(), [], 'removed')
    },
  ),
  ...only(
    5,
    ['3.3.4-3'],
    'retained messages carry the identifier of the new subscription',
    async (t) => {
      const topic = t.retainedTopic('a')
      await t.publishes(await t.client(), topic, 'x', { qos: 1, retain: true })
      const listener = await t.subscriber(topic, { identifier: 9 })
      equal(identifiers(await listener.hears('publish', { retain: true })), [9], 'identifiers')
    },
  ),
]

export const propertyCases: Case[] = [...passing, ...expiring, ...aliases, ...overlapping]
