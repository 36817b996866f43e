// The properties of MQTT 5: one table that says what each is and where it may stand, and the one
// reader that obeys it (the writer is in property-writer.ts). PUBLISH and will properties are validated here and carried on
// as the bytes they came in, less those that are the link's business.

import { NO_BYTES } from '../../core/types.ts'
import { dataEnd, malformed, protocolError, readByte, readU16, readU32, textEnd } from './fields.ts'
import { PacketError, PacketType, Reason } from './packets.ts'
import { readVarint, VARINT_MAX, varintSize } from './varint.ts'

/** Identifiers on the wire. */
export const Property = {
  payloadFormatIndicator: 0x01,
  messageExpiryInterval: 0x02,
  contentType: 0x03,
  responseTopic: 0x08,
  correlationData: 0x09,
  subscriptionIdentifier: 0x0b,
  sessionExpiryInterval: 0x11,
  assignedClientIdentifier: 0x12,
  serverKeepAlive: 0x13,
  authenticationMethod: 0x15,
  authenticationData: 0x16,
  requestProblemInformation: 0x17,
  willDelayInterval: 0x18,
  requestResponseInformation: 0x19,
  responseInformation: 0x1a,
  serverReference: 0x1c,
  reasonString: 0x1f,
  receiveMaximum: 0x21,
  topicAliasMaximum: 0x22,
  topicAlias: 0x23,
  maximumQos: 0x24,
  retainAvailable: 0x25,
  userProperty: 0x26,
  maximumPacketSize: 0x27,
  wildcardSubscriptionAvailable: 0x28,
  subscriptionIdentifierAvailable: 0x29,
  sharedSubscriptionAvailable: 0x2a,
} as const
export type Property = (typeof Property)[keyof typeof Property]

/** How a value is written. `topic` is text that must be a topic name: not empty, no wildcards. */
export type PropertyType = 'byte' | 'u16' | 'u32' | 'varint' | 'data' | 'text' | 'topic' | 'pair'

/** Where properties stand: a packet type, or 0 for the will inside a CONNECT. */
export const WILL = 0
export type Place = (typeof PacketType)[keyof typeof PacketType] | typeof WILL

export interface PropertyRow {
  readonly id: Property
  readonly name: string
  readonly type: PropertyType
  /** Set of places, one bit each (`1 << place`), in which a client may send it. */
  readonly client: number
  /** Set of places in which a server may send it. */
  readonly server: number
  /** Set of places in which it may stand more than once. */
  readonly repeats: number
  /** Range of a number, inclusive. */
  readonly least: number
  readonly most: number
}

const set = (...places: readonly Place[]): number => {
  let bits = 0
  for (const place of places) bits |= 1 << place
  return bits
}

const { connect, connack, publish, subscribe, suback, unsubscribe, unsuback, disconnect, auth } =
  PacketType
const CONNECT = set(connect)
const CONNACK = set(connack)
const PUBLISH = set(publish)
const MESSAGE = set(publish, WILL)
const ACKS = set(PacketType.puback, PacketType.pubrec, PacketType.pubrel, PacketType.pubcomp)
const EVERYWHERE_CLIENT = CONNECT | MESSAGE | ACKS | set(subscribe, unsubscribe, disconnect, auth)
const EVERYWHERE_SERVER = CONNACK | PUBLISH | ACKS | set(suback, unsuback, disconnect, auth)
const U16 = 0xffff
const U32 = 0xffffffff

function row(
  id: Property,
  name: string,
  type: PropertyType,
  client: number,
  server: number,
  { repeats = 0, least = 0, most = U32 } = {},
): PropertyRow {
  return { id, name, type, client, server, repeats, least, most }
}

