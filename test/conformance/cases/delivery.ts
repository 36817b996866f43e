// PUBLISH and its acknowledgements: the exchanges of each QoS in both directions, redelivery and order.
import { frame, props, text, u8, u16 } from '../../support/bytes.ts'
import type { RawClient } from '../../support/raw-client.ts'
import { both, type Case, equal, must, NotHere, only, seconds, type Talk } from '../case.ts'

/** A lasting subscriber at QoS 2, and somebody to publish to it. */
async function pair(
  t: Talk,
  clientId: string,
): Promise<{ listener: RawClient; speaker: RawClient }> {
  const listener = await t.persistent(clientId)
  await t.subscribes(listener, t.topic('a'), { qos: 2 })
  return { listener, speaker: await t.client() }
}

async function resumes(t: Talk, gone: RawClient, clientId: string): Promise<RawClient> {
  gone.drop()
  const { client, connack } = await t.enter(t.lasting(clientId))
  equal(connack.sessionPresent, true, 'session present')
  return client
}

const flags: Case[] = [
  ...both(['3.3.1-2', '4.1.0-2'], ['3.3.1-2', '4.3.1-1'], 'QoS 0 travels with DUP 0', async (t) => {
    const listener = await t.subscriber(t.topic('a'), { qos: 2 })
    const speaker = await t.client()
    speaker.publish(t.topic('a'), 'x')
    const heard = await listener.hears('publish', { qos: 0, dup: false })
    equal(heard.raw.bytes[0], 0x30, 'first byte')
    await listener.hearsNothing()
  }),
  ...both(['3.3.1-3'], ['3.3.1-3'], 'DUP of a publisher is not passed on', async (t) => {
    const listener = await t.subscriber(t.topic('a'), { qos: 2 })
    const speaker = await t.client()
    for (const qos of [1, 2] as const) {
      await t.publishes(speaker, t.topic('a'), 'x', { qos, dup: true })
      await listener.receives({ qos, dup: false })
    }
  }),
  ...both(['3.3.1-4'], ['3.3.1-4'], 'QoS 3 closes the connection', async (t) => {
    const none = t.version === 5 ? props() : Buffer.alloc(0)
    await t.closesFor('QoS 3', frame(0x36, text(t.topic('a')), u16(1), none, u8(1)))
  }),
  ...both(
    ['3.3.2-1', '4.8.0-1'],
    ['3.3.2-1', '4.13.1-1'],
    'a PUBLISH without topic closes',
    async (t) => {
      await t.closesFor('an empty PUBLISH', frame(0x30))
      await t.closesFor('a topic cut short', frame(0x30, u16(9), Buffer.from('short')))
      await t.closesFor('no packet identifier', frame(0x32, text(t.topic('a'))))
    },
  ),
]

