// Records and retained messages as bytes. Only wanted messages are written, each with its index
// in the record, so that a position means the same after a restart and holes are normal.
//
// Contents of a record, version 1, after the frame of sealed.ts; integers little endian:
//   u16 number of messages, f64 time `at` of the first, then per message
//   u16 index, u8 flags, [f64 at], [f64 expires], [u16 length, publisher], [u16 length, topic],
//   [u32 length, properties], u32 length, payload.
// Bracketed parts are there when their flag says so; an absent publisher or topic is the one of
// the message before. A retained message, version 1, is f64 position and then one such record.

import type { LogRecord } from '../core/engine.ts'
import type { Topic } from '../core/topics.ts'
import { type Message, NO_BYTES, type Pos, type QoS, RECORD_MESSAGES_MAX } from '../core/types.ts'
import { hole } from './kept.ts'
import { DamageError, SEAL_BYTES, seal, unseal } from './sealed.ts'

/** Finds or makes the topic whose name are these bytes; null when today's limits do not allow it. */
export type ResolveTopic = (bytes: Buffer, start: number, length: number) => Topic | null

const RECORD_VERSION = 1
const RETAINED_VERSION = 1

const QOS = 0b11
const RETAIN = 1 << 2
const OWN_AT = 1 << 3
const EXPIRES = 1 << 4
const PUBLISHER = 1 << 5
const TOPIC = 1 << 6
const PROPERTIES = 1 << 7

const HEAD_BYTES = 10
/** Most bytes a message takes beside publisher, topic, properties and payload. */
const MESSAGE_BYTES_MAX = 2 + 1 + 8 + 8 + 2 + 2 + 4 + 4

/** A message read back, and where it stood. */
interface Placed {
  readonly index: number
  readonly message: Message
}

export class RecordCodec {
  readonly #resolve: ResolveTopic

  constructor(resolve: ResolveTopic) {
    this.#resolve = resolve
  }

  /** The wanted messages of a record, sealed under its key. */
  encode(key: Uint8Array, record: LogRecord): Buffer {
    const writer = new MessageWriter(SEAL_BYTES, roomFor(record))
    const { messages, wanted } = record
    for (let i = 0; i < messages.length; i++) {
      if (wanted[i]) writer.add(i, messages[i]!)
    }
    return seal(key, writer.finish(), RECORD_VERSION)
  }

  /**
   * The record at `first`. Unwanted places before the last wanted message hold messages that
   * expired long ago and are marked unwanted. Throws DamageError.
   */
  decode(key: Uint8Array, value: Buffer, first: Pos): LogRecord {
    unseal(key, value, RECORD_VERSION)
    const placed = this.#read(value, SEAL_BYTES)
    const last = placed[placed.length - 1]
    if (!last) throw new DamageError('it has no message with an allowed topic')
    const messages = new Array<Message>(last.index + 1)
    const wanted = new Array<boolean>(last.index + 1).fill(false)
    let bytes = 0
    for (const { index, message } of placed) {
      messages[index] = message
      wanted[index] = true
      bytes += message.payload.length + message.properties.length
    }
    if (placed.length < messages.length) {
      const gap = hole(last.message.topic)
      for (let i = 0; i < messages.length; i++) messages[i] ??= gap
    }
    return { first, messages, wanted, saves: [], bytes }
  }

  encodeRetained(key: Uint8Array, message: Message, pos: Pos): Buffer {
    const writer = new MessageWriter(SEAL_BYTES + 8, sizeOf(message))
    writer.add(0, message)
    const value = writer.finish()
    value.writeDoubleLE(pos, SEAL_BYTES)
    return seal(key, value, RETAINED_VERSION)
  }

  /** Throws DamageError. */
  decodeRetained(key: Uint8Array, value: Buffer): { message: Message; pos: Pos } {
    unseal(key, value, RETAINED_VERSION)
    const placed = this.#read(value, SEAL_BYTES + 8)
    if (placed.length !== 1) throw new DamageError('its topic is not allowed')
    return { message: placed[0]!.message, pos: value.readDoubleLE(SEAL_BYTES) }
  }

