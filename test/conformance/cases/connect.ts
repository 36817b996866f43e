// CONNECT and CONNACK: what makes a CONNECT acceptable and how each kind of refusal looks.
import {
  flag,
  frame,
  props,
  type RawConnect,
  rawConnect,
  text,
  u8,
  u16,
  u32,
} from '../../support/bytes.ts'
import type { Heard } from '../../support/raw-client.ts'
import { both, type Case, codeOf, equal, must, NotHere, named, only, type Talk } from '../case.ts'

const empty: Buffer = Buffer.alloc(0)

function raw(t: Talk, connect: RawConnect): Buffer {
  return rawConnect({ version: t.version, payload: [text(t.id())], ...connect })
}

/** Will topic and message, with the will properties of MQTT 5 before them. */
function will(t: Talk, topic = t.topic('will')): Buffer[] {
  return [t.version === 5 ? props() : empty, text(topic), text('gone')]
}

/** Refused as malformed: closed, and in 3.1.1 without any CONNACK; in 5 a CONNACK names an error. */
async function malformed(t: Talk, what: string, connect: RawConnect): Promise<void> {
  const said = await t.refusesFirst(what, raw(t, connect))
  if (t.version === 4)
    equal(
      said.map((p) => p.cmd),
      [],
      `${what}: said before closing`,
    )
  else for (const p of said) errorOnly(what, p)
}

function errorOnly(what: string, packet: Heard): void {
  must(packet.cmd === 'connack', `${what}: a ${packet.cmd} before any CONNACK`)
  const connack = packet as Heard<'connack'>
  must(codeOf(connack) >= 0x80, `${what}: CONNACK with ${codeOf(connack)}`)
  must(!connack.sessionPresent, `${what}: session present in a refusal`)
}

/** Sends a CONNECT the server must refuse with a CONNACK, and then a PUBLISH in the same write. */
async function refusal(t: Talk, connect: Buffer, then: Buffer = empty): Promise<Heard<'connack'>> {
  const client = await t.dial()
  client.sends(connect, then)
  const connack = await client.hears('connack')
  must(codeOf(connack) !== 0, 'CONNECT was accepted')
  must(!connack.sessionPresent, 'session present in a refusal')
  equal(await client.closed(), [], 'said after the refusal')
  return connack
}

/** A CONNECT that is well-formed and refused: 3.1.1 by its empty identifier, 5 by its method. */
function refusable(t: Talk): Buffer {
  if (t.version === 4) return rawConnect({ version: 4, flags: 0, payload: [text('')] })
  const method = props(u8(0x15), text('no-such-method'))
  return raw(t, { properties: method })
}

const charset = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'

