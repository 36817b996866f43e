// PUBLISH from a client: consecutive QoS 0 frames for one audience become a run that nobody
// takes apart; QoS 1 and 2 go to the intake and are answered once stored.

import { type Audience, NOBODY } from '../../core/audience.ts'
import type { EngineFault } from '../../core/engine.ts'
import { MessageRun } from '../../core/run.ts'
import { NO_STANDING } from '../../core/standings.ts'
import type { Topic } from '../../core/topics.ts'
import { type Message, NO_BYTES, type Pos, type QoS } from '../../core/types.ts'
import { isMqttText } from '../../core/utf8.ts'
import { isSame, wordsOf } from '../../core/words.ts'
import type { Wire } from '../../net/wire.ts'
import { FrameRun } from './frame-run.ts'
import type { MqttLink } from './link.ts'
import { PacketError, Reason } from './packets.ts'
import { PublishProperties, readPublishProperties } from './properties.ts'
import { readVarint, varintSize } from './varint.ts'

/** Property blocks up to this size are remembered, to recognise the next one without reading it again. */
const REMEMBERED_BYTES = 256
/** What is stored from a read pins the memory it was read into, unless it is less than this share and copied. */
const WORTH_PINNING = 4
/** Frames that must be left in a read for it to be worth looking whether they are alike. */
const ALIKE_MIN = 4
/** Runs to wide audiences that may wait before their publishers do. */
const WIDE_BACKLOG = 64
/** Not the row of any topic. */
const NO_ROW = -1

/** Filled by the last call of `readPublishProperties`; read before the next packet. */
const properties = new PublishProperties()

/** A retained QoS 0 message, and how many stored ones it comes behind. */
interface Later {
  readonly behind: number
  readonly message: Message
}

export class Ingress {
  readonly #link: MqttLink
  readonly #wire: Wire
  #run: FrameRun | null = null
  #audience: Audience = NOBODY
  /** What the topics of the run's frames have in common. */
  #standing = NO_STANDING
  /** Row of the last topic that was read, and where and how long what comes before its payload is. */
  #rowBefore = NO_ROW
  #headAt = 0
  #head = 0
  #aliases: Map<number, Topic> | null = null
  /** The last property block found valid and without alias. */
  #validProperties: Buffer | null = null
  /** QoS 1 and 2 messages of the current read, and their bytes. */
  #added: Message[] | null = null
  #addedBytes = 0
  /** QoS 1 and 2 messages given to the intake and not stored. */
  #unstored = 0
  /** Retained QoS 0 messages that must not overtake those. */
  #later: Later[] | null = null
  /** QoS 1 and 2 messages of this link so far: given to the intake, and answered by it. */
  #given = 0
  #answered = 0
  /** Place in the log of the last one stored. */
  #lastPos: Pos = 0

  constructor(link: MqttLink, wire: Wire) {
    this.#link = link
    this.#wire = wire
  }

  get unstored(): number {
    return this.#unstored
  }

