// A session is owed messages and may outlive its link: a cursor over the log, a bounded window
// of what is not acknowledged, and no queue of its own. Everything a client is sent at QoS 1
// and 2 goes through here.

import { type AccessClass, EVERYTHING } from './access.ts'
import { Deliveries, type Delivery } from './audience.ts'
import type { Broker } from './broker.ts'
import { Cursor } from './cursor.ts'
import type { Link } from './link.ts'
import type { RetainedEntry } from './retained.ts'
import type { Group } from './share.ts'
import type { Subscription } from './subscription.ts'
import { matches } from './topic.ts'
import {
  type Message,
  type Pos,
  type QoS,
  SendState,
  type SessionFlow,
  type SessionProfile,
  type Will,
} from './types.ts'
import { type Origin, Window, type WindowEntry } from './window.ts'

/** Retained messages sent to one session in one turn. */
const RETAINED_TURN = 1_000

/** Retained messages on their way to a new subscription. */
interface Snapshot {
  readonly subscription: Subscription
  readonly entries: Generator<RetainedEntry>
  /** Taken from the generator and found no room. */
  next: RetainedEntry | null
}

/** QoS 2 steps that wait for the session's record to be saved. */
interface Held {
  readonly packetId: number
  /** Null: a PUBREL. */
  readonly message: Message | null
  readonly identifiers: readonly number[] | null
  readonly retain: boolean
}

export class Session extends Cursor {
  readonly id: string
  readonly #broker: Broker
  epoch = 0
  link: Link | null = null
  /** Seconds it outlives its link; 0 dies with it, Infinity never ends. */
  expiry = 0
  user = ''
  access: AccessClass = EVERYTHING
  will: Will | null = null
  /** Engine time at which the link was lost, 0 while there is one. */
  awaySince = 0
  /** The router's, to meet a session once per lookup. */
  metIn = 0
  metWith: Subscription | null = null
  readonly deliveries: Deliveries
  #subscriptions: Map<string, Subscription> | null = null
  /** The only subscription while there is one; most sessions never need the map. */
  #single: Subscription | null = null
  /** Highest `from` of its subscriptions: above it every match counts. */
  #newestFrom: Pos = 0
  #window: Window | null = null
  #receiving: Set<number> | null = null
  #snapshots: Snapshot[] | null = null
  #snapshotTurn = false
  /** Left to send again since the client came back; nothing new goes out before. */
  #resending: WindowEntry[] | null = null
  #resent = 0
  #held: Held[] | null = null
  /** The save that `#held` waits for. */
  #heldFor: Promise<void> | null = null
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

  get attached(): boolean {
    return this.link !== null && this.#resending === null
  }

  get inFlight(): number {
    return this.#window?.inFlight ?? 0
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
    this.#attachedAt = this.#broker.log.last
    this.#resending = [...(this.#window?.entries() ?? [])]
    this.#resent = 0
  }

  /** CONNACK is on its way: resends what was not acknowledged, then serves what was missed. [MQTT-4.4.0-1] */
  start(): void {
    void this.#resend()
  }

  /** The link is gone. What it had not acknowledged stays in the window; shared QoS 1 goes to others. */
  detach(): void {
    this.link = null
    if (this.live) this.fallBehind(this.#broker.log.last + 1)
    this.#resending = null
    this.#snapshots = null
    this.#held = null
    if (this.#window === null) return
    const returned: [Group, Pos][] = []
    for (const { packetId, pos, state, origin } of [...this.#window.entries()]) {
      if (origin === null || !('group' in origin)) continue
      if (state === SendState.published) {
        this.#window.finish(packetId)
        returned.push([origin.group, pos])
        // A session that ends must not pass QoS 2 on; one that stays completes it. [MQTT-4.8.2-4] [MQTT-4.8.2-5]
      } else origin.group.finished(pos)
    }
    for (const [group, pos] of returned) group.returned(pos)
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
      else if (!this.#send(message, 0, delivery.identifiers, retain, 0, false)) {
        broker.counters.droppedTooLarge++
      }
      return this.#passedOver(pos, origin)
    }
    if (link.congested) return false
    this.#window ??= new Window()
    if (!this.#window.room(link.receiveMaximum)) return false // [MQTT-3.3.4-9]
    this.#enter(pos, message, qos, delivery.identifiers, retain, origin)
    return true
  }

  /** For a shared group, a message that its member does not take is done. */
  #passedOver(pos: Pos, origin: Origin | null): true {
    if (origin !== null && 'group' in origin) origin.group.finished(pos)
    return true
  }

  /** Into the window and out, QoS 2 not before it is saved. */
  #enter(
    pos: Pos,
    message: Message,
    qos: QoS,
    identifiers: readonly number[] | null,
    retain: boolean,
    origin: Origin | null,
  ): void {
    const window = this.#window as Window
    const state = qos === 1 ? SendState.published : SendState.transmitted
    const packetId = window.add(pos, state, origin)
    if (qos === 2 && this.persistent) {
      this.#hold({ packetId, message, identifiers, retain })
      if (origin !== null && 'group' in origin) origin.group.moved(pos)
    } else if (!this.#send(message, qos, identifiers, retain, packetId, false)) {
      this.#broker.counters.droppedTooLarge++ // As if it had been sent and acknowledged. [MQTT-3.1.2-28]
      this.#finish(packetId)
    }
  }

  #send(
    message: Message,
    qos: QoS,
    identifiers: readonly number[] | null,
    retain: boolean,
    packetId: number,
    duplicate: boolean,
  ): boolean {
    const { sending } = this.#broker
    sending.message = message
    sending.qos = qos
    sending.identifiers = identifiers
    sending.retain = retain
    sending.packetId = packetId
    sending.duplicate = duplicate
    return (this.link as Link).send(sending)
  }

