// SUBSCRIBE, UNSUBSCRIBE and their answers; topic names, filters and what matches.
import { frame, props, text, u8, u16, varint } from '../../support/bytes.ts'
import type { RawClient } from '../../support/raw-client.ts'
import { both, type Case, equal, grantedOf, must, NotHere, only, type Talk } from '../case.ts'

const none = (t: Talk) => (t.version === 5 ? props() : Buffer.alloc(0))

const subscribing: Case[] = [
  ...both(
    ['3.8.4-1', '3.8.4-5'],
    ['3.8.4-1', '3.8.4-6', '3.8.4-7'],
    'each filter gets its return code',
    async (t) => {
      const client = await t.client()
      const wanted = [2, 0, 1, 2] as const
      client.subscribe(
        wanted.map((qos, i) => ({ topic: t.topic(`${i}`), qos })),
        { id: 300 },
      )
      const suback = await client.hears('suback', { messageId: 300 })
      equal(grantedOf(suback), [...wanted], 'granted')
    },
  ),
  ...both(
    ['3.8.4-5', '3.9.3-1', '3.9.3-2', '3.8.4-4'],
    ['3.8.4-7', '3.9.3-1', '3.9.3-2', '3.8.4-5'],
    'a refused filter fails alone, in its place',
    async (t) => {
      const { refusedFilter } = t.target
      if (refusedFilter === undefined) throw new NotHere('no filter is refused')
      const client = await t.client()
      const filters = [t.topic('1'), refusedFilter, t.topic('2')]
      client.subscribe(filters.map((topic, i) => ({ topic, qos: i === 0 ? 1 : 2 })))
      const [first, second = 0, third] = grantedOf(await client.hears('suback'))
      equal([first, third], [1, 2], 'granted around the refusal')
      if (t.version === 4) equal(second, 0x80, 'return code of the refused filter')
      else must(second >= 0x80, `reason code ${second} for the refused filter`)
      client.publish(t.topic('2'), 'x')
      await client.hears('publish', { topic: t.topic('2') })
    },
  ),
  ...both(
    ['3.9.3-1', '3.8.4-4'],
    ['3.9.3-1', '3.8.4-5'],
    'several filters in one SUBSCRIBE are as several SUBSCRIBEs',
    async (t) => {
      const client = await t.client()
      const same = [0, 2, 1] as const
      client.subscribe([
        ...same.map((qos) => ({ topic: t.topic('same'), qos })),
        { topic: t.topic('other'), qos: 2 },
      ])
      equal(grantedOf(await client.hears('suback')), [0, 2, 1, 2], 'granted')
      const speaker = await t.client()
      await t.publishes(speaker, t.topic('same'), 'x', { qos: 2 })
      // The last of the same filter replaced those before it.
      await client.receives({ topic: t.topic('same'), qos: 1 })
      await t.publishes(speaker, t.topic('other'), 'x', { qos: 2 })
      await client.receives({ topic: t.topic('other'), qos: 2 })
    },
  ),
  ...both(
    ['3.8.4-3'],
    ['3.8.4-3', '3.8.4-4'],
    'the same filter replaces the subscription',
    async (t) => {
      const client = await t.subscriber(t.topic('a/+'), { qos: 0 })
      const speaker = await t.client()
      await t.marks(client)
      for (const qos of [2, 1, 0] as const) {
        await t.subscribes(client, t.topic('a/+'), { qos })
        await t.publishes(speaker, t.topic('a/b'), `${qos}`, { qos: 2 })
        await client.receives({ qos, payload: Buffer.from(`${qos}`) })
      }
      await t.silence(client, speaker)
    },
  ),
  ...both(
    ['3.8.4-3'],
    ['3.8.4-4'],
    'nothing is lost while a subscription is replaced',
    async (t) => {
      const client = await t.subscriber(t.topic('a'), { qos: 1 })
      const speaker = await t.client()
      const count = 30
      for (let i = 0; i < count; i++) {
        speaker.publish(t.topic('a'), `${i}`, { qos: 1 })
        client.subscribe(t.topic('a'), { qos: 1 })
      }
      for (let i = 0; i < count; i++) {
        const heard = await client.finds('publish')
        equal(`${heard.payload}`, `${i}`, 'payload')
        client.ack('puback', heard.messageId!)
      }
    },
  ),
  ...both(
    ['3.8.4-3'],
    ['3.8.4-4'],
    'what a session is owed is not lost when its client subscribes anew',
    async (t) => {
      const clientId = t.id()
      const client = await t.persistent(clientId)
      await t.subscribes(client, t.topic('a'), { qos: 1 })
      client.drop()
      const speaker = await t.client()
      const count = 60
      for (let i = 0; i < count; i++) await t.publishes(speaker, t.topic('a'), `${i}`, { qos: 1 })
      const window = t.version === 5 ? { sessionExpiryInterval: 300, receiveMaximum: 2 } : {}
      const back = await t.client({ ...t.lasting(clientId), properties: window })
      await t.subscribes(back, t.topic('a'), { qos: 1 })
      for (let i = 0; i < count; i++) await back.receives({ payload: Buffer.from(`${i}`) })
      await back.hearsNothing()
    },
  ),
  ...both(
    ['3.3.1-12'],
    ['3.8.3-5'],
    'reserved option bits and QoS 3 close the connection',
    async (t) => {
      const bits =
        t.version === 5 ? [0x03, 0x40, 0x80, 0x30] : [0x03, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80]
      await Promise.all(
        bits.map((bit) =>
          t.closesFor(
            `options ${bit.toString(2)}`,
            frame(0x82, u16(1), none(t), text(t.topic('a')), u8(bit)),
          ),
        ),
      )
    },
  ),
  ...both(
    ['4.8.0-1'],
    ['3.8.3-2'],
    'a SUBSCRIBE without filter closes the connection',
    async (t) => {
      await t.closesFor('no filter', frame(0x82, u16(1), none(t)))
      await t.closesFor('a filter without options', frame(0x82, u16(1), none(t), text('a')))
    },
  ),
  ...only(5, ['4.13.1-1'], 'a subscription identifier of 0 closes the connection', async (t) => {
    const properties = props(u8(0x0b), varint(0))
    await t.closesFor('identifier 0', frame(0x82, u16(1), properties, text('a'), u8(0)))
  }),
  ...only(5, ['3.8.3-3'], 'no local keeps a message from its publisher', async (t) => {
    const client = await t.subscriber(t.topic('a'), { nl: true })
    const other = await t.client()
    for (const qos of [0, 1, 2] as const) {
      await t.publishes(client, t.topic('a'), 'own', { qos })
      await client.hearsNothing()
      await t.publishes(other, t.topic('a'), 'of another', { qos })
      await client.hears('publish', { payload: Buffer.from('of another') })
    }
    // It is the client identifier that counts, not the connection.
    const clientId = t.id()
    const before = await t.persistent(clientId)
    await t.subscribes(before, t.topic('b'), { nl: true, qos: 1 })
    before.drop()
    const after = await t.client(t.lasting(clientId))
    await t.publishes(after, t.topic('b'), 'own', { qos: 1 })
    await t.silence(after, other)
  }),
]

