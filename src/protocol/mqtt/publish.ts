// Messages as PUBLISH packets on their way out: how large, and the bytes. The way in is
// ingress.ts; runs that leave as they came are in frame-run.ts.

import type { Message, QoS } from '../../core/types.ts'
import { Property } from './properties.ts'
import { varintSize, writeVarint } from './varint.ts'

/** Everything about one outgoing PUBLISH that is not in the message itself. Reused by its owner. */
export interface PublishShape {
  /** 5 or less; 3.1 and 3.1.1 look the same. */
  version: number
  qos: QoS
  retain: boolean
  duplicate: boolean
  packetId: number
  identifiers: readonly number[] | null
  /** Topic alias to send, 0 for none. */
  alias: number
  /** Whether the alias alone is enough: the client knows its topic. */
  aliasKnown: boolean
  /** Engine time in milliseconds, for what is left of a message expiry interval. */
  now: number
}

/** A shape to be filled and used again: QoS 0, nothing added. */
export function plainShape(): PublishShape {
  return {
    version: 4,
    qos: 0,
    retain: false,
    duplicate: false,
    packetId: 0,
    identifiers: null,
    alias: 0,
    aliasKnown: false,
    now: 0,
  }
}

/** Size of the packet's body and of its properties, computed once and then written. */
export interface PublishSize {
  body: number
  properties: number
}

/** Bytes of properties a server adds to those that travel with the message. */
function addedProperties(message: Message, shape: PublishShape): number {
  let size = 0
  if (message.expires !== Number.POSITIVE_INFINITY) size += 5
  if (shape.alias !== 0) size += 3
  if (shape.identifiers !== null) {
    for (const identifier of shape.identifiers) size += 1 + varintSize(identifier)
  }
  return size
}

/** Sets `into` and returns the size of the whole packet. */
export function publishSize(message: Message, shape: PublishShape, into: PublishSize): number {
  let body = 2 + (shape.aliasKnown ? 0 : message.topic.bytes.length) + message.payload.length
  if (shape.qos > 0) body += 2
  if (shape.version === 5) {
    into.properties = message.properties.length + addedProperties(message, shape)
    body += varintSize(into.properties) + into.properties
  }
  into.body = body
  return 1 + varintSize(body) + body
}

/** Writes the packet, whose size was computed with the same shape, at `at`; returns the offset behind it. */
export function writePublish(
  block: Buffer,
  at: number,
  message: Message,
  shape: PublishShape,
  size: PublishSize,
): number {
  const { topic, payload } = message
  let to = at
  block[to++] = 0x30 | (shape.duplicate ? 8 : 0) | (shape.qos << 1) | (shape.retain ? 1 : 0)
  to = writeVarint(block, to, size.body)
  const topicLength = shape.aliasKnown ? 0 : topic.bytes.length
  block[to++] = topicLength >> 8
  block[to++] = topicLength & 255
  if (topicLength > 0) to = put(block, to, topic.bytes)
  if (shape.qos > 0) {
    block[to++] = shape.packetId >> 8
    block[to++] = shape.packetId & 255
  }
  if (shape.version === 5) to = writeProperties(block, to, message, shape, size.properties)
  return put(block, to, payload)
}

function writeProperties(
  block: Buffer,
  at: number,
  message: Message,
  shape: PublishShape,
  length: number,
): number {
  let to = writeVarint(block, at, length)
  if (length === 0) return to
  if (message.expires !== Number.POSITIVE_INFINITY) {
    // What is left of it, never 0 for a message that is still delivered. [MQTT-3.3.2-6]
    const seconds = Math.max(1, Math.ceil((message.expires - shape.now) / 1000))
    block[to++] = Property.messageExpiryInterval
    to = block.writeUInt32BE(Math.min(seconds, 0xffff_ffff), to)
  }
  if (shape.alias !== 0) {
    block[to++] = Property.topicAlias
    to = block.writeUInt16BE(shape.alias, to)
  }
  if (shape.identifiers !== null) {
    for (const identifier of shape.identifiers) {
      block[to++] = Property.subscriptionIdentifier
      to = writeVarint(block, to, identifier)
    }
  }
  return put(block, to, message.properties)
}

/** Below this, a loop beats the call into native code. */
const LOOP_BYTES = 24

function put(block: Buffer, at: number, bytes: Buffer): number {
  const { length } = bytes
  if (length > LOOP_BYTES) {
    block.set(bytes, at)
    return at + length
  }
  for (let i = 0; i < length; i++) block[at + i] = bytes[i] as number
  return at + length
}