/** Table 2-4 of MQTT 5.0 with the ranges that the chapters of the packets add. */
export const PROPERTIES: readonly PropertyRow[] = [
  row(0x01, 'payload format indicator', 'byte', MESSAGE, PUBLISH, { most: 1 }),
  row(0x02, 'message expiry interval', 'u32', MESSAGE, PUBLISH),
  row(0x03, 'content type', 'text', MESSAGE, PUBLISH),
  row(0x08, 'response topic', 'topic', MESSAGE, PUBLISH),
  row(0x09, 'correlation data', 'data', MESSAGE, PUBLISH),
  row(0x0b, 'subscription identifier', 'varint', set(subscribe), PUBLISH, {
    repeats: PUBLISH,
    least: 1,
    most: VARINT_MAX,
  }),
  row(0x11, 'session expiry interval', 'u32', CONNECT | set(disconnect), CONNACK),
  row(0x12, 'assigned client identifier', 'text', 0, CONNACK),
  row(0x13, 'server keep alive', 'u16', 0, CONNACK, { most: U16 }),
  row(0x15, 'authentication method', 'text', CONNECT | set(auth), CONNACK | set(auth)),
  row(0x16, 'authentication data', 'data', CONNECT | set(auth), CONNACK | set(auth)),
  row(0x17, 'request problem information', 'byte', CONNECT, 0, { most: 1 }),
  row(0x18, 'will delay interval', 'u32', set(WILL), 0),
  row(0x19, 'request response information', 'byte', CONNECT, 0, { most: 1 }),
  row(0x1a, 'response information', 'text', 0, CONNACK),
  row(0x1c, 'server reference', 'text', 0, CONNACK | set(disconnect)),
  row(
    0x1f,
    'reason string',
    'text',
    ACKS | set(disconnect, auth),
    CONNACK | ACKS | set(suback, unsuback, disconnect, auth),
  ),
  row(0x21, 'receive maximum', 'u16', CONNECT, CONNACK, { least: 1, most: U16 }),
  row(0x22, 'topic alias maximum', 'u16', CONNECT, CONNACK, { most: U16 }),
  row(0x23, 'topic alias', 'u16', PUBLISH, PUBLISH, { least: 1, most: U16 }),
  row(0x24, 'maximum QoS', 'byte', 0, CONNACK, { most: 1 }),
  row(0x25, 'retain available', 'byte', 0, CONNACK, { most: 1 }),
  row(0x26, 'user property', 'pair', EVERYWHERE_CLIENT, EVERYWHERE_SERVER, {
    repeats: EVERYWHERE_CLIENT | EVERYWHERE_SERVER,
  }),
  row(0x27, 'maximum packet size', 'u32', CONNECT, CONNACK, { least: 1 }),
  row(0x28, 'wildcard subscription available', 'byte', 0, CONNACK, { most: 1 }),
  row(0x29, 'subscription identifier available', 'byte', 0, CONNACK, { most: 1 }),
  row(0x2a, 'shared subscription available', 'byte', 0, CONNACK, { most: 1 }),
]

/** Index into PROPERTIES by identifier; -1 where the standard defines none. */
const INDEX: Int8Array = new Int8Array(256).fill(-1)
PROPERTIES.forEach((property, i) => {
  INDEX[property.id] = i
})

/** The row of a property that the standard defines. */
export function propertyRow(id: Property): PropertyRow {
  return PROPERTIES[INDEX[id]!]!
}

/**
 * Walks the properties a client sent, one `next` each, checking every rule of the table on the
 * way. It holds positions only, never the bytes, so that a cursor can be kept and used again.
 */
export class PropertyCursor {
  /** Of the property just read: its identifier. */
  id = 0
  /** Its first byte; it ends at `at`. Text and data have their two length bytes at `value`. */
  from = 0
  value = 0
  /** Its value if that is a number. */
  number = 0
  /** Of a pair: where the length bytes of its second string stand. */
  second = 0
  /** Offset behind what has been read; behind all properties once `next` has returned false. */
  at = 0
  #end = 0
  #place: Place = WILL
  #seen = 0

