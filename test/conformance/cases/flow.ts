// MQTT 5 limits: Receive Maximum in both directions, Maximum Packet Size, and what a refusal may say.
import { frame, props, text, u8, u16 } from '../../support/bytes.ts'
import { propertiesOf } from '../../support/police.ts'
import type { Heard, RawClient } from '../../support/raw-client.ts'
import { type Case, codeOf, equal, must, NotHere, only, type Talk } from '../case.ts'

/** A subscriber with a window of two that is owed six messages and has acknowledged none. */
async function stuck(
  t: Talk,
  qos: 1 | 2,
): Promise<{ listener: RawClient; speaker: RawClient; ids: number[] }> {
  const listener = await t.client({ properties: { receiveMaximum: 2 } })
  await t.marks(listener)
  await t.subscribes(listener, t.topic('a'), { qos })
  const speaker = await t.client()
  for (let i = 0; i < 6; i++) await t.publishes(speaker, t.topic('a'), `${i}`, { qos })
  const ids: number[] = []
  for (let i = 0; i < 2; i++)
    ids.push((await listener.hears('publish', { payload: Buffer.from(`${i}`) })).messageId!)
  return { listener, speaker, ids }
}

const windows: Case[] = [
  ...only(
    5,
    ['3.3.4-9', '4.9.0-1', '4.9.0-2'],
    'the server keeps to the receive maximum at QoS 1',
    async (t) => {
      const { listener, ids } = await stuck(t, 1)
      await listener.hearsNothing()
      listener.ack('puback', ids[0]!)
      const third = await listener.hears('publish', { payload: Buffer.from('2') })
      await listener.hearsNothing()
      listener.ack('puback', ids[1]!)
      listener.ack('puback', third.messageId!)
      for (const payload of ['3', '4'])
        await listener.hears('publish', { payload: Buffer.from(payload) })
      await listener.hearsNothing()
    },
  ),
  ...only(
    5,
    ['3.3.4-9', '4.9.0-2'],
    'the server keeps to the receive maximum at QoS 2',
    async (t) => {
      const { listener, ids } = await stuck(t, 2)
      await listener.hearsNothing()
      // A PUBREC does not make room, PUBCOMP and an error do.
      listener.ack('pubrec', ids[0]!)
      await listener.hears('pubrel', { messageId: ids[0]! })
      await listener.hearsNothing()
      listener.ack('pubcomp', ids[0]!)
      await listener.hears('publish', { payload: Buffer.from('2') })
      listener.ack('pubrec', ids[1]!, 0x80)
      await listener.hears('publish', { payload: Buffer.from('3') })
      await listener.hearsNothing()
    },
  ),
  ...only(5, ['3.3.4-10', '4.9.0-3'], 'a full window holds back nothing else', async (t) => {
    const { listener, speaker } = await stuck(t, 1)
    listener.ping()
    await listener.hears('pingresp')
    await t.subscribes(listener, t.topic('b'), { qos: 1 })
    listener.unsubscribe(t.topic('b'))
    await listener.hears('unsuback')
    const one = listener.publish(t.topic('elsewhere'), '', { qos: 1 })
    await listener.hears('puback', { messageId: one })
    const two = listener.publish(t.topic('elsewhere'), '', { qos: 2 })
    await listener.hears('pubrec', { messageId: two })
    listener.ack('pubrel', two)
    await listener.hears('pubcomp', { messageId: two })
    // QoS 0 does not count against the window [MQTT-4.9.0-2].
    await t.silence(listener, speaker)
  }),
  ...only(5, ['3.3.4-7'], 'a client beyond the receive maximum is disconnected', async (t) => {
    const { client, connack } = await t.enter()
    const maximum = connack.properties?.receiveMaximum ?? 65535
    if (maximum > 20_000) throw new NotHere(`the receive maximum of ${maximum} is out of reach`)
    for (let i = 0; i < maximum; i++) client.publish(t.topic('a'), '', { qos: 2 })
    for (let i = 0; i < maximum; i++) await client.hears('pubrec')
    await client.hearsNothing()
    client.publish(t.topic('a'), '', { qos: 2 })
    const said = await t.closesWithError('one PUBLISH too many', client)
    for (const p of said) if (p.cmd === 'disconnect') equal(p.reasonCode, 0x93, 'reason code')
  }),
]

