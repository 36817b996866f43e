// Turns the frames a client sends into packets, trusting nothing: every reserved bit, length, text
// and code is checked here, so that the link sees only packets the standard allows. CONNECT has a
// file of its own (decode-connect.ts), and so has PUBLISH (publish.ts), which never becomes an object.

import type { QoS } from '../../core/types.ts'
import { decodeConnect } from './decode-connect.ts'
import { malformed, protocolError, readByte, readPacketId, textAt, textEnd } from './fields.ts'
import {
  type Ack,
  type Auth,
  type ClientPacket,
  type Disconnect,
  PacketError,
  PacketType,
  type PingRequest,
  Reason,
  type Subscribe,
  type SubscribeFilter,
  type Unsubscribe,
  type Version,
} from './packets.ts'
import { Property, PropertyCursor } from './properties.ts'

const cursor = new PropertyCursor()
const PINGREQ: PingRequest = { type: 'pingreq' }

/** Packet types whose lower four bits must be 0010 [MQTT-2.1.3-1]; those of all others are 0000. */
const FLAGS_2 =
  (1 << PacketType.pubrel) | (1 << PacketType.subscribe) | (1 << PacketType.unsubscribe)
/** Bit that MQTT 3.1 lets a client set on those when it sends them again. */
const DUP = 8

/** Packet types that only a server sends. */
const FROM_SERVER =
  (1 << PacketType.connack) |
  (1 << PacketType.suback) |
  (1 << PacketType.unsuback) |
  (1 << PacketType.pingresp)

/**
 * Reason codes that a packet from a client may carry [MQTT-3.4.2-1, MQTT-3.5.2-1, MQTT-3.6.2-1,
 * MQTT-3.7.2-1, MQTT-3.14.2-1, MQTT-3.15.2-1], one bit for each packet type.
 */
const ALLOWED = new Uint16Array(256)
const allow = (types: readonly number[], reasons: readonly Reason[]): void => {
  for (const type of types) for (const reason of reasons) ALLOWED[reason]! |= 1 << type
}
allow(
  [PacketType.puback, PacketType.pubrec],
  [
    Reason.success,
    Reason.noMatchingSubscribers,
    Reason.unspecified,
    Reason.implementationSpecific,
    Reason.notAuthorized,
    Reason.topicNameInvalid,
    Reason.packetIdentifierInUse,
    Reason.quotaExceeded,
    Reason.payloadFormatInvalid,
  ],
)
allow([PacketType.pubrel, PacketType.pubcomp], [Reason.success, Reason.packetIdentifierNotFound])
allow(
  [PacketType.disconnect],
  [
    Reason.success,
    Reason.disconnectWithWill,
    Reason.unspecified,
    Reason.malformedPacket,
    Reason.protocolError,
    Reason.implementationSpecific,
    Reason.topicNameInvalid,
    Reason.receiveMaximumExceeded,
    Reason.topicAliasInvalid,
    Reason.packetTooLarge,
    Reason.messageRateTooHigh,
    Reason.quotaExceeded,
    Reason.administrativeAction,
    Reason.payloadFormatInvalid,
  ],
)
allow([PacketType.auth], [Reason.continueAuthentication, Reason.reauthenticate])

/**
 * Decodes one packet from a client, PUBLISH apart. `first` is its first byte and `bytes[start, end)`
 * what follows the Remaining Length; `version` does not matter for CONNECT. Buffers within the
 * packet may be slices of `bytes`. Topic filters are well-formed text, else unchecked; an empty one
 * is ''. Throws PacketError with the reason the standard names.
 */
export function decode(
  first: number,
  bytes: Buffer,
  start: number,
  end: number,
  version: Version,
): ClientPacket {
  const type = first >> 4
  checkFirst(type, first, version)
  switch (type) {
    case PacketType.connect:
      return decodeConnect(bytes, start, end)
    case PacketType.puback:
      return decodeAck('puback', type, bytes, start, end, version)
    case PacketType.pubrec:
      return decodeAck('pubrec', type, bytes, start, end, version)
    case PacketType.pubrel:
      return decodeAck('pubrel', type, bytes, start, end, version)
    case PacketType.pubcomp:
      return decodeAck('pubcomp', type, bytes, start, end, version)
    case PacketType.subscribe:
      return decodeSubscribe(bytes, start, end, version)
    case PacketType.unsubscribe:
      return decodeUnsubscribe(bytes, start, end, version)
    case PacketType.pingreq:
      if (start !== end) throw malformed('The PINGREQ packet has a body.')
      return PINGREQ
    case PacketType.disconnect:
      return decodeDisconnect(bytes, start, end, version)
    case PacketType.auth:
      return decodeAuth(bytes, start, end)
    default:
      throw new PacketError(Reason.implementationSpecific, 'PUBLISH is not read in this place.')
  }
}

function checkFirst(type: number, first: number, version: Version): void {
  if (type === 0) throw malformed('Packet type 0 is reserved.')
  if (type === PacketType.auth && version < 5) {
    throw malformed('Packet type 15 is reserved in this version of MQTT.')
  }
  if (((FROM_SERVER >> type) & 1) !== 0) throw protocolError('Only a server may send this packet.')
  if (type === PacketType.publish) return
  const expected = ((FLAGS_2 >> type) & 1) << 1
  const flags = version === 3 && expected !== 0 ? first & 15 & ~DUP : first & 15
  if (flags !== expected) {
    throw malformed('The reserved bits in the first byte of the packet are not as they have to be.')
  }
}