  /** The frame bytes[start, end), body at `body`. Throws PacketError. */
  publish(first: number, bytes: Buffer, start: number, body: number, end: number): void {
    const qos = (first >> 1) & 3
    if (qos !== 0) {
      this.handOver()
      this.#publishStored(first, bytes, body, end)
      return
    }
    if ((first & 8) !== 0) throw malformed('DUP is set on a QoS 0 PUBLISH') // [MQTT-3.3.1-2]
    const topicLength = this.#topicLength(bytes, body, end)
    const at = body + 2 + topicLength
    const payload = this.#link.version < 5 ? at : this.#plainProperties(bytes, at, end)
    if (payload < 0 || topicLength === 0 || body - start - 1 !== varintSize(end - body)) {
      this.handOver()
      this.#publishAlone(first, bytes, body, end)
      return
    }
    const { router, topics } = this.#link.broker
    const row = topics.row(bytes, body + 2, topicLength)
    const run = this.#run?.adjoins(first, bytes, start) ? this.#run : null
    // With very many topics, looking at what is known of each would cost more than all the rest.
    if (run !== null && row >= 0 && topics.standing(row) === this.#standing) run.extend(end)
    else {
      const topic = row >= 0 ? topics.at(row) : this.#topic(bytes, body + 2, topicLength)
      if (!this.#mayPublish(topic)) {
        this.handOver()
        return
      }
      const audience = router.audience(topic)
      const same = run !== null && audience === this.#audience
      const standing = same ? this.#standing : router.standing(audience, this.#link.access)
      // Before the run is handed over: that may look up topics, and then rows are others.
      if (row >= 0) topics.stand(row, standing)
      const extended = same ? run : this.#begin(first, bytes, start, audience)
      this.#standing = standing
      extended.extend(end)
    }
    // Where topics take turns it would be in vain to ask whether the next frame is like this one.
    this.#head = row === this.#rowBefore && payload - body >= 4 ? payload - body : 0
    this.#headAt = body
    this.#rowBefore = row
  }

  /**
   * Frames whose bytes from the topic up to the payload are those of the one before them have the same topic and
   * properties: all that was found out about it holds for them, too, and they belong to its run.
   */
  alike(bytes: Buffer, at: number, end: number): number {
    const run = this.#run
    const head = this.#head
    if (head === 0 || run === null || run.bytes !== bytes || run.end !== at) return at
    if (at + run.largest * ALIKE_MIN > end) return at
    const { first, largest } = run
    const words = wordsOf(bytes)
    const model = this.#headAt
    let to = at
    let count = 0
    for (let body = 0; to + 4 < end && bytes[to] === first; count++) {
      const low = bytes[to + 1] as number
      const high = bytes[to + 2] as number
      let length = low
      body = to + 2
      if (low >= 128) {
        // Of three and four bytes, or longer than need be: not here.
        if (high >= 128 || high === 0) break
        length = low - 128 + high * 128
        body++
      }
      const next = body + length
      // One that is larger than those before it is to be held against the limit first.
      if (next > end || next - to > largest || length < head) break
      if (!isSame(words, model, body, head)) break
      to = next
    }
    run.count += count
    run.end = to
    return to
  }

  #begin(first: number, bytes: Buffer, start: number, audience: Audience): FrameRun {
    this.handOver()
    const { version, clientId, broker } = this.#link
    const kind = version === 5 ? 5 : 4
    const now = broker.engine.now()
    const run = new FrameRun(bytes, start, first, kind, clientId, now, broker.topics)
    this.#run = run
    this.#audience = audience
    return run
  }

  /** Passes the run on. Called before anything else happens that must not overtake it. */
  handOver(): void {
    const run = this.#run
    if (run === null) return
    this.#run = null
    const { broker } = this.#link
    broker.counters.messagesIn += run.count
    broker.counters.bytesIn += run.end - run.start
    if (run.retain) for (const message of run.messages()) this.#retain(message)
    broker.activity.published(this.#link, run)
    if (this.#audience.empty) return
    broker.router.pass(run, this.#audience)
    if (broker.router.wideBacklog > WIDE_BACKLOG) this.#link.stopReading('wide')
  }

  /** Everything of one read was seen. */
  endOfRead(readBytes: number): void {
    this.handOver()
    const added = this.#added
    if (added === null) return
    this.#added = null
    const { copies } = this.#link.broker
    if (this.#addedBytes * WORTH_PINNING < Math.max(readBytes, pinnedBytes(added))) {
      for (const message of added) {
        message.payload = copies.copy(message.payload)
        message.properties = copies.copy(message.properties)
      }
    }
    this.#addedBytes = 0
    this.#link.broker.activity.published(this.#link, new MessageRun(added, this.#link.clientId))
  }

  #topicLength(bytes: Buffer, body: number, end: number): number {
    if (end - body < 2) throw malformed('a PUBLISH without a topic') // [MQTT-3.3.2-1]
    const length = ((bytes[body] as number) << 8) | (bytes[body + 1] as number)
    if (body + 2 + length > end) throw malformed('a PUBLISH whose topic exceeds the packet')
    return length
  }

  #topic(bytes: Buffer, start: number, length: number): Topic {
    const { topics } = this.#link.broker
    const topic = topics.find(bytes, start, length)
    if (topic !== null) return topic
    const why = topics.fault(bytes, start, length) ?? 'the topic is not valid'
    const utf8 = isMqttText(bytes, start, start + length)
    throw new PacketError(utf8 ? Reason.topicNameInvalid : Reason.malformedPacket, why)
  }

  #mayPublish(topic: Topic): boolean {
    const link = this.#link
    if (link.broker.mayPublish(topic, link.access)) return true
    link.broker.counters.publishesDenied++
    link.broker.activity.refused(link, `publishing to ${topic.name}`)
    return false
  }