/** Every packet a server may decorate with a reason string, provoked from a client with a small limit. */
async function provoke(t: Talk, client: RawClient): Promise<Heard[]> {
  const said: Heard[] = []
  client.publish(t.topic('nobody'), '', { qos: 1, id: 1 })
  client.publish(t.topic('nobody'), '', { qos: 2, id: 2 })
  client.ack('pubrel', 2)
  client.ack('pubrel', 77)
  client.ack('pubrec', 78)
  if (t.target.refusedTopic !== undefined) {
    client.publish(t.target.refusedTopic, '', { qos: 1, id: 3 })
    client.publish(t.target.refusedTopic, '', { qos: 2, id: 4 })
  }
  client.subscribe(t.target.refusedFilter ?? t.topic('x'), { qos: 1 })
  client.unsubscribe(t.topic('never'))
  // What is acknowledged once stored may come after what is answered at once.
  said.push(await client.finds('puback', ({ messageId }) => messageId === 1))
  said.push(await client.finds('pubrec', ({ messageId }) => messageId === 2))
  client.ping()
  await client.finds('pingresp')
  said.push(...client.takes())
  client.sends(frame(0x36, text('a'), u16(1), props()))
  said.push(...(await client.closed()))
  return said
}

/** Enough for each of the packets that carry reason strings, and for no reason string worth sending. */
const small = 20

function fits(packets: Heard[]): void {
  for (const p of packets)
    must(p.raw.bytes.length <= small, `a ${p.cmd} of ${p.raw.bytes.length} bytes`)
}

/** Statements about Reason String and User Property, by the packet they would be in. */
const decorated = {
  puback: ['3.4.2-2', '3.4.2-3'],
  pubrec: ['3.5.2-2', '3.5.2-3'],
  pubrel: ['3.6.2-2', '3.6.2-3'],
  pubcomp: ['3.7.2-2', '3.7.2-3'],
  suback: ['3.9.2-1', '3.9.2-2'],
  unsuback: ['3.11.2-1', '3.11.2-2'],
} as const

const sizes: Case[] = [
  ...Object.entries(decorated).flatMap(([cmd, ids]) =>
    only(5, [...ids, '3.1.2-27'], `no ${cmd} exceeds the maximum packet size`, async (t) => {
      const kind = (all: Heard[]) => all.filter((p) => p.cmd === cmd)
      const roomy = kind(await provoke(t, await t.client()))
      must(roomy.length > 0, `no ${cmd} was provoked`)
      const client = await t.client({ properties: { maximumPacketSize: small } })
      const tight = kind(await provoke(t, client))
      fits(tight)
      equal(tight.length, roomy.length, `packets of kind ${cmd} with a limit`)
    }),
  ),
  ...only(
    5,
    ['3.14.2-3', '3.14.2-4', '3.1.2-27'],
    'no DISCONNECT exceeds the maximum packet size',
    async (t) => {
      const client = await t.client({ properties: { maximumPacketSize: small } })
      fits(await provoke(t, client))
    },
  ),
  ...only(
    5,
    ['3.2.2-19', '3.2.2-20', '3.1.2-27'],
    'no CONNACK exceeds the maximum packet size',
    async (t) => {
      const { connack } = await t.enter({ properties: { maximumPacketSize: small } })
      fits([connack])
      const refused = await t.dial()
      const properties = { maximumPacketSize: small, authenticationMethod: 'no-such-method' }
      refused.connect({ clientId: t.id(), properties })
      fits(await refused.closed())
    },
  ),
  ...only(
    5,
    ['3.1.2-27', '3.1.2-28'],
    'a message too large is discarded as if it were delivered',
    async (t) => {
      const size = t.topic('a').length + 60
      const properties = { maximumPacketSize: size }
      const topic = t.retainedTopic('r')
      for (const qos of [0, 1, 2] as const) {
        const listener = await t.client({ properties: { ...properties, receiveMaximum: 1 } })
        await t.subscribes(listener, t.topic('a'), { qos })
        const speaker = await t.client()
        const large = 'x'.repeat(size)
        // Three of them must not use up a window of one.
        for (let i = 0; i < 3; i++) await t.publishes(speaker, t.topic('a'), large, { qos })
        await t.publishes(speaker, topic, large, { qos, retain: true })
        await speaker.hearsNothing()
        await t.subscribes(listener, topic, { qos })
        await t.publishes(speaker, t.topic('a'), 'small', { qos })
        await listener.receives({ payload: Buffer.from('small'), qos })
        await listener.hearsNothing()
      }
    },
  ),
  ...only(
    5,
    ['3.1.2-27'],
    'a message of exactly the maximum packet size is delivered',
    async (t) => {
      const overhead = frame(0x30, text(t.topic('a')), props()).length
      const listener = await t.client({ properties: { maximumPacketSize: 100 } })
      await t.subscribes(listener, t.topic('a'))
      const speaker = await t.client()
      speaker.publish(t.topic('a'), 'y'.repeat(101 - overhead))
      speaker.publish(t.topic('a'), 'x'.repeat(100 - overhead))
      const heard = await listener.hears('publish')
      equal([heard.raw.bytes.length, `${heard.payload}`[0]], [100, 'x'], 'size and kind')
    },
  ),
  ...only(5, ['3.2.2-15'], 'a client beyond the maximum packet size is disconnected', async (t) => {
    const { client, connack } = await t.enter()
    const maximum = connack.properties?.maximumPacketSize
    if (maximum === undefined || maximum > 32 * 1024 * 1024)
      throw new NotHere('no maximum packet size within reach is announced')
    const topic = text(t.topic('a'))
    const body = Buffer.alloc(maximum - topic.length)
    client.sends(frame(0x30, topic, props(), body))
    const said = await t.closesWithError('a packet too large', client)
    for (const p of said) if (p.cmd === 'disconnect') equal(p.reasonCode, 0x95, 'reason code')
  }),
]