const incoming: Case[] = [
  ...both(
    ['4.1.0-2'],
    ['3.3.4-1', '4.3.2-4', '4.3.2-5'],
    'QoS 1 in: every PUBACK ends the identifier',
    async (t) => {
      const listener = await t.subscriber(t.topic('a'), { qos: 1 })
      const speaker = await t.client()
      for (const dup of [false, true]) {
        speaker.publish(t.topic('a'), 'x', { qos: 1, id: 7, dup })
        await speaker.hears('puback', { messageId: 7 })
        // The identifier was free again, so the second is a new message although DUP is set.
        await listener.receives({ qos: 1, dup: false })
      }
    },
  ),
  ...both(
    ['4.3.3-2'],
    ['3.3.4-1', '4.3.3-8', '4.3.3-10', '4.3.3-11', '4.3.3-12'],
    'QoS 2 in: delivered once until PUBREL, then the identifier is new',
    async (t) => {
      const listener = await t.subscriber(t.topic('a'), { qos: 1 })
      await t.marks(listener)
      const speaker = await t.client()
      for (let round = 0; round < 2; round++) {
        speaker.publish(t.topic('a'), `${round}`, { qos: 2, id: 7 })
        await speaker.hears('pubrec', { messageId: 7 })
        speaker.publish(t.topic('a'), `${round}`, { qos: 2, id: 7, dup: true })
        await speaker.hears('pubrec', { messageId: 7 })
        speaker.ack('pubrel', 7)
        await speaker.hears('pubcomp', { messageId: 7 })
        speaker.ack('pubrel', 7)
        await speaker.hears('pubcomp', { messageId: 7 })
        await listener.receives({ payload: Buffer.from(`${round}`) })
      }
      await t.silence(listener, speaker)
    },
  ),
  ...both(['4.3.3-2', '4.4.0-1'], ['4.3.3-10'], 'QoS 2 in: once across connections', async (t) => {
    const clientId = t.id()
    const listener = await t.subscriber(t.topic('a'), { qos: 1 })
    const speaker = await t.persistent(clientId)
    speaker.publish(t.topic('a'), 'x', { qos: 2, id: 7 })
    await speaker.hears('pubrec', { messageId: 7 })
    const back = await resumes(t, speaker, clientId)
    back.publish(t.topic('a'), 'x', { qos: 2, id: 7, dup: true })
    await back.hears('pubrec', { messageId: 7 })
    back.ack('pubrel', 7)
    await back.hears('pubcomp', { messageId: 7 })
    await listener.receives()
    await t.silence(listener, back)
  }),
  ...both(
    ['4.6.0-2', '4.6.0-3'],
    ['3.3.4-1'],
    'acknowledgements leave in the order of arrival',
    async (t) => {
      const client = await t.client()
      const ids = [9, 3, 7, 1, 8]
      for (const qos of [1, 2] as const) {
        const packets = ids.map((messageId) =>
          client.encode({
            cmd: 'publish',
            topic: t.topic('a'),
            payload: 'x',
            qos,
            messageId,
            dup: false,
            retain: false,
          }),
        )
        client.sends(...packets)
        for (const messageId of ids)
          await client.hears(qos === 1 ? 'puback' : 'pubrec', { messageId })
      }
      for (const id of ids) client.ack('pubrel', id)
      for (const messageId of ids) await client.hears('pubcomp', { messageId })
    },
  ),
]

