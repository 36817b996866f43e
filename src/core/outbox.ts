// What a session has under way to its client: the window of QoS 1 and 2 messages that are not
// acknowledged, those to send again when the client comes back, and retained messages on their
// way to new subscriptions. Made at first use; an idle session has none.

import type { Broker } from './broker.ts'
import type { Link } from './link.ts'
import type { RetainedEntry } from './retained.ts'
import type { Session } from './session.ts'
import type { Group } from './share.ts'
import type { Subscription } from './subscription.ts'
import { type Message, type Pos, type QoS, type SendRun, SendState } from './types.ts'
import { type Origin, Window, type WindowEntry } from './window.ts'

/** Retained messages sent to one session in one turn. */
const RETAINED_TURN = 1_000
/** Milliseconds after which what could not be saved is saved again. */
const SAVE_AGAIN_MS = 500

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

export class Outbox {
  readonly #session: Session
  readonly #broker: Broker
  #window: Window
  /** By filter: who subscribes again is owed them once more, and not twice. */
  #snapshots: Map<string, Snapshot> | null = null
  #snapshotTurn = false
  /** Left to send again since the client came back; nothing new goes out before. */
  #resending: WindowEntry[] | null = null
  #resent = 0
  #fetching = false
  #held: Held[] | null = null
  /** The save that `#held` waits for. */
  #heldFor: Promise<void> | null = null

  constructor(session: Session, broker: Broker, sending: readonly SendRun[] = []) {
    this.#session = session
    this.#broker = broker
    this.#window = Window.from(sending)
  }

  /** How many more messages a client that takes `limit` at once would get now. */
  room(limit: number): number {
    return this.#window.free(limit)
  }

  /** Messages sent and not finished. */
  get inFlight(): number {
    return this.#window.inFlight
  }

  /** Whether it can be dropped: nothing is under way and no packet identifier was ever handed out. */
  get unused(): boolean {
    return !this.#window.used && this.#snapshots === null && this.#resending === null
  }

  /** Whether an earlier client's messages go out again before anything new does. */
  get resending(): boolean {
    return this.#resending !== null
  }

  /** Lowest position of the log still needed for sending again, Infinity when none is. */
  get floor(): Pos {
    return this.#window.floor
  }

  /** For the session's record. */
  runs(): SendRun[] {
    return this.#window.runs()
  }

  // ---- Link ----------------------------------------------------------------------------------

  /** The client is back: what it had not acknowledged goes out first. */
  attach(): void {
    this.#resending = [...this.#window.entries()].filter(({ origin }) => !isLent(origin))
    this.#resent = 0
    for (const entry of this.#window.entries()) {
      if (entry.origin !== null && 'awaits' in entry.origin) this.#ask(entry, entry.origin.awaits)
    }
  }

  /** Taken over from a group that may not know it, perhaps at another node. */
  #ask({ packetId, pos }: WindowEntry, key: string): void {
    this.#broker.groups
      .named(key)
      .handed(pos)
      .then(() => this.#isOurs(packetId))
  }