  /** Starts on the properties `[start, end)`, their length already read. */
  open(start: number, end: number, place: Place): void {
    this.at = start
    this.#end = end
    this.#place = place
    this.#seen = 0
  }

  /** Reads the property length at `at`, which must fit before `end`, and starts behind it. */
  openAt(bytes: Buffer, at: number, end: number, place: Place): void {
    const length = readVarint(bytes, at, end)
    if (length < 0)
      throw malformed('The property length is missing or not written as it has to be.')
    const start = at + varintSize(length)
    if (start + length > end) throw malformed('The properties are longer than the packet.')
    this.open(start, start + length, place)
  }

  /** Reads one property; false at the end. Throws PacketError with the reason the standard names. */
  next(bytes: Buffer): boolean {
    if (this.at >= this.#end) return false
    const id = bytes[this.at]!
    const index = INDEX[id]!
    if (index < 0) throw malformed(`There is no property 0x${id.toString(16)}.`)
    const property = PROPERTIES[index]!
    this.#admit(property, 1 << index)
    this.id = id
    this.from = this.at
    this.value = this.at + 1
    this.at = this.#read(bytes, property)
    return true
  }

  #admit(property: PropertyRow, mark: number): void {
    const place = 1 << this.#place
    if ((property.client & place) === 0) {
      // What only the other side may say is understood and not allowed [MQTT-3.3.4-6]; what
      // belongs to another packet altogether is malformed (2.2.2.2).
      if ((property.server & place) !== 0) {
        throw protocolError(`Only a server may send the ${property.name} here.`)
      }
      throw malformed(`The ${property.name} does not belong into this packet.`)
    }
    if ((this.#seen & mark) !== 0 && (property.repeats & place) === 0) {
      throw protocolError(`The ${property.name} is given more than once.`)
    }
    this.#seen |= mark
  }

  /** Reads the value at `value`, checks it and returns the offset behind it. */
  #read(bytes: Buffer, property: PropertyRow): number {
    const { name } = property
    const at = this.value
    const end = this.#end
    switch (property.type) {
      case 'byte':
        return this.#take(property, readByte(bytes, at, end, name), at + 1)
      case 'u16':
        return this.#take(property, readU16(bytes, at, end, name), at + 2)
      case 'u32':
        return this.#take(property, readU32(bytes, at, end, name), at + 4)
      case 'varint': {
        const value = readVarint(bytes, at, end)
        if (value < 0) throw malformed(`The ${name} is not written as it has to be.`)
        return this.#take(property, value, at + varintSize(value))
      }
      case 'data':
        return dataEnd(bytes, at, end, name)
      case 'text':
        return textEnd(bytes, at, end, name)
      case 'topic':
        return topicEnd(bytes, at, end, name)
      case 'pair':
        this.second = textEnd(bytes, at, end, name)
        return textEnd(bytes, this.second, end, name)
    }
  }

  #take(property: PropertyRow, value: number, to: number): number {
    if (value < property.least || value > property.most) throw outOfRange(property, value)
    this.number = value
    return to
  }
}

function outOfRange(property: PropertyRow, value: number): PacketError {
  const text = `The ${property.name} may not be ${value}.`
  // A Topic Alias of 0 has a reason code of its own (3.3.2.3.4) [MQTT-3.3.2-8].
  if (property.id === Property.topicAlias) return new PacketError(Reason.topicAliasInvalid, text)
  return protocolError(text)
}

/** As `textEnd`, for a topic name: not empty [MQTT-4.7.3-1], without wildcards [MQTT-3.3.2-14]. */
function topicEnd(bytes: Buffer, at: number, end: number, name: string): number {
  const to = textEnd(bytes, at, end, name)
  if (to === at + 2) throw protocolError(`The ${name} is empty.`)
  for (let i = at + 2; i < to; i++) {
    if (bytes[i] === 0x2b || bytes[i] === 0x23) {
      throw protocolError(`The ${name} contains a wildcard.`)
    }
  }
  return to
}

const cursor = new PropertyCursor()