const outgoing: Case[] = [
  ...both(
    ['4.1.0-2', '3.3.1-1', '4.4.0-1', '2.3.1-4'],
    ['3.3.1-1', '3.3.1-3', '4.3.2-2', '4.3.2-3', '4.4.0-1'],
    'QoS 1 out: sent again with DUP and its identifier until PUBACK',
    async (t) => {
      const clientId = t.id()
      const { listener, speaker } = await pair(t, clientId)
      await t.publishes(speaker, t.topic('a'), 'x', { qos: 1 })
      const { messageId = 0 } = await listener.hears('publish', { qos: 1, dup: false })
      await listener.hearsNothing()
      const again = await resumes(t, listener, clientId)
      await again.hears('publish', { qos: 1, dup: true, messageId, payload: Buffer.from('x') })
      again.ack('puback', messageId)
      await again.hearsNothing()
      const last = await resumes(t, again, clientId)
      await last.hearsNothing()
    },
  ),
  ...both(
    ['4.3.3-1', '3.3.1-1', '4.4.0-1', '2.3.1-4'],
    ['3.3.1-1', '4.3.3-2', '4.3.3-3', '4.3.3-4', '4.3.3-5', '4.3.3-6', '4.4.0-1'],
    'QoS 2 out: PUBLISH until PUBREC, PUBREL until PUBCOMP, each again after a break',
    async (t) => {
      const clientId = t.id()
      const { listener, speaker } = await pair(t, clientId)
      await t.publishes(speaker, t.topic('a'), 'x', { qos: 2 })
      const { messageId = 0 } = await listener.hears('publish', { qos: 2, dup: false })
      const second = await resumes(t, listener, clientId)
      await second.hears('publish', { qos: 2, dup: true, messageId, payload: Buffer.from('x') })
      second.ack('pubrec', messageId)
      await second.hears('pubrel', { messageId })
      const third = await resumes(t, second, clientId)
      await third.hears('pubrel', { messageId })
      await third.hearsNothing()
      third.ack('pubcomp', messageId)
      await third.hearsNothing()
      const last = await resumes(t, third, clientId)
      await last.hearsNothing()
    },
  ),
  ...only(5, ['4.4.0-1'], 'nothing is sent again on a connection that stands', async (t) => {
    const { listener, speaker } = await pair(t, t.id())
    await t.publishes(speaker, t.topic('a'), 'x', { qos: 1 })
    await listener.hears('publish', { qos: 1 })
    await seconds(4)
    await t.silence(listener, speaker)
  }),
  ...only(5, ['4.4.0-2', '4.3.3-4'], 'an error in PUBACK or PUBREC ends the message', async (t) => {
    const clientId = t.id()
    const { listener, speaker } = await pair(t, clientId)
    await t.publishes(speaker, t.topic('a'), 'one', { qos: 1 })
    const one = await listener.hears('publish', { qos: 1 })
    listener.ack('puback', one.messageId!, 0x80)
    await t.publishes(speaker, t.topic('a'), 'two', { qos: 2 })
    const two = await listener.hears('publish', { qos: 2 })
    listener.ack('pubrec', two.messageId!, 0x83)
    // No PUBREL answers a refusal.
    await listener.hearsNothing()
    const back = await resumes(t, listener, clientId)
    await back.hearsNothing()
  }),
  ...both(
    ['4.6.0-1', '4.6.0-4', '4.6.0-6'],
    ['4.6.0-5', '4.4.0-1'],
    'what is sent again keeps its order',
    async (t) => {
      const clientId = t.id()
      const { listener, speaker } = await pair(t, clientId)
      const all = ['1', '2', '3', '4', '5', '6']
      for (const [i, payload] of all.entries())
        await t.publishes(speaker, t.topic('a'), payload, { qos: i < 3 ? 1 : 2 })
      const ids: number[] = []
      for (const payload of all)
        ids.push((await listener.hears('publish', { payload: Buffer.from(payload) })).messageId!)
      const back = await resumes(t, listener, clientId)
      for (const [i, payload] of all.entries())
        await back.hears('publish', {
          payload: Buffer.from(payload),
          messageId: ids[i]!,
          dup: true,
        })
      for (const id of ids.slice(3)) back.ack('pubrec', id)
      for (const messageId of ids.slice(3)) await back.hears('pubrel', { messageId })
    },
  ),
  ...both(
    ['4.6.0-5', '4.6.0-6'],
    ['4.6.0-5', '4.6.0-6'],
    'messages keep the order of their publisher',
    async (t) => {
      for (const qos of [0, 1, 2] as const) {
        const listener = await t.subscriber(t.topic(`a${qos}`), { qos })
        const speaker = await t.client()
        const count = 40
        for (let i = 0; i < count; i++)
          await t.publishes(speaker, t.topic(`a${qos}`), `${i}`, { qos })
        for (let i = 0; i < count; i++)
          await listener.receives({ qos, payload: Buffer.from(`${i}`) })
      }
    },
  ),
  ...both(
    ['4.5.0-1', '3.8.4-6'],
    ['4.5.0-1', '3.8.4-8', '3.3.2-3'],
    'a message goes to every match, at the lower QoS of the two',
    async (t) => {
      const filters = [t.topic('a/b'), t.topic('a/+'), t.topic('#')]
      const speaker = await t.client()
      for (const granted of [0, 1, 2] as const) {
        const listeners = await Promise.all(filters.map((f) => t.subscriber(f, { qos: granted })))
        const other = await t.subscriber(t.topic('b/+'), { qos: granted })
        await t.marks(other)
        for (const qos of [0, 1, 2] as const) {
          await t.publishes(speaker, t.topic('a/b'), `${qos}`, { qos })
          for (const listener of listeners) {
            const fields = { topic: t.topic('a/b'), payload: Buffer.from(`${qos}`) }
            await listener.receives({ ...fields, qos: Math.min(qos, granted) as 0 | 1 | 2 })
          }
        }
        await t.silence(other, speaker)
        for (const listener of listeners) listener.drop()
      }
    },
  ),
]

const refusedByServer: Case[] = [
  ...only(5, ['4.3.3-9'], 'after a PUBREC with an error the identifier is new', async (t) => {
    if (t.target.refusedTopic === undefined) throw new NotHere('no topic is refused to publishers')
    const listener = await t.subscriber(t.topic('a'))
    const client = await t.client()
    client.publish(t.target.refusedTopic, 'no', { qos: 2, id: 5 })
    const { reasonCode = 0 } = await client.hears('pubrec', { messageId: 5 })
    must(reasonCode >= 0x80, `PUBREC with ${reasonCode} for a refused topic`)
    client.publish(t.topic('a'), 'yes', { qos: 2, id: 5 })
    await client.hears('pubrec', { messageId: 5, reasonCode: 0 })
    client.ack('pubrel', 5)
    await client.hears('pubcomp', { messageId: 5 })
    await listener.hears('publish', { payload: Buffer.from('yes') })
  }),
]

export const deliveryCases: Case[] = [...flags, ...incoming, ...outgoing, ...refusedByServer]
