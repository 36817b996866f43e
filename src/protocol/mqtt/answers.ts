// Acknowledgements in both directions: the client's to what it was sent, ours to what it
// published, the latter once stored. One per link; its sets are made at first use.

import type { EngineFault } from '../../core/engine.ts'
import type { QoS } from '../../core/types.ts'
import type { Wire } from '../../net/wire.ts'
import { AckByte, ack, writeAck } from './encode.ts'
import type { MqttLink } from './link.ts'
import { type Ack, Reason } from './packets.ts'

const STORE_FAULTS: Readonly<Record<EngineFault, Reason>> = {
  full: Reason.quotaExceeded,
  'too-large': Reason.packetTooLarge,
  down: Reason.serverBusy,
  fenced: Reason.sessionTakenOver,
  failed: Reason.serverShuttingDown,
}

export class Answers {
  readonly #link: MqttLink
  readonly #wire: Wire
  /** QoS 2 messages taken and not stored. */
  #unstored: Set<number> | null = null
  /** QoS 2 messages that an earlier link waits for, and this one is to answer. */
  #owed: Set<number> | null = null

  constructor(link: MqttLink, wire: Wire) {
    this.#link = link
    this.#wire = wire
  }

  // ---- What the client acknowledges ----------------------------------------------------------

  /** PUBACK, PUBREC, PUBREL or PUBCOMP came. */
  heard({ type, packetId, reason }: Ack): void {
    const { session, version } = this.#link
    if (type === 'puback') session.acknowledged(packetId)
    else if (type === 'pubcomp') session.completed(packetId)
    else if (type === 'pubrec') {
      // An unknown identifier is released all the same: the client must be able to forget it.
      if (!session.received(packetId, reason >= 0x80) && reason < 0x80) {
        this.#link.push(ack('pubrel', packetId, Reason.packetIdentifierNotFound, version))
      }
    } else this.#released(packetId)
  }

  /** PUBREL from a publisher. [MQTT-4.3.3-11] */
  #released(packetId: number): void {
    const link = this.#link
    const known = link.session.forgetReceived(packetId)
    const reason = known ? Reason.success : Reason.packetIdentifierNotFound
    const answer = () => link.push(ack('pubcomp', packetId, reason, link.version))
    if (known) link.onceSaved('flow', answer)
    else answer()
  }

  // ---- What we acknowledge -------------------------------------------------------------------

  /** QoS 2 messages taken and not stored. */
  get unstored(): number {
    return this.#unstored?.size ?? 0
  }

  isUnstored(packetId: number): boolean {
    return this.#unstored?.has(packetId) ?? false
  }

  /** A QoS 2 message is on its way to the store. */
  storing(packetId: number): void {
    this.#unstored ??= new Set()
    this.#unstored.add(packetId)
  }

  /** A QoS 2 message came again that an earlier link of this client has not heard of yet. */
  owe(packetId: number): void {
    if (this.isUnstored(packetId)) return
    this.#owed ??= new Set()
    this.#owed.add(packetId)
  }

  /** The store is done with a QoS 1 or 2 PUBLISH. */
  stored(qos: QoS, packetId: number, fault: EngineFault | null): void {
    const { broker, session } = this.#link
    if (fault !== null) broker.counters.refusedFull++
    if (qos === 2) {
      this.#unstored?.delete(packetId)
      session.settled(packetId)
      if (fault !== null) session.forgetReceived(packetId) // [MQTT-4.3.3-9]
      const later = session.link
      if (later !== null && 'answers' in later && later.answers instanceof Answers) {
        later.answers.#storedEarlier(packetId, fault)
      }
    }
    this.#answer(qos, packetId, fault)
  }

  #storedEarlier(packetId: number, fault: EngineFault | null): void {
    if (this.#owed?.delete(packetId) === true) this.#answer(2, packetId, fault)
  }

  #answer(qos: QoS, packetId: number, fault: EngineFault | null): void {
    const link = this.#link
    if (!link.isOpen) return
    if (fault === null) {
      this.acknowledge(qos, packetId, Reason.success)
      return
    }
    const reason = STORE_FAULTS[fault]
    // It may be stored all the same: the client finds out by sending it again.
    if (fault === 'down') link.keepWill()
    const tellable = link.version === 5 && (fault === 'full' || fault === 'too-large')
    if (tellable) this.acknowledge(qos, packetId, reason)
    else link.end(reason, 'your message could not be stored')
  }

  /** PUBACK or PUBREC. Before MQTT 5 there is no way to say no: a message not allowed is acknowledged too. */
  acknowledge(qos: QoS, packetId: number, reason: Reason): void {
    const { version } = this.#link
    if (reason !== Reason.success && version === 5) {
      this.#link.push(ack(qos === 1 ? 'puback' : 'pubrec', packetId, reason, version))
      return
    }
    this.#write(qos === 1 ? AckByte.puback : AckByte.pubrec, packetId)
  }

  /** PUBREL, the second half of a QoS 2 message to the client. */
  release(packetId: number): void {
    this.#write(AckByte.pubrel, packetId)
  }

  #write(first: number, packetId: number): void {
    const block = this.#wire.room(4)
    writeAck(block, this.#wire.at, first, packetId)
    this.#wire.commit(4)
  }
}
