// Reads CONNECT, the first packet and the one with the most rules, from the bytes of a stranger.
// It alone decides which version of MQTT the rest of the link speaks.

import { NO_BYTES, type QoS, type Will } from '../../core/types.ts'
import { dataEnd, malformed, protocolError, readByte, readU16, textAt, textEnd } from './fields.ts'
import {
  type Connect,
  PacketError,
  PacketType,
  Reason,
  type UserProperty,
  type Version,
} from './packets.ts'
import { Property, PropertyCursor, readWillProperties, WillProperties } from './properties.ts'

/** Bits of the Connect Flags. */
const Flag = {
  reserved: 0x01,
  cleanStart: 0x02,
  will: 0x04,
  willQos: 0x18,
  willRetain: 0x20,
  password: 0x40,
  username: 0x80,
} as const

const UNSET = 0xffffffff

/** The properties of a CONNECT; the defaults are those of a client that gives none (3.1.2.11). */
class ConnectProperties {
  sessionExpiry: number | null = null
  receiveMaximum = 65_535
  receiveMaximumGiven = false
  maximumPacketSize = Infinity
  topicAliasMaximum = 0
  requestResponseInformation = false
  requestProblemInformation = true
  authenticationMethod: string | null = null
  authenticationData: Buffer | null = null
  readonly userProperties: UserProperty[] = []
}

const cursor = new PropertyCursor()
const willProperties = new WillProperties()

/**
 * The version that the CONNECT body `[start, end)` speaks, so that even one which `decodeConnect`
 * refuses can be answered in its own words; null when it does not get so far or names another.
 */
export function peekVersion(bytes: Buffer, start: number, end: number): Version | null {
  try {
    return readVersion(bytes, start, end)
  } catch {
    return null
  }
}

/** Whether the CONNECT body names MQTT at all: whoever speaks another protocol is not answered in ours. */
export function namesMqtt(bytes: Buffer, start: number, end: number): boolean {
  const body = bytes.toString('latin1', start, Math.min(end, start + 8))
  return body.startsWith('\0\x04MQTT') || body.startsWith('\0\x06MQIsdp')
}

/**
 * Decodes the body `[start, end)` of a CONNECT. Will payload and properties are copies, since they
 * live as long as the session; password and authentication data are slices of `bytes`. For 3.1
 * and 3.1.1 `sessionExpiry` is what clean session means: 0 or Infinity. An empty client
 * identifier is let through. Throws PacketError with the reason the standard names.
 */
export function decodeConnect(bytes: Buffer, start: number, end: number): Connect {
  const version = readVersion(bytes, start, end)
  let at = dataEnd(bytes, start, end, 'protocol name') + 1
  const flags = readByte(bytes, at, end, 'connect flags')
  checkFlags(flags, version)
  const keepAlive = readU16(bytes, at + 1, end, 'keep alive')
  at += 3
  const properties = new ConnectProperties()
  const cleanStart = (flags & Flag.cleanStart) !== 0
  if (version === 5) at = readProperties(bytes, at, end, properties)
  else properties.sessionExpiry = cleanStart ? 0 : Infinity

  let to = textEnd(bytes, at, end, 'client identifier')
  const clientId = textAt(bytes, at, to)
  at = to
  let will: Will | null = null
  if ((flags & Flag.will) !== 0) {
    will = readWill(bytes, at, end, flags, version)
    at = willEnd
  }
  let username: string | null = null
  // In MQTT 3.1 the flags promise less: if the packet has ended, user name and password are absent.
  if ((flags & Flag.username) !== 0 && !(version === 3 && at === end)) {
    to = textEnd(bytes, at, end, 'user name')
    username = textAt(bytes, at, to)
    at = to
  }
  let password: Buffer | null = null
  if ((flags & Flag.password) !== 0 && !(version === 3 && at === end)) {
    to = dataEnd(bytes, at, end, 'password')
    password = bytes.subarray(at + 2, to)
    at = to
  }
  if (at !== end) throw malformed('The CONNECT packet is longer than its fields.')
  return {
    type: 'connect',
    version,
    clientId,
    cleanStart,
    keepAlive,
    username,
    password,
    will,
    ...properties,
  }
}