const validity: Case[] = [
  ...both(
    ['3.1.0-2'],
    ['3.1.0-2', '3.2.0-2'],
    'a second CONNECT closes the connection',
    async (t) => {
      const client = await t.client()
      client.connect({ clientId: t.id() })
      const said = await t.closesWithError('a second CONNECT', client)
      must(!said.some((p) => p.cmd === 'connack'), 'a second CONNACK was sent')
    },
  ),
  ...both(['3.1.2-1'], ['3.1.2-1'], 'another protocol name is refused', async (t) => {
    for (const name of ['MQTX', 'mqtt', 'MQTT ', ''])
      await t.refusesFirst(`protocol name "${name}"`, raw(t, { name }))
  }),
  ...only(4, ['3.1.2-2'], 'an old protocol level is answered with return code 1', async (t) => {
    const client = await t.dial({ opaque: true })
    client.sends(rawConnect({ level: 2, payload: [text(t.id())] }))
    equal((await client.receivesBytes(4)).toString('hex'), '20020001', 'answer')
    await client.closed()
  }),
  ...both(['3.1.2-2'], ['3.1.2-2'], 'an unknown protocol level is refused', async (t) => {
    for (const level of [6, 127]) {
      const client = await t.dial({ opaque: true })
      client.sends(rawConnect({ level, payload: [text(t.id())] }))
      await named(`level ${level}`, client.closed())
      // Who knows MQTT 5 answers such a client in the manner of 5, others in that of 3.1.1.
      const answer = client.received.toString('hex')
      must(['20020001', '2003008400', ''].includes(answer), `level ${level}: answered ${answer}`)
    }
  }),
  ...both(
    ['3.1.2-3', '3.2.2-6', '3.1.4-1'],
    ['3.1.2-3', '3.1.4-1', '3.14.0-1'],
    'the reserved connect flag is refused',
    (t) => malformed(t, 'reserved flag', { flags: 3 }),
  ),
  ...both(['3.1.2-9'], ['3.1.2-9'], 'a will flag without will is refused', async (t) => {
    await malformed(t, 'no will at all', { flags: flag.clean | flag.will })
    const [none, topic] = will(t)
    await malformed(t, 'no will message', {
      flags: flag.clean | flag.will,
      payload: [text(t.id()), none!, topic!],
    })
  }),
  ...both(
    ['3.1.2-11', '3.1.2-13'],
    ['3.1.2-11', '3.1.2-13'],
    'will QoS without will flag is refused',
    async (t) => {
      await malformed(t, 'will QoS 1', { flags: flag.clean | flag.willQos1 })
      await malformed(t, 'will QoS 2', { flags: flag.clean | flag.willQos2 })
    },
  ),
  ...both(
    ['3.1.2-11', '3.1.2-15'],
    ['3.1.2-11', '3.1.2-15'],
    'will retain without will flag is refused',
    (t) => malformed(t, 'will retain', { flags: flag.clean | flag.willRetain }),
  ),
  ...both(['3.1.2-11'], ['3.1.2-11'], 'will fields without will flag are refused', (t) =>
    malformed(t, 'will fields', { payload: [text(t.id()), ...will(t)] }),
  ),
  ...both(['3.1.2-14'], ['3.1.2-14'], 'will QoS 3 is refused, 0 to 2 are accepted', async (t) => {
    const three = flag.clean | flag.will | flag.willQos1 | flag.willQos2
    await malformed(t, 'will QoS 3', { flags: three, payload: [text(t.id()), ...will(t)] })
    for (const qos of [0, 1, 2] as const)
      await t.client({ will: { topic: t.topic('will'), payload: 'gone', qos } })
  }),
  ...both(['3.1.2-18'], ['3.1.2-18'], 'a user name without its flag is refused', (t) =>
    malformed(t, 'a user name', { payload: [text(t.id()), text('ann')] }),
  ),
  ...both(['3.1.2-19'], ['3.1.2-19'], 'a user name flag without name is refused', (t) =>
    malformed(t, 'no user name', { flags: flag.clean | flag.username }),
  ),
  ...both(['3.1.2-20'], ['3.1.2-20'], 'a password without its flag is refused', (t) =>
    malformed(t, 'a password', {
      flags: flag.clean | flag.username,
      payload: [text(t.id()), text('ann'), text('secret')],
    }),
  ),
  ...both(['3.1.2-21'], ['3.1.2-21'], 'a password flag without password is refused', (t) =>
    malformed(t, 'no password', {
      flags: flag.clean | flag.username | flag.password,
      payload: [text(t.id()), text('ann')],
    }),
  ),
  ...only(4, ['3.1.2-22'], 'a password without user name is refused', (t) =>
    malformed(t, 'a password alone', {
      flags: flag.clean | flag.password,
      payload: [text(t.id()), text('secret')],
    }),
  ),
  ...both(['3.1.3-3'], ['3.1.3-3'], 'a CONNECT without client identifier is refused', (t) =>
    malformed(t, 'no client identifier', { payload: [] }),
  ),
  ...both(
    ['3.1.4-1'],
    ['3.1.4-1', '4.13.1-1'],
    'a CONNECT cut short or too long is refused',
    async (t) => {
      await malformed(t, 'a client identifier cut short', {
        payload: [u16(9), Buffer.from('short')],
      })
      await malformed(t, 'bytes after the payload', { payload: [text(t.id()), u8(0)] })
      await t.refusesFirst('no variable header', u8(0x10, 0))
      await t.refusesFirst('half a variable header', frame(0x10, text('MQTT'), u8(t.version)))
    },
  ),
  ...only(5, ['3.1.4-1', '4.13.1-1'], 'forbidden CONNECT properties are refused', async (t) => {
    const bad: Record<string, Buffer> = {
      'an unknown property': props(u8(0x7f, 1)),
      'a property of PUBLISH': props(u8(0x01, 1)),
      'receive maximum 0': props(u8(0x21), u16(0)),
      'maximum packet size 0': props(u8(0x27), u32(0)),
      'session expiry twice': props(u8(0x11), u32(1), u8(0x11), u32(1)),
      'request problem information 2': props(u8(0x17, 2)),
      'request response information 2': props(u8(0x19, 2)),
      'authentication data without method': props(u8(0x16), text('x')),
    }
    await Promise.all(
      Object.entries(bad).map(([what, properties]) => malformed(t, what, { properties })),
    )
  }),
]

