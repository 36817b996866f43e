// Chapter 1 and 2: strings, variable byte integers, fixed header flags, packet identifiers.
import {
  flag,
  frame,
  props,
  rawConnect,
  type Text,
  text,
  u8,
  u16,
  varint,
} from '../../support/bytes.ts'
import { reasonCodes } from '../../support/police.ts'
import { both, type Case, equal, must, only, type Talk } from '../case.ts'

/** Bytes that are not UTF-8: overlong, surrogate, beyond U+10FFFF, stray and cut. */
const illFormed: Record<string, Buffer> = {
  'a surrogate': u8(0x61, 0xed, 0xa0, 0x80),
  'a surrogate pair in CESU-8': u8(0xed, 0xa0, 0x81, 0xed, 0xb0, 0x80),
  'an overlong NUL': u8(0x61, 0xc0, 0x80),
  'an overlong slash': u8(0xe0, 0x80, 0xaf),
  'a code point above U+10FFFF': u8(0xf4, 0x90, 0x80, 0x80),
  'a stray continuation byte': u8(0x61, 0x80),
  'the byte 0xFF': u8(0x61, 0xff),
  'a sequence cut short': u8(0x61, 0xe2, 0x82),
}

const empty = Buffer.alloc(0)

function connectNaming(t: Talk, clientId: Text, extra: Buffer[] = [], flags = 0): Buffer {
  return rawConnect({
    version: t.version,
    flags: flag.clean | flags,
    payload: [text(clientId), ...extra],
  })
}

/** A CONNECT, PUBLISH, SUBSCRIBE and UNSUBSCRIBE with this text in each of their strings. */
async function refusesText(t: Talk, what: string, bad: Buffer): Promise<void> {
  const none = t.version === 5 ? props() : empty
  const will = [none, text(bad), text('x')]
  await Promise.all([
    t.refusesFirst(`${what} in a client identifier`, connectNaming(t, bad)),
    t.refusesFirst(`${what} in a will topic`, connectNaming(t, t.id(), will, flag.will)),
    t.refusesFirst(`${what} in a user name`, connectNaming(t, t.id(), [text(bad)], flag.username)),
    t.closesFor(`${what} in a topic name`, frame(0x30, text(bad), none, u8(1))),
    t.closesFor(`${what} in a topic filter`, frame(0x82, u16(1), none, text(bad), u8(0))),
    t.closesFor(`${what} in an UNSUBSCRIBE`, frame(0xa2, u16(1), none, text(bad))),
  ])
}

/** Text that is well-formed, if unusual, arrives as it was sent. */
async function carriesText(t: Talk, level: string): Promise<void> {
  const topic = t.topic(level)
  const client = await t.subscriber(topic)
  client.publish(topic, level)
  await client.hears('publish', { topic, payload: Buffer.from(level) })
}

interface BadFlags {
  what: string
  bytes: (none: Buffer) => Buffer
  /** Statements that name this packet, beside the one about all of them. */
  v4?: string[]
  v5?: string[]
}

/** Malformed fixed header flags for every packet a client can send once it is connected. */
const badFlags: BadFlags[] = [
  { what: 'PUBACK with flags 0001', bytes: () => frame(0x41, u16(1)) },
  { what: 'PUBREC with flags 0010', bytes: () => frame(0x52, u16(1)) },
  { what: 'PUBREL with flags 0000', bytes: () => frame(0x60, u16(1)), v5: ['3.6.1-1'] },
  { what: 'PUBREL with flags 0011', bytes: () => frame(0x63, u16(1)), v5: ['3.6.1-1'] },
  { what: 'PUBCOMP with flags 1000', bytes: () => frame(0x78, u16(1)) },
  {
    what: 'SUBSCRIBE with flags 0000',
    bytes: (none) => frame(0x80, u16(1), none, text('a'), u8(0)),
    v5: ['3.8.1-1'],
  },
  {
    what: 'SUBSCRIBE with flags 0011',
    bytes: (none) => frame(0x83, u16(1), none, text('a'), u8(0)),
    v5: ['3.8.1-1'],
  },
  {
    what: 'UNSUBSCRIBE with flags 0000',
    bytes: (none) => frame(0xa0, u16(1), none, text('a')),
    v4: ['3.10.1-1'],
    v5: ['3.10.1-1'],
  },
  { what: 'PINGREQ with flags 0001', bytes: () => frame(0xc1) },
  {
    what: 'DISCONNECT with flags 0001',
    bytes: () => frame(0xe1),
    v4: ['3.14.1-1'],
    v5: ['3.14.1-1'],
  },
]

