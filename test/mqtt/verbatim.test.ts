// Which frames leave as they came, and to whom: a table of packets by subscribers. What is not
// the very bytes must be a packet that says the same, less or more what the subscriber asked for.

import { generate, type IPublishPacket, type Packet, parser } from 'mqtt-packet'
import { describe, expect, it } from 'vitest'
import type { Wire, WireReader } from '../../src/net/wire.ts'
import { MqttDoor } from '../../src/protocol/mqtt/door.ts'
import { House } from '../core/house.ts'

interface Pushed {
  readonly bytes: Buffer
  /** The memory it lies in. */
  readonly block: Buffer
}

/** A wire that notes what it is given, and by which memory. */
class NotingWire implements Wire {
  readonly address = 'test'
  readonly peer = 'test:1'
  readonly transport = 'tcp'
  readonly queued = 0
  readonly pushed: Pushed[] = []
  at = 0
  ended = false
  #block = Buffer.alloc(0)
  #reader: WireReader | null = null

  attach(reader: WireReader): void {
    this.#reader = reader
  }

  push(bytes: Buffer, start: number, end: number): void {
    this.pushed.push({ bytes: Buffer.from(bytes.subarray(start, end)), block: bytes })
  }

  room(size: number): Buffer {
    this.#block = Buffer.alloc(size)
    this.at = 0
    return this.#block
  }