const refusals: Case[] = [
  ...only(
    5,
    ['3.1.2-32'],
    'without request problem information, acknowledgements are bare',
    async (t) => {
      const client = await t.client({ properties: { requestProblemInformation: false } })
      for (const p of await provoke(t, client)) {
        if (p.cmd === 'disconnect' || p.cmd === 'pingresp') continue
        const found = propertiesOf(p.raw).map(({ id }) => id)
        equal(
          found.filter((id) => id === 0x1f || id === 0x26),
          [],
          `properties of ${p.cmd}`,
        )
      }
    },
  ),
  ...only(
    5,
    ['3.4.2-1', '3.5.2-1', '3.9.3-2'],
    'a refused publisher and subscriber is told',
    async (t) => {
      const { refusedTopic, refusedFilter } = t.target
      if (refusedTopic === undefined || refusedFilter === undefined)
        throw new NotHere('no topic is refused')
      const client = await t.client()
      client.publish(refusedTopic, '', { qos: 1, id: 1 })
      const { reasonCode: puback } = await client.hears('puback', { messageId: 1 })
      must((puback ?? 0) >= 0x80, `PUBACK with ${puback}`)
      client.subscribe(refusedFilter)
      const [code] = (await client.hears('suback')).granted as number[]
      must(code! >= 0x80, `SUBACK with ${code}`)
    },
  ),
]

const authentication: Case[] = [
  ...only(
    5,
    ['4.12.0-1', '4.12.0-4', '4.12.0-5', '3.2.2-7'],
    'an unknown authentication method is refused',
    async (t) => {
      const client = await t.dial()
      client.connect({ clientId: t.id(), properties: { authenticationMethod: 'no-such-method' } })
      const said = await client.closed()
      for (const p of said) {
        // Success would have to repeat the method, and this method cannot succeed.
        must(p.cmd === 'connack', `a ${p.cmd} was sent`)
        if (p.cmd === 'connack') must([0x8c, 0x87].includes(codeOf(p)), `CONNACK with ${codeOf(p)}`)
      }
    },
  ),
  ...only(5, ['4.12.0-6'], 'without a method there is no AUTH and none in CONNACK', async (t) => {
    const { client, connack } = await t
      .enter({ username: 'ann', password: Buffer.from('secret') })
      .catch(() => t.enter())
    equal(connack.properties?.authenticationMethod, undefined, 'authentication method')
    equal(connack.properties?.authenticationData, undefined, 'authentication data')
    await client.hearsNothing()
  }),
  ...only(5, ['4.12.0-7', '4.12.1-2'], 'AUTH without a method closes the connection', async (t) => {
    await t.closesFor('AUTH 0x18', frame(0xf0, u8(0x18), props(u8(0x15), text('m'))))
    await t.closesFor('AUTH 0x19', frame(0xf0, u8(0x19), props(u8(0x15), text('m'))))
    await t.closesFor('an empty AUTH', frame(0xf0))
  }),
  ...only(5, ['3.15.1-1'], 'AUTH with reserved flags closes the connection', (t) =>
    t
      .closesFor('AUTH with flags 0001', frame(0xf1, u8(0x18), props(u8(0x15), text('m'))))
      .then(() => {}),
  ),
  ...only(5, ['3.15.2-1'], 'AUTH with another reason code closes the connection', (t) =>
    t.closesFor('AUTH 0x55', frame(0xf0, u8(0x55), props(u8(0x15), text('m')))).then(() => {}),
  ),
]

export const flowCases: Case[] = [...windows, ...sizes, ...refusals, ...authentication]