  #read(value: Buffer, start: number): Placed[] {
    try {
      return this.#messages(value, start)
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      throw new DamageError('ends inside a message', { cause: error })
    }
  }

  #messages(value: Buffer, start: number): Placed[] {
    let at = start
    const take = (length: number): number => {
      const from = at
      at += length
      if (at > value.length) throw new DamageError('ends inside a message')
      return from
    }
    const count = value.readUInt16LE(take(2))
    const time = value.readDoubleLE(take(8))
    const placed: Placed[] = []
    let topic: Topic | null = null
    let publisher = ''
    let previous = -1
    for (let n = 0; n < count; n++) {
      const index = value.readUInt16LE(take(2))
      if (index <= previous || index >= RECORD_MESSAGES_MAX) {
        throw new DamageError(`message ${index} after message ${previous}`)
      }
      previous = index
      const flags = value[take(1)]!
      const accepted = flags & OWN_AT ? value.readDoubleLE(take(8)) : time
      const expires = flags & EXPIRES ? value.readDoubleLE(take(8)) : Number.POSITIVE_INFINITY
      if (flags & PUBLISHER) {
        const length = value.readUInt16LE(take(2))
        const from = take(length)
        publisher = value.toString('utf8', from, from + length)
      }
      if (flags & TOPIC) {
        const length = value.readUInt16LE(take(2))
        topic = this.#resolve(value, take(length), length)
      } else if (n === 0) throw new DamageError('a message without a topic')
      const properties =
        flags & PROPERTIES ? bytesAt(value, take, value.readUInt32LE(take(4))) : NO_BYTES
      const payload = bytesAt(value, take, value.readUInt32LE(take(4)))
      // The limits of topics were lowered since: the message becomes a hole.
      if (!topic) continue
      placed.push({
        index,
        message: {
          topic,
          payload,
          properties,
          qos: (flags & QOS) as QoS,
          retain: (flags & RETAIN) !== 0,
          at: accepted,
          expires,
          publisher,
        },
      })
    }
    if (at !== value.length) throw new DamageError(`${value.length - at} bytes too many`)
    return placed
  }
}

function bytesAt(value: Buffer, take: (length: number) => number, length: number): Buffer {
  if (length === 0) return NO_BYTES
  const from = take(length)
  return value.subarray(from, from + length)
}

function sizeOf(message: Message): number {
  return (
    MESSAGE_BYTES_MAX +
    message.publisher.length * 3 +
    message.topic.bytes.length +
    message.properties.length +
    message.payload.length
  )
}

/** Bytes the wanted messages take at most. */
function roomFor(record: LogRecord): number {
  const { messages, wanted } = record
  let room = 0
  let topic: Topic | null = null
  let publisher = ''
  for (let i = 0; i < messages.length; i++) {
    if (!wanted[i]) continue
    const message = messages[i]!
    room += MESSAGE_BYTES_MAX + message.properties.length + message.payload.length
    if (message.topic !== topic) room += message.topic.bytes.length
    if (message.publisher !== publisher) room += message.publisher.length * 3
    topic = message.topic
    publisher = message.publisher
  }
  return room
}

/** Lays messages one after the other behind `lead` bytes the caller fills in. */
class MessageWriter {
  readonly #bytes: Buffer
  readonly #lead: number
  #at: number
  #count = 0
  #time = 0
  #topic: Topic | null = null
  #publisher = ''

  constructor(lead: number, room: number) {
    this.#bytes = Buffer.allocUnsafe(lead + HEAD_BYTES + room)
    this.#lead = lead
    this.#at = lead + HEAD_BYTES
  }

  add(index: number, message: Message): void {
    const { topic, publisher, payload, properties } = message
    const bytes = this.#bytes
    if (this.#count++ === 0) this.#time = message.at
    let flags: number = message.qos
    if (message.retain) flags |= RETAIN
    let at = bytes.writeUInt16LE(index, this.#at)
    const flagsAt = at++
    if (message.at !== this.#time) {
      flags |= OWN_AT
      at = bytes.writeDoubleLE(message.at, at)
    }
    if (message.expires !== Number.POSITIVE_INFINITY) {
      flags |= EXPIRES
      at = bytes.writeDoubleLE(message.expires, at)
    }
    if (publisher !== this.#publisher) {
      flags |= PUBLISHER
      this.#publisher = publisher
      const length = bytes.write(publisher, at + 2)
      at = bytes.writeUInt16LE(length, at) + length
    }
    if (topic !== this.#topic) {
      flags |= TOPIC
      this.#topic = topic
      at = bytes.writeUInt16LE(topic.bytes.length, at)
      at += topic.bytes.copy(bytes, at)
    }
    if (properties.length > 0) {
      flags |= PROPERTIES
      at = bytes.writeUInt32LE(properties.length, at)
      at += properties.copy(bytes, at)
    }
    at = bytes.writeUInt32LE(payload.length, at)
    at += payload.copy(bytes, at)
    bytes[flagsAt] = flags
    this.#at = at
  }

  finish(): Buffer {
    this.#bytes.writeUInt16LE(this.#count, this.#lead)
    this.#bytes.writeDoubleLE(this.#time, this.#lead + 2)
    return this.#bytes.subarray(0, this.#at)
  }
}