  commit(size: number): void {
    this.push(this.#block, 0, size)
  }

  keep(): void {}
  pause(): void {}
  resume(): void {}

  end(): void {
    this.ended = true
  }

  destroy(): void {
    this.ended = true
  }

  says(bytes: Buffer): void {
    this.#reader?.read(bytes)
  }

  /** The PUBLISH packets among what was pushed since it was last asked. */
  publishes(version: 4 | 5): { packet: IPublishPacket; from: Pushed }[] {
    return this.pushed
      .splice(0)
      .flatMap((from) =>
        parsed(from.bytes, version).flatMap((packet) =>
          packet.cmd === 'publish' ? [{ packet, from }] : [],
        ),
      )
  }
}

function parsed(bytes: Buffer, version: 4 | 5): Packet[] {
  const packets: Packet[] = []
  const read = parser({ protocolVersion: version })
  read.on('packet', (packet: Packet) => packets.push(packet))
  read.on('error', (error: Error) => {
    throw error
  })
  read.parse(bytes)
  return packets
}

interface Frame {
  readonly what: string
  readonly version: 4 | 5
  readonly bytes: readonly Buffer[]
  readonly retain?: boolean
  readonly qos?: 0 | 1
  /** May go out as it is to a subscriber of that version for whom nothing has to be added. */
  readonly plain: boolean
  readonly expiry?: number
  /** Properties that every MQTT 5 subscriber gets. */
  readonly properties?: object
}

const TOPIC = 'v/t'
const PAYLOAD = 'a payload of some length'

function frame(version: 4 | 5, more: Partial<IPublishPacket> = {}): Buffer {
  const packet: IPublishPacket = {
    cmd: 'publish',
    topic: TOPIC,
    payload: PAYLOAD,
    qos: 0,
    retain: false,
    dup: false,
    ...more,
  }
  return generate(packet, { protocolVersion: version })
}

/** The same frame with its length in two bytes where one would do. */
function overlong(bytes: Buffer): Buffer {
  const length = bytes[1] as number
  return Buffer.concat([bytes.subarray(0, 1), Buffer.from([length | 128, 0]), bytes.subarray(2)])
}

const setsAlias = frame(5, { properties: { topicAlias: 1 } })
const usesAlias = frame(5, { topic: '', properties: { topicAlias: 1 } })

const FRAMES: readonly Frame[] = [
  { what: '3.1.1', version: 4, bytes: [frame(4)], plain: true },
  {
    what: '3.1.1, retained',
    version: 4,
    bytes: [frame(4, { retain: true })],
    retain: true,
    plain: true,
  },
  { what: '3.1.1, overlong length', version: 4, bytes: [overlong(frame(4))], plain: false },
  {
    what: '3.1.1, QoS 1',
    version: 4,
    bytes: [frame(4, { qos: 1, messageId: 1 })],
    qos: 1,
    plain: false,
  },
  { what: '5', version: 5, bytes: [frame(5)], plain: true },
  {
    what: '5, retained',
    version: 5,
    bytes: [frame(5, { retain: true })],
    retain: true,
    plain: true,
  },
  {
    what: '5, properties',
    version: 5,
    bytes: [frame(5, { properties: { contentType: 'x', userProperties: { a: 'b' } } })],
    properties: { contentType: 'x' },
    plain: true,
  },
  {
    what: '5, expiry',
    version: 5,
    bytes: [frame(5, { properties: { messageExpiryInterval: 60 } })],
    expiry: 60,
    plain: true,
  },
  { what: '5, alias set', version: 5, bytes: [setsAlias], plain: false },
  { what: '5, alias used', version: 5, bytes: [setsAlias, usesAlias], plain: false },
  {
    what: '5, QoS 1',
    version: 5,
    bytes: [frame(5, { qos: 1, messageId: 1 })],
    qos: 1,
    plain: false,
  },
]

interface Subscriber {
  readonly what: string
  readonly version: 4 | 5
  readonly identifier?: number
  readonly rap?: boolean
  readonly noLocal?: boolean
  readonly aliases?: number
  readonly maximumPacketSize?: number
}

const SUBSCRIBERS: readonly Subscriber[] = [
  { what: '3.1.1', version: 4 },
  { what: '5', version: 5 },
  { what: '5 with an identifier', version: 5, identifier: 7 },
  { what: '5, retain as published', version: 5, rap: true },
  { what: '5, no local', version: 5, noLocal: true },
  { what: '5, topic aliases', version: 5, aliases: 5 },
  { what: '5, large packets only just', version: 5, maximumPacketSize: 128 },
  { what: '5, small packets', version: 5, maximumPacketSize: 20 },
]

async function connects(house: House, door: MqttDoor, id: string, of: Partial<Subscriber>) {
  const version = of.version ?? 4
  const wire = new NotingWire()
  door.open(wire)
  const properties = {
    ...(of.aliases === undefined ? {} : { topicAliasMaximum: of.aliases }),
    ...(of.maximumPacketSize === undefined ? {} : { maximumPacketSize: of.maximumPacketSize }),
  }
  wire.says(
    generate(
      {
        cmd: 'connect',
        clientId: id,
        protocolId: 'MQTT',
        protocolVersion: version,
        clean: true,
        keepalive: 0,
        ...(version === 5 ? { properties } : {}),
      },
      { protocolVersion: version },
    ),
  )
  await house.turns()
  wire.pushed.length = 0
  return wire
}

async function subscribes(house: House, wire: NotingWire, of: Subscriber): Promise<void> {
  wire.says(
    generate(
      {
        cmd: 'subscribe',
        messageId: 1,
        subscriptions: [
          { topic: TOPIC, qos: 0, nl: of.noLocal ?? false, rap: of.rap ?? false, rh: 2 },
        ],
        ...(of.identifier === undefined
          ? {}
          : { properties: { subscriptionIdentifier: of.identifier } }),
      },
      { protocolVersion: of.version },
    ),
  )
  await house.turns()
  wire.pushed.length = 0
}

/** Rulings in one expression: nothing to take away, nothing to add, and it fits. */
function isVerbatim(f: Frame, s: Subscriber, size: number): boolean {
  return (
    f.plain &&
    f.version === s.version &&
    (f.retain !== true || s.rap === true) &&
    s.identifier === undefined &&
    s.aliases === undefined &&
    size <= (s.maximumPacketSize ?? Number.POSITIVE_INFINITY)
  )
}

const CASES = FRAMES.flatMap((f) => SUBSCRIBERS.map((s) => ({ f, s })))

describe('a frame', () => {
  it.each(CASES)('of $f.what to $s.what', async ({ f, s }) => {
    const house = await House.open()
    const door = new MqttDoor(house.broker)
    const publisher = await connects(house, door, 'publisher', { version: f.version })
    const wire = await connects(house, door, 'subscriber', s)
    await subscribes(house, wire, s)
    let last = Buffer.alloc(0)
    for (const bytes of f.bytes) {
      wire.pushed.length = 0
      last = Buffer.from(bytes)
      publisher.says(last)
      await house.turns()
    }
    const got = wire.publishes(s.version)
    if (s.maximumPacketSize === 20) {
      expect(got).toEqual([])
      expect(house.broker.counters.droppedTooLarge).toBe(f.bytes.length)
      return
    }
    const [one] = got
    if (one === undefined) throw new Error('nothing came')
    expect(got.length).toBe(1)
    expect(one.from.block === last).toBe(isVerbatim(f, s, last.length))
    if (isVerbatim(f, s, last.length)) expect(one.from.bytes).toEqual(last)
    const { topic, payload, retain, qos, properties } = one.packet
    const alias = properties?.topicAlias
    expect(topic).toBe(alias !== undefined && f.bytes.length > 1 ? '' : TOPIC)
    expect(payload.toString()).toBe(PAYLOAD)
    expect(qos).toBe(0)
    expect(retain).toBe(f.retain === true && s.rap === true)
    if (s.version === 4) return
    expect(properties?.subscriptionIdentifier).toBe(s.identifier)
    expect(alias).toBe(s.aliases === undefined ? undefined : 1)
    expect(properties?.messageExpiryInterval).toBe(f.expiry)
    if (f.properties !== undefined) expect(properties).toMatchObject(f.properties)
  })

  it('with an overlong length is malformed in MQTT 5', async () => {
    const house = await House.open()
    const publisher = await connects(house, new MqttDoor(house.broker), 'p', { version: 5 })
    publisher.says(overlong(frame(5)))
    expect(publisher.ended).toBe(true)
  })

  it('does not come back to its publisher with No Local, verbatim or not', async () => {
    for (const version of [4, 5] as const) {
      const house = await House.open()
      const door = new MqttDoor(house.broker)
      const self = await connects(house, door, 'self', { version: 5 })
      await subscribes(house, self, { what: '', version: 5, noLocal: true })
      const other = await connects(house, door, 'other', { version })
      self.says(frame(5))
      other.says(frame(version))
      await house.turns()
      expect(self.publishes(5).length).toBe(1)
    }
  })

  it('and its neighbours for the same audience go as one piece', async () => {
    const house = await House.open()
    const door = new MqttDoor(house.broker)
    const publisher = await connects(house, door, 'p', { version: 5 })
    const wire = await connects(house, door, 's', { version: 5 })
    await subscribes(house, wire, { what: '', version: 5 })
    const bytes = Buffer.concat([frame(5), frame(5), frame(5)])
    publisher.says(bytes)
    expect(wire.pushed.map((pushed) => pushed.bytes)).toEqual([bytes])
  })
})
