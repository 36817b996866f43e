// The packets a server sends, PUBLISH apart, as bytes. Versions before 5 get what their tables have
// for the reason; the texts for people are left out where the client could not take the packet.

import { NO_BYTES } from '../../core/types.ts'
import { type Ack, type Connack, PacketType, Reason, type Version } from './packets.ts'
import { Property } from './properties.ts'
import { type PropertyValue, propertiesSize, writeProperties } from './property-writer.ts'
import { varintSize, writeVarint } from './varint.ts'

/** PINGRESP, whole. Shared: nobody may write into it. */
export const pingresp: Buffer = Buffer.from([PacketType.pingresp << 4, 0])

/** First bytes of the four acknowledgements; the lower bits of PUBREL are 0010 [MQTT-3.6.1-1]. */
export const AckByte = {
  puback: PacketType.puback << 4,
  pubrec: PacketType.pubrec << 4,
  pubrel: (PacketType.pubrel << 4) | 2,
  pubcomp: PacketType.pubcomp << 4,
} as const

/**
 * CONNACK. Like DISCONNECT it may carry a reason string even for a client that asked for no problem
 * information [MQTT-3.1.2-32]. `reasonString` is left out when the packet would exceed `maximumPacketSize` bytes
 * [MQTT-3.2.2-19]. Empty when `version` has no return code for the reason: then the connection is
 * closed without a word [3.1.1 MQTT-3.2.2-6].
 */
export function connack(c: Connack, version: Version, maximumPacketSize = Infinity): Buffer {
  // A refusal never speaks of a session [MQTT-3.2.2-6], and 3.1 has no such flag.
  const sessionPresent = c.sessionPresent && c.reason === Reason.success && version > 3 ? 1 : 0
  if (version < 5) {
    const code = connackCode(c.reason, version)
    if (code === null) return NO_BYTES
    return Buffer.from([PacketType.connack << 4, 2, sessionPresent, code])
  }
  const properties = connackProperties(c)
  return packet(
    PacketType.connack << 4,
    [sessionPresent, c.reason],
    properties,
    NO_BYTES,
    c.reasonString,
    maximumPacketSize,
  )
}

function connackProperties(c: Connack): PropertyValue[] {
  const list: PropertyValue[] = []
  const put = (id: Property, value: number | string | undefined): void => {
    if (value !== undefined && value !== null) list.push([id, value])
  }
  put(Property.sessionExpiryInterval, seconds(c.sessionExpiry))
  put(Property.receiveMaximum, c.receiveMaximum)
  put(Property.maximumPacketSize, c.maximumPacketSize)
  put(Property.assignedClientIdentifier, c.assignedClientId)
  put(Property.topicAliasMaximum, c.topicAliasMaximum)
  put(Property.serverKeepAlive, c.serverKeepAlive)
  put(Property.authenticationMethod, c.authenticationMethod)
  return list
}

/** Infinity is written as 0xFFFFFFFF (3.1.2.11.2). */
function seconds(value: number | undefined): number | undefined {
  return value === Infinity ? 0xffffffff : value
}

/**
 * SUBACK. `codes` are reason codes of MQTT 5, one for each filter in order [MQTT-3.8.4-6]; older
 * versions get what `subackCode` makes of them. `reasonString`, for version 5 alone, is left out
 * when the packet would exceed `maximumPacketSize` bytes [MQTT-3.9.2-1], and when the client asked
 * for no problem information [MQTT-3.1.2-32].
 */
export function suback(
  packetId: number,
  codes: readonly number[],
  version: Version,
  reasonString?: string,
  maximumPacketSize = Infinity,
  problemInformation = true,
): Buffer {
  const tail = Buffer.allocUnsafe(codes.length)
  for (let i = 0; i < codes.length; i++) tail[i] = subackCode(codes[i]!, version)
  const head = [packetId >> 8, packetId & 255]
  if (version < 5) return packet(PacketType.suback << 4, head, null, tail)
  return packet(
    PacketType.suback << 4,
    head,
    [],
    tail,
    problemInformation ? reasonString : '',
    maximumPacketSize,
  )
}

/** UNSUBACK. Before MQTT 5 it carries no codes. The rest as `suback`. */
export function unsuback(
  packetId: number,
  codes: readonly number[],
  version: Version,
  reasonString?: string,
  maximumPacketSize = Infinity,
  problemInformation = true,
): Buffer {
  const head = [packetId >> 8, packetId & 255]
  if (version < 5) return packet(PacketType.unsuback << 4, head, null, NO_BYTES)
  const tail = Buffer.from(codes)
  return packet(
    PacketType.unsuback << 4,
    head,
    [],
    tail,
    problemInformation ? reasonString : '',
    maximumPacketSize,
  )
}

/**
 * An acknowledgement. Before MQTT 5, and with reason 0, it is the short form of four bytes. The
 * rest as `suback`.
 */
export function ack(
  type: Ack['type'],
  packetId: number,
  reason: number,
  version: Version,
  reasonString?: string,
  maximumPacketSize = Infinity,
  problemInformation = true,
): Buffer {
  const first = AckByte[type]
  if (version < 5 || reason === Reason.success) {
    const block = Buffer.allocUnsafe(4)
    writeAck(block, 0, first, packetId)
    return block
  }
  const head = [packetId >> 8, packetId & 255, reason]
  return short(first, head, [], problemInformation ? reasonString : '', maximumPacketSize)
}

