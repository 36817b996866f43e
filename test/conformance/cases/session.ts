// Sessions: clean or resumed, what they keep while the client is away, when they end, and keep alive.
import { both, type Case, equal, must, NotHere, only, seconds, type Talk } from '../case.ts'

/** A lasting session with one subscription, its client gone without a goodbye. */
async function leftBehind(
  t: Talk,
  clientId: string,
  filter: string,
  qos: 0 | 1 | 2,
): Promise<void> {
  const client = await t.persistent(clientId)
  await t.subscribes(client, filter, { qos })
  client.disconnect()
  await client.closed()
}

const resuming: Case[] = [
  ...both(
    ['3.1.2-4', '3.1.2-5', '3.2.2-2', '4.5.0-1', '3.14.4-3'],
    ['3.1.2-5', '3.2.2-3', '4.5.0-1', '3.1.2-25', '3.1.4-4'],
    'a session keeps subscriptions and messages while its client is away',
    async (t) => {
      const clientId = t.id()
      await leftBehind(t, clientId, t.topic('a'), 2)
      const speaker = await t.client()
      await t.publishes(speaker, t.topic('a'), 'one', { qos: 1 })
      await t.publishes(speaker, t.topic('a'), 'two', { qos: 2 })
      await t.publishes(speaker, t.topic('other'), 'not wanted', { qos: 1 })
      const { client, connack } = await t.enter(t.lasting(clientId))
      equal(connack.sessionPresent, true, 'session present')
      await client.receives({ qos: 1, payload: Buffer.from('one'), dup: false })
      await client.receives({ qos: 2, payload: Buffer.from('two'), dup: false })
      await t.publishes(speaker, t.topic('a'), 'three', { qos: 1 })
      await client.receives({ payload: Buffer.from('three') })
      await client.hearsNothing()
    },
  ),
  ...both(
    ['3.1.2-4', '3.2.2-3', '3.1.4-3'],
    ['3.1.2-6', '3.2.2-3', '3.1.4-4'],
    'without a session, a new one is made',
    async (t) => {
      const clientId = t.id()
      const { client, connack } = await t.enter(t.lasting(clientId))
      equal(connack.sessionPresent, false, 'session present at first')
      client.drop()
      equal((await t.enter(t.lasting(clientId))).connack.sessionPresent, true, 'session present')
    },
  ),
  ...both(
    ['3.1.2-6', '3.2.2-1', '3.1.4-3'],
    ['3.1.2-4', '3.2.2-2', '3.1.4-4'],
    'a clean start discards the session',
    async (t) => {
      const clientId = t.id()
      await leftBehind(t, clientId, t.topic('a'), 1)
      const speaker = await t.client()
      await t.publishes(speaker, t.topic('a'), 'old', { qos: 1 })
      const clean = await t.enter({ ...t.lasting(clientId), clean: true })
      equal(clean.connack.sessionPresent, false, 'session present after a clean start')
      await t.publishes(speaker, t.topic('a'), 'still not wanted', { qos: 1 })
      await t.silence(clean.client, speaker)
    },
  ),
  ...only(
    4,
    ['3.1.2-6'],
    'a clean session ends with its connection, retained messages do not',
    async (t) => {
      const clientId = t.id()
      const first = await t.subscriber(t.topic('a'), { qos: 1 }, { clientId, clean: true })
      await t.publishes(first, t.retainedTopic('kept'), 'kept', { qos: 1, retain: true })
      first.disconnect()
      await first.closed()
      await t.publishes(await t.client(), t.topic('a'), 'missed', { qos: 1 })
      const { client, connack } = await t.enter({ clientId, clean: false })
      equal(connack.sessionPresent, false, 'session present')
      await client.hearsNothing()
      await t.subscribes(client, t.topic('kept'))
      await client.hears('publish', { payload: Buffer.from('kept'), retain: true })
      client.disconnect()
      await t.client({ clientId, clean: true })
    },
  ),
  ...only(5, ['3.1.2-4'], 'a clean start discards a session that is connected', async (t) => {
    const clientId = t.id()
    const first = await t.persistent(clientId)
    await t.subscribes(first, t.topic('a'), { qos: 1 })
    const { client, connack } = await t.enter({ clientId, clean: true })
    equal(connack.sessionPresent, false, 'session present')
    const speaker = await t.client()
    await t.publishes(speaker, t.topic('a'), 'x', { qos: 1 })
    await t.silence(client, speaker)
  }),
  ...both(
    ['4.1.0-2', '3.14.4-3'],
    ['4.1.0-1'],
    'a session lasts while its connection does',
    async (t) => {
      const properties = t.version === 5 ? { properties: { sessionExpiryInterval: 1 } } : {}
      const listener = await t.subscriber(t.topic('a'), { qos: 1 }, properties)
      const speaker = await t.client()
      await t.publishes(speaker, t.topic('a'), 'unacknowledged', { qos: 1 })
      await listener.hears('publish')
      await seconds(2.2)
      await t.publishes(speaker, t.topic('a'), 'later', { qos: 1 })
      await listener.receives({ payload: Buffer.from('later'), qos: 1 })
    },
  ),
]

