// One MQTT connection: reading, CONNECT, keep alive and goodbye. PUBLISH is in ingress.ts and egress.ts,
// acknowledgements are in answers.ts, who a client is and what it may is settled in admit.ts.

import { type AccessClass, EVERYTHING } from '../../core/access.ts'
import type { Delivery } from '../../core/audience.ts'
import type { Broker } from '../../core/broker.ts'
import type { Parting } from '../../core/connecting.ts'
import type { EngineFault } from '../../core/engine.ts'
import type { Publisher } from '../../core/intake.ts'
import type { Goodbye, Link, Sending } from '../../core/link.ts'
import type { Run } from '../../core/run.ts'
import type { Session } from '../../core/session.ts'
import type { Pos } from '../../core/types.ts'
import type { Wire, WireReader } from '../../net/wire.ts'
import { type Admitted, admit, refusal } from './admit.ts'
import { Answers } from './answers.ts'
import { decode } from './decode.ts'
import { namesMqtt, peekVersion } from './decode-connect.ts'
import type { MqttDoor } from './door.ts'
import { Egress } from './egress.ts'
import { connack, disconnect, pingresp } from './encode.ts'
import { FrameReader, type FrameSink } from './frame.ts'
import { badConnectAnswer, GOODBYES, partingOf } from './goodbye.ts'
import { Ingress } from './ingress.ts'
import {
  type Connect,
  type Disconnect,
  PacketError,
  PacketType,
  Reason,
  type Version,
} from './packets.ts'
import { subscribe, unsubscribe } from './subscribing.ts'
import { varintSize } from './varint.ts'

const WIDE_BACKLOG_LOW = 16 // Runs to wide audiences that may still wait when a link is read again.
/** Milliseconds a link may be left unread because its publishes find no room. */
const UNREAD_MS = 30_000
/** What a client may send on before its CONNECT is settled, and is read: so that it is seen to leave. */
const EARLY_BYTES = 64 * 1024

/** `new` before CONNECT, `connecting` while it is settled, `closing` once the last packet is queued. */
type State = 'new' | 'connecting' | 'open' | 'closing' | 'closed'
/** Why nothing is read: CONNECT is being settled, no room to store, a wide fan-out is behind. */
type Stop = 'connect' | 'intake' | 'wide'

export class MqttLink implements Link, WireReader, FrameSink, Publisher {
  readonly broker: Broker
  readonly #door: MqttDoor
  readonly #wire: Wire
  readonly #frames = new FrameReader()
  readonly #ingress: Ingress
  readonly #egress: Egress
  readonly answers: Answers
  #state: State = 'new'
  #stopped: Stop | null = null
  #session: Session | null = null
  version: Version = 4
  clientId = ''
  receiveMaximum = 0
  intakeBytes = 0
  /** Whether reason strings may be sent on packets other than CONNACK and DISCONNECT. [MQTT-3.1.2-32] */
  #tellsProblems = true
  /** Milliseconds without a packet after which the client is taken for lost; 0 never. */
  #keepAliveMs = 0
  #heardAt = 0
  #connectExpiry = 0
  /** How the session is left when the wire closes. */
  #parting: Parting = { will: 'publish' }
  #farewell = false
  /** The client sends no more, and has not been answered yet. */
  #hasEnded = false
  /** Whether the first packet was a CONNECT that names MQTT. */
  #answerable = false

  constructor(door: MqttDoor, wire: Wire) {
    this.#door = door
    this.broker = door.broker
    this.#wire = wire
    this.#ingress = new Ingress(this, wire)
    this.#egress = new Egress(this, wire)
    this.answers = new Answers(this, wire)
    const { runtime, limits } = this.broker
    door.timeouts.set(this, runtime.now() + limits.connectTimeout * 1000)
  }

  get peer(): string {
    return this.#wire.peer
  }

  get door(): string {
    return `${this.#wire.transport}/mqtt`
  }

  get address(): string {
    return this.#wire.address
  }

  /** Only once CONNECT was accepted. */
  get session(): Session {
    return this.#session as Session
  }