function decodeAck(
  name: Ack['type'],
  type: number,
  bytes: Buffer,
  start: number,
  end: number,
  version: Version,
): Ack {
  const packetId = readPacketId(bytes, start, end)
  const at = start + 2
  if (at === end) return { type: name, packetId, reason: Reason.success }
  if (version < 5) throw malformed('The acknowledgement is longer than its packet identifier.')
  if (at + 1 < end) {
    cursor.openAt(bytes, at + 1, end, type as typeof PacketType.puback)
    skipProperties(bytes)
    if (cursor.at !== end) throw malformed('The acknowledgement is longer than its fields.')
  }
  return { type: name, packetId, reason: checkReason(type, bytes[at]!) }
}

function decodeSubscribe(bytes: Buffer, start: number, end: number, version: Version): Subscribe {
  const packetId = readPacketId(bytes, start, end)
  let at = start + 2
  let identifier = 0
  if (version === 5) {
    cursor.openAt(bytes, at, end, PacketType.subscribe)
    while (cursor.next(bytes)) {
      if (cursor.id === Property.subscriptionIdentifier) identifier = cursor.number
    }
    at = cursor.at
  }
  // [MQTT-3.8.3-2]; 3.1.1 [MQTT-3.8.3-3]
  if (at === end) throw protocolError('The SUBSCRIBE packet contains no topic filter.')
  const filters: SubscribeFilter[] = []
  while (at < end) {
    const to = textEnd(bytes, at, end, 'topic filter')
    const options = readByte(bytes, to, end, 'subscription options')
    filters.push(subscribeFilter(textAt(bytes, at, to), options, version))
    at = to + 1
  }
  return { type: 'subscribe', packetId, identifier, filters }
}

function subscribeFilter(filter: string, options: number, version: Version): SubscribeFilter {
  // [MQTT-3.8.3-5]; 3.1.1 [MQTT-3-8.3-4], where all bits but the QoS are reserved
  if ((options & (version === 5 ? 0xc0 : 0xfc)) !== 0) {
    throw malformed('Reserved bits of the subscription options are set.')
  }
  const qos = options & 3
  if (qos === 3) {
    // 3.8.3.1 of 5.0 calls it a protocol error, 3.1.1 calls the packet malformed.
    const text = 'A subscription asks for QoS 3.'
    throw version === 5 ? protocolError(text) : malformed(text)
  }
  const retainHandling = options >> 4
  if (retainHandling === 3) throw protocolError('The retain handling of a subscription is 3.')
  const noLocal = (options & 4) !== 0
  if (noLocal && filter.startsWith('$share/')) {
    throw protocolError('A shared subscription may not ask for no local.') // [MQTT-3.8.3-4]
  }
  return {
    filter,
    qos: qos as QoS,
    noLocal,
    retainAsPublished: (options & 8) !== 0,
    retainHandling: retainHandling as 0 | 1 | 2,
  }
}

function decodeUnsubscribe(
  bytes: Buffer,
  start: number,
  end: number,
  version: Version,
): Unsubscribe {
  const packetId = readPacketId(bytes, start, end)
  let at = start + 2
  if (version === 5) {
    cursor.openAt(bytes, at, end, PacketType.unsubscribe)
    skipProperties(bytes)
    at = cursor.at
  }
  if (at === end) throw protocolError('The UNSUBSCRIBE packet contains no topic filter.') // [MQTT-3.10.3-2]
  const filters: string[] = []
  while (at < end) {
    const to = textEnd(bytes, at, end, 'topic filter') // [MQTT-3.10.3-1]
    filters.push(textAt(bytes, at, to))
    at = to
  }
  return { type: 'unsubscribe', packetId, filters }
}

function decodeDisconnect(bytes: Buffer, start: number, end: number, version: Version): Disconnect {
  if (start === end) return { type: 'disconnect', reason: Reason.success, sessionExpiry: null }
  if (version < 5) throw malformed('The DISCONNECT packet has a body.')
  let sessionExpiry: number | null = null
  if (start + 1 < end) {
    cursor.openAt(bytes, start + 1, end, PacketType.disconnect)
    while (cursor.next(bytes)) {
      if (cursor.id === Property.sessionExpiryInterval) {
        sessionExpiry = cursor.number === 0xffffffff ? Infinity : cursor.number
      }
    }
    if (cursor.at !== end) throw malformed('The DISCONNECT packet is longer than its fields.')
  }
  const reason = checkReason(PacketType.disconnect, bytes[start]!)
  return { type: 'disconnect', reason, sessionExpiry }
}

function decodeAuth(bytes: Buffer, start: number, end: number): Auth {
  let method: string | null = null
  let data: Buffer | null = null
  if (start + 1 < end) {
    cursor.openAt(bytes, start + 1, end, PacketType.auth)
    while (cursor.next(bytes)) {
      if (cursor.id === Property.authenticationMethod) {
        method = textAt(bytes, cursor.value, cursor.at)
      } else if (cursor.id === Property.authenticationData) {
        data = bytes.subarray(cursor.value + 2, cursor.at)
      }
    }
    if (cursor.at !== end) throw malformed('The AUTH packet is longer than its fields.')
  }
  // An empty AUTH means success, which only a server may say and `checkReason` therefore refuses.
  const reason = checkReason(PacketType.auth, start === end ? Reason.success : bytes[start]!)
  if (method === null) throw protocolError('The AUTH packet names no authentication method.') // 3.15.2.2.2
  return { type: 'auth', reason, method, data }
}

/** Last of all checks: only what can be parsed can be a protocol error. */
function checkReason(type: number, reason: number): number {
  if ((ALLOWED[reason]! & (1 << type)) === 0) {
    throw protocolError(`Reason code 0x${reason.toString(16)} may not be sent in this packet.`)
  }
  return reason
}

/** Checks properties of which a server makes no use: reason string and user properties. */
function skipProperties(bytes: Buffer): void {
  while (cursor.next(bytes));
}
