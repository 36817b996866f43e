// The connection itself: ping, DISCONNECT, protocol violations, TCP as a stream, and WebSocket.
import { frame, props, text, u8, u16 } from '../../support/bytes.ts'
import { reasonCodes } from '../../support/police.ts'
import type { Heard } from '../../support/raw-client.ts'
import { both, type Case, equal, must, NotHere, only, type Talk } from '../case.ts'

const none = (t: Talk) => (t.version === 5 ? props() : Buffer.alloc(0))

/** Packets that only a server sends, and types that do not exist, each with a plausible body. */
function foreign(t: Talk): Record<string, Buffer> {
  return {
    'type 0': frame(0x00),
    CONNACK: frame(0x20, u8(0, 0), none(t)),
    SUBACK: frame(0x90, u16(1), none(t), u8(0)),
    UNSUBACK: frame(0xb0, u16(1), none(t), t.version === 5 ? u8(0) : u8()),
    PINGRESP: frame(0xd0),
    ...(t.version === 4 && { 'type 15': frame(0xf0) }),
  }
}

const bytewise: Case[] = [
  ...both(
    ['7.1.1-1'],
    ['7.1.1-1'],
    'packets may be split anywhere and share a write',
    async (t) => {
      const listener = await t.subscriber(t.topic('a'), { qos: 1 })
      const speaker = await t.client()
      const publish = (messageId: number) =>
        speaker.encode({
          cmd: 'publish',
          topic: t.topic('a'),
          payload: `${messageId}`,
          qos: 1,
          messageId,
          dup: false,
          retain: false,
        })
      const stream = Buffer.concat(Array.from({ length: 20 }, (_, i) => publish(i + 1)))
      for (let at = 0, step = 1; at < stream.length; at += step, step = (step * 5) % 17) {
        speaker.sends(stream.subarray(at, at + step))
        await new Promise((resolve) => setImmediate(resolve))
      }
      for (let i = 1; i <= 20; i++) await speaker.hears('puback', { messageId: i })
      for (let i = 1; i <= 20; i++) await listener.receives({ payload: Buffer.from(`${i}`) })
    },
  ),
  ...both(['7.0.0-2'], ['7.0.0-2'], 'literal bytes of the standard alone suffice', async (t) => {
    const client = await t.dial({ opaque: true })
    const topic = text(t.topic('a'))
    const level = u8(t.version, 2)
    client.sends(frame(0x10, text('MQTT'), level, u16(60), none(t), text(t.id())))
    client.sends(frame(0x82, u16(10), none(t), topic, u8(0)))
    client.sends(frame(0x30, topic, none(t), Buffer.from('hello')))
    client.sends(frame(0xc0), frame(0xe0))
    await client.closed()
    const suback = frame(0x90, u16(10), none(t), u8(0))
    const publish = frame(0x30, topic, none(t), Buffer.from('hello'))
    const ending = Buffer.concat([suback, publish, u8(0xd0, 0)]).toString('hex')
    const heard = client.received.toString('hex')
    must(heard.startsWith('20') && heard.endsWith(ending), `answered ${heard}`)
  }),
  ...both(
    ['4.8.0-1'],
    ['4.13.1-1'],
    'packets a client must not send close the connection',
    async (t) => {
      await Promise.all(Object.entries(foreign(t)).map(([what, bytes]) => t.closesFor(what, bytes)))
    },
  ),
  ...both(['4.8.0-1'], ['4.13.1-1'], 'malformed packets close the connection', async (t) => {
    await Promise.all([
      t.closesFor('a remaining length of five bytes', u8(0x30, 0xff, 0xff, 0xff, 0xff, 0x7f)),
      t.closesFor('a PINGREQ with a body', frame(0xc0, u8(0))),
      t.closesFor('a PUBACK of one byte', frame(0x40, u8(1))),
      t.closesFor('a filter cut short', frame(0x82, u16(1), none(t), u16(9), Buffer.from('short'))),
    ])
  }),
  ...both(['3.12.4-1'], ['3.12.4-1'], 'every PINGREQ is answered', async (t) => {
    const client = await t.client()
    client.sends(u8(0xc0, 0), u8(0xc0, 0), u8(0xc0, 0))
    for (let i = 0; i < 3; i++) await client.hears('pingresp')
    await client.hearsNothing()
  }),
]

