// A session is owed messages and may outlive its link: a cursor over the log, a bounded window
// of what is not acknowledged (outbox.ts), and no queue of its own.

import { type AccessClass, EVERYTHING } from './access.ts'
import { Deliveries, type Delivery } from './audience.ts'
import type { Broker } from './broker.ts'
import { Cursor } from './cursor.ts'
import type { Link } from './link.ts'
import { Outbox } from './outbox.ts'
import type { Group } from './share.ts'
import { countAbove } from './stretch.ts'
import type { Subscription } from './subscription.ts'
import { matches } from './topic.ts'
import type { Message, Pos, QoS, SessionFlow, SessionProfile, Will } from './types.ts'
import type { Origin } from './window.ts'

/** Messages a member of a shared group takes in one turn that it does not acknowledge. */
const ROOM_UNACKNOWLEDGED = 64

export class Session extends Cursor {
  readonly id: string
  readonly #broker: Broker
  epoch = 0
  /** Its record is being claimed for a new client: `epoch` is about to change, so saves wait. */
  claiming = false
  /** Another node owns it: nothing of it is saved here any more. */
  gone = false
  /** Another node takes it: it is saved once more, if that is still possible. */
  leaving = false
  link: Link | null = null
  /** Seconds it outlives its link; 0 dies with it, Infinity never ends. */
  expiry = 0
  user = ''
  access: AccessClass = EVERYTHING
  will: Will | null = null
  /** Taken, and not published before the record says so. */
  dueWill: Will | null = null
  /** Engine time at which the link was lost, 0 while there is one. */
  awaySince = 0
  /** Engine time at which its node began to end, 0 before: where that is stored, its client was sent away. */
  endingSince = 0
  /** The router's, to meet a session once per lookup. */
  metIn = 0
  metWith: Subscription | null = null
  readonly deliveries: Deliveries
  #subscriptions: Map<string, Subscription> | null = null
  /** The only subscription while there is one; most sessions never need the map. */
  #single: Subscription | null = null
  /** Highest `from` of its subscriptions: above it every match counts. */
  #newestFrom: Pos = 0
  #receiving: Set<number> | null = null
  #unstored: Set<number> | null = null
  /** Of those, the ones that no record holds yet: they must not be remembered without their messages. */
  #withheld: Set<number> | null = null
  /** What is under way to the client; null until something is. */
  #outbox: Outbox | null = null
  /** CONNACK is not on its way yet. */
  #starting = false
  /** Whether it was ever a member of a shared group. */
  #shares = false
  /** Tail of the log when the link came: QoS 0 is not kept for who is away. */
  #attachedAt: Pos = 0

  constructor(id: string, broker: Broker) {
    super()
    this.id = id
    this.#broker = broker
    this.deliveries = new Deliveries(this, broker.runtime)
  }

  /** Whether it outlives its link. */
  get durable(): boolean {
    return this.expiry > 0
  }

  /** Whether its state must be saved: it outlives its link, and the engine the process. */
  get persistent(): boolean {
    return this.expiry > 0 && this.#broker.engine.durable
  }

  /** Whether it was over then, engine time in milliseconds. */
  isExpired(at: number): boolean {
    return this.awaySince > 0 && this.awaySince + this.expiry * 1000 <= at
  }

  get attached(): boolean {
    return this.link !== null && !this.#starting && this.#outbox?.resending !== true
  }

  get inFlight(): number {
    return this.#outbox?.inFlight ?? 0
  }

  // ---- Subscriptions -------------------------------------------------------------------------

  get subscriptionCount(): number {
    return this.#subscriptions?.size ?? (this.#single === null ? 0 : 1)
  }