/** The server closes for these bytes; a DISCONNECT, where it sends one, says Malformed Packet. */
async function malformed(t: Talk, what: string, bytes: Buffer): Promise<void> {
  for (const packet of await t.closesFor(what, bytes))
    if (packet.cmd === 'disconnect') equal(packet.reasonCode, 0x81, `${what}: reason code`)
}

/** One exchange in which the server sends every packet it has; the police looks at their flags. */
async function everyAnswer(t: Talk): Promise<number[]> {
  const client = await t.subscriber(t.topic('a'), { qos: 2 })
  const types: number[] = [0x20, 0x90]
  const note = (packet: { raw: { bytes: Buffer } }) => types.push(packet.raw.bytes[0]!)
  client.publish(t.topic('b'), '', { qos: 1 })
  note(await client.hears('puback'))
  const id = client.publish(t.topic('a'), 'x', { qos: 2 })
  note(await client.finds('pubrec'))
  client.ack('pubrel', id)
  note(await client.finds('pubcomp'))
  const delivered = await client.finds('publish')
  client.ack('pubrec', delivered.messageId!)
  note(await client.finds('pubrel'))
  client.ack('pubcomp', delivered.messageId!)
  client.unsubscribe(t.topic('a'))
  note(await client.hears('unsuback'))
  client.ping()
  note(await client.hears('pingresp'))
  return types
}