const leaving: Case[] = [
  ...only(5, ['3.14.0-1'], 'before a CONNACK of success there is no DISCONNECT', async (t) => {
    const early = frame(0x30, text('a'), props())
    const cut = frame(0x10, text('MQTT'), u8(5, 1, 0, 0))
    for (const bytes of [early, cut]) {
      const client = await t.dialMqtt()
      client.sends(bytes)
      const said = await client.closed()
      must(!said.some((p) => p.cmd === 'disconnect'), 'DISCONNECT before CONNACK')
    }
  }),
  ...only(
    5,
    ['3.14.2-1', '3.14.2-2', '3.14.4-1', '3.14.4-2', '4.13.2-1'],
    'what a DISCONNECT of the server says, and that it is the last word',
    async (t) => {
      // The PINGREQ behind each error must find nobody who answers.
      const ping = frame(0xc0)
      const errors = [
        frame(0x36, text(t.topic('b')), u16(1), props()),
        frame(0x82, u16(1), props(), text('a'), u8(3)),
        frame(0x30, text('a/#'), props()),
        frame(0x82, u16(1), props()),
        frame(0x20, u8(0, 0), props()),
      ]
      const said = await Promise.all(
        errors.map((bytes, i) => t.closesFor(`error ${i}`, bytes, ping)),
      )
      for (const packets of said) {
        equal(
          packets.map((p) => p.cmd).filter((cmd) => cmd !== 'disconnect'),
          [],
          'other packets',
        )
        must(packets.length <= 1, 'more than one DISCONNECT')
      }
      const goodbyes = said.flat().filter((p): p is Heard<'disconnect'> => p.cmd === 'disconnect')
      if (goodbyes.length === 0) throw new NotHere('the server never sends DISCONNECT')
      for (const { reasonCode = 0, properties } of goodbyes) {
        must(reasonCode >= 0x80 && reasonCodes[14]!.includes(reasonCode), `code ${reasonCode}`)
        equal(properties?.sessionExpiryInterval, undefined, 'session expiry in DISCONNECT')
      }
    },
  ),
  ...only(5, ['3.14.2-1', '4.13.1-1'], 'a reason code outside the table is refused', async (t) => {
    await t.closesFor('DISCONNECT with reason code 0x55', frame(0xe0, u8(0x55)))
  }),
]

const webSocket: Case[] = [
  ...both(
    ['4.8.0-2'],
    ['6.0.0-1'],
    'MQTT travels in binary frames, and a text frame closes',
    async (t) => {
      const path = t.webSocketPath()
      const client = await t.client({ dial: { websocket: path } })
      await t.subscribes(client, t.topic('a'), { qos: 1 })
      await t.publishes(client, t.topic('a'), 'over WebSocket', { qos: 1 })
      await client.receives({ payload: Buffer.from('over WebSocket') })
      // A PUBLISH that is valid in every byte, and in a frame of the wrong kind.
      await t.marks(client)
      const publish = frame(0x30, text(t.topic('a')), none(t), Buffer.from('as text'))
      const wrong = await t.client({ dial: { websocket: path } })
      wrong.webSocket!.send(publish.toString(), { binary: false })
      await wrong.closed()
      await t.silence(client, await t.client())
    },
  ),
  ...both(['4.8.0-2'], ['6.0.0-2'], 'packets may span and share WebSocket frames', async (t) => {
    const client = await t.dial({ websocket: t.webSocketPath() })
    const connect = client.encode({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: t.version,
      clean: true,
      keepalive: 0,
      clientId: t.id(),
    })
    for (const byte of connect) client.sends(Buffer.from([byte]))
    await client.hears('connack')
    const subscribe = frame(0x82, u16(1), none(t), text(t.topic('a')), u8(0))
    const publish = frame(0x30, text(t.topic('a')), none(t), Buffer.from('x'))
    const all = Buffer.concat([subscribe, publish, publish, u8(0xc0, 0)])
    client.sends(all.subarray(0, all.length - 3))
    client.sends(all.subarray(all.length - 3))
    await client.hears('suback')
    await client.hears('publish')
    await client.hears('publish')
    await client.hears('pingresp')
  }),
  ...both(['4.8.0-2'], ['6.0.0-4'], 'the subprotocol selected is mqtt', async (t) => {
    const client = await t.client({ dial: { websocket: t.webSocketPath() } })
    equal(client.webSocket!.protocol, 'mqtt', 'subprotocol')
  }),
]

export const connectionCases: Case[] = [...bytewise, ...leaving, ...webSocket]