  subscription(filter: string): Subscription | null {
    if (this.#subscriptions !== null) return this.#subscriptions.get(filter) ?? null
    return this.#single?.filter === filter ? this.#single : null
  }

  subscriptions(): Iterable<Subscription> {
    if (this.#subscriptions !== null) return this.#subscriptions.values()
    return this.#single === null ? [] : [this.#single]
  }

  addSubscription(subscription: Subscription): void {
    this.#newestFrom = Math.max(this.#newestFrom, subscription.from)
    if (this.#subscriptions === null) {
      if (this.#single === null || this.#single.filter === subscription.filter) {
        this.#single = subscription
        return
      }
      this.#subscriptions = new Map([[this.#single.filter, this.#single]])
      this.#single = null
    }
    this.#subscriptions.set(subscription.filter, subscription)
  }

  removeSubscription(filter: string): void {
    if (this.#subscriptions !== null) this.#subscriptions.delete(filter)
    else if (this.#single?.filter === filter) this.#single = null
    // Identifiers that come and go would otherwise be remembered for ever.
    if (this.deliveries.size > 64 + 4 * this.subscriptionCount) this.renewDeliveries()
  }

  /** New delivery objects for all subscriptions; what was looked up with the old ones stays right. */
  renewDeliveries(): void {
    this.deliveries.clear()
    for (const subscription of this.subscriptions()) {
      subscription.delivery = this.deliveries.of(subscription)
    }
  }

  // ---- Link ----------------------------------------------------------------------------------

  /** The client is back or new. Nothing is sent before `start`. */
  attach(link: Link): void {
    this.link = link
    this.awaySince = 0
    this.endingSince = 0
    this.#attachedAt = this.#broker.log.last
    this.#starting = true
    for (const group of this.#groups()) this.#broker.membersChanged(group)
    this.#outbox?.attach()
  }

  /** CONNACK is on its way: resends what was not acknowledged, then serves what was missed. [MQTT-4.4.0-1] */
  start(): void {
    this.#starting = false
    this.settle()
  }

  /** The link is gone. What it had not acknowledged stays in the window; shared QoS 1 goes to others. */
  detach(): void {
    this.link = null
    for (const group of this.#groups()) this.#broker.membersChanged(group)
    if (this.live) this.fallBehind(this.#broker.log.last + 1)
    this.#outbox?.detach()
  }

  // ---- Sending -------------------------------------------------------------------------------

  /** A new message of the tail. */
  offer(pos: Pos, message: Message, delivery: Delivery): void {
    if (this.live && !this.#transmit(pos, message, delivery, null)) this.fallBehind(pos)
  }

  /** A shared group asks whether this member takes the message; false when it has no room. */
  lend(pos: Pos, message: Message, delivery: Delivery, group: Group): boolean {
    if (!this.attached || this.link === null || this.link.congested) return false
    return this.#transmit(pos, message, delivery, { group })
  }

  /** How many more messages of a shared group it would take now. */
  room(delivery: Delivery): number {
    const { link } = this
    if (link === null || !this.attached || link.congested) return 0
    if (delivery.qos === 0) return ROOM_UNACKNOWLEDGED
    return this.#outbox?.room(link.receiveMaximum) ?? link.receiveMaximum
  }

  protected consider(pos: Pos, message: Message): boolean {
    const delivery = this.#deliveryAt(pos, message)
    return delivery === null || this.#transmit(pos, message, delivery, null)
  }

  protected overrun(): void {
    this.#broker.counters.droppedOverrun++
    this.#broker.report('overrun', this.id)
  }

  #deliveryAt(pos: Pos, message: Message): Delivery | null {
    if (pos > this.#newestFrom) return this.#broker.router.audience(message.topic).of(this)
    const { name } = message.topic
    const owed = [...this.subscriptions()].filter(
      (s) => s.group === null && s.from < pos && matches(s.filter, name),
    )
    return owed.length === 0 ? null : this.deliveries.merged(owed)
  }

  /** Sends the message unless it is not for this client. False: no room in window or queue. */
  #transmit(pos: Pos, message: Message, delivery: Delivery, origin: Origin | null): boolean {
    const link = this.link as Link
    const broker = this.#broker
    if (delivery.noLocal && message.publisher === this.id) return this.#passedOver(pos, origin)
    if (message.expires !== Number.POSITIVE_INFINITY && message.expires <= broker.engine.now()) {
      broker.counters.droppedExpired++ // [MQTT-3.3.2-5]
      return this.#passedOver(pos, origin)
    }
    const qos = Math.min(message.qos, delivery.qos) as QoS
    const retain = message.retain && delivery.retainAsPublished // [MQTT-3.3.1-12] [MQTT-3.3.1-13]
    if (qos === 0) {
      if (pos <= this.#attachedAt && origin === null) return true
      if (link.congested) broker.counters.droppedSlow++
      else this.send(message, 0, delivery.identifiers, retain, 0, false)
      return this.#passedOver(pos, origin)
    }
    if (link.congested) return false
    this.#outbox ??= new Outbox(this, broker)
    return this.#outbox.enter(pos, message, qos, delivery.identifiers, retain, origin, link)
  }

  /** For a shared group, a message that its member does not take is done. */
  #passedOver(pos: Pos, origin: Origin | null): true {
    if (origin !== null && 'group' in origin) origin.group.finished(pos)
    return true
  }

  /** Gives one message to the link, which must be there. False, and counted: too large for this client. */
  send(
    message: Message,
    qos: QoS,
    identifiers: readonly number[] | null,
    retain: boolean,
    packetId: number,
    duplicate: boolean,
  ): boolean {
    const { sending, counters } = this.#broker
    sending.message = message
    sending.qos = qos
    sending.identifiers = identifiers
    sending.retain = retain
    sending.packetId = packetId
    sending.duplicate = duplicate
    if ((this.link as Link).send(sending)) return true
    counters.droppedTooLarge++
    return false
  }

  /** Owes the retained messages that a new subscription matches; `settle` sends them. */
  oweRetained(subscription: Subscription): void {
    this.#outbox ??= new Outbox(this, this.#broker)
    this.#outbox.oweRetained(subscription)
  }

  /** Room may have come back: goes on with what waited. The link calls it once per read, not per packet. */
  settle(): void {
    if (this.link === null || this.#starting) return
    const outbox = this.#outbox
    if (outbox?.resending === true) {
      void outbox.resend()
      return
    }
    if (outbox !== null) {
      outbox.sendRetained()
      if (outbox.unused) this.#outbox = null
    }
    if (!this.live) this.wake(this.#broker.log)
    for (const group of this.#groups()) group.settle()
  }

  #groups(): Iterable<Group> {
    if (!this.#shares) return []
    return [...this.subscriptions()].flatMap((s) => (s.group === null ? [] : [s.group]))
  }

  /** Whether it may be a member of a shared group. */
  get shares(): boolean {
    return this.#shares
  }

  /** It became a member of a shared group. */
  joined(): void {
    this.#shares = true
  }

  // ---- Acknowledgements ----------------------------------------------------------------------

  /** PUBACK. Returns false when the identifier was not waiting for one. */
  acknowledged(packetId: number): boolean {
    return this.#outbox?.acknowledged(packetId) ?? false
  }

  /** PUBREC. Answers with PUBREL, now or once saved. False: the identifier is unknown. */
  received(packetId: number, refused: boolean): boolean {
    return this.#outbox?.received(packetId, refused) ?? false
  }

  /** PUBCOMP. */
  completed(packetId: number): boolean {
    return this.#outbox?.completed(packetId) ?? false
  }

  // ---- Receiving QoS 2 -----------------------------------------------------------------------

  /** QoS 2 messages received and not released by the publisher. */
  get receivingCount(): number {
    return this.#receiving?.size ?? 0
  }

  isReceiving(packetId: number): boolean {
    return this.#receiving?.has(packetId) ?? false
  }

  /** From now until released, another PUBLISH with this identifier is the same message. [MQTT-4.3.3-10] */
  receive(packetId: number): void {
    this.#receiving ??= new Set()
    this.#receiving.add(packetId)
    this.#unstored ??= new Set()
    this.#unstored.add(packetId)
  }

  /** Whether it was received and is not stored yet, perhaps since before the client came back. */
  isUnstored(packetId: number): boolean {
    return this.#unstored?.has(packetId) ?? false
  }

  /** It is stored, or it never will be. */
  settled(packetId: number): void {
    this.#unstored?.delete(packetId)
    if (this.#unstored?.size === 0) this.#unstored = null
  }

  /** The message waits for an earlier one of its publisher. */
  withhold(packetId: number): void {
    this.#withheld ??= new Set()
    this.#withheld.add(packetId)
  }

  /** The message goes into a record, or is given up. */
  admit(packetId: number): void {
    this.#withheld?.delete(packetId)
    if (this.#withheld?.size === 0) this.#withheld = null
  }

  /** The publisher released it, or it was refused. False when it was not known. */
  forgetReceived(packetId: number): boolean {
    return this.#receiving?.delete(packetId) ?? false
  }

  /** How many of these messages it waits for: ascending positions of messages for one audience, one topic of it. */
  owed(positions: readonly Pos[], topic: string): number {
    if (this.live) return 0
    let from = this.#newestFrom
    for (const s of this.subscriptions()) {
      if (s.group === null && s.from < from && matches(s.filter, topic)) from = s.from
    }
    return countAbove(positions, Math.max(this.scan, from))
  }

  /** The log could not wait any longer: the `owed` messages before that position are lost, and counted. */
  evict(before: Pos, owed: number): void {
    const unacknowledged = this.#outbox?.evict(before) ?? 0
    if (!this.live && this.scan < before - 1) this.scan = before - 1
    if (this.persistent) this.#broker.saver.lazily(this)
    // What a client that is there was sent, it has.
    const lost = owed + (this.link === null ? unacknowledged : 0)
    if (lost === 0) return
    const { counters } = this.#broker
    counters.sessionsEvicted++
    counters.messagesEvicted += lost
    this.#broker.report('evicted', `${this.id}, messages lost: ${lost}`)
  }

  // ---- At rest -------------------------------------------------------------------------------

  /** Lowest position that it may still need. */
  get floor(): Pos {
    const scan = this.live ? this.#broker.log.last : this.scan
    return Math.min(scan + 1, this.#outbox?.floor ?? Number.POSITIVE_INFINITY)
  }

  flow(): SessionFlow {
    return {
      cursor: this.live ? this.#broker.log.last : this.scan,
      sending: this.#outbox?.runs() ?? [],
      receiving: this.#remembered(),
      awaySince: this.awaySince || this.endingSince,
      log: this.#broker.engine.log,
    }
  }

  #remembered(): number[] {
    const withheld = this.#withheld
    if (this.#receiving === null) return []
    const all = [...this.#receiving]
    return withheld === null ? all : all.filter((packetId) => !withheld.has(packetId))
  }

  profile(): SessionProfile {
    return {
      expiry: this.expiry,
      user: this.user,
      // A session that ends with its link is not there to come back to: its will would be published at once.
      will: this.endingSince > 0 && !this.durable ? null : this.will,
      subscriptions: [...this.subscriptions()].map((s) => ({
        filter: s.filter,
        qos: s.qos,
        identifier: s.identifier,
        noLocal: s.noLocal,
        retainAsPublished: s.retainAsPublished,
        from: s.from,
      })),
    }
  }

  /** Takes up the state it had when it was saved. Subscriptions are the broker's to restore. */
  restore(profile: SessionProfile, flow: SessionFlow): void {
    this.expiry = profile.expiry
    this.user = profile.user
    this.will = profile.will
    this.awaySince = flow.awaySince
    this.#receiving = flow.receiving.length > 0 ? new Set(flow.receiving) : null
    const { first, last } = this.#broker.engine.bounds()
    // Positions of another log, or beyond this one's end, mean nothing: start over and say so. Where nodes share the
    // log, another one may have heard more of it than this.
    const beyond = this.#broker.engine.node === null && flow.cursor > last
    const foreign = flow.log !== this.#broker.engine.log || beyond
    // What this log has forgotten nobody needed, however old the record is; who was made to do without it was told.
    this.scan = Math.max(foreign ? 0 : flow.cursor, first - 1)
    const none = foreign || flow.sending.length === 0
    this.#outbox = none ? null : new Outbox(this, this.#broker, flow.sending)
    if (foreign) this.overrun()
  }
}
