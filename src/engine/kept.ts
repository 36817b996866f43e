// What an engine keeps of a record: the messages a durable session wants, at their places.
// Also frees kept messages from the network reads they were sliced from.

import { SLAB_BYTES } from '../core/copies.ts'
import type { LogRecord } from '../core/engine.ts'
import type { Topic } from '../core/topics.ts'
import { type Message, NO_BYTES, type Pos, RECORD_MESSAGES_MAX } from '../core/types.ts'

/** Bytes charged for one message beside payload and properties: objects, topic, index entry. */
export const MESSAGE_OVERHEAD = 128

/** Whether any message has to outlive the turn. */
export function isWanted(record: LogRecord): boolean {
  const { wanted } = record
  for (let i = 0; i < wanted.length; i++) if (wanted[i]) return true
  return false
}

/** Bytes the wanted messages are charged with. */
export function wantedBytes(record: LogRecord): number {
  const { messages, wanted } = record
  let bytes = 0
  for (let i = 0; i < messages.length; i++) {
    if (!wanted[i]) continue
    const message = messages[i]!
    bytes += message.payload.length + message.properties.length + MESSAGE_OVERHEAD
  }
  return bytes
}

/**
 * What stands at a place whose message was not kept: a message that expired long ago, so that
 * even a reader that forgets to look at `wanted` never delivers it.
 */
export function hole(topic: Topic): Message {
  return {
    topic,
    payload: NO_BYTES,
    properties: NO_BYTES,
    qos: 0,
    retain: false,
    at: 0,
    expires: 0,
    publisher: '',
  }
}

/** The record as it is stored: unwanted messages are holes, saves are gone. */
export function keptRecord(record: LogRecord, bytes: number): LogRecord {
  const { messages, wanted, first } = record
  if (wanted.indexOf(false) < 0) return { first, messages, wanted, saves: [], bytes }
  const length = wanted.lastIndexOf(true) + 1
  const gap = hole(messages[length - 1]!.topic)
  const kept = new Array<Message>(length)
  for (let i = 0; i < length; i++) kept[i] = wanted[i] ? messages[i]! : gap
  return { first, messages: kept, wanted: wanted.slice(0, length), saves: [], bytes }
}

/** Position of the last message a record can hold. */
export function recordEnd(first: Pos): Pos {
  return first + RECORD_MESSAGES_MAX - 1
}

/**
 * Moves payloads and properties of the wanted messages into one allocation when what they were
 * sliced from is more than four times as large: a 20 byte payload must not pin a 64 KiB read.
 */
export function detach(record: LogRecord): void {
  const { messages, wanted } = record
  let backing = 0
  let bytes = 0
  let previous: ArrayBufferLike | null = null
  for (let i = 0; i < messages.length; i++) {
    if (!wanted[i]) continue
    const { payload, properties } = messages[i]!
    bytes += payload.length + properties.length
    const source = payload.length > 0 ? payload.buffer : properties.buffer
    if (source !== previous) {
      previous = source
      // Small copies live in a slab together with their neighbours: no waste.
      if (previous.byteLength !== SLAB_BYTES) backing += previous.byteLength
    }
  }
  if (backing <= bytes * 4) return
  // Not from the shared pool: there, what lives for a turn would be kept along with it.
  const home = Buffer.allocUnsafeSlow(bytes)
  let at = 0
  const move = (from: Buffer): Buffer => {
    if (from.length === 0) return NO_BYTES
    const start = at
    at += from.copy(home, start)
    return home.subarray(start, at)
  }
  for (let i = 0; i < messages.length; i++) {
    const message = messages[i]!
    if (!wanted[i]) continue
    message.payload = move(message.payload)
    message.properties = move(message.properties)
  }
}