const expiry: Case[] = [
  ...only(
    5,
    ['4.1.0-2', '3.1.2-25'],
    'a session ends when its expiry interval has passed',
    async (t) => {
      const clientId = t.id()
      const properties = { sessionExpiryInterval: 1 }
      const first = await t.subscriber(t.topic('a'), {}, { clientId, properties })
      first.drop()
      const quick = await t.enter({ clientId, clean: false, properties })
      equal(quick.connack.sessionPresent, true, 'session present at once')
      quick.client.drop()
      await seconds(2.6)
      const late = await t.enter({ clientId, clean: false, properties })
      equal(late.connack.sessionPresent, false, 'session present after its expiry')
    },
  ),
  ...only(
    5,
    ['4.1.0-2'],
    'a session without expiry interval ends with its connection',
    async (t) => {
      const clientId = t.id()
      const first = await t.client({ clientId })
      first.disconnect()
      await first.closed()
      const { connack } = await t.enter({ clientId, clean: false })
      equal(connack.sessionPresent, false, 'session present')
    },
  ),
  ...only(5, ['4.1.0-2', '3.1.2-25'], 'DISCONNECT may change the expiry interval', async (t) => {
    const clientId = t.id()
    const first = await t.persistent(clientId)
    first.disconnect(0, { sessionExpiryInterval: 0 })
    await first.closed()
    const second = await t.enter(t.lasting(clientId))
    equal(second.connack.sessionPresent, false, 'session present after expiry 0')
    second.client.disconnect(0, { sessionExpiryInterval: 100 })
    await second.client.closed()
    const third = await t.enter(t.lasting(clientId))
    equal(third.connack.sessionPresent, true, 'session present after expiry 100')
  }),
  ...only(5, ['4.13.1-1'], 'DISCONNECT must not revive an expiry interval of zero', async (t) => {
    const client = await t.client()
    client.disconnect(0, { sessionExpiryInterval: 100 })
    await t.closesWithError('an expiry interval after zero', client)
  }),
]

const keepAlive: Case[] = [
  ...both(
    ['3.1.2-24', '3.1.2-8'],
    ['3.1.2-24', '3.2.2-22'],
    'a silent client is closed after one and a half keep alives, and its will published',
    async (t) => {
      const listener = await t.subscriber(t.topic('will'))
      const will = { topic: t.topic('will'), payload: Buffer.from('gone'), qos: 0 as const }
      const { client, connack } = await t.enter({ keepalive: 2, will })
      const given = connack.properties?.serverKeepAlive
      if (given !== undefined && given > 4) throw new NotHere(`the server keep alive is ${given} s`)
      const interval = (given ?? 2) * 1000
      const patience = t.target.keepAlivePatience ?? 5.5
      const from = performance.now()
      await client.closed(interval * 1.5 + patience * 1000)
      const waited = performance.now() - from
      must(waited >= interval * 1.5 - 100, `closed after ${Math.round(waited)} ms`)
      await listener.hears('publish', { topic: t.topic('will'), payload: Buffer.from('gone') })
    },
  ),
  ...both(
    ['3.1.2-24', '3.12.4-1'],
    ['3.1.2-24', '3.2.2-22', '3.12.4-1'],
    'a client that pings in time stays, one with keep alive 0 too',
    async (t) => {
      const [pinging, idle] = [await t.client({ keepalive: 1 }), await t.client({ keepalive: 0 })]
      for (let i = 0; i < 5; i++) {
        await seconds(0.8)
        await pinging.hearsNothing()
      }
      await idle.hearsNothing()
    },
  ),
]

