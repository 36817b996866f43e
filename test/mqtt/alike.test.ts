// Frames that are like the one before them are not read one by one. What subscribers hear must not show
// it: the same frames in one read and one in each give the same bytes.

import fc from 'fast-check'
import { generate, type Packet } from 'mqtt-packet'
import { describe, expect, it } from 'vitest'
import { MqttDoor } from '../../src/protocol/mqtt/door.ts'
import { House } from '../core/house.ts'
import { type PairWire, wirePair } from '../support/pair.ts'

type Version = 4 | 5

/** A client that notes the bytes it hears. */
class Client {
  readonly version: Version
  readonly #wire: PairWire
  readonly #heard: Buffer[] = []
  gone = false

  constructor(house: House, door: MqttDoor, version: Version) {
    const [near, far] = wirePair({ runtime: house.broker.runtime })
    this.version = version
    this.#wire = far
    far.attach({
      read: (chunk) => this.#heard.push(Buffer.from(chunk)),
      ended: () => {
        this.gone = true
      },
      closed: () => {},
      drained: () => {},
    })
    door.open(near)
  }

  say(bytes: Buffer): void {
    this.#wire.push(bytes, 0, bytes.length)
  }

  sends(packet: Packet): void {
    this.say(generate(packet, { protocolVersion: this.version }))
  }

  /** What it heard since it was last asked. */
  heard(): Buffer {
    return Buffer.concat(this.#heard.splice(0))
  }
}

async function comes(house: House, door: MqttDoor, id: string, version: Version): Promise<Client> {
  const client = new Client(house, door, version)
  const shared = {
    protocolId: 'MQTT',
    protocolVersion: version,
    clean: true,
    keepalive: 0,
  } as const
  client.sends({ cmd: 'connect', clientId: id, ...shared })
  await house.turns()
  return client
}

/** One frame of the publisher's, or what stands between two. */
interface Piece {
  readonly topic: string
  readonly size: number
  readonly retain: boolean
  readonly dressed: boolean
  readonly kind: 'publish' | 'overlong' | 'ping'
}

function bytesOf({ topic, size, retain, dressed, kind }: Piece, version: Version): Buffer {
  if (kind === 'ping') return Buffer.from([0xc0, 0])
  const payload = Buffer.alloc(size, topic)
  const properties = dressed && version === 5 ? { properties: { contentType: topic } } : {}
  const packet = { cmd: 'publish', topic, payload, retain, qos: 0, dup: false } as const
  const bytes = generate({ ...packet, ...properties }, { protocolVersion: version })
  // In MQTT 5 this would be malformed. [MQTT-1.5.5-1]
  if (kind !== 'overlong' || version === 5 || (bytes[1] as number) >= 128) return bytes
  const length = Buffer.from([(bytes[1] as number) | 128, 0])
  return Buffer.concat([bytes.subarray(0, 1), length, bytes.subarray(2)])
}

/** What subscribers of both versions hear of the chunks, one read each, and how many messages were counted. */
async function publishes(version: Version, chunks: readonly Buffer[]) {
  const house = await House.open()
  const door = new MqttDoor(house.broker)
  const subscribers = [await comes(house, door, 'four', 4), await comes(house, door, 'five', 5)]
  for (const [i, topic] of ['#', 'a/+'].entries()) {
    subscribers[i]?.sends({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic, qos: 0 }] })
  }
  const publisher = await comes(house, door, 'publisher', version)
  for (const subscriber of subscribers) subscriber.heard()
  for (const chunk of chunks) {
    publisher.say(chunk)
    await house.turns()
  }
  const heard = subscribers.map((one) => one.heard().toString('hex'))
  const { messagesIn } = house.broker.counters
  door.stop()
  return { heard, messagesIn, gone: publisher.gone }
}

const usual = fc.record<Piece>({
  topic: fc.constantFrom('aaa', 'a/b', 'a/c'),
  size: fc.oneof(fc.constantFrom(3, 64), fc.integer({ min: 0, max: 20_000 })),
  retain: fc.constant(false),
  dressed: fc.boolean(),
  kind: fc.constant('publish'),
})
const strange = fc.record<Piece>({
  topic: fc.constantFrom('aaa', 'a/b'),
  size: fc.constantFrom(3, 64),
  retain: fc.boolean(),
  dressed: fc.boolean(),
  kind: fc.constantFrom('publish', 'overlong', 'ping'),
})
/** Mostly the same again and again, as real publishers do. */
const pieces = fc
  .array(fc.tuple(fc.oneof(usual, usual, strange), fc.integer({ min: 1, max: 12 })), {
    minLength: 1,
    maxLength: 5,
  })
  .map((all) => all.flatMap(([piece, times]) => new Array<Piece>(times).fill(piece)))

const PLAIN: Piece = { topic: 'a/b', size: 50, retain: false, dressed: false, kind: 'publish' }
const EIGHT = new Array<Buffer>(8).fill(bytesOf(PLAIN, 4))

/** The bytes in pieces that end anywhere. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = [...places.map((place) => place % bytes.length), bytes.length].sort((a, b) => a - b)
  return at.map((end, i) => bytes.subarray(at[i - 1] ?? 0, end)).filter((piece) => piece.length > 0)
}

describe('frames that are alike', () => {
  for (const version of [4, 5] as const) {
    it(`of MQTT ${version} give what they give one at a time, wherever reads end`, async () => {
      await fc.assert(
        fc.asyncProperty(pieces, fc.array(fc.nat(), { maxLength: 3 }), async (all, places) => {
          const frames = all.map((piece) => bytesOf(piece, version))
          const together = await publishes(version, cut(Buffer.concat(frames), places))
          const alone = await publishes(version, frames)
          expect(together).toEqual(alone)
        }),
        { numRuns: 40, seed: 20_26 },
      )
    })
  }

  it('do not let one through whose length is longer than it needs to be', async () => {
    const shorter = { ...PLAIN, size: 40 }
    const overlong = bytesOf({ ...shorter, kind: 'overlong' }, 4)
    const together = await publishes(4, [Buffer.concat([...EIGHT, overlong, ...EIGHT])])
    expect(together).toEqual(await publishes(4, [...EIGHT, bytesOf(shorter, 4), ...EIGHT]))
  })

  const bad = Buffer.from(bytesOf(PLAIN, 4))
  bad.write('a/#', 4)
  const FAULTS: readonly [what: string, bytes: Buffer][] = [
    ['one that is too large', bytesOf({ ...PLAIN, size: 101 }, 4)],
    ['one whose topic may not be published to', bad],
    ['one whose topic exceeds the packet', Buffer.from('\x30\x04\0\x03a/b\x02\0\x01', 'latin1')],
  ]
  for (const [what, bytes] of FAULTS) {
    it(`do not hide ${what}`, async () => {
      const house = await House.open({ limits: { packetBytes: 100 } })
      const door = new MqttDoor(house.broker)
      const publisher = await comes(house, door, 'publisher', 4)
      publisher.say(Buffer.concat([...EIGHT, bytes, ...EIGHT]))
      await house.turns()
      expect(publisher.gone).toBe(true)
      expect(house.broker.counters.messagesIn).toBe(8)
      door.stop()
    })
  }
})