const identity: Case[] = [
  ...both(
    ['3.1.3-1', '3.1.2-9'],
    ['3.1.3-1', '3.1.2-9'],
    'the payload fields are read in their order',
    async (t) => {
      const listener = await t.subscriber(t.topic('order'))
      const clientId = t.id()
      const credentials = t.target.user ?? { name: 'ann', password: 'secret' }
      const client = await t.dial()
      const flags = flag.clean | flag.will | flag.username | flag.password
      const login = [text(credentials.name), text(credentials.password)]
      const fields = [text(clientId), ...will(t, t.topic('order')), ...login]
      client.sends(raw(t, { flags, payload: fields }))
      if (codeOf(await client.hears('connack')) !== 0) throw new NotHere('credentials are refused')
      // The first field was the identifier: its session is the one taken over.
      await t.client({ clientId })
      await client.closed()
      await listener.hears('publish', { topic: t.topic('order'), payload: Buffer.from('gone') })
    },
  ),
  ...both(['3.1.3-2'], ['3.1.3-2'], 'state belongs to its client identifier', async (t) => {
    const [one, two] = [t.id('one'), t.id('two')]
    const first = await t.persistent(one)
    await t.subscribes(first, t.topic('a'), { qos: 1 })
    first.disconnect()
    await first.closed()
    const other = await t.enter(t.lasting(two))
    equal(other.connack.sessionPresent, false, 'session present for another identifier')
    await t.publishes(other.client, t.topic('a'), 'kept', { qos: 1 })
    await other.client.hearsNothing()
    const back = await t.enter(t.lasting(one))
    equal(back.connack.sessionPresent, true, 'session present for the same identifier')
    await back.client.receives({ topic: t.topic('a') })
  }),
  ...both(
    ['3.1.3-5'],
    ['3.1.3-5'],
    'identifiers of 1 to 23 letters and digits are accepted',
    async (t) => {
      // One letter a version: both versions are tested at the same time and must not take each other over.
      const single = t.version === 4 ? 'Q' : 'Z'
      const all = [charset.slice(0, 23), charset.slice(23, 46), charset.slice(39)]
      for (const clientId of [single, ...all.map((part) => `${single}${part.slice(1)}`)])
        await t.client({ clientId })
      for (let length = 13; length <= 23; length++)
        await t.client({ clientId: t.id().padEnd(length, 'x').slice(0, length) })
    },
  ),
  ...only(4, ['3.1.3-6'], 'an empty identifier is replaced by a unique one', async (t) => {
    const [one, two] = [await t.client({ clientId: '' }), await t.client({ clientId: '' })]
    await t.subscribes(one, t.topic('a'))
    await t.subscribes(two, t.topic('a'))
    one.publish(t.topic('a'), 'both')
    await one.hears('publish')
    await two.hears('publish')
  }),
  ...only(
    5,
    ['3.1.3-6', '3.1.3-7', '3.2.2-16'],
    'an empty identifier is replaced by one that is told',
    async (t) => {
      const all = await Promise.all([1, 2, 3].map(() => t.enter({ clientId: '' })))
      const ids = all.map(({ connack }) => connack.properties?.assignedClientIdentifier ?? '')
      must(
        ids.every((id) => id.length > 0),
        'no Assigned Client Identifier',
      )
      equal(new Set(ids).size, 3, 'different identifiers')
      // It is as good as one the client had chosen: who connects with it takes over.
      await t.client({ clientId: ids[0]! })
      await all[0]!.client.closed()
      await all[1]!.client.hearsNothing()
      const named = await t.enter()
      equal(
        named.connack.properties?.assignedClientIdentifier,
        undefined,
        'assigned to who has one',
      )
    },
  ),
  ...only(
    4,
    ['3.1.3-7', '3.1.3-8', '3.1.3-9', '3.2.2-4', '3.2.2-5'],
    'an empty identifier with a lasting session is refused with 2',
    async (t) => {
      const connack = await refusal(t, rawConnect({ flags: 0, payload: [text('')] }))
      equal(connack.raw.bytes.toString('hex'), '20020002', 'CONNACK')
    },
  ),
  ...only(5, ['3.1.3-8'], 'a client identifier is refused with 0x85, if at all', async (t) => {
    const client = await t.dial()
    client.sends(raw(t, { payload: [text('x'.repeat(65535))] }))
    const connack = await client.hears('connack')
    if (codeOf(connack) === 0) throw new NotHere('every client identifier is accepted')
    equal(codeOf(connack), 0x85, 'reason code')
    await client.closed()
  }),
  ...both(
    ['3.1.4-2'],
    ['3.1.4-3'],
    'a second client of the same identifier takes over',
    async (t) => {
      const clientId = t.id()
      const first = await t.client({ clientId })
      const second = await t.client({ clientId })
      const said = await first.closed()
      if (t.version === 5)
        equal(
          said.map((p) => [p.cmd, 'reasonCode' in p && p.reasonCode]),
          [['disconnect', 0x8e]],
          'goodbye',
        )
      await second.hearsNothing()
    },
  ),
]