  /** Where the properties at `at`, which must be valid, end; -1 when one of them is the link's business alone. */
  #plainProperties(bytes: Buffer, at: number, end: number): number {
    if (bytes[at] === 0 && at < end) return at + 1
    const size = this.#propertiesSize(bytes, at, end)
    const from = at + varintSize(size)
    const to = from + size
    const known = this.#validProperties
    if (known !== null && known.length === size && known.compare(bytes, from, to) === 0) return to
    readPublishProperties(bytes, from, to, properties)
    if (properties.alias !== 0) return -1
    if (size <= REMEMBERED_BYTES) this.#validProperties = Buffer.from(bytes.subarray(from, to))
    return to
  }

  #propertiesSize(bytes: Buffer, at: number, end: number): number {
    const size = readVarint(bytes, at, end)
    if (size < 0 || at + varintSize(size) + size > end) {
      throw malformed('a PUBLISH whose properties exceed the packet')
    }
    return size
  }

  /** Topic, properties and payload of a frame that no run takes. Sets `properties`. */
  #read(
    bytes: Buffer,
    body: number,
    end: number,
    qos: number,
  ): { topic: Topic; packetId: number; payload: Buffer } {
    const length = this.#topicLength(bytes, body, end)
    let at = body + 2 + length
    let packetId = 0
    if (qos > 0) {
      if (at + 2 > end) throw malformed('a PUBLISH without a packet identifier')
      packetId = ((bytes[at] as number) << 8) | (bytes[at + 1] as number)
      // [MQTT-2.2.1-3]
      if (packetId === 0) throw new PacketError(Reason.protocolError, 'packet identifier 0')
      at += 2
    }
    properties.alias = 0
    properties.expiry = Number.POSITIVE_INFINITY
    properties.rest = NO_BYTES
    if (this.#link.version === 5) {
      const size = this.#propertiesSize(bytes, at, end)
      at += varintSize(size)
      if (size > 0) readPublishProperties(bytes, at, at + size, properties)
      at += size
    }
    const topic = this.#resolve(bytes, body + 2, length, properties.alias)
    return { topic, packetId, payload: bytes.subarray(at, end) }
  }

  #resolve(bytes: Buffer, start: number, length: number, alias: number): Topic {
    if (alias > this.#link.broker.limits.topicAliases) {
      // [MQTT-3.3.2-9]
      throw new PacketError(Reason.topicAliasInvalid, `topic alias ${alias} is above the maximum`)
    }
    if (length > 0) {
      const topic = this.#topic(bytes, start, length)
      if (alias === 0) return topic
      this.#aliases ??= new Map()
      this.#aliases.set(alias, topic)
      return topic
    }
    if (alias === 0)
      throw new PacketError(Reason.protocolError, 'a PUBLISH without topic and alias')
    const topic = this.#aliases?.get(alias)
    if (topic === undefined) {
      throw new PacketError(Reason.protocolError, `topic alias ${alias} was never given a topic`)
    }
    if (!topic.evicted) return topic
    const again = this.#topic(topic.bytes, 0, topic.bytes.length)
    this.#aliases?.set(alias, again)
    return again
  }

  #message(topic: Topic, payload: Buffer, qos: QoS, retain: boolean): Message {
    const at = this.#link.broker.engine.now()
    return {
      topic,
      payload,
      properties: properties.rest,
      qos,
      retain,
      at,
      expires: at + properties.expiry * 1000,
      publisher: this.#link.clientId,
    }
  }

  /** A QoS 0 frame with a topic alias, or in an unusual encoding. */
  #publishAlone(first: number, bytes: Buffer, body: number, end: number): void {
    const { topic, payload } = this.#read(bytes, body, end, 0)
    if (!this.#mayPublish(topic)) return
    const { broker, clientId } = this.#link
    const message = this.#message(topic, payload, 0, (first & 1) === 1)
    broker.counters.messagesIn++
    broker.counters.bytesIn += end - body
    if (message.retain) this.#retain(message)
    const run = new MessageRun([message], clientId)
    broker.activity.published(this.#link, run)
    const audience = broker.router.audience(topic)
    if (!audience.empty) broker.router.pass(run, audience)
  }

  // ---- QoS 1 and 2 ---------------------------------------------------------------------------

  #publishStored(first: number, bytes: Buffer, body: number, end: number): void {
    const qos = ((first >> 1) & 3) as QoS
    if ((qos as number) === 3) throw malformed('a PUBLISH with QoS 3') // [MQTT-3.3.1-4]
    const link = this.#link
    const { broker, session } = link
    const { topic, packetId, payload } = this.#read(bytes, body, end, qos)
    if (qos === 2 && session.isReceiving(packetId)) {
      // [MQTT-4.3.3-10]
      if (session.isUnstored(packetId)) link.answers.owe(packetId)
      else link.answers.acknowledge(2, packetId, Reason.success)
      return
    }
    this.#checkQuota()
    broker.counters.messagesIn++
    broker.counters.bytesIn += end - body
    const message = this.#message(topic, payload, qos, (first & 1) === 1)
    const refused = this.#refuse(message)
    if (refused !== null) {
      link.answers.acknowledge(qos, packetId, refused)
      return
    }
    if (message.retain && this.#later !== null) this.#supersede(topic)
    this.#unstored++
    this.#given++
    // The log keeps slices of what is being read now.
    if (this.#added === null) this.#wire.keep()
    this.#added ??= []
    this.#added.push(message)
    this.#addedBytes += end - body
    broker.intake.add(
      link,
      message,
      (qos << 16) | packetId,
      qos === 2 && session.persistent ? { session, packetId } : null,
    )
    if (qos === 2) {
      session.receive(packetId)
      link.answers.storing(packetId)
    }
    if (!broker.intake.room(link)) link.stopReading('intake')
  }

  /** The reason to answer instead of taking the message, null to take it. */
  #refuse(message: Message): Reason | null {
    if (!this.#mayPublish(message.topic)) return Reason.notAuthorized
    if (message.retain && !this.#link.broker.retained.room(message)) return Reason.quotaExceeded
    return null
  }

  /** A client may have as much under way as it was told, and no more. [MQTT-3.3.4-7] */
  #checkQuota(): void {
    const link = this.#link
    if (link.version < 5) return
    const { receiveMaximum } = link.broker.limits
    if (this.#unstored + link.session.receivingCount - link.answers.unstored < receiveMaximum)
      return
    throw new PacketError(
      Reason.receiveMaximumExceeded,
      `more than ${receiveMaximum} QoS 1 and 2 messages without waiting for their acknowledgement`,
    )
  }

  /** The intake is done with one. */
  stored(token: number, fault: EngineFault | null, pos: Pos): void {
    this.#unstored--
    this.#link.answers.stored((token >> 16) as QoS, token & 0xffff, fault)
    this.#answered++
    if (fault === null) this.#lastPos = pos
    if (this.#later !== null) this.#retainLater()
  }

  /** What is removed leaves no place in the log to compare with, so it must not be kept after that either. */
  #supersede(topic: Topic): void {
    // By name: a topic that was forgotten meanwhile is another object now.
    const { name } = topic
    const rest = (this.#later as Later[]).filter(({ message }) => message.topic.name !== name)
    this.#later = rest.length > 0 ? rest : null
  }

  /** At the place of what came before it, so that what came behind it and is stored already stays. */
  #retainLater(): void {
    const later = this.#later as Later[]
    while (later[0] !== undefined && later[0].behind <= this.#answered) {
      const { message } = later.shift() as Later
      if (this.#lastPos === 0) this.#link.broker.retain(message)
      else this.#link.broker.retain(message, this.#lastPos)
    }
    if (later.length === 0) this.#later = null
  }

  /** A retained QoS 0 message takes its place behind what the same client published before. */
  #retain(message: Message): void {
    if (this.#unstored === 0) {
      this.#link.broker.retain(message)
      return
    }
    this.#later ??= []
    const payload = Buffer.from(message.payload)
    const properties = Buffer.from(message.properties)
    this.#later.push({ behind: this.#given, message: { ...message, payload, properties } })
  }
}

/** What these messages keep alive, which is more than was read: the whole memory it was read into. */
function pinnedBytes(messages: readonly Message[]): number {
  let previous: ArrayBufferLike | null = null
  let bytes = 0
  for (const { payload } of messages) {
    const { buffer } = payload
    if (buffer !== previous) bytes += buffer.byteLength
    previous = buffer
  }
  return bytes
}

function malformed(what: string): PacketError {
  return new PacketError(Reason.malformedPacket, what)
}