const unsubscribing: Case[] = [
  ...both(
    ['3.10.3-2'],
    ['3.10.3-2'],
    'an UNSUBSCRIBE without filter closes the connection',
    async (t) => {
      await t.closesFor('no filter', frame(0xa2, u16(1), none(t)))
    },
  ),
  ...both(
    ['3.10.4-1', '3.10.4-2'],
    ['3.10.4-1', '3.10.4-2'],
    'exactly the filter named is deleted',
    async (t) => {
      const client = await t.subscriber(t.topic('a/b'))
      await t.marks(client)
      const speaker = await t.client()
      // Filters that match the same topic, or nearly the same text, are other filters.
      for (const [i, near] of ['a/+', '#', 'A/b', 'a/b/', 'a/'].entries()) {
        client.unsubscribe(t.topic(near))
        await client.hears('unsuback')
        await t.publishes(speaker, t.topic('a/b'), `${i}`, { qos: 1 })
        await client.hears('publish', { payload: Buffer.from(`${i}`) })
      }
      await t.subscribes(client, t.topic('+/b'))
      client.unsubscribe(t.topic('a/b'))
      await client.hears('unsuback')
      await t.publishes(speaker, t.topic('a/b'), 'by wildcard', { qos: 1 })
      await client.hears('publish', { payload: Buffer.from('by wildcard') })
      client.unsubscribe(t.topic('+/b'))
      await client.hears('unsuback')
      await t.publishes(speaker, t.topic('a/b'), 'no more', { qos: 1 })
      await t.silence(client, speaker)
    },
  ),
  ...both(['3.10.4-3'], ['3.10.4-3'], 'a delivery that has begun is completed', async (t) => {
    const clientId = t.id()
    const client = await t.persistent(clientId)
    await t.subscribes(client, t.topic('a'), { qos: 2 })
    const speaker = await t.client()
    await t.publishes(speaker, t.topic('a'), 'one', { qos: 1 })
    await t.publishes(speaker, t.topic('a'), 'two', { qos: 2 })
    const one = await client.hears('publish', { qos: 1 })
    const two = await client.hears('publish', { qos: 2 })
    client.unsubscribe(t.topic('a'))
    await client.hears('unsuback')
    client.ack('pubrec', two.messageId!)
    await client.hears('pubrel', { messageId: two.messageId! })
    client.drop()
    const back = await t.client(t.lasting(clientId))
    const [again, pubrel] = [await back.finds('publish'), await back.finds('pubrel')]
    equal(
      [again.messageId, again.dup, `${again.payload}`],
      [one.messageId, true, 'one'],
      'sent again',
    )
    equal(pubrel.messageId, two.messageId, 'PUBREL')
    back.ack('puback', one.messageId!)
    back.ack('pubcomp', two.messageId!)
    await back.hearsNothing()
  }),
  ...both(
    ['3.10.4-4', '3.10.4-5'],
    ['3.10.4-4', '3.10.4-5'],
    'UNSUBACK comes even for nothing',
    async (t) => {
      const client = await t.client()
      client.unsubscribe(t.topic('never'), 4660)
      const unsuback = await client.hears('unsuback', { messageId: 4660 })
      if (t.version === 5) equal(grantedOf(unsuback).length, 1, 'reason codes')
    },
  ),
  ...both(
    ['3.10.4-6'],
    ['3.10.4-6', '3.11.3-1'],
    'several filters in one UNSUBSCRIBE, one UNSUBACK',
    async (t) => {
      const client = await t.subscriber(t.topic('a'))
      await t.subscribes(client, t.topic('b'))
      await t.marks(client)
      client.unsubscribe([t.topic('a'), t.topic('never'), t.topic('b'), t.topic('a')], 9)
      const unsuback = await client.hears('unsuback', { messageId: 9 })
      if (t.version === 5) equal(grantedOf(unsuback), [0, 0x11, 0, 0x11], 'reason codes')
      const speaker = await t.client()
      for (const name of ['a', 'b']) await t.publishes(speaker, t.topic(name), 'x', { qos: 1 })
      await t.silence(client, speaker)
    },
  ),
]