export const encodingCases: Case[] = [
  ...both(
    ['1.4.0-1', '3.1.3-4', '3.1.3-10', '3.1.3-11', '3.3.2-1', '3.10.1-1'],
    ['1.5.4-1', '3.1.3-4', '3.1.3-9', '3.1.3-10', '3.3.2-1', '3.10.3-1'],
    'ill-formed UTF-8 closes the connection',
    async (t) => {
      await Promise.all(Object.entries(illFormed).map(([what, bad]) => refusesText(t, what, bad)))
    },
  ),
  ...both(['1.4.0-2', '4.7.3-2'], ['1.5.4-2', '4.7.3-2'], 'U+0000 closes the connection', (t) =>
    refusesText(t, 'U+0000', u8(0x61, 0, 0x62)),
  ),
  ...both(['1.4.0-3'], ['1.5.4-3'], 'U+FEFF is kept wherever it stands', async (t) => {
    const bom = u8(0xef, 0xbb, 0xbf)
    const topic = Buffer.concat([bom, Buffer.from(t.topic('a')), bom]).toString()
    const listener = await t.subscriber(topic)
    const other = await t.subscriber(t.topic('a'))
    await t.marks(other)
    const speaker = await t.client()
    speaker.publish(topic, bom)
    const heard = await listener.hears('publish')
    equal(Buffer.from(heard.topic).toString('hex'), Buffer.from(topic).toString('hex'), 'topic')
    equal(Buffer.from(heard.payload).toString('hex'), 'efbbbf', 'payload')
    await t.silence(other, speaker)
  }),
  ...both(['1.4.0-1'], ['1.5.4-1'], 'well-formed text of every length is carried', async (t) => {
    await Promise.all(['é', '€', '😀', '\u{10fffd}', '\ud7ff\ue000'].map((x) => carriesText(t, x)))
  }),
  ...only(
    5,
    ['1.5.5-1'],
    'a variable byte integer in more bytes than needed is malformed',
    async (t) => {
      const ping = u8(0xc0, 0x80, 0x00)
      const long = frame(0x30, text(t.topic('a')), varint(0, 2))
      const identifier = frame(0x82, u16(1), props(u8(0x0b), varint(1, 2)), text('a'), u8(0))
      await Promise.all([
        t.closesFor('an overlong remaining length', ping),
        t.closesFor('an overlong property length', long),
        t.closesFor('an overlong subscription identifier', identifier),
        t.closesFor('a remaining length of five bytes', u8(0x30, 0xff, 0xff, 0xff, 0xff, 0x01)),
      ])
    },
  ),
  ...only(5, ['1.5.7-1'], 'user properties are UTF-8', async (t) => {
    const publish = (key: Text, value: Text) =>
      frame(0x30, text(t.topic('a')), props(u8(0x26), text(key), text(value)))
    await Promise.all(
      [illFormed['a surrogate']!, illFormed['the byte 0xFF']!, u8(0x61, 0)].flatMap((bad) => [
        t.closesFor('an ill-formed user property name', publish(bad, 'v')),
        t.closesFor('an ill-formed user property value', publish('k', bad)),
      ]),
    )
  }),
  ...badFlags.flatMap(({ what, bytes, v4 = [], v5 = [] }) =>
    both(['2.2.2-2', ...v4], ['2.1.3-1', ...v5], `${what} closes the connection`, (t) =>
      malformed(t, what, bytes(t.version === 5 ? props() : empty)),
    ),
  ),
  ...both(['2.2.2-2'], ['2.1.3-1'], 'CONNECT with flags 0001 is refused', async (t) => {
    const bytes = Buffer.concat([u8(0x11), connectNaming(t, t.id()).subarray(1)])
    await t.refusesFirst('CONNECT with flags 0001', bytes)
  }),
  ...only(5, ['3.14.1-1'], 'DISCONNECT with reserved flags is answered with 0x81', async (t) => {
    const said = await t.closesFor('DISCONNECT with flags 0100', frame(0xe4))
    equal(
      said.map((p) => [p.cmd, 'reasonCode' in p && p.reasonCode]),
      [['disconnect', 0x81]],
      'answer',
    )
  }),
  ...both(
    ['2.2.2-1'],
    ['2.1.3-1'],
    'the server sets reserved flags as the table says',
    async (t) => {
      equal(await everyAnswer(t), [0x20, 0x90, 0x40, 0x50, 0x70, 0x62, 0xb0, 0xd0], 'first bytes')
    },
  ),
  ...only(5, ['2.2.2-1'], 'no properties are a property length of zero', async (t) => {
    const client = await t.subscriber(t.topic('a'))
    client.publish(t.topic('a'), 'x')
    const heard = await client.hears('publish')
    const expected = frame(0x30, text(t.topic('a')), props(), Buffer.from('x'))
    equal(heard.raw.bytes.toString('hex'), expected.toString('hex'), 'PUBLISH')
    await Promise.all([
      t.closesFor('a SUBSCRIBE without property length', frame(0x82, u16(1))),
      t.closesFor('an UNSUBSCRIBE without property length', frame(0xa2, u16(1))),
      t.closesFor('a PUBLISH without property length', frame(0x30, text(t.topic('a')))),
    ])
  }),
  ...both(['2.3.1-1'], ['2.2.1-3'], 'packet identifier 0 closes the connection', async (t) => {
    const none = t.version === 5 ? props() : empty
    await Promise.all([
      t.closesFor('PUBLISH QoS 1', frame(0x32, text(t.topic('a')), u16(0), none)),
      t.closesFor('PUBLISH QoS 2', frame(0x34, text(t.topic('a')), u16(0), none)),
      t.closesFor('SUBSCRIBE', frame(0x82, u16(0), none, text('a'), u8(0))),
      t.closesFor('UNSUBSCRIBE', frame(0xa2, u16(0), none, text('a'))),
    ])
  }),
  ...both(['2.3.1-5'], ['2.2.1-2'], 'a QoS 0 PUBLISH has no packet identifier', async (t) => {
    const client = await t.subscriber(t.topic('a'))
    const none = t.version === 5 ? props() : empty
    const literal = frame(0x30, text(t.topic('a')), none, u8(0, 7, 0x41))
    client.sends(literal)
    const heard = await client.hears('publish')
    // The two bytes that would be an identifier are payload, on the way in and on the way out.
    equal(heard.raw.bytes.toString('hex'), literal.toString('hex'), 'PUBLISH')
  }),
  ...both(
    ['2.3.1-6'],
    ['2.2.1-5'],
    'acknowledgements carry the identifier of the PUBLISH',
    async (t) => {
      const client = await t.subscriber(t.topic('back'), { qos: 2 })
      for (const id of [1, 0x1234, 0x00ff, 0xff00, 65535]) {
        client.publish(t.topic('a'), '', { qos: 1, id })
        await client.hears('puback', { messageId: id })
        client.publish(t.topic('a'), '', { qos: 2, id })
        await client.hears('pubrec', { messageId: id })
        client.ack('pubrel', id)
        await client.hears('pubcomp', { messageId: id })
      }
      const speaker = await t.client()
      await t.publishes(speaker, t.topic('back'), '', { qos: 2 })
      const { messageId } = await client.hears('publish')
      client.ack('pubrec', messageId!)
      await client.hears('pubrel', { messageId: messageId! })
      client.ack('pubcomp', messageId!)
    },
  ),
  ...both(
    ['2.3.1-7', '3.8.4-2', '3.10.4-4'],
    ['2.2.1-6', '3.8.4-2', '3.10.4-5'],
    'SUBACK and UNSUBACK carry the identifier they answer',
    async (t) => {
      const client = await t.client()
      for (const id of [65535, 0x00ff, 1, 0xff00]) {
        client.subscribe(t.topic('a'), { id })
        await client.hears('suback', { messageId: id })
        client.unsubscribe(t.topic('a'), id)
        await client.hears('unsuback', { messageId: id })
      }
    },
  ),
  ...both(
    ['2.3.1-4'],
    ['2.2.1-4', '4.3.2-1', '4.3.3-1'],
    'the server gives each message in flight an identifier of its own',
    async (t) => {
      const listener = await t.subscriber(t.topic('a'), { qos: 2 })
      const speaker = await t.client()
      const ids = new Set<number>()
      for (let i = 0; i < 5; i++) speaker.publish(t.topic('a'), `${i}`, { qos: 1 })
      for (let i = 0; i < 5; i++) await t.publishes(speaker, t.topic('a'), `${i}`, { qos: 2 })
      for (let i = 0; i < 10; i++) ids.add((await listener.hears('publish')).messageId!)
      equal(ids.size, 10, 'different identifiers in flight')
      must(!ids.has(0), 'identifier 0 was used')
    },
  ),
  ...both(
    ['3.9.3-2'],
    ['3.4.2-1', '3.5.2-1', '3.6.2-1', '3.7.2-1', '3.9.3-2', '3.11.3-2'],
    'acknowledgements use the codes of their tables',
    async (t) => {
      const client = await t.client()
      const codes = async (cmd: 'puback' | 'pubrec' | 'pubcomp', type: number) => {
        const { reasonCode = 0 } = await client.hears(cmd)
        must(reasonCodes[type]!.includes(reasonCode), `${cmd} with code ${reasonCode}`)
      }
      client.publish(t.topic('nobody'), '', { qos: 1, id: 1 })
      await codes('puback', 4)
      client.publish(t.topic('nobody'), '', { qos: 2, id: 2 })
      await codes('pubrec', 5)
      client.ack('pubrel', 2)
      await codes('pubcomp', 7)
      for (const qos of [0, 1, 2] as const) await t.subscribes(client, t.topic(`q${qos}`), { qos })
      client.unsubscribe([t.topic('q0'), t.topic('never')])
      await client.hears('unsuback')
      await t.publishes(client, t.topic('q2'), 'x', { qos: 2 })
      const { messageId = 0 } = await client.hears('publish', { qos: 2 })
      client.ack('pubrec', messageId)
      // The PUBREL passed the police, which knows the table [MQTT-3.6.2-1].
      await client.hears('pubrel', { messageId })
      client.ack('pubcomp', messageId)
      await client.hearsNothing()
    },
  ),
  ...only(5, ['3.6.2-1', '3.7.2-1'], 'unknown identifiers are answered in kind', async (t) => {
    const client = await t.client()
    client.ack('pubrel', 99)
    await client.hears('pubcomp', { messageId: 99 })
    client.ack('pubrec', 98)
    await client.hears('pubrel', { messageId: 98 })
  }),
  ...only(5, ['4.13.1-1'], 'a reason code outside the table is malformed', async (t) => {
    const listener = await t.subscriber(t.topic('a'), { qos: 2 })
    const speaker = await t.client()
    await t.publishes(speaker, t.topic('a'), '', { qos: 1 })
    const { messageId = 0 } = await listener.hears('publish')
    listener.sends(frame(0x40, u16(messageId), u8(0x01)))
    await t.closesWithError('PUBACK with reason code 0x01', listener)
  }),
]