/** Writes the four bytes of an acknowledgement without reason; `first` from AckByte. Returns `at + 4`. */
export function writeAck(block: Buffer, at: number, first: number, packetId: number): number {
  block[at] = first
  block[at + 1] = 2
  block[at + 2] = packetId >> 8
  block[at + 3] = packetId & 255
  return at + 4
}

/**
 * DISCONNECT of MQTT 5, the only version in which a server sends one. `reasonString` is left out
 * when the packet would exceed `maximumPacketSize` bytes [MQTT-3.14.2-3].
 */
export function disconnect(
  reason: Reason,
  reasonString?: string,
  maximumPacketSize = Infinity,
): Buffer {
  const head = reason === Reason.success && !reasonString ? [] : [reason]
  return short(PacketType.disconnect << 4, head, [], reasonString, maximumPacketSize)
}

/**
 * AUTH of MQTT 5. The method is that of the CONNECT [MQTT-4.12.0-5]. `reasonString` is left out when
 * the packet would exceed `maximumPacketSize` bytes [MQTT-3.15.2-2], and as for `suback`.
 */
export function auth(
  reason: Reason,
  method: string,
  data?: Buffer,
  reasonString?: string,
  maximumPacketSize = Infinity,
  problemInformation = true,
): Buffer {
  const properties: PropertyValue[] = [[Property.authenticationMethod, method]]
  if (data !== undefined) properties.push([Property.authenticationData, data])
  return short(
    PacketType.auth << 4,
    [reason],
    properties,
    problemInformation ? reasonString : '',
    maximumPacketSize,
  )
}

/**
 * Return codes of CONNACK before MQTT 5 (3.1.1 table 3.1): 1 version, 2 identifier, 3 server
 * unavailable, 4 bad user name or password, 5 not authorized.
 */
const RETURN_CODES: ReadonlyMap<number, number> = new Map<Reason, number>([
  [Reason.unsupportedProtocolVersion, 1],
  [Reason.clientIdentifierNotValid, 2],
  [Reason.unspecified, 3],
  [Reason.implementationSpecific, 3],
  [Reason.serverUnavailable, 3],
  [Reason.serverBusy, 3],
  [Reason.serverShuttingDown, 3],
  [Reason.quotaExceeded, 3],
  [Reason.useAnotherServer, 3],
  [Reason.serverMoved, 3],
  [Reason.connectionRateExceeded, 3],
  [Reason.badUserNameOrPassword, 4],
  [Reason.notAuthorized, 5],
  [Reason.banned, 5],
  [Reason.badAuthenticationMethod, 5],
])

/**
 * What CONNACK says in `version` for a reason of MQTT 5; null when the version has no word for it,
 * and the connection is to be closed without CONNACK [3.1.1 MQTT-3.2.2-6].
 */
export function connackCode(reason: Reason, version: Version): number | null {
  if (version === 5 || reason === Reason.success) return reason
  return RETURN_CODES.get(reason) ?? null
}

/** What SUBACK says in `version`: before MQTT 5 every failure is 0x80 [3.1.1 MQTT-3.9.3-2]. */
export function subackCode(code: number, version: Version): number {
  return version < 5 && code > 2 ? 0x80 : code
}

/**
 * A packet whose variable header is `head` and the properties (null: it has none), and whose
 * payload is `tail`. The reason string joins the properties if the packet stays small enough.
 */
function packet(
  first: number,
  head: readonly number[],
  properties: PropertyValue[] | null,
  tail: Buffer,
  reasonString?: string,
  maximumPacketSize = Infinity,
): Buffer {
  let size = 0
  let body = head.length + tail.length
  if (properties !== null) {
    size = propertiesSize(properties)
    if (reasonString) {
      const text: PropertyValue = [Property.reasonString, clip(reasonString)]
      const longer = size + propertiesSize([text])
      const whole = body + varintSize(longer) + longer
      if (1 + varintSize(whole) + whole <= maximumPacketSize) {
        properties.push(text)
        size = longer
      }
    }
    body += varintSize(size) + size
  }
  const block = Buffer.allocUnsafe(1 + varintSize(body) + body)
  block[0] = first
  let at = writeVarint(block, 1, body)
  for (const byte of head) block[at++] = byte
  if (properties !== null) at = writeProperties(block, at, properties, size)
  tail.copy(block, at)
  return block
}

/** As `packet` without payload, where no properties need no property length. */
function short(
  first: number,
  head: readonly number[],
  properties: PropertyValue[],
  reasonString: string | undefined,
  maximumPacketSize: number,
): Buffer {
  const whole = packet(first, head, properties, NO_BYTES, reasonString, maximumPacketSize)
  if (properties.length > 0) return whole
  return packet(first, head, null, NO_BYTES)
}

/** A text that fits its two length bytes; a reason longer than 64 KiB helps nobody. */
function clip(text: string): string {
  return text.length * 3 > 0xffff ? text.slice(0, 0xffff / 3) : text
}
