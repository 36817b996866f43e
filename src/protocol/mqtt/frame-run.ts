// A run of QoS 0 PUBLISH frames as they came from one client. Leaves as the very bytes where
// that is right; everybody else shares one re-encoding per version, identifiers and retain flag.

import type { Run } from '../../core/run.ts'
import type { Topics } from '../../core/topics.ts'
import { type Message, NO_BYTES } from '../../core/types.ts'
import { PublishProperties, readPublishProperties } from './properties.ts'
import { type PublishSize, plainShape, publishSize, writePublish } from './publish.ts'
import { readVarint, varintSize } from './varint.ts'

export class FrameRun implements Run {
  /** The frames lie in bytes[start, end). */
  bytes: Buffer
  start: number
  end: number
  count = 0
  /** Bytes of the largest frame. */
  largest = 0
  readonly publisher: string
  /** 5, or 4 for 3.1 and 3.1.1, which look the same. */
  readonly version: 4 | 5
  /** First byte of every frame: 0x30, or 0x31 with the retain flag. */
  readonly first: number
  readonly at: number
  memo: Map<string, Buffer> | null = null
  readonly #topics: Topics
  #messages: readonly Message[] | null = null

  constructor(
    bytes: Buffer,
    start: number,
    first: number,
    version: 4 | 5,
    publisher: string,
    at: number,
    topics: Topics,
  ) {
    this.bytes = bytes
    this.start = start
    this.end = start
    this.first = first
    this.version = version
    this.publisher = publisher
    this.at = at
    this.#topics = topics
  }

  get retain(): boolean {
    return (this.first & 1) === 1
  }

  /** Whether a frame there goes on where the run ends. */
  adjoins(first: number, bytes: Buffer, start: number): boolean {
    return this.bytes === bytes && this.end === start && this.first === first
  }

  /** Takes in one more frame, which ends there. */
  extend(end: number): void {
    const size = end - this.end
    if (size > this.largest) this.largest = size
    this.end = end
    this.count++
  }

  keep(): void {
    this.bytes = Buffer.from(this.bytes.subarray(this.start, this.end))
    this.end -= this.start
    this.start = 0
    this.#messages = null
  }

  messages(): readonly Message[] {
    this.#messages ??= this.#decode()
    return this.#messages
  }

  part(from: number, to: number): Run {
    const part = new FrameRun(
      this.bytes,
      this.start,
      this.first,
      this.version,
      this.publisher,
      this.at,
      this.#topics,
    )
    let at = this.start
    for (let i = 0; i < to; i++) {
      if (i === from) part.start = at
      const length = readVarint(this.bytes, at + 1, this.end)
      at += 1 + varintSize(length) + length
    }
    part.end = at
    part.count = to - from
    part.largest = this.largest
    return part
  }

  #decode(): Message[] {
    const messages: Message[] = []
    const { bytes, version, at: accepted, retain, publisher } = this
    const properties = new PublishProperties()
    let at = this.start
    while (at < this.end) {
      const length = readVarint(bytes, at + 1, this.end)
      let body = at + 1 + varintSize(length)
      const end = body + length
      const topicLength = bytes.readUInt16BE(body)
      const topic = this.#topics.find(bytes, body + 2, topicLength)
      body += 2 + topicLength
      properties.rest = NO_BYTES
      properties.expiry = Number.POSITIVE_INFINITY
      if (version === 5) {
        const size = readVarint(bytes, body, end)
        body += varintSize(size)
        if (size > 0) readPublishProperties(bytes, body, body + size, properties)
        body += size
      }
      at = end
      if (topic === null) continue // It was valid when the run was made; the table only forgets.
      messages.push({
        topic,
        payload: bytes.subarray(body, end),
        properties: properties.rest,
        qos: 0,
        retain,
        at: accepted,
        expires: accepted + properties.expiry * 1000,
        publisher,
      })
    }
    return messages
  }
}

const shape = plainShape()
const size: PublishSize = { body: 0, properties: 0 }

/** The run as QoS 0 frames of that version, encoded once and shared by all who need the same. */
export function encodedRun(
  run: Run,
  version: 4 | 5,
  identifiers: readonly number[] | null,
  retain: boolean,
  now: number,
): Buffer {
  const key = `${version}${retain ? 'r' : ''}${identifiers?.join() ?? ''}`
  run.memo ??= new Map()
  const known = run.memo.get(key)
  if (known !== undefined) return known
  const bytes =
    run instanceof FrameRun && run.version === version && identifiers === null
      ? withFirstByte(run, retain ? 0x31 : 0x30)
      : encode(run.messages(), version, identifiers, retain, now)
  run.memo.set(key, bytes)
  return bytes
}

/** The same frames with another retain flag. */
function withFirstByte(run: FrameRun, first: number): Buffer {
  const bytes = Buffer.from(run.bytes.subarray(run.start, run.end))
  for (let at = 0; at < bytes.length; ) {
    bytes[at] = first
    const length = readVarint(bytes, at + 1, bytes.length)
    at += 1 + varintSize(length) + length
  }
  return bytes
}

function encode(
  messages: readonly Message[],
  version: 4 | 5,
  identifiers: readonly number[] | null,
  retain: boolean,
  now: number,
): Buffer {
  shape.version = version
  shape.identifiers = identifiers
  shape.now = now
  shape.retain = retain
  let total = 0
  for (const message of messages) total += publishSize(message, shape, size)
  const bytes = Buffer.allocUnsafe(total)
  let at = 0
  for (const message of messages) {
    publishSize(message, shape, size)
    at = writePublish(bytes, at, message, shape, size)
  }
  return bytes
}