  /** The client is gone. What it had not acknowledged stays; shared QoS 1 goes to others. */
  detach(): void {
    this.#resending = null
    this.#held = null
    // What it was promised at SUBSCRIBE comes when it is back. A restart forgets it.
    if (!this.#session.durable) this.#snapshots = null
    const returned: [Group, Pos][] = []
    for (const { packetId, pos, state, origin } of [...this.#window.entries()]) {
      if (origin === null || !('group' in origin)) continue
      // On its way into this session's record, whether its client is there or not.
      if (state === SendState.transmitted && isLent(origin) && this.#session.persistent) continue
      if (state === SendState.published) {
        this.#window.finish(packetId)
        returned.push([origin.group, pos])
        // A session that ends must not pass QoS 2 on; one that stays completes it. [MQTT-4.8.2-4] [MQTT-4.8.2-5]
      } else origin.group.finished(pos)
    }
    for (const [group, pos] of returned) group.returned(pos)
  }

  /**
   * Does without what stands before that position in the log; what the client holds it may still acknowledge.
   * Returns how many messages cannot be sent again for it.
   */
  evict(before: Pos): number {
    return this.#window.lose(before)
  }

  // ---- Sending -------------------------------------------------------------------------------

  /** QoS 1 or 2, into the window and out, QoS 2 not before it is saved. False: the window has no room. */
  enter(
    pos: Pos,
    message: Message,
    qos: QoS,
    identifiers: readonly number[] | null,
    retain: boolean,
    origin: Origin | null,
    link: Link,
  ): boolean {
    if (!this.#window.room(link.receiveMaximum)) return false // [MQTT-3.3.4-9]
    const state = qos === 1 ? SendState.published : SendState.transmitted
    const packetId = this.#window.add(pos, state, origin)
    const held = { packetId, message, identifiers, retain }
    const group = origin !== null && 'group' in origin ? origin.group : null
    if (qos === 2 && this.#session.persistent) {
      if (group !== null && group.lending !== null) this.#takeOver(held, pos, group)
      else {
        this.#hold(held)
        group?.moved(pos, this.#session)
      }
    } else this.#send(message, qos, identifiers, retain, packetId, false)
    return true
  }

  #send(
    message: Message,
    qos: QoS,
    identifiers: readonly number[] | null,
    retain: boolean,
    packetId: number,
    duplicate: boolean,
  ): void {
    if (this.#session.send(message, qos, identifiers, retain, packetId, duplicate)) return
    if (packetId !== 0) this.#finish(packetId) // As if it had been sent and acknowledged. [MQTT-3.1.2-28]
  }

  /** QoS 2 towards the client is exactly once only if we remember before we send. */
  #hold(held: Held): void {
    const { link } = this.#session
    const saved = this.#broker.saver.flow(this.#session)
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
        if (this.#session.link !== link || link === null) return
        for (const one of batch) this.#letGo(one, link)
      },
      () => this.#session.link?.close('engine-lost', 'the session could not be saved'),
    )
  }

  /**
   * Where nodes share the log, group and member have records of their own: it is in this session's before the group
   * calls it done, and sent once the group has.
   */
  #takeOver(held: Held, pos: Pos, group: Group): void {
    const session = this.#session
    const { link } = session
    this.#broker.saver.flow(session).then(
      () => group.handed(pos).then(() => this.#isOurs(held.packetId, held, link)),
      () => {
        session.link?.close('engine-lost', 'the session could not be saved')
        const again = (): void => this.#takeOverAgain(held, pos, group)
        if (session.gone) again()
        else this.#broker.runtime.after(SAVE_AGAIN_MS, again)
      },
    )
  }

  /** It may have been saved all the same: nobody else gets the message before that is known. */
  #takeOverAgain(held: Held, pos: Pos, group: Group): void {
    const session = this.#session
    if (session.gone) group.doubted(pos, session)
    else if (this.#broker.sessions.get(session.id) === session) this.#takeOver(held, pos, group)
    // It has ended, and what it was to get with it. [MQTT-4.8.2-5]
    else void group.handed(pos)
  }

  /** The group knows that nobody else gets it: it can be sent. */
  #isOurs(packetId: number, held: Held | null = null, to: Link | null = null): void {
    const entry = [...this.#window.entries()].find((one) => one.packetId === packetId)
    if (entry === undefined || !isLent(entry.origin)) return
    this.#window.keep(packetId)
    const { link } = this.#session
    if (link === null || this.#session.gone) return
    if (held !== null && link === to) {
      this.#letGo(held, link)
      return
    }
    this.#resending ??= []
    this.#resending.push({ ...entry, origin: null })
    void this.resend()
  }

  #letGo({ packetId, message, identifiers, retain }: Held, link: Link): void {
    if (message === null) link.release(packetId)
    else this.#send(message, 2, identifiers, retain, packetId, false)
  }

  // ---- Acknowledgements ----------------------------------------------------------------------

  /** PUBACK. Returns false when the identifier was not waiting for one. */
  acknowledged(packetId: number): boolean {
    if (this.#window.state(packetId) !== SendState.published) return false
    this.#finish(packetId)
    return true
  }

  /** PUBREC. Answers with PUBREL, now or once saved. False: the identifier is unknown. */
  received(packetId: number, refused: boolean): boolean {
    const { link, persistent } = this.#session
    const state = this.#window.state(packetId)
    if (state !== SendState.transmitted && state !== SendState.released) return false
    if (refused && state === SendState.transmitted) {
      this.#finish(packetId) // [MQTT-4.4.0-2]
      return true
    }
    // One that repeats itself is answered again, and no sooner: the save may still be on its way.
    this.#window.advance(packetId, SendState.released)
    if (persistent) this.#hold({ packetId, message: null, identifiers: null, retain: false })
    else link?.release(packetId)
    return true
  }

  /** PUBCOMP. */
  completed(packetId: number): boolean {
    if (this.#window.state(packetId) !== SendState.released) return false
    this.#finish(packetId)
    return true
  }

  #finish(packetId: number): void {
    const { pos, origin } = this.#window.finish(packetId)
    if (origin !== null && 'group' in origin) origin.group.finished(pos)
    if (this.#resent > 0) this.#resent--
    if (this.#session.persistent) this.#broker.saver.lazily(this.#session)
  }

  // ---- Sending again -------------------------------------------------------------------------

  /** In the order they were first sent, with their identifiers. [MQTT-4.4.0-1] [MQTT-4.6.0-1] */
  async resend(): Promise<void> {
    if (this.#fetching) return
    this.#fetching = true
    const session = this.#session
    const { link } = session
    try {
      while (session.link === link && link !== null && this.#resending !== null) {
        const entry = this.#resending[0]
        if (entry === undefined) {
          this.#resending = null
          break
        }
        if (this.#resent >= link.receiveMaximum || link.congested) break
        if (this.#window.state(entry.packetId) === entry.state) {
          const message = entry.state === SendState.released ? null : await this.#owed(entry)
          if (session.link !== link) break
          this.#sendAgain(entry, message, link)
        }
        this.#resending?.shift()
      }
    } catch {
      link?.close('engine-lost', 'messages to send again could not be read')
    } finally {
      this.#fetching = false
    }
    if (session.link === null) return
    if (session.link !== link) void this.resend()
    else if (this.#resending === null) session.settle()
  }

  /** Nothing to wait for: a session that is stored was saved whole before its client heard CONNACK. */
  #sendAgain(entry: WindowEntry, message: Message | null, link: Link): void {
    if (entry.state === SendState.released) {
      this.#resent++
      link.release(entry.packetId)
      return
    }
    if (message === null) {
      // Superseded, or evicted from the log.
      if (entry.state === SendState.published) this.#finish(entry.packetId)
      else {
        // It may have been received: its identifier would be taken for the same message until it is released.
        this.#resent++
        this.#window.advance(entry.packetId, SendState.released)
        link.release(entry.packetId)
      }
      return
    }
    const delivery = this.#broker.router.audience(message.topic).of(this.#session)
    const qos = entry.state === SendState.published ? 1 : 2
    const retained = entry.origin !== null && 'retained' in entry.origin
    const retain = retained || (message.retain && delivery?.retainAsPublished === true)
    this.#resent++
    this.#send(message, qos, delivery?.identifiers ?? null, retain, entry.packetId, true)
  }

  #owed({ pos, origin }: WindowEntry): Promise<Message | null> | Message | null {
    const { log } = this.#broker
    if (origin === null || !('retained' in origin)) return log.message(pos)
    const { retained } = origin
    if (pos <= log.last) return this.#retainedAt(retained, pos)
    // Another node sent it that has heard more of the log.
    return log.reached(pos).then(() => this.#retainedAt(retained, pos))
  }

  #retainedAt(topic: string, pos: Pos): Message | null {
    const entry = this.#broker.retained.get(topic)
    // One of QoS 0 that came behind it has no position of its own, and is another message.
    return entry !== null && entry.pos === pos && entry.message.qos > 0 ? entry.message : null
  }

  // ---- Retained messages ---------------------------------------------------------------------

  /** Owes the retained messages that a new subscription matches; paced by the client, never dropped. */
  oweRetained(subscription: Subscription): void {
    const { filter } = subscription
    this.#snapshots ??= new Map()
    this.#snapshots.delete(filter)
    this.#snapshots.set(filter, {
      subscription,
      entries: this.#broker.retained.matched(subscription.filter),
      next: null,
    })
  }

  /** Goes on with those owed, as far as there is room. */
  sendRetained(): void {
    const { link } = this.#session
    let budget = RETAINED_TURN
    while (this.#snapshots !== null && link !== null) {
      const snapshot: Snapshot | undefined = this.#snapshots.values().next().value
      if (snapshot === undefined) {
        this.#snapshots = null
        return
      }
      const { subscription } = snapshot
      if (this.#session.subscription(subscription.filter) !== subscription) {
        this.#snapshots.delete(subscription.filter)
        continue
      }
      if (link.congested) return
      if (budget-- === 0) {
        this.#goOnWithRetained()
        return
      }
      snapshot.next ??= snapshot.entries.next().value ?? null
      if (snapshot.next === null) this.#snapshots.delete(subscription.filter)
      else if (!this.#sendRetainedOne(subscription, snapshot.next, link)) return
      else snapshot.next = null
    }
  }

  #goOnWithRetained(): void {
    if (this.#snapshotTurn) return
    this.#snapshotTurn = true
    this.#broker.runtime.nextTurn(() => {
      this.#snapshotTurn = false
      if (this.#session.link !== null) this.sendRetained()
    })
  }

  /** False when the window has no room. */
  #sendRetainedOne(subscription: Subscription, entry: RetainedEntry, link: Link): boolean {
    const { message, pos } = entry
    if (message.expires <= this.#broker.engine.now()) return true
    if (subscription.noLocal && message.publisher === this.#session.id) return true
    const qos = Math.min(message.qos, subscription.qos) as QoS
    const identifiers = subscription.identifier === 0 ? null : [subscription.identifier]
    if (qos === 0) {
      this.#send(message, 0, identifiers, true, 0, false)
      return true
    }
    const origin = { retained: message.topic.name }
    return this.enter(pos, message, qos, identifiers, true, origin, link)
  }
}

/** Whether a shared group of several nodes may not know yet that the session has it. */
function isLent(origin: Origin | null): boolean {
  if (origin === null) return false
  return 'awaits' in origin || ('group' in origin && origin.group.lending !== null)
}