const wills: Case[] = [
  ...both(
    ['3.1.2-8', '3.1.2-9'],
    ['3.1.2-7', '3.1.2-8', '3.1.2-9'],
    'a will is published when the connection breaks',
    async (t) => {
      const listener = await t.subscriber(t.topic('will/+'), { qos: 2 })
      for (const qos of [0, 1, 2] as const) {
        const will = { topic: t.topic(`will/${qos}`), payload: Buffer.from('gone'), qos }
        const dying = await t.client({ will })
        dying.drop()
        await listener.receives({ topic: will.topic, payload: will.payload, qos, retain: false })
      }
    },
  ),
  ...both(['3.1.2-8'], ['3.1.2-8'], 'a will is published after a protocol error', async (t) => {
    const listener = await t.subscriber(t.topic('will'))
    const will = { topic: t.topic('will'), payload: Buffer.from('wrong'), qos: 0 as const }
    const dying = await t.client({ will })
    dying.sends(Buffer.from([0x36, 2, 0, 0]))
    await dying.closed()
    await listener.hears('publish', { payload: will.payload })
  }),
  ...both(
    ['3.1.2-10', '3.14.4-3', '3.1.2-8'],
    ['3.1.2-10', '3.14.4-3', '3.1.2-8'],
    'DISCONNECT discards the will',
    async (t) => {
      const clientId = t.id()
      const listener = await t.subscriber(t.topic('will'))
      await t.marks(listener)
      const will = { topic: t.topic('will'), payload: Buffer.from('x'), qos: 0 as const }
      const leaving = await t.persistent(clientId, { will })
      leaving.disconnect()
      await leaving.closed()
      // Nor does it come back when the same session breaks without a will of its own.
      const back = await t.persistent(clientId)
      back.drop()
      const last = await t.persistent(clientId)
      await t.silence(listener, last)
      // Nor when the session ends: with its connection, or by a clean start.
      const brief = await t.client({ will })
      brief.disconnect()
      await brief.closed()
      const lasting = await t.persistent(clientId, { will })
      lasting.disconnect()
      await lasting.closed()
      await t.silence(listener, await t.client({ clientId, clean: true }))
    },
  ),
  ...both(
    ['3.1.2-10', '3.1.2-12'],
    ['3.1.2-10', '3.1.2-12'],
    'a will is published once, and none without a will',
    async (t) => {
      const clientId = t.id()
      const listener = await t.subscriber(t.topic('+'))
      const will = (name: string) => ({
        topic: t.topic(name),
        payload: Buffer.from(name),
        qos: 0 as const,
      })
      const dying = await t.persistent(clientId, { will: will('first') })
      dying.drop()
      await listener.hears('publish', { topic: t.topic('first') })
      for (let i = 0; i < 2; i++) (await t.persistent(clientId)).drop()
      const marker = await t.client({ will: will('second') })
      marker.drop()
      await listener.hears('publish', { topic: t.topic('second') })
      await listener.hearsNothing()
    },
  ),
  ...both(['3.1.2-16'], ['3.1.2-16'], 'a will without retain is not retained', async (t) => {
    const topic = t.retainedTopic('will')
    const listener = await t.subscriber(topic)
    const dying = await t.client({ will: { topic, payload: 'x', qos: 1, retain: false } })
    dying.drop()
    await listener.hears('publish', { topic, retain: false })
    const late = await t.subscriber(topic)
    await t.silence(late, await t.client())
  }),
  ...both(['3.1.2-17'], ['3.1.2-17'], 'a will with retain is retained', async (t) => {
    const topic = t.retainedTopic('will')
    const listener = await t.subscriber(topic)
    const dying = await t.client({ will: { topic, payload: 'x', qos: 1, retain: true } })
    dying.drop()
    await listener.hears('publish', { topic, retain: false })
    const late = await t.subscriber(topic, { qos: 1 })
    await late.receives({ topic, retain: true, qos: 1, payload: Buffer.from('x') })
  }),
]

const will = (t: Talk, delay: number) => ({
  topic: t.topic('will'),
  payload: Buffer.from('gone'),
  qos: 0 as const,
  properties: { willDelayInterval: delay },
})

const willDelay: Case[] = [
  ...only(5, ['3.1.2-8'], 'a will waits for its delay', async (t) => {
    const listener = await t.subscriber(t.topic('will'))
    const dying = await t.persistent(t.id(), { will: will(t, 1) })
    dying.drop()
    const from = performance.now()
    await listener.hears('publish', { topic: t.topic('will') })
    const waited = performance.now() - from
    must(waited >= 900, `published after ${Math.round(waited)} ms`)
  }),
  ...only(
    5,
    ['3.1.2-26', '3.1.2-8'],
    'who comes back within the delay has no will published',
    async (t) => {
      const clientId = t.id()
      const listener = await t.subscriber(t.topic('will'))
      await t.marks(listener)
      const dying = await t.persistent(clientId, { will: will(t, 1) })
      dying.drop()
      // The will of the connection that stands must not be sent at the hour of the one before.
      const back = await t.persistent(clientId, { will: will(t, 1) })
      await seconds(2.5)
      await t.silence(listener, back)
      back.disconnect()
    },
  ),
  ...only(
    5,
    ['3.1.2-8'],
    'a will is published when the session ends before its delay',
    async (t) => {
      const listener = await t.subscriber(t.topic('will'))
      const dying = await t.client({ will: will(t, 60) })
      dying.drop()
      await listener.hears('publish', { topic: t.topic('will') })
      const properties = { sessionExpiryInterval: 1 }
      const lasting = await t.client({ properties, will: will(t, 60) })
      lasting.drop()
      const from = performance.now()
      await seconds(0.5)
      await listener.hears('publish', { topic: t.topic('will') })
      must(performance.now() - from >= 900, 'published before the session ended')
    },
  ),
]

export const sessionCases: Case[] = [...resuming, ...expiry, ...keepAlive, ...wills, ...willDelay]
