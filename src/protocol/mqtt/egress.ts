// PUBLISH to a client. What may leave as it came is one rule, `verbatim`; everything else takes
// an encoding shared by all who need the same, or its own.

import type { Delivery } from '../../core/audience.ts'
import type { Sending } from '../../core/link.ts'
import type { Run } from '../../core/run.ts'
import type { Message } from '../../core/types.ts'
import type { Wire } from '../../net/wire.ts'
import { encodedRun, FrameRun } from './frame-run.ts'
import type { MqttLink } from './link.ts'
import { type PublishSize, plainShape, publishSize, writePublish } from './publish.ts'

/** Bytes a server may add to a frame: message expiry aside, identifiers and a longer length. */
const ADDED_BYTES = 16

/** Reused for every packet of every link: nothing between filling and writing gives way. */
const shape = plainShape()
const size: PublishSize = { body: 0, properties: 0 }

export class Egress {
  readonly #link: MqttLink
  readonly #wire: Wire
  /** Bytes of the largest packet the client takes. */
  maximumPacketSize = Number.POSITIVE_INFINITY
  /** Aliases we may use, 0 for none. */
  #aliasMaximum = 0
  #aliases: Map<string, number> | null = null

  constructor(link: MqttLink, wire: Wire) {
    this.#link = link
    this.#wire = wire
  }

  /** `topicAliases`: how many the client allows, bounded by our own limit. */
  allow(maximumPacketSize: number, topicAliases: number): void {
    this.maximumPacketSize = maximumPacketSize
    this.#aliasMaximum = topicAliases
  }

  /** QoS 0: bounded by the queue, dropped and counted beyond. */
  pass(run: Run, delivery: Delivery): void {
    const { broker, session, congested } = this.#link
    if (delivery.noLocal && run.publisher === session.id) return // [MQTT-3.8.3-3]
    if (congested) {
      broker.counters.droppedSlow += run.count
      return
    }
    const wire = this.#wire
    if (run instanceof FrameRun && this.#verbatim(run, delivery)) {
      wire.push(run.bytes, run.start, run.end)
      broker.counters.messagesOut += run.count
      broker.counters.bytesOut += run.end - run.start
      return
    }
    if (this.#aliasMaximum > 0 || !this.#allFit(run, delivery)) {
      for (const message of run.messages()) this.#passOne(message, delivery)
      return
    }
    const retain = delivery.retainAsPublished && run instanceof FrameRun && run.retain
    if (!(run instanceof FrameRun) && delivery.retainAsPublished) {
      for (const message of run.messages()) this.#passOne(message, delivery)
      return
    }
    const version = this.#link.version === 5 ? 5 : 4
    const identifiers = version === 5 ? delivery.identifiers : null
    const bytes = encodedRun(run, version, identifiers, retain, broker.engine.now())
    wire.push(bytes, 0, bytes.length)
    broker.counters.messagesOut += run.count
    broker.counters.bytesOut += bytes.length
  }

  /**
   * A run leaves as the very bytes it came in when version and retain flag are what this client gets, nothing
   * is added to it, and its largest frame is not too large. Aliases, overlong lengths and invalid properties
   * never enter a run; QoS 0 does not wait, so a message expiry interval is still what it was.
   */
  #verbatim(run: FrameRun, delivery: Delivery): boolean {
    return (
      run.version === (this.#link.version === 5 ? 5 : 4) &&
      (!run.retain || delivery.retainAsPublished) &&
      (delivery.identifiers === null || run.version < 5) &&
      this.#aliasMaximum === 0 &&
      run.largest <= this.maximumPacketSize
    )
  }

  #allFit(run: Run, delivery: Delivery): boolean {
    if (this.maximumPacketSize === Number.POSITIVE_INFINITY) return true
    if (!(run instanceof FrameRun)) return false
    const identifiers = (delivery.identifiers?.length ?? 0) * 5
    return run.largest + ADDED_BYTES + identifiers <= this.maximumPacketSize
  }

  #passOne(message: Message, delivery: Delivery): void {
    const { counters } = this.#link.broker
    shape.qos = 0
    shape.retain = message.retain && delivery.retainAsPublished
    shape.duplicate = false
    shape.packetId = 0
    shape.identifiers = delivery.identifiers
    if (!this.#write(message)) counters.droppedTooLarge++
  }

  /** One message at any QoS. False: too large for this client. */
  send(sending: Sending): boolean {
    shape.qos = sending.qos
    shape.retain = sending.retain
    shape.duplicate = sending.duplicate
    shape.packetId = sending.packetId
    shape.identifiers = sending.identifiers
    return this.#write(sending.message)
  }

  #write(message: Message): boolean {
    const { broker, version } = this.#link
    shape.version = version
    shape.alias = 0
    shape.aliasKnown = false
    if (message.expires !== Number.POSITIVE_INFINITY) shape.now = broker.engine.now()
    const isNew = this.#aliasMaximum > 0 && this.#alias(message)
    const total = publishSize(message, shape, size)
    if (total > this.maximumPacketSize) {
      if (isNew) this.#aliases?.delete(message.topic.name)
      return false
    }
    const block = this.#wire.room(total)
    writePublish(block, this.#wire.at, message, shape, size)
    this.#wire.commit(total)
    broker.counters.messagesOut++
    broker.counters.bytesOut += total
    return true
  }

  /** Sets the alias in `shape`; true when the client learns it from this packet. [MQTT-3.3.2-11] */
  #alias(message: Message): boolean {
    this.#aliases ??= new Map()
    const { name } = message.topic
    const known = this.#aliases.get(name)
    if (known !== undefined) {
      shape.alias = known
      shape.aliasKnown = true
      return false
    }
    if (this.#aliases.size >= this.#aliasMaximum) return false
    shape.alias = this.#aliases.size + 1
    this.#aliases.set(name, shape.alias)
    return true
  }
}