const answers: Case[] = [
  ...both(
    ['3.1.4-4', '3.2.0-1'],
    ['3.1.4-5', '3.2.0-1', '3.2.2-1'],
    'the first packet is a CONNACK of success',
    async (t) => {
      const clientId = t.id()
      const first = await t.persistent(clientId)
      await t.subscribes(first, t.topic('a'), { qos: 1 })
      first.drop()
      await t.publishes(await t.client(), t.topic('a'), 'waiting', { qos: 1 })
      const { client, connack } = await t.enter(t.lasting(clientId))
      equal(connack.raw.bytes[2]! & 0xfe, 0, 'reserved bits of the acknowledge flags')
      await client.receives({ topic: t.topic('a') })
    },
  ),
  ...both(['3.1.4-5'], ['3.1.4-6'], 'nothing after a refused CONNECT is processed', async (t) => {
    const none = t.version === 5 ? props() : empty
    const topic = t.retainedTopic('after')
    const listener = await t.subscriber(topic)
    await t.marks(listener)
    const publish = frame(0x31, text(topic), none, Buffer.from('smuggled'))
    await refusal(t, refusable(t), publish)
    await t.silence(listener, await t.client())
  }),
  ...both(
    ['3.2.2-4', '3.2.2-5', '3.1.3-9'],
    ['3.2.2-6', '3.2.2-7', '3.2.2-8', '4.13.2-1', '3.1.4-2'],
    'a refusal has no session present and closes',
    async (t) => {
      await refusal(t, refusable(t))
      if (!t.target.user || t.version === 5) return
      const { name } = t.target.user
      const flags = flag.username | flag.password
      const payload = [text(t.id()), text(name), text('wrong')]
      const connack = await refusal(t, raw(t, { flags, payload }))
      must([4, 5].includes(codeOf(connack)), `return code ${codeOf(connack)} for a wrong password`)
    },
  ),
  ...only(
    5,
    ['3.2.2-6', '3.2.2-7', '3.1.4-2'],
    'a wrong password is refused with 0x86 or 0x87',
    async (t) => {
      if (!t.target.user) throw new NotHere('no users configured')
      const clientId = t.id()
      await t.persistent(clientId)
      const flags = flag.username | flag.password
      const payload = [text(clientId), text(t.target.user.name), text('wrong')]
      const connack = await refusal(t, raw(t, { flags, payload }))
      must([0x86, 0x87].includes(codeOf(connack)), `reason code ${codeOf(connack)}`)
    },
  ),
  ...both(['3.1.0-1'], ['3.1.0-1'], 'nothing is answered before a CONNECT', async (t) => {
    const ping = frame(0xc0)
    const none = t.version === 5 ? props() : empty
    const listener = await t.subscriber(t.topic('early'))
    await t.marks(listener)
    const publish = frame(0x30, text(t.topic('early')), none, Buffer.from('early'))
    const client = await t.dialMqtt()
    client.sends(publish, ping)
    equal(await client.closed(), [], 'answers before CONNECT')
    // Where the port speaks other protocols too, such bytes are not MQTT; they get no MQTT answer.
    const plain = await t.dial({ opaque: true })
    plain.sends(publish, ping)
    await t.silence(listener, await t.client())
    must(!plain.received.includes(u8(0xd0, 0)), 'a PINGRESP before CONNECT')
  }),
  ...only(5, ['3.2.0-2'], 'there is one CONNACK', async (t) => {
    const client = await t.client()
    await client.hearsNothing()
    await client.hearsNothing()
  }),
  ...only(5, ['3.1.2-31'], 'no response information unless asked for', async (t) => {
    for (const properties of [{}, { requestResponseInformation: false }]) {
      const { connack } = await t.enter({ properties })
      equal(connack.properties?.responseInformation, undefined, 'response information')
    }
  }),
  ...only(
    5,
    ['3.2.2-9', '3.2.2-10', '3.2.2-12'],
    'the QoS a server supports is the QoS it announces',
    async (t) => {
      const { client, connack } = await t.enter()
      const maximum = connack.properties?.maximumQoS ?? 2
      const subscribed = client.subscribe(t.topic('a'), { qos: 2 })
      await client.hears('suback', { messageId: subscribed })
      for (const qos of [0, 1, 2] as const) {
        if (qos <= maximum) await t.publishes(client, t.topic('b'), '', { qos })
        const dying = await t.dial()
        dying.connect({ clientId: t.id(), will: { topic: t.topic('w'), payload: '', qos } })
        const answer = await dying.hears('connack')
        equal(codeOf(answer) === 0, qos <= maximum, `will QoS ${qos} accepted`)
        if (codeOf(answer) !== 0) await dying.closed()
      }
    },
  ),
  ...only(
    5,
    ['3.2.2-13'],
    'a retained will is accepted unless retained messages are not available',
    async (t) => {
      const { connack } = await t.enter()
      const available = connack.properties?.retainAvailable ?? true
      const topic = t.retainedTopic('will')
      const dying = await t.dial()
      dying.connect({ clientId: t.id(), will: { topic, payload: 'x', qos: 0, retain: true } })
      equal(codeOf(await dying.hears('connack')) === 0, available, 'accepted')
      if (!available) {
        await dying.closed()
        return
      }
      // Announced as available, it must be: the will is there for who comes later.
      const early = await t.subscriber(topic)
      dying.drop()
      await early.hears('publish')
      const late = await t.subscriber(topic)
      await late.hears('publish', { retain: true })
    },
  ),
]

export const connectCases: Case[] = [...validity, ...identity, ...answers]
