// Our codec against another one, mqtt-packet: what it generates we read as it was meant, and what we
// encode it reads as we meant it. Neither knows the other's mistakes.

import fc from 'fast-check'
import { generate, type Packet, parser } from 'mqtt-packet'
import { describe, expect, it } from 'vitest'
import type { QoS } from '../../src/core/types.ts'
import { decode } from '../../src/protocol/mqtt/decode.ts'
import { ack, auth, connack, disconnect, suback, unsuback } from '../../src/protocol/mqtt/encode.ts'
import type { ClientPacket, Connect, Reason, Version } from '../../src/protocol/mqtt/packets.ts'

const RUNS = { numRuns: 400, seed: 5 }

const version = fc.constantFrom<Version>(3, 4, 5)
const qos = fc.constantFrom<QoS>(0, 1, 2)
const packetId = fc.integer({ min: 1, max: 65_535 })
const u16 = fc.nat(65_535)
const u32 = fc.nat(0xffffffff)
/** Well-formed text without the null character, often beyond ASCII. */
const text = fc
  .oneof(fc.string({ maxLength: 12 }), fc.string({ unit: 'binary', maxLength: 12 }))
  .map((s) => s.replaceAll('\0', ''))
const word = text.filter((s) => s !== '')
const data = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes))
const maybe = <T>(of: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(of, { nil: undefined })
/** User properties as the oracle takes them: a dictionary; its keys must not be those of Object. */
const users = fc
  .dictionary(
    word.filter((s) => !(s in {})),
    text,
    { maxKeys: 3, noNullPrototype: true },
  )
  .filter((d) => Object.keys(d).length > 0)

/** Without what is undefined, which the oracle would take for a value. */
function given<T extends object>(object: T): T {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as T
}

function ours(bytes: Buffer, version: Version): ClientPacket {
  let start = 1
  while (bytes[start++]! > 127);
  return decode(bytes[0]!, bytes, start, bytes.length, version)
}

function generated(packet: object, version: Version): Buffer {
  return generate(packet as Packet, { protocolVersion: version })
}

function theirs(bytes: Buffer, version: Version): Record<string, unknown> {
  const found: Packet[] = []
  const stream = parser({ protocolVersion: version })
  stream.on('packet', (packet) => found.push(packet))
  stream.on('error', (error) => {
    throw error
  })
  expect(stream.parse(bytes)).toBe(0)
  expect(found).toHaveLength(1)
  return found[0] as unknown as Record<string, unknown>
}

describe('what mqtt-packet generates', () => {
  const will = fc.record({
    topic: word,
    payload: data.filter((d) => d.length > 0),
    qos,
    retain: fc.boolean(),
    delay: maybe(u32),
    expiry: maybe(u32),
    contentType: maybe(text),
    correlation: maybe(data),
  })
  const connectProperties = fc.record({
    sessionExpiryInterval: maybe(u32),
    receiveMaximum: maybe(fc.integer({ min: 1, max: 65_535 })),
    maximumPacketSize: maybe(fc.integer({ min: 1, max: 0xffffffff })),
    topicAliasMaximum: maybe(u16),
    requestResponseInformation: maybe(fc.boolean()),
    requestProblemInformation: maybe(fc.boolean()),
    userProperties: maybe(users),
    authenticationMethod: maybe(word),
  })
  const connectValues = fc.record({
    version,
    clientId: word,
    clean: fc.boolean(),
    keepalive: u16,
    username: maybe(word),
    password: maybe(data.filter((d) => d.length > 0)),
    will: maybe(will),
    properties: connectProperties,
    authenticationData: data.filter((d) => d.length > 0),
  })

  it('as CONNECT, we read', () => {
    fc.assert(
      fc.property(connectValues, (c) => {
        const v5 = c.version === 5
        // A password alone, which 5.0 allows, is beyond the oracle; the packet table has it.
        const password = c.username === undefined ? undefined : c.password
        const method = c.properties.authenticationMethod
        const properties = given({
          ...c.properties,
          authenticationData: method === undefined ? undefined : c.authenticationData,
        })
        const will = c.will && {
          topic: c.will.topic,
          payload: c.will.payload,
          qos: c.will.qos,
          retain: c.will.retain,
          properties: given({
            willDelayInterval: c.will.delay,
            messageExpiryInterval: c.will.expiry,
            contentType: c.will.contentType,
            correlationData: c.will.correlation,
          }),
        }
        const bytes = generated(
          given({
            cmd: 'connect',
            protocolId: c.version === 3 ? 'MQIsdp' : 'MQTT',
            protocolVersion: c.version,
            clientId: c.clientId,
            clean: c.clean,
            keepalive: c.keepalive,
            username: c.username,
            password,
            will,
            properties: v5 ? properties : undefined,
          }),
          c.version,
        )
        const found = ours(bytes, 4) as Connect
        expect(found).toMatchObject({
          type: 'connect',
          version: c.version,
          clientId: c.clientId,
          cleanStart: c.clean,
          keepAlive: c.keepalive,
          username: c.username ?? null,
          password: password ?? null,
        })
        if (v5) {
          const p = c.properties
          const forever = p.sessionExpiryInterval === 0xffffffff
          expect(found).toMatchObject({
            sessionExpiry: forever ? Infinity : (p.sessionExpiryInterval ?? null),
            receiveMaximum: p.receiveMaximum ?? 65_535,
            receiveMaximumGiven: p.receiveMaximum !== undefined,
            maximumPacketSize: p.maximumPacketSize ?? Infinity,
            topicAliasMaximum: p.topicAliasMaximum ?? 0,
            requestResponseInformation: p.requestResponseInformation ?? false,
            requestProblemInformation: p.requestProblemInformation ?? true,
            authenticationMethod: method ?? null,
            authenticationData: method === undefined ? null : c.authenticationData,
            userProperties: Object.entries(p.userProperties ?? {}),
          })
        }
        if (c.will === undefined) {
          expect(found.will).toBeNull()
        } else {
          expect(found.will).toMatchObject({
            topic: c.will.topic,
            payload: c.will.payload,
            qos: c.will.qos,
            retain: c.will.retain,
            delay: (v5 && c.will.delay) || 0,
            expiry: v5 ? (c.will.expiry ?? Infinity) : Infinity,
          })
          const carried = v5
            ? [
                ...(c.will.contentType === undefined ? [] : [c.will.contentType]),
                ...(c.will.correlation === undefined ? [] : [c.will.correlation]),
              ].reduce((size, x) => size + 3 + Buffer.byteLength(x), 0)
            : 0
          expect(found.will!.properties).toHaveLength(carried)
        }
      }),
      RUNS,
    )
  })

  it('as SUBSCRIBE, we read', () => {
    const filter = fc.record({
      topic: word.filter((s) => !s.startsWith('$share/')),
      qos,
      nl: fc.boolean(),
      rap: fc.boolean(),
      rh: fc.constantFrom<0 | 1 | 2>(0, 1, 2),
    })
    const identifier = maybe(fc.integer({ min: 1, max: 268_435_455 }))
    fc.assert(
      fc.property(
        version,
        packetId,
        fc.array(filter, { minLength: 1, maxLength: 5 }),
        identifier,
        maybe(users),
        (version, messageId, subscriptions, identifier, userProperties) => {
          const v5 = version === 5
          const properties = given({ subscriptionIdentifier: identifier, userProperties })
          const bytes = generated(
            given({
              cmd: 'subscribe',
              messageId,
              subscriptions,
              properties: v5 ? properties : undefined,
            }),
            version,
          )
          expect(ours(bytes, version)).toEqual({
            type: 'subscribe',
            packetId: messageId,
            identifier: (v5 && identifier) || 0,
            filters: subscriptions.map((s) => ({
              filter: s.topic,
              qos: s.qos,
              noLocal: v5 && s.nl,
              retainAsPublished: v5 && s.rap,
              retainHandling: v5 ? s.rh : 0,
            })),
          })
        },
      ),
      RUNS,
    )
  })

  it('as UNSUBSCRIBE, we read', () => {
    const filters = fc.array(word, { minLength: 1, maxLength: 5 })
    fc.assert(
      fc.property(version, packetId, filters, maybe(users), (version, id, filters, user) => {
        const bytes = generated(
          given({
            cmd: 'unsubscribe',
            messageId: id,
            unsubscriptions: filters,
            properties: version === 5 && user ? { userProperties: user } : undefined,
          }),
          version,
        )
        expect(ours(bytes, version)).toEqual({ type: 'unsubscribe', packetId: id, filters })
      }),
      RUNS,
    )
  })

  it('as an acknowledgement, we read', () => {
    const type = fc.constantFrom('puback', 'pubrec', 'pubrel', 'pubcomp')
    fc.assert(
      fc.property(version, type, packetId, fc.boolean(), maybe(text), (v, type, id, bad, why) => {
        const failure = type === 'puback' || type === 'pubrec' ? 0x97 : 0x92
        const reason = bad && v === 5 ? failure : 0
        const bytes = generated(
          given({
            cmd: type,
            messageId: id,
            reasonCode: reason,
            properties: v === 5 && why !== undefined ? { reasonString: why } : undefined,
          }),
          v,
        )
        expect(ours(bytes, v)).toEqual({ type, packetId: id, reason })
      }),
      RUNS,
    )
  })

  it('as DISCONNECT, AUTH and PINGREQ, we read', () => {
    const reason = fc.constantFrom(0, 4, 0x80, 0x99)
    fc.assert(
      fc.property(reason, maybe(u32), maybe(text), maybe(users), (reason, expiry, why, user) => {
        const properties = given({
          sessionExpiryInterval: expiry,
          reasonString: why,
          userProperties: user,
        })
        const bytes = generated({ cmd: 'disconnect', reasonCode: reason, properties }, 5)
        const sessionExpiry = expiry === 0xffffffff ? Infinity : (expiry ?? null)
        expect(ours(bytes, 5)).toEqual({ type: 'disconnect', reason, sessionExpiry })
      }),
      RUNS,
    )
    fc.assert(
      fc.property(fc.constantFrom(0x18, 0x19), word, maybe(data), (reason, method, data) => {
        const properties = given({ authenticationMethod: method, authenticationData: data })
        const bytes = generated({ cmd: 'auth', reasonCode: reason, properties }, 5)
        expect(ours(bytes, 5)).toEqual({ type: 'auth', reason, method, data: data ?? null })
      }),
      RUNS,
    )
    for (const v of [3, 4, 5] as const) {
      expect(ours(generated({ cmd: 'pingreq' }, v), v)).toEqual({ type: 'pingreq' })
    }
    const bare = ours(generated({ cmd: 'disconnect' }, 4), 4)
    expect(bare).toEqual({ type: 'disconnect', reason: 0, sessionExpiry: null })
  })
})

describe('what we encode', () => {
  it('as CONNACK, mqtt-packet reads', () => {
    const values = fc.record({
      sessionPresent: fc.boolean(),
      sessionExpiry: maybe(u32),
      receiveMaximum: maybe(fc.integer({ min: 1, max: 65_535 })),
      maximumPacketSize: maybe(fc.integer({ min: 1, max: 268_435_455 })),
      assignedClientId: maybe(word),
      topicAliasMaximum: maybe(u16),
      reasonString: maybe(word),
      serverKeepAlive: maybe(u16),
      authenticationMethod: maybe(word),
    })
    fc.assert(
      fc.property(values, (c) => {
        const found = theirs(connack({ reason: 0, ...given(c) } as never, 5), 5)
        expect(found).toMatchObject({ sessionPresent: c.sessionPresent, reasonCode: 0 })
        const { sessionPresent: _, sessionExpiry, assignedClientId, ...same } = c
        const properties = given({
          ...same,
          sessionExpiryInterval: sessionExpiry,
          assignedClientIdentifier: assignedClientId,
        })
        expect({ ...(found.properties as object) }).toEqual(properties)
      }),
      RUNS,
    )
  })

  it('as SUBACK and UNSUBACK, mqtt-packet reads', () => {
    const codes = fc.array(fc.constantFrom(0, 1, 2, 0x80, 0x87, 0x97), {
      minLength: 1,
      maxLength: 200,
    })
    fc.assert(
      fc.property(version, packetId, codes, maybe(word), (version, id, codes, why) => {
        const granted = version === 5 ? codes : codes.map((code) => (code > 2 ? 0x80 : code))
        const found = theirs(suback(id, codes, version, why), version)
        expect(found).toMatchObject({ cmd: 'suback', messageId: id, granted })
        const reasonString = (found.properties as { reasonString?: string })?.reasonString
        expect(reasonString).toBe(version === 5 ? why : undefined)
      }),
      RUNS,
    )
    const undone = fc.array(fc.constantFrom(0, 0x11, 0x80, 0x87), { minLength: 1, maxLength: 200 })
    fc.assert(
      fc.property(version, packetId, undone, maybe(word), (version, id, codes, why) => {
        const found = theirs(unsuback(id, codes, version, why), version)
        expect(found).toMatchObject({ cmd: 'unsuback', messageId: id })
        if (version === 5) expect(found.granted).toEqual(codes)
      }),
      RUNS,
    )
  })

  it('as acknowledgements, DISCONNECT and AUTH, mqtt-packet reads', () => {
    const type = fc.constantFrom<'puback' | 'pubrel'>('puback', 'pubrel')
    fc.assert(
      fc.property(type, packetId, fc.boolean(), maybe(word), (type, id, bad, why) => {
        const reason = !bad ? 0 : type === 'puback' ? 0x97 : 0x92
        const found = theirs(ack(type, id, reason, 5, why), 5)
        expect(found).toMatchObject({ cmd: type, messageId: id, reasonCode: reason })
        const reasonString = (found.properties as { reasonString?: string })?.reasonString
        expect(reasonString).toBe(bad ? why : undefined)
      }),
      RUNS,
    )
    fc.assert(
      fc.property(fc.constantFrom<Reason>(0, 0x8e, 0x95), maybe(word), (reason, why) => {
        const found = theirs(disconnect(reason, why), 5)
        expect(found).toMatchObject({ cmd: 'disconnect', reasonCode: reason })
        const reasonString = (found.properties as { reasonString?: string })?.reasonString
        expect(reasonString).toBe(why)
      }),
      RUNS,
    )
    fc.assert(
      fc.property(word, maybe(data), maybe(word), (method, bytes, why) => {
        const found = theirs(auth(0x18, method, bytes, why), 5)
        expect(found).toMatchObject({ cmd: 'auth', reasonCode: 0x18 })
        const properties = given({
          authenticationMethod: method,
          authenticationData: bytes,
          reasonString: why,
        })
        expect({ ...(found.properties as object) }).toEqual(properties)
      }),
      RUNS,
    )
  })

  it('never exceeds the size a client takes for the sake of a reason string', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 300 }), fc.integer({ min: 5, max: 400 }), (why, most) => {
        const refusal = { sessionPresent: false, reason: 0x87, reasonString: why } as const
        const packets = [
          connack(refusal, 5, most),
          suback(1, [0x87], 5, why, most),
          unsuback(1, [0x87], 5, why, most),
          ack('pubrec', 1, 0x87, 5, why, most),
          disconnect(0x87, why, most),
          auth(0x18, '', undefined, why, most),
        ]
        const bare = [5, 6, 6, 5, 3, 7]
        packets.forEach((packet, i) => {
          expect(packet.length).toBeLessThanOrEqual(Math.max(most, bare[i]!))
        })
      }),
      RUNS,
    )
  })
})
