// Shared subscriptions of MQTT 5: their form, their QoS, and who gets a message whose taker goes away.
import { setTimeout as delay } from 'node:timers/promises'
import { frame, props, text, u8, u16 } from '../../support/bytes.ts'
import type { RawClient } from '../../support/raw-client.ts'
import { type Case, equal, must, only, type Talk } from '../case.ts'

/** How long a message may take to one of the members of its group, and how often they are looked at. */
const PATIENCE_MS = 5_000
const STEP_MS = 5

/** Two lasting members of one group, and who of them was sent the message first. */
async function group(t: Talk, qos: 1 | 2) {
  const filter = `$share/${t.id('g')}/${t.topic('a')}`
  const ids = [t.id('one'), t.id('two')] as const
  const members: RawClient[] = []
  for (const clientId of ids) {
    const member = await t.persistent(clientId)
    await t.marks(member)
    await t.subscribes(member, filter, { qos })
    members.push(member)
  }
  const speaker = await t.client()
  await t.publishes(speaker, t.topic('a'), 'x', { qos })
  // QoS 0 may overtake QoS 2, which a server may have to write down first: the mark comes behind.
  const wasSent = (m: RawClient) => m.pending.some((p) => p.cmd === 'publish')
  for (let waited = 0; waited < PATIENCE_MS && !members.some(wasSent); waited += STEP_MS)
    await delay(STEP_MS)
  speaker.publish(t.markTopic, 'sent')
  for (const member of members)
    await member.finds('publish', (p) => p.topic === t.markTopic && `${p.payload}` === 'sent')
  const takers = members.filter(wasSent)
  equal(takers.length, 1, 'members that were sent the message')
  const taker = takers[0]!
  const { messageId = 0 } = await taker.hears('publish', { qos })
  const index = members.indexOf(taker)
  return { speaker, taker, takerId: ids[index]!, other: members[1 - index]!, messageId }
}

export const shareCases: Case[] = [
  ...only(5, ['4.8.2-1'], 'a shared filter needs a name', async (t) => {
    await t.refusesFilter('$share//a')
    const listener = await t.subscriber(`$share/n/${t.topic('a')}`)
    ;(await t.client()).publish(t.topic('a'), 'x')
    await listener.hears('publish', { topic: t.topic('a') })
  }),
  ...only(5, ['4.8.2-2'], 'a shared name has no wildcard and a filter behind it', async (t) => {
    for (const filter of ['$share/a+/b', '$share/#/b', '$share/+/b', '$share/name', '$share/name/'])
      await t.refusesFilter(filter)
  }),
  ...only(5, ['3.8.3-4'], 'no local on a shared subscription closes the connection', async (t) => {
    const subscribe = frame(0x82, u16(1), props(), text(`$share/g/${t.topic('a')}`), u8(0x04))
    const said = await t.closesFor('no local on a shared subscription', subscribe)
    must(!said.some((p) => p.cmd === 'suback'), 'a SUBACK was sent')
  }),
  ...only(5, ['4.8.2-3'], 'the granted QoS holds for shared subscriptions', async (t) => {
    const speaker = await t.client()
    for (const granted of [0, 1, 2] as const) {
      const filter = `$share/${t.id('g')}/${t.topic('a')}`
      const listener = await t.subscriber(filter, { qos: granted })
      for (const qos of [0, 1, 2] as const) {
        await t.publishes(speaker, t.topic('a'), 'x', { qos })
        await listener.receives({ qos: Math.min(qos, granted) as 0 | 1 | 2 })
      }
      listener.drop()
    }
  }),
  ...only(
    5,
    ['4.8.2-4'],
    'a QoS 2 delivery is completed with the member that comes back',
    async (t) => {
      const { speaker, taker, takerId, other, messageId } = await group(t, 2)
      taker.ack('pubrec', messageId)
      await taker.hears('pubrel', { messageId })
      taker.drop()
      await t.silence(other, speaker)
      const back = await t.client(t.lasting(takerId))
      await back.hears('pubrel', { messageId })
      back.ack('pubcomp', messageId)
      await back.hearsNothing()
    },
  ),
  ...only(
    5,
    ['4.8.2-4', '4.8.2-5'],
    'a QoS 2 message begun waits for its member, or dies with it',
    async (t) => {
      const { speaker, taker, takerId, other, messageId } = await group(t, 2)
      taker.drop()
      await t.silence(other, speaker)
      const back = await t.client(t.lasting(takerId))
      await back.hears('publish', { messageId, dup: true })
      back.drop()
      await t.client({ clientId: takerId, clean: true })
      await t.silence(other, speaker)
    },
  ),
  ...only(5, ['4.8.2-6'], 'an error from one member ends the message for all', async (t) => {
    for (const qos of [1, 2] as const) {
      const { speaker, taker, other, messageId } = await group(t, qos)
      taker.ack(qos === 1 ? 'puback' : 'pubrec', messageId, 0x80)
      await taker.hearsNothing()
      await t.silence(other, speaker)
      await t.silence(taker, speaker)
      taker.drop()
      other.drop()
    }
  }),
]