/** Which of these filters a message to `topic` reaches, each filter in a client of its own. */
async function reached(
  t: Talk,
  speaker: RawClient,
  topic: string,
  filters: string[],
): Promise<string[]> {
  const found: string[] = []
  await Promise.all(
    filters.map(async (filter) => {
      const listener = await t.subscriber(filter)
      await t.marks(listener)
      speaker.publish(topic, 'x')
      speaker.publish(t.markTopic, filter)
      await listener.finds('publish', (p) => p.topic === t.markTopic && `${p.payload}` === filter)
      if (listener.pending.some((p) => p.cmd === 'publish' && p.topic === topic)) found.push(filter)
    }),
  )
  return found.sort()
}

async function matches(t: Talk, name: string, yes: string[], no: string[]): Promise<void> {
  const speaker = await t.client()
  const all = [...yes, ...no].map((filter) => t.topic(filter))
  const found = await reached(t, speaker, t.topic(name), all)
  equal(found, yes.map((filter) => t.topic(filter)).sort(), `filters that match ${name}`)
}

const topics: Case[] = [
  ...both(
    ['3.3.2-2', '4.7.1-1'],
    ['3.3.2-2', '4.7.0-1'],
    'a wildcard in a topic name closes',
    async (t) => {
      for (const name of ['#', '+', 'a/#', 'a/+/b', 'a#', 'a+'])
        await t.closesFor(`topic ${name}`, frame(0x30, text(name), none(t)))
    },
  ),
  ...both(
    ['4.7.1-1', '4.7.1-2'],
    ['4.7.0-1', '4.7.1-1'],
    'the multi-level wildcard matches all below',
    async (t) => {
      await matches(t, 'a', ['#', 'a/#', 'a'], ['a/b/#', 'b/#', 'a/+'])
      await matches(t, 'a/b/c', ['#', 'a/#', 'a/b/#', 'a/b/c/#'], ['b/#', 'a/c/#'])
    },
  ),
  ...both(['4.7.1-2'], ['4.7.1-1'], 'the multi-level wildcard elsewhere is refused', async (t) => {
    for (const filter of ['a/#/b', 'a#', '#/a', 'a/b#', '##']) await t.refusesFilter(filter)
  }),
  ...both(
    ['4.7.1-3'],
    ['4.7.1-2'],
    'the single-level wildcard matches one level anywhere',
    async (t) => {
      await matches(
        t,
        'a/b/c',
        ['+/b/c', 'a/+/c', 'a/b/+', '+/+/+', 'a/+/#', '+/#'],
        ['+', '+/+', 'a/+'],
      )
      await matches(t, 'a//c', ['a/+/c', 'a//c', '+/+/+'], ['a/c', 'a/+', '+/c'])
      await matches(t, 'a/', ['a/+', 'a/', '+/'], ['a', '+'])
      for (const filter of ['a+', '+a', 'a/+b', 'a/b+/c', '++']) await t.refusesFilter(filter)
    },
  ),
  ...both(
    ['4.7.2-1'],
    ['4.7.2-1'],
    'a leading wildcard does not match topics with $',
    async (t) => {
      const name = `$${t.topic('a')}`
      const below = name.slice(name.indexOf('/') + 1)
      const exact = [`${name.slice(0, name.indexOf('/'))}/#`, name]
      const speaker = await t.client()
      const found = await reached(t, speaker, name, ['#', `+/${below}`, '+/#', '+/+/+', ...exact])
      equal(found, found.length === 0 ? [] : exact.sort(), 'filters that match')
      const wild = await t.subscriber('#')
      await t.marks(wild)
      speaker.publish(t.markTopic, 'end')
      await wild.finds('publish', (p) => p.topic === t.markTopic && `${p.payload}` === 'end')
      const dollars = wild.takes().filter((p) => p.cmd === 'publish' && p.topic.startsWith('$'))
      equal(dollars, [], 'messages of $ topics to #')
    },
  ),
  ...both(['4.7.3-1'], ['4.7.3-1'], 'an empty topic name or filter is refused', async (t) => {
    await t.closesFor('an empty topic name', frame(0x30, text(''), none(t)))
    await t.refusesFilter('')
    await t.closesFor('an empty filter to unsubscribe', frame(0xa2, u16(1), none(t), text('')))
    const short = await t.subscriber('1')
    await t.marks(short)
    const speaker = await t.client()
    speaker.publish('1', t.topic('shortest'))
    await short.finds('publish', (p) => p.topic === '1' && `${p.payload}` === t.topic('shortest'))
  }),
  ...both(['4.7.3-4'], ['4.7.3-4'], 'topics are compared as they are', async (t) => {
    const composed = 'caf\u00e9'
    const decomposed = 'cafe\u0301'
    await matches(t, composed, [composed], [decomposed, 'cafe', 'CAF\u00c9'])
    await matches(t, 'Case', ['Case'], ['case', 'CASE', ' Case', 'Case '])
    await matches(t, 'a//b', ['a//b'], ['a/b', 'a/./b', 'a///b'])
    await matches(t, 'a/../b', ['a/../b'], ['b', 'a/b'])
    await matches(t, '%41', ['%41'], ['A', '%41%'])
  }),
]

export const subscribeCases: Case[] = [...subscribing, ...unsubscribing, ...topics]
