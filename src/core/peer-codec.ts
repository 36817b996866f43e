// What nodes say to each other, as bytes: which filters they have subscribers for, and QoS 0 messages. A
// kind that a node does not know is passed over, so that nodes of two versions can talk.

import type { Topics } from './topics.ts'
import { type Message, NO_BYTES } from './types.ts'

/** First byte of what is cast. */
export const Kind = {
  /** Everything the node has subscribers for, and members of shared groups. */
  filters: 1,
  /** One filter more or fewer. */
  added: 2,
  removed: 3,
  /** Somebody missed a change and asks for everything. */
  ask: 4,
  messages: 5,
  /** What a node has of a shared group that another owns, and what the owner lent it. */
  report: 6,
  lent: 7,
  /** How many members of a shared group are connected there. */
  members: 8,
  /** QoS 0 messages, each run for one member of a shared group there. */
  shared: 9,
} as const

const RETAIN = 1
const EXPIRES = 2
const PROPERTIES = 4
const SAME_TOPIC = 8

/** Bytes that grow as they are written. */
export class Writer {
  #bytes = Buffer.allocUnsafe(1024)
  length = 0

  constructor(kind: number) {
    this.byte(kind)
  }

  /** What was written; the writer is done with then. */
  finish(): Buffer {
    return this.#bytes.subarray(0, this.length)
  }

  byte(value: number): void {
    this.#room(1)
    this.length = this.#bytes.writeUInt8(value, this.length)
  }

  uint(value: number): void {
    this.#room(4)
    this.length = this.#bytes.writeUInt32LE(value, this.length)
  }

  double(value: number): void {
    this.#room(8)
    this.length = this.#bytes.writeDoubleLE(value, this.length)
  }

  text(value: string): void {
    this.bytes(Buffer.from(value))
  }

  bytes(value: Buffer): void {
    this.uint(value.length)
    this.#room(value.length)
    this.length += value.copy(this.#bytes, this.length)
  }

  #room(more: number): void {
    if (this.length + more <= this.#bytes.length) return
    const grown = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.length + more))
    this.#bytes.copy(grown, 0, 0, this.length)
    this.#bytes = grown
  }
}

/** Throws RangeError where the bytes end too early. */
export class Reader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  get more(): boolean {
    return this.#at < this.#bytes.length
  }

  byte(): number {
    return this.#bytes.readUInt8(this.#take(1))
  }

  uint(): number {
    return this.#bytes.readUInt32LE(this.#take(4))
  }

  double(): number {
    return this.#bytes.readDoubleLE(this.#take(8))
  }

  text(): string {
    return this.bytes().toString()
  }

  bytes(): Buffer {
    const length = this.uint()
    if (length === 0) return NO_BYTES
    const from = this.#take(length)
    return this.#bytes.subarray(from, from + length)
  }

  #take(length: number): number {
    const from = this.#at
    this.#at += length
    if (this.#at > this.#bytes.length) throw new RangeError('a cast ends too early')
    return from
  }
}

/** One run behind the others: publisher, then its messages. */
export function writeRun(writer: Writer, publisher: string, messages: readonly Message[]): void {
  writer.text(publisher)
  writer.uint(messages.length)
  writer.double(messages[0]?.at ?? 0)
  let before: Message | null = null
  for (const message of messages) {
    const { topic, payload, properties, retain, expires } = message
    const same = before?.topic === topic
    const lasts = expires === Number.POSITIVE_INFINITY
    writer.byte(
      (retain ? RETAIN : 0) |
        (lasts ? 0 : EXPIRES) |
        (properties.length > 0 ? PROPERTIES : 0) |
        (same ? SAME_TOPIC : 0),
    )
    if (!same) writer.bytes(topic.bytes)
    if (!lasts) writer.double(expires)
    if (properties.length > 0) writer.bytes(properties)
    writer.bytes(payload)
    before = message
  }
}

/** The next run; messages whose topic is not allowed here are left out. */
export function readRun(
  reader: Reader,
  topics: Topics,
): { publisher: string; messages: Message[] } {
  const publisher = reader.text()
  const count = reader.uint()
  const at = reader.double()
  const messages: Message[] = []
  let topic: Message['topic'] | null = null
  for (let i = 0; i < count; i++) {
    const flags = reader.byte()
    if ((flags & SAME_TOPIC) === 0) {
      const name = reader.bytes()
      topic = topics.find(name, 0, name.length)
    }
    const expires = (flags & EXPIRES) !== 0 ? reader.double() : Number.POSITIVE_INFINITY
    const properties = (flags & PROPERTIES) !== 0 ? reader.bytes() : NO_BYTES
    const payload = reader.bytes()
    if (topic === null) continue
    const retain = (flags & RETAIN) !== 0
    messages.push({ topic, payload, properties, qos: 0, retain, at, expires, publisher })
  }
  return { publisher, messages }
}