  /** The rules its session is under now: reading the users file again changes them. */
  get access(): AccessClass {
    return this.#session?.access ?? EVERYTHING
  }

  /** CONNECT was accepted, and nobody has said goodbye. */
  get isOpen(): boolean {
    return this.#state === 'open'
  }

  get congested(): boolean {
    return this.#wire.queued > this.broker.limits.queueBytes
  }

  // ---- Reading -------------------------------------------------------------------------------

  read(chunk: Buffer): void {
    if (this.#state === 'closing' || this.#state === 'closed') return
    this.#heardAt = this.broker.runtime.now()
    this.#guard(() => this.#frames.read(chunk, this, this.broker.limits.packetBytes))
    if (this.#frames.borrows) this.#wire.keep()
    if (this.#stopped === 'connect' && this.#frames.kept > EARLY_BYTES) this.#wire.pause()
    if (this.#session !== null && this.#state === 'open') {
      this.#guard(() => this.#ingress.endOfRead(chunk.length))
      this.#session.settle()
    }
  }

  /** Bad input ends this link and nobody else's. */
  #guard(work: () => void): void {
    try {
      work()
    } catch (error) {
      if (!(error instanceof PacketError)) throw error
      if (this.#session !== null) this.#ingress.handOver()
      this.#fail(error)
    }
  }

  frame(bytes: Buffer, start: number, body: number, end: number): boolean {
    const first = bytes[start] as number
    if (this.version === 5 && body - start - 1 !== varintSize(end - body)) {
      throw new PacketError(Reason.malformedPacket, 'a length in more bytes than it needs') // [MQTT-1.5.5-1]
    }
    if (this.#state === 'open') {
      if (first >> 4 === PacketType.publish) {
        this.#ingress.publish(first, bytes, start, body, end)
      } else {
        this.#ingress.handOver()
        this.#control(first, bytes, body, end)
      }
    } else if (this.#state === 'new') this.#first(first, bytes, body, end)
    return this.#stopped === null && this.#state === 'open'
  }

  alike(bytes: Buffer, at: number, end: number): number {
    return this.#ingress.alike(bytes, at, end)
  }

  /** The first packet must be CONNECT. [MQTT-3.1.0-1] */
  #first(first: number, bytes: Buffer, body: number, end: number): void {
    if (first >> 4 !== PacketType.connect) {
      throw new PacketError(Reason.protocolError, 'the first packet must be CONNECT')
    }
    this.version = peekVersion(bytes, body, end) ?? 4
    this.#answerable = namesMqtt(bytes, body, end)
    const packet = decode(first, bytes, body, end, this.version)
    if (packet.type === 'connect') this.#connect(packet)
  }

  #control(first: number, bytes: Buffer, body: number, end: number): void {
    const packet = decode(first, bytes, body, end, this.version)
    switch (packet.type) {
      case 'puback':
      case 'pubrec':
      case 'pubrel':
      case 'pubcomp':
        this.answers.heard(packet)
        break
      case 'subscribe':
        subscribe(packet, this, {
          problems: this.#tellsProblems,
          packetBytes: this.#egress.maximumPacketSize,
        })
        break
      case 'unsubscribe':
        unsubscribe(packet, this)
        break
      case 'pingreq':
        this.push(pingresp) // [MQTT-3.12.4-1]
        break
      case 'disconnect':
        this.#disconnect(packet)
        break
      case 'connect':
        throw new PacketError(Reason.protocolError, 'a second CONNECT') // [MQTT-3.1.0-2]
      case 'auth':
        // No method was agreed on at CONNECT, so there is nothing to repeat. [MQTT-4.12.0-7]
        throw new PacketError(Reason.protocolError, 'AUTH without an authentication method')
    }
  }

  /** Nothing more is read until the matter is settled; other links are not affected. */
  stopReading(why: Stop): void {
    if (this.#stopped !== null || this.#state === 'closing' || this.#state === 'closed') return
    this.#stopped = why
    if (why === 'connect') return
    this.#wire.pause()
    this.broker.counters.linksPaused++
    if (why === 'wide') this.#waitForFanOut()
    else this.#door.timeouts.set(this, this.broker.runtime.now() + UNREAD_MS)
  }

  #readOn(why: Stop): void {
    if (this.#stopped !== why) return
    this.#stopped = null
    if (this.#state !== 'open') return
    if (why === 'intake') this.#door.timeouts.clear(this)
    this.#heardAt = this.broker.runtime.now()
    const { kept } = this.#frames
    this.#guard(() => this.#frames.resume(this, this.broker.limits.packetBytes))
    if (this.#state === 'open') {
      this.#guard(() => this.#ingress.endOfRead(kept))
      this.#session?.settle()
    }
    if (this.#stopped !== null) return
    this.#wire.resume()
    if (this.#hasEnded) this.ended()
  }

  #waitForFanOut(): void {
    this.broker.runtime.nextTurn(() => {
      if (this.broker.router.wideBacklog > WIDE_BACKLOG_LOW) this.#waitForFanOut()
      else this.#readOn('wide')
    })
  }

  roomAgain(): void {
    this.#readOn('intake')
  }

  // ---- CONNECT -------------------------------------------------------------------------------

  #connect(packet: Connect): void {
    this.#wire.keep() // The password is a slice, and checking it takes longer than a turn.
    this.#state = 'connecting'
    this.#door.timeouts.clear(this)
    this.stopReading('connect')
    // Who sent more than CONNECT wants to have that done, wherever it is by now.
    const abandoned = (): boolean =>
      this.#state !== 'connecting' || (this.#hasEnded && this.#frames.kept === 0)
    admit(packet, this, this.broker, abandoned).then(
      (admitted) => this.#admitted(admitted),
      (error: unknown) => this.#notAdmitted(error, packet.maximumPacketSize),
    )
  }

  #admitted(admitted: Admitted): void {
    const { session, present, packet, connack: answer } = admitted
    if (this.#state !== 'connecting') {
      // The client left while its CONNECT was being settled.
      this.broker.sessions.disconnect(session, this, this.#parting)
      return
    }
    this.#session = session
    this.clientId = session.id
    this.receiveMaximum = packet.receiveMaximumGiven
      ? packet.receiveMaximum
      : this.broker.limits.sendWindow
    this.#tellsProblems = packet.requestProblemInformation
    this.#connectExpiry = session.expiry
    const aliases = Math.min(packet.topicAliasMaximum, this.broker.limits.topicAliasesOut)
    this.#egress.allow(packet.maximumPacketSize, aliases)
    this.#keepAliveMs = admitted.keepAlive * 1500 // [MQTT-3.1.2-24]
    if (this.#keepAliveMs > 0) this.#door.keepAlives.set(this, this.#heardAt + this.#keepAliveMs)
    this.push(
      connack({ ...answer, sessionPresent: present }, this.version, packet.maximumPacketSize),
    )
    this.#state = 'open'
    this.broker.activity.connected(this)
    session.start()
    this.#readOn('connect')
  }

  #notAdmitted(error: unknown, maximumPacketSize: number): void {
    if (this.#state !== 'connecting') return
    const { reason, why } = refusal(error)
    this.broker.activity.refused(this, `the connection: ${why}`)
    const answer = { sessionPresent: false, reason, reasonString: why }
    this.push(connack(answer, this.version, maximumPacketSize))
    this.#leave() // [MQTT-3.2.2-7]
  }

  // ---- Keep alive ----------------------------------------------------------------------------

  keepAliveDue(): void {
    if (this.#state !== 'open') return
    const now = this.broker.runtime.now()
    // While we are the ones not reading, its clock stands still.
    const heard = this.#stopped === null ? this.#heardAt : now
    const due = heard + this.#keepAliveMs
    if (due > now) {
      this.#door.keepAlives.set(this, due)
      return
    }
    this.broker.counters.keepAliveClosed++
    this.end(Reason.keepAliveTimeout, 'nothing was heard within one and a half keep alives')
  }

  /** CONNECT did not come, or the client's publishes found no room for too long. */
  timeoutDue(): void {
    if (this.#state === 'new') {
      this.broker.counters.limitsReached++
      this.broker.activity.refused(this, 'the connection: no CONNECT in time')
      this.#leave()
    } else if (this.#stopped === 'intake') {
      this.end(Reason.serverBusy, 'the server had no room for what you publish')
    }
  }

  /** The answer waits until the session's record is safe; what the client sends meanwhile does not. */
  onceSaved(part: 'profile' | 'flow', answer: () => void): void {
    if (!this.session.persistent) {
      answer()
      return
    }
    this.broker.saver[part](this.session).then(
      () => {
        if (this.isOpen) answer()
      },
      () => this.end(Reason.serverBusy, 'the session could not be saved'),
    )
  }

  stored(token: number, fault: EngineFault | null, pos: Pos): void {
    this.#ingress.stored(token, fault, pos)
  }

  // ---- Sending -------------------------------------------------------------------------------

  pass(run: Run, delivery: Delivery): void {
    if (this.#state === 'open') this.#egress.pass(run, delivery)
  }

  send(sending: Sending): boolean {
    return this.#egress.send(sending)
  }

  release(packetId: number): void {
    this.answers.release(packetId)
  }

  drained(): void {
    if (this.#state === 'open') this.#session?.settle()
  }

  push(bytes: Buffer): void {
    this.#wire.push(bytes, 0, bytes.length)
  }

  // ---- Goodbye -------------------------------------------------------------------------------

  #disconnect(packet: Disconnect): void {
    const longest = this.broker.limits.sessionExpiryMaximum
    this.#parting = partingOf(packet, this.#connectExpiry, longest)
    this.#farewell = true
    this.broker.activity.goodbye(this)
    this.#leave()
  }

  /** A packet broke the rules: says so where the version can, and closes. [MQTT-4.13.1-1] */
  #fail(error: PacketError): void {
    this.broker.counters.protocolErrors++
    if (this.#state === 'new') {
      this.broker.activity.refused(this, `the connection: ${error.message}`)
      // Whoever does not speak MQTT is not answered in it. [MQTT-3.1.2-1]
      const answer = this.#answerable ? badConnectAnswer(error, this.version) : null
      if (answer !== null) this.push(answer)
      this.#leave()
      return
    }
    this.end(error.reason, error.message)
  }

  /** Its end will be the server's doing: nobody is to hear that the client died. */
  keepWill(): void {
    this.#parting = { will: 'keep' }
  }

  close(goodbye: Goodbye, why: string): void {
    if (goodbye === 'engine-lost') this.keepWill()
    this.end(GOODBYES[goodbye], why)
  }

  /** We end it: MQTT 5 clients are told the reason. */
  end(reason: Reason, why: string): void {
    if (this.#state === 'closing' || this.#state === 'closed') return
    if (this.version === 5 && this.#state === 'open') {
      this.push(disconnect(reason, why, this.#egress.maximumPacketSize))
    }
    if (this.#state === 'open') this.broker.activity.lost(this, why)
    this.#farewell = true
    this.#leave()
  }

  /** The last word is queued: leaves the session now and the wire when it was sent. */
  #leave(): void {
    if (this.#state === 'closed') return
    this.#state = 'closing'
    this.#partSession()
    this.#wire.end()
  }

  #partSession(): void {
    this.#door.keepAlives.clear(this)
    this.#door.timeouts.clear(this)
    this.broker.intake.forget(this)
    if (this.#session !== null) {
      this.broker.sessions.disconnect(this.#session, this, this.#parting)
    }
  }

  ended(): void {
    if (this.#state === 'closing' || this.#state === 'closed') return
    if (this.#stopped !== null) {
      this.#hasEnded = true
      return
    }
    if (this.#state === 'open' && !this.#farewell) {
      this.broker.activity.lost(this, 'the connection ended without DISCONNECT')
      this.#farewell = true
    }
    this.#leave()
  }

  closed(fault?: Error): void {
    if (this.#state === 'open' && !this.#farewell) {
      this.broker.activity.lost(this, fault?.message ?? 'the connection was lost')
    }
    this.#state = 'closed'
    this.#partSession()
  }
}