/** Protocol name and level together; only three pairs are known [MQTT-3.1.2-1, MQTT-3.1.2-2]. */
function readVersion(bytes: Buffer, start: number, end: number): Version {
  const at = textEnd(bytes, start, end, 'protocol name')
  const level = readByte(bytes, at, end, 'protocol level')
  const name = at - start <= 8 ? textAt(bytes, start, at) : ''
  if (name === 'MQTT' && (level === 4 || level === 5)) return level
  if (name === 'MQIsdp' && level === 3) return 3
  throw new PacketError(
    Reason.unsupportedProtocolVersion,
    name === 'MQTT' || name === 'MQIsdp'
      ? `Protocol level ${level} of ${name} is not supported: connect with MQTT 3.1, 3.1.1 or 5.0.`
      : 'The protocol name is not MQTT.',
  )
}

function checkFlags(flags: number, version: Version): void {
  // 3.1 calls the bit unused and asks nothing of it; since 3.1.1 it must be 0 [MQTT-3.1.2-3].
  if ((flags & Flag.reserved) !== 0 && version > 3) {
    throw malformed('The reserved bit of the connect flags is set.')
  }
  if ((flags & Flag.will) === 0) {
    if ((flags & (Flag.willQos | Flag.willRetain)) !== 0) {
      // [MQTT-3.1.2-11, MQTT-3.1.2-13, MQTT-3.1.2-15]
      throw malformed('Will QoS or will retain is set without the will flag.')
    }
  } else if ((flags & Flag.willQos) === Flag.willQos) {
    throw malformed('The will QoS is 3.') // [MQTT-3.1.2-14], in 3.1.1 and 5.0 alike
  }
  // Version 5 allows a password alone, as a token; before, it needed a name [3.1.1 MQTT-3.1.2-22].
  if (version < 5 && (flags & (Flag.username | Flag.password)) === Flag.password) {
    throw malformed('The password flag is set without the user name flag.')
  }
}

/** Where the will last read by `readWill` ended. */
let willEnd = 0

function readWill(
  bytes: Buffer,
  start: number,
  end: number,
  flags: number,
  version: Version,
): Will {
  let at = start
  willProperties.delay = 0
  willProperties.expiry = Infinity
  willProperties.rest = NO_BYTES
  if (version === 5) at = readWillProperties(bytes, at, end, willProperties)
  const topicTo = textEnd(bytes, at, end, 'will topic')
  const payloadTo = dataEnd(bytes, topicTo, end, 'will payload')
  willEnd = payloadTo
  return {
    topic: textAt(bytes, at, topicTo),
    payload: copy(bytes.subarray(topicTo + 2, payloadTo)),
    properties: copy(willProperties.rest),
    qos: ((flags & Flag.willQos) >> 3) as QoS,
    retain: (flags & Flag.willRetain) !== 0,
    delay: willProperties.delay,
    expiry: willProperties.expiry,
  }
}

/** Bytes of their own, so that a will does not pin the network read it came in. */
function copy(bytes: Buffer): Buffer {
  return bytes.length === 0 ? NO_BYTES : Buffer.from(bytes)
}

/** Reads the properties whose length stands at `at`; returns the offset behind them. */
function readProperties(bytes: Buffer, at: number, end: number, into: ConnectProperties): number {
  cursor.openAt(bytes, at, end, PacketType.connect)
  while (cursor.next(bytes)) takeProperty(bytes, into)
  if (into.authenticationData !== null && into.authenticationMethod === null) {
    throw protocolError('Authentication data is given without an authentication method.') // 3.1.2.11.10
  }
  return cursor.at
}

function takeProperty(bytes: Buffer, into: ConnectProperties): void {
  const { id, number, value, second, at } = cursor
  switch (id) {
    case Property.sessionExpiryInterval:
      into.sessionExpiry = number === UNSET ? Infinity : number
      break
    case Property.receiveMaximum:
      into.receiveMaximum = number
      into.receiveMaximumGiven = true
      break
    case Property.maximumPacketSize:
      into.maximumPacketSize = number
      break
    case Property.topicAliasMaximum:
      into.topicAliasMaximum = number
      break
    case Property.requestResponseInformation:
      into.requestResponseInformation = number === 1
      break
    case Property.requestProblemInformation:
      into.requestProblemInformation = number === 1
      break
    case Property.authenticationMethod:
      into.authenticationMethod = textAt(bytes, value, at)
      break
    case Property.authenticationData:
      into.authenticationData = bytes.subarray(value + 2, at)
      break
    case Property.userProperty:
      into.userProperties.push([textAt(bytes, value, second), textAt(bytes, second, at)])
      break
  }
}