/** What the link needs of the properties of a PUBLISH; used again for every packet. */
export class PublishProperties {
  /** Topic alias; 0 when there was none. */
  alias = 0
  /** Message expiry interval in seconds; Infinity when there was none. */
  expiry = Infinity
  /** Everything else, as `Message.properties`. May be a slice of the bytes read from. */
  rest: Buffer = NO_BYTES
}

/**
 * Validates the properties of a PUBLISH from a client, `bytes[start, end)` without their length,
 * and sets every field of `into`. `rest` is a slice of `bytes` unless what was cut out leaves more
 * than one piece. Throws PacketError with the reason the standard names; `into` then means nothing.
 */
export function readPublishProperties(
  bytes: Buffer,
  start: number,
  end: number,
  into: PublishProperties,
): void {
  into.alias = 0
  into.expiry = Infinity
  cuts.begin(start)
  cursor.open(start, end, PacketType.publish)
  while (cursor.next(bytes)) {
    if (cursor.id === Property.topicAlias) {
      into.alias = cursor.number
      cuts.cut(cursor.from, cursor.at)
    } else if (cursor.id === Property.messageExpiryInterval) {
      into.expiry = cursor.number
      cuts.cut(cursor.from, cursor.at)
    }
  }
  into.rest = cuts.rest(bytes, end)
}

/** What a CONNECT says of its will in properties. */
export class WillProperties {
  /** Will delay interval in seconds; 0 when there was none. */
  delay = 0
  /** Message expiry interval in seconds; Infinity when there was none. */
  expiry = Infinity
  /** Everything else, as `Message.properties`. May be a slice of the bytes read from. */
  rest: Buffer = NO_BYTES
}

/**
 * Validates will properties, whose length stands at `at`, sets every field of `into` and returns
 * the offset behind them. Throws as `readPublishProperties`.
 */
export function readWillProperties(
  bytes: Buffer,
  at: number,
  end: number,
  into: WillProperties,
): number {
  into.delay = 0
  into.expiry = Infinity
  cursor.openAt(bytes, at, end, WILL)
  cuts.begin(cursor.at)
  while (cursor.next(bytes)) {
    if (cursor.id === Property.willDelayInterval) {
      into.delay = cursor.number
      cuts.cut(cursor.from, cursor.at)
    } else if (cursor.id === Property.messageExpiryInterval) {
      into.expiry = cursor.number
      cuts.cut(cursor.from, cursor.at)
    }
  }
  into.rest = cuts.rest(bytes, cursor.at)
  return cursor.at
}

/** Up to two stretches to leave out; neither property that is cut may stand twice. */
class Cuts {
  #from = 0
  #cutFrom = 0
  #cutTo = 0
  #nextFrom = 0
  #nextTo = 0

  begin(from: number): void {
    this.#from = from
    this.#cutFrom = -1
    this.#nextFrom = -1
  }

  cut(from: number, to: number): void {
    if (this.#cutFrom < 0) {
      this.#cutFrom = from
      this.#cutTo = to
    } else {
      this.#nextFrom = from
      this.#nextTo = to
    }
  }

  /** What is left of `[begin, end)`: a slice where that is one piece, else one new Buffer. */
  rest(bytes: Buffer, end: number): Buffer {
    if (this.#from === end) return NO_BYTES
    if (this.#cutFrom < 0) return bytes.subarray(this.#from, end)
    const a = bytes.subarray(this.#from, this.#cutFrom)
    const b = bytes.subarray(this.#cutTo, this.#nextFrom < 0 ? end : this.#nextFrom)
    const c = this.#nextFrom < 0 ? NO_BYTES : bytes.subarray(this.#nextTo, end)
    const size = a.length + b.length + c.length
    if (size === 0) return NO_BYTES
    for (const piece of [a, b, c]) if (piece.length === size) return piece
    return Buffer.concat([a, b, c], size)
  }
}

const cuts = new Cuts()
