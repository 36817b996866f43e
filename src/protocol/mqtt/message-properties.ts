// The properties that travel with a message, as values: for programs that are not MQTT clients.

import { NO_BYTES } from '../../core/types.ts'
import { textAt } from './fields.ts'
import { PacketType, type UserProperty } from './packets.ts'
import { Property, PropertyCursor } from './properties.ts'
import { type PropertyValue, propertiesSize, writeProperties } from './property-writer.ts'
import { varintSize } from './varint.ts'

/** All optional; what is absent was not given. */
export interface MessageProperties {
  /** MIME type of the payload, or whatever the applications agree on. */
  readonly contentType?: string
  /** Where an answer is expected. */
  readonly responseTopic?: string
  /** What the answer must repeat. */
  readonly correlationData?: Buffer
  /** Whether the payload is UTF-8 text. */
  readonly text?: boolean
  /** Names and values in order; names may repeat. */
  readonly userProperties?: readonly UserProperty[]
}

/** The bytes of `Message.properties`. Throws RangeError when a text is longer than 65 535 bytes. */
export function encodeMessageProperties(properties: MessageProperties): Buffer {
  const list: PropertyValue[] = []
  if (properties.text !== undefined) {
    list.push([Property.payloadFormatIndicator, properties.text ? 1 : 0])
  }
  if (properties.contentType !== undefined)
    list.push([Property.contentType, properties.contentType])
  if (properties.responseTopic !== undefined) {
    list.push([Property.responseTopic, properties.responseTopic])
  }
  if (properties.correlationData !== undefined) {
    list.push([Property.correlationData, properties.correlationData])
  }
  for (const pair of properties.userProperties ?? []) list.push([Property.userProperty, pair])
  const size = propertiesSize(list)
  if (size === 0) return NO_BYTES
  const block = Buffer.allocUnsafe(varintSize(size) + size)
  writeProperties(block, 0, list, size)
  return block.subarray(varintSize(size))
}

/** What the bytes say. They were validated when the message came in; throws PacketError if not. */
export function decodeMessageProperties(bytes: Buffer): MessageProperties {
  const cursor = new PropertyCursor()
  const found: { -readonly [K in keyof MessageProperties]: MessageProperties[K] } = {}
  const userProperties: UserProperty[] = []
  cursor.open(0, bytes.length, PacketType.publish)
  while (cursor.next(bytes)) {
    const { id, value, at, second } = cursor
    if (id === Property.payloadFormatIndicator) found.text = cursor.number === 1
    else if (id === Property.contentType) found.contentType = textAt(bytes, value, at)
    else if (id === Property.responseTopic) found.responseTopic = textAt(bytes, value, at)
    else if (id === Property.correlationData) found.correlationData = bytes.subarray(value + 2, at)
    else if (id === Property.userProperty) {
      userProperties.push([textAt(bytes, value, second), textAt(bytes, second, at)])
    }
  }
  return userProperties.length > 0 ? { ...found, userProperties } : found
}
