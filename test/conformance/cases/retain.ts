// Retained messages: stored, replaced, removed, and sent to new subscriptions.
import { both, type Case, equal, only, type Talk } from '../case.ts'

/** What somebody who subscribes now is given at once for this topic. */
async function retainedNow(t: Talk, topic: string): Promise<string[]> {
  const late = await t.subscriber(topic, { qos: 2 })
  await t.marks(late)
  const speaker = await t.client()
  speaker.publish(t.markTopic, 'mark')
  await late.finds('publish', (packet) => packet.topic === t.markTopic)
  return late
    .takes()
    .map((p) => (p.cmd === 'publish' ? `${p.qos} ${p.payload} ${p.retain}` : p.cmd))
}

export const retainCases: Case[] = [
  ...both(
    ['3.3.1-5', '3.3.1-6', '3.3.1-8'],
    ['3.3.1-5', '3.3.1-9'],
    'a retained message is stored with its QoS and sent to new subscriptions',
    async (t) => {
      const speaker = await t.client()
      for (const qos of [0, 1, 2] as const) {
        const topic = t.retainedTopic(`a${qos}`)
        await t.publishes(speaker, topic, 'first', { qos, retain: true })
        await t.publishes(speaker, topic, 'second', { qos, retain: true })
        await speaker.hearsNothing()
        equal(await retainedNow(t, topic), [`${qos} second true`], `retained at QoS ${qos}`)
      }
    },
  ),
  ...both(['3.3.1-6'], ['3.3.1-9'], 'a wildcard subscription is sent every match', async (t) => {
    const speaker = await t.client()
    const topics = ['w', 'w/x', 'w/y', 'w/x/z'].map((name) => t.retainedTopic(name))
    for (const topic of [...topics, t.retainedTopic('v')])
      await t.publishes(speaker, topic, 'x', { qos: 1, retain: true })
    const late = await t.subscriber(t.topic('w/#'))
    const heard: string[] = []
    for (let i = 0; i < 4; i++) heard.push((await late.hears('publish', { retain: true })).topic)
    equal(heard.sort(), topics.sort(), 'retained topics')
    await late.hearsNothing()
  }),
  ...both(['3.3.1-7'], ['3.3.1-5'], 'a QoS 0 message replaces what was retained', async (t) => {
    const topic = t.retainedTopic('a')
    const speaker = await t.client()
    await t.publishes(speaker, topic, 'old', { qos: 1, retain: true })
    await t.publishes(speaker, topic, 'new', { qos: 0, retain: true })
    await speaker.hearsNothing()
    equal(await retainedNow(t, topic), ['0 new true'], 'retained')
  }),
  ...both(['3.3.1-9'], ['3.3.1-12'], 'established subscriptions see no retain flag', async (t) => {
    const topic = t.retainedTopic('a')
    const listener = await t.subscriber(topic)
    const speaker = await t.client()
    for (const qos of [0, 1, 2] as const) {
      await t.publishes(speaker, topic, `${qos}`, { qos, retain: true })
      await listener.hears('publish', { retain: false, payload: Buffer.from(`${qos}`) })
    }
  }),
  ...both(
    ['3.3.1-10', '3.3.1-11'],
    ['3.3.1-6', '3.3.1-7'],
    'an empty payload is delivered, removes, and is not stored',
    async (t) => {
      const topic = t.retainedTopic('a')
      const speaker = await t.client()
      await t.publishes(speaker, topic, 'x', { qos: 1, retain: true })
      const listener = await t.subscriber(topic)
      await listener.hears('publish', { retain: true })
      await t.publishes(speaker, topic, '', { qos: 1, retain: true })
      await listener.hears('publish', { retain: false, payload: Buffer.alloc(0) })
      equal(await retainedNow(t, topic), [], 'retained after its removal')
    },
  ),
  ...both(
    ['3.3.1-12'],
    ['3.3.1-8'],
    'a message without retain changes nothing retained',
    async (t) => {
      const topic = t.retainedTopic('a')
      const speaker = await t.client()
      await t.publishes(speaker, t.topic('b'), 'passing', { qos: 1 })
      equal(await retainedNow(t, t.topic('b')), [], 'stored without retain')
      await t.publishes(speaker, topic, 'kept', { qos: 1, retain: true })
      await t.publishes(speaker, topic, 'passing', { qos: 1 })
      await t.publishes(speaker, topic, '', { qos: 1 })
      equal(await retainedNow(t, topic), ['1 kept true'], 'retained')
    },
  ),
  ...both(
    ['3.8.4-3'],
    ['3.8.4-4', '3.3.1-9'],
    'subscribing again sends retained messages again',
    async (t) => {
      const topic = t.retainedTopic('a')
      const speaker = await t.client()
      await t.publishes(speaker, topic, 'x', { qos: 1, retain: true })
      const listener = await t.subscriber(topic)
      await listener.hears('publish', { retain: true })
      await t.subscribes(listener, topic)
      await listener.hears('publish', { retain: true })
      await listener.hearsNothing()
    },
  ),
  ...only(5, ['3.3.1-10'], 'retain handling 1 sends to new subscriptions alone', async (t) => {
    const topic = t.retainedTopic('a')
    await t.publishes(await t.client(), topic, 'x', { qos: 1, retain: true })
    const listener = await t.subscriber(topic, { rh: 1 })
    await listener.hears('publish', { retain: true })
    await t.subscribes(listener, topic, { rh: 1 })
    await t.silence(listener, await t.client())
    listener.unsubscribe(topic)
    await listener.hears('unsuback')
    await t.subscribes(listener, topic, { rh: 1 })
    await listener.hears('publish', { retain: true })
  }),
  ...only(5, ['3.3.1-11'], 'retain handling 2 sends nothing', async (t) => {
    const topic = t.retainedTopic('a')
    const speaker = await t.client()
    await t.publishes(speaker, topic, 'x', { qos: 1, retain: true })
    const listener = await t.subscriber(topic, { rh: 2 })
    await t.silence(listener, speaker)
    await t.publishes(speaker, topic, 'y', { qos: 1, retain: true })
    await listener.hears('publish', { payload: Buffer.from('y') })
  }),
  ...only(
    5,
    ['3.3.1-12', '3.3.1-13'],
    'retain as published keeps the flag, else it is 0',
    async (t) => {
      const topic = t.retainedTopic('a')
      const keeps = await t.subscriber(topic, { rap: true })
      const clears = await t.subscriber(topic, { rap: false })
      const speaker = await t.client()
      for (const qos of [0, 1] as const)
        for (const retain of [true, false]) {
          await t.publishes(speaker, topic, 'x', { qos, retain })
          await keeps.hears('publish', { retain })
          await clears.hears('publish', { retain: false })
        }
    },
  ),
]