  /** QoS 2 towards the client is exactly once only if we remember before we send. */
  #hold(held: Held): void {
    const { link } = this
    const saved = this.#broker.saver.flow(this)
    // The same promise means that the state has not been taken yet: this one will be in it too.
    if (this.#held !== null && this.#heldFor === saved) {
      this.#held.push(held)
      return
    }
    const batch = [held]
    this.#held = batch
    this.#heldFor = saved
    saved.then(
      () => {
        if (this.#held === batch) this.#held = null
        if (this.link !== link || link === null) return
        for (const one of batch) this.#letGo(one)
      },
      () => this.link?.close('engine-lost', 'the session could not be saved'),
    )
  }

  #letGo({ packetId, message, identifiers, retain }: Held): void {
    if (message === null) this.link?.release(packetId)
    else if (!this.#send(message, 2, identifiers, retain, packetId, false)) {
      this.#broker.counters.droppedTooLarge++
      this.#finish(packetId)
    }
  }

  // ---- Acknowledgements ----------------------------------------------------------------------

  /** PUBACK. Returns false when the identifier was not waiting for one. */
  acknowledged(packetId: number): boolean {
    if (this.#window?.state(packetId) !== SendState.published) return false
    this.#finish(packetId)
    return true
  }

  /** PUBREC. Answers with PUBREL, now or once saved. False: the identifier is unknown. */
  received(packetId: number, refused: boolean): boolean {
    const state = this.#window?.state(packetId) ?? SendState.done
    if (state === SendState.released) {
      this.link?.release(packetId)
      return true
    }
    if (state !== SendState.transmitted) return false
    if (refused) {
      this.#finish(packetId) // [MQTT-4.4.0-2]
      return true
    }
    this.#window?.advance(packetId, SendState.released)
    if (this.persistent) this.#hold({ packetId, message: null, identifiers: null, retain: false })
    else this.link?.release(packetId)
    return true
  }

  /** PUBCOMP. */
  completed(packetId: number): boolean {
    if (this.#window?.state(packetId) !== SendState.released) return false
    this.#finish(packetId)
    return true
  }

  #finish(packetId: number): void {
    const { pos, origin } = (this.#window as Window).finish(packetId)
    if (origin !== null && 'group' in origin) origin.group.finished(pos)
    if (this.#resent > 0) this.#resent--
    if (this.persistent) this.#broker.saver.lazily(this)
  }

  /** Room may have come back: goes on with what waited. The link calls it once per read, not per packet. */
  settle(): void {
    if (this.#resending !== null) {
      void this.#resend()
      return
    }
    if (this.link === null) return
    if (this.#snapshots !== null) this.#sendRetained()
    if (!this.live) this.wake(this.#broker.log)
    for (const group of this.#groups()) group.settle()
  }

  #groups(): Iterable<Group> {
    if (this.#single !== null) return this.#single.group === null ? [] : [this.#single.group]
    if (this.#subscriptions === null || !this.#shares) return []
    return [...this.#subscriptions.values()].flatMap((s) => (s.group === null ? [] : [s.group]))
  }

  /** Whether it was ever a member of a shared group. */
  #shares = false
  joined(): void {
    this.#shares = true
  }

  // ---- Sending again -------------------------------------------------------------------------

  #fetching = false

  /** In the order they were first sent, with their identifiers. [MQTT-4.4.0-1] [MQTT-4.6.0-1] */
  async #resend(): Promise<void> {
    if (this.#fetching) return
    this.#fetching = true
    const { link } = this
    try {
      while (this.link === link && link !== null && this.#resending !== null) {
        const entry = this.#resending[0]
        if (entry === undefined) {
          this.#resending = null
          break
        }
        if (this.#resent >= link.receiveMaximum || link.congested) break
        if (this.#window?.state(entry.packetId) === entry.state) {
          const message = entry.state === SendState.released ? null : await this.#owed(entry)
          if (this.link !== link) break
          this.#sendAgain(entry, message, link)
        }
        this.#resending?.shift()
      }
    } catch {
      link?.close('engine-lost', 'messages to send again could not be read')
    } finally {
      this.#fetching = false
    }
    if (this.link === null) return
    if (this.link !== link) void this.#resend()
    else if (this.#resending === null) this.settle()
  }

  #sendAgain(entry: WindowEntry, message: Message | null, link: Link): void {
    if (entry.state === SendState.released) {
      this.#resent++
      link.release(entry.packetId)
      return
    }
    if (message === null) {
      this.#finish(entry.packetId) // Superseded, or evicted from the log.
      return
    }
    const delivery = this.#broker.router.audience(message.topic).of(this)
    const qos = entry.state === SendState.published ? 1 : 2
    const retained = entry.origin !== null && 'retained' in entry.origin
    const retain = retained || (message.retain && delivery?.retainAsPublished === true)
    this.#resent++
    if (!this.#send(message, qos, delivery?.identifiers ?? null, retain, entry.packetId, true)) {
      this.#broker.counters.droppedTooLarge++
      this.#finish(entry.packetId)
    }
  }

  #owed({ pos, origin }: WindowEntry): Promise<Message | null> | Message | null {
    if (origin === null || 'group' in origin) return this.#broker.log.message(pos)
    const entry = this.#broker.retained.get(origin.retained)
    return entry !== null && entry.pos === pos ? entry.message : null
  }

  // ---- Retained messages ---------------------------------------------------------------------

  /** Owes the retained messages that a new subscription matches; paced by the client, never dropped. */
  oweRetained(subscription: Subscription): void {
    this.#snapshots ??= []
    this.#snapshots.push({
      subscription,
      entries: this.#broker.retained.matched(subscription.filter),
      next: null,
    })
  }

  #sendRetained(): void {
    const { link } = this
    let budget = RETAINED_TURN
    while (this.#snapshots !== null && link !== null) {
      const snapshot = this.#snapshots[0]
      if (snapshot === undefined) {
        this.#snapshots = null
        return
      }
      if (link.congested) return
      if (budget-- === 0) {
        this.#goOnWithRetained()
        return
      }
      snapshot.next ??= snapshot.entries.next().value ?? null
      if (snapshot.next === null) this.#snapshots.shift()
      else if (!this.#sendRetainedOne(snapshot.subscription, snapshot.next, link)) return
      else snapshot.next = null
    }
  }

  #goOnWithRetained(): void {
    if (this.#snapshotTurn) return
    this.#snapshotTurn = true
    this.#broker.runtime.nextTurn(() => {
      this.#snapshotTurn = false
      if (this.link !== null) this.#sendRetained()
    })
  }

  /** False when the window has no room. */
  #sendRetainedOne(subscription: Subscription, entry: RetainedEntry, link: Link): boolean {
    const { message, pos } = entry
    if (message.expires <= this.#broker.engine.now()) return true
    if (subscription.noLocal && message.publisher === this.id) return true
    const qos = Math.min(message.qos, subscription.qos) as QoS
    const identifiers = subscription.identifier === 0 ? null : [subscription.identifier]
    if (qos === 0) {
      if (!this.#send(message, 0, identifiers, true, 0, false)) {
        this.#broker.counters.droppedTooLarge++
      }
      return true
    }
    this.#window ??= new Window()
    if (!this.#window.room(link.receiveMaximum)) return false
    this.#enter(pos, message, qos, identifiers, true, { retained: message.topic.name })
    return true
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
  }

  /** The publisher released it, or it was refused. False when it was not known. */
  forgetReceived(packetId: number): boolean {
    return this.#receiving?.delete(packetId) ?? false
  }

  /** The log could not wait any longer: what it was owed before that position is lost, and counted. */
  evict(before: Pos): void {
    if (this.live) return
    for (const { packetId, pos, origin } of [...(this.#window?.entries() ?? [])]) {
      if (pos < before && (origin === null || 'group' in origin)) this.#finish(packetId)
    }
    if (this.scan >= before - 1) return
    this.scan = before - 1
    this.#broker.counters.sessionsEvicted++
    this.#broker.report('evicted', this.id)
  }

  // ---- At rest -------------------------------------------------------------------------------

  /** Lowest position that it may still need. */
  get floor(): Pos {
    const scan = this.live ? this.#broker.log.last : this.scan
    return Math.min(scan + 1, this.#window?.floor ?? Number.POSITIVE_INFINITY)
  }

  flow(): SessionFlow {
    return {
      cursor: this.live ? this.#broker.log.last : this.scan,
      sending: this.#window?.runs() ?? [],
      receiving: this.#receiving === null ? [] : [...this.#receiving],
      awaySince: this.awaySince,
      log: this.#broker.engine.log,
    }
  }

  profile(): SessionProfile {
    return {
      expiry: this.expiry,
      user: this.user,
      will: this.will,
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
    // Positions of another log, or beyond this one's end, mean nothing: start over and say so.
    const foreign = flow.log !== this.#broker.engine.log || flow.cursor > last
    this.scan = foreign ? Math.max(0, first - 1) : flow.cursor
    this.#window = foreign || flow.sending.length === 0 ? null : Window.from(flow.sending)
    if (foreign || this.scan < first - 1) this.overrun()
  }
}
