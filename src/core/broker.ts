// The broker as links, HTTP and an embedding program see it: everything of core in one place,
// wired together, and the few verbs that need more than one part.

import { type Access, type AccessClass, OPEN_ACCESS } from './access.ts'
import { type Activity, SILENT } from './activity.ts'
import { Copies } from './copies.ts'
import { Counters } from './counters.ts'
import { type Engine, EngineError, type EngineEvents, type LogRecord } from './engine.ts'
import { Groups } from './groups.ts'
import { Intake } from './intake.ts'
import { DEFAULT_LIMITS, type Limits } from './limits.ts'
import type { Sending } from './link.ts'
import { Log } from './log.ts'
import { Peers } from './peers.ts'
import { Retained } from './retained.ts'
import { RetainedExpiry } from './retained-expiry.ts'
import { Retention } from './retention.ts'
import { Router } from './router.ts'
import { MessageRun } from './run.ts'
import type { Runtime } from './runtime.ts'
import { Saver } from './saver.ts'
import { SelfPublisher } from './self-publisher.ts'
import type { Session } from './session.ts'
import { Sessions } from './sessions.ts'
import { type Group, isGroupRecord } from './share.ts'
import { type SubscribeRefusal, subscribeFault } from './subscribe-fault.ts'
import { Subscription } from './subscription.ts'
import { Sweep } from './sweep.ts'
import { sharedFilter } from './topic.ts'
import { type Topic, Topics } from './topics.ts'
import {
  type Message,
  NO_BYTES,
  type Pos,
  type QoS,
  type StoredSubscription,
  type SubscriptionOptions,
  type Will,
} from './types.ts'

/** Milliseconds after which a retained message is given again to an engine that was away. */
const RETAIN_AGAIN_MS = 1_000

export interface BrokerOptions {
  readonly engine: Engine
  readonly runtime: Runtime
  readonly access?: Access
  readonly limits?: Partial<Limits>
  /** Who pays when the log is full: those who are behind, the default, or those who publish. */
  readonly logFull?: LogFull
  readonly activity?: Activity
  /** Told what an operator should know, such as `evicted` about a client identifier. */
  readonly report?: (what: string, about: string) => void
}

/** What a door makes a message of. */
export interface MessageFields {
  readonly topic: string
  readonly payload: Buffer
  readonly properties?: Buffer
  readonly qos?: QoS
  readonly retain?: boolean
  /** Seconds; Infinity, the default, never expires. */
  readonly expiry?: number
  /** Client identifier of the publisher. */
  readonly publisher?: string
}

/** A message that cannot be published; its text says why. */
export class MessageError extends Error {}

export type SubscribeResult =
  | { readonly granted: QoS; readonly created: boolean; readonly subscription: Subscription }
  | SubscribeRefusal

/** 0 sends retained messages always, 1 only for a new subscription, 2 never. */
export type RetainHandling = 0 | 1 | 2

export type LogFull = 'evict' | 'reject'

export class Broker {
  readonly engine: Engine
  readonly runtime: Runtime
  readonly access: Access
  readonly activity: Activity
  readonly limits: Limits
  readonly logFull: LogFull
  readonly counters = new Counters()
  /** Where payloads go whose reads are not worth keeping; the log lets go of them in order. */
  readonly copies = new Copies()
  readonly topics: Topics
  readonly router: Router
  readonly retained: Retained
  readonly log: Log
  readonly intake: Intake
  readonly saver: Saver
  readonly sessions: Sessions
  readonly groups: Groups
  readonly report: (what: string, about: string) => void
  /** Lent to `Link.send`: one object for all messages. */
  readonly sending: Sending
  readonly #retention: Retention
  readonly sweep: Sweep
  readonly retainedExpiry: RetainedExpiry
  /** Other nodes; null where there can be none. */
  readonly #peers: Peers | null
  readonly #self: SelfPublisher
  #state: 'new' | 'up' | 'down' | 'failed' | 'closed' = 'new'
  #why = ''
  #ending = false
  /** To be told when the engine goes away. */
  readonly #downs = new Set<() => void>()
  /** Told when the engine goes down or comes back; `failed` is final. */
  onState: (state: 'up' | 'down' | 'failed', why: string) => void = () => {}

  constructor(options: BrokerOptions) {
    this.engine = options.engine
    this.runtime = options.runtime
    this.access = options.access ?? OPEN_ACCESS
    this.activity = options.activity ?? SILENT
    this.limits = { ...DEFAULT_LIMITS, ...options.limits }
    this.logFull = options.logFull ?? 'evict'
    this.report = options.report ?? (() => {})
    const { engine, runtime, limits, counters } = this
    this.topics = new Topics(limits, counters, runtime)
    this.router = new Router(this.topics, counters, runtime)
    this.retained = new Retained(limits, counters, engine.node !== null)
    this.log = new Log(engine, this.router, this.retained, limits, runtime)
    const append = (record: LogRecord): Promise<void> => {
      this.#retention.expects(record)
      if (record.saves.length > 0) this.saver.accompany(record.saves)
      return engine.append(record)
    }
    this.intake = new Intake({ append, node: engine.node }, this.router, limits, runtime)
    this.saver = new Saver(engine, runtime, this.intake)
    this.groups = new Groups(this)
    this.sessions = new Sessions(this)
    this.#retention = new Retention(this)
    this.retainedExpiry = new RetainedExpiry(this)
    this.sweep = new Sweep(this)
    this.#peers = engine.node === null ? null : new Peers(this)
    this.#self = new SelfPublisher()
    this.sending = {
      message: NO_MESSAGE,
      qos: 0,
      retain: false,
      identifiers: null,
      packetId: 0,
      duplicate: false,
    }
  }

  /** `up` when messages can be stored. */
  get state(): 'new' | 'up' | 'down' | 'failed' | 'closed' {
    return this.#state
  }

  /** Why the state is not `up`, for people. */
  get stateReason(): string {
    return this.#why
  }

  /** Opens the engine and takes up sessions and retained messages of an earlier run. */
  async open(): Promise<void> {
    await this.engine.open(this.#events())
    this.log.start()
    this.#peers?.start()
    this.#state = 'up'
    // Sessions of a cluster are wherever their clients went.
    if (this.engine.node !== null) this.sweep.start()
    else {
      await this.sessions.restore()
      if (this.engine.bounds().bytes > 0) this.#retention.stored()
    }
  }

  /** Closes every link, saves what is to be saved and closes the engine. */
  async close(why: string): Promise<void> {
    if (this.#ending) return
    this.#ending = true
    if (this.engine.node !== null && this.#state === 'up')
      await this.sessions.moves.ending(this.sessions.all())
    this.sessions.closeLinks(why)
    this.#state = 'closed'
    const ended = this.sessions.stop()
    this.sweep.stop()
    this.retainedExpiry.stop()
    this.#peers?.stop()
    const groups = this.groups.stop()
    // Wills of those just cut off, and what clients were quick enough to publish.
    this.intake.flush()
    await this.saver.flush()
    await Promise.all([ended, groups])
    await this.engine.close()
  }

  #events(): EngineEvents {
    return {
      record: (record: LogRecord) => {
        this.log.accept(record)
        if (record.wanted.includes(true)) this.#retention.stored()
      },
      retained: (change) => this.retained.restore(change),
      cast: (from, bytes) => this.#peers?.heard(from, bytes),
      kick: (id) => (isGroupRecord(id) ? this.groups.release(id) : this.sessions.moves.release(id)),
      state: (state, why) => this.#changed(state, why),
      node: (id, up) => {
        this.#peers?.node(id, up)
        this.sweep.node(id, up)
        this.groups.node(id, up)
      },
      lapsed: () => {
        this.report('lapsed', 'sessions are given up, since other nodes may take them')
        this.sweep.lapsed()
        this.sessions.moves.lapsed()
        this.groups.lapsed()
      },
      proved: () => {
        this.sweep.resumed()
        this.sessions.moves.unclaimed.engineBack()
      },
    }
  }

  #changed(state: 'up' | 'down' | 'failed', why: string): void {
    if (this.#state === 'closed') return
    this.#state = state
    this.#why = why
    if (state === 'down') {
      for (const tell of this.#downs) tell()
      this.#downs.clear()
    }
    if (state === 'up' && this.engine.node !== null) {
      this.#peers?.engineBack()
      this.sessions.moves.unclaimed.engineBack()
    }
    this.onState(state, why)
  }

  /** As what is awaited, or null when the engine goes away first. */
  unlessDown<T>(awaited: Promise<T>): Promise<T | null> {
    return new Promise((resolve, reject) => {
      const down = (): void => resolve(null)
      this.#downs.add(down)
      awaited.then(resolve, reject).finally(() => this.#downs.delete(down))
    })
  }

  // ---- Subscribing ---------------------------------------------------------------------------

  /**
   * Subscribes and answers what was granted. Retained messages are owed from now on and sent with
   * `session.settle()`, which the caller does once it has answered its client.
   */
  subscribe(
    session: Session,
    filter: string,
    options: SubscriptionOptions,
    retainHandling: RetainHandling = 0,
  ): SubscribeResult {
    const refused = subscribeFault(this, session, filter, options)
    if (refused !== null) return refused
    const shared = sharedFilter(filter)
    const group =
      shared !== null && typeof shared !== 'string'
        ? this.groups.at(shared.group, shared.filter, this.log.last)
        : null
    const known = session.subscription(filter)
    // One that is replaced goes on from where it was: nothing is lost meanwhile. [MQTT-3.8.4-4]
    const from = known?.from ?? this.log.last
    if (known !== null) this.#detachSubscription(known, 'replaced')
    const subscription = new Subscription(session, filter, options, from, group)
    this.#attachSubscription(subscription)
    const owesRetained = retainHandling === 0 || (retainHandling === 1 && known === null)
    if (group === null && owesRetained) session.oweRetained(subscription)
    return { granted: options.qos, created: known === null, subscription }
  }

  /** False when there was no such subscription. */
  unsubscribe(session: Session, filter: string): boolean {
    const subscription = session.subscription(filter)
    if (subscription === null) return false
    this.#detachSubscription(subscription, 'ended')
    return true
  }

  /** `moved` when another node takes the session with all its subscriptions. */
  unsubscribeAll(session: Session, why: 'ended' | 'moved' = 'ended'): void {
    for (const subscription of [...session.subscriptions()]) {
      this.#detachSubscription(subscription, why)
    }
  }

  /** A subscription from a session's record: it was checked when it was made. */
  resubscribe(session: Session, stored: StoredSubscription): void {
    const shared = sharedFilter(stored.filter)
    const group =
      shared !== null && typeof shared !== 'string'
        ? this.groups.at(shared.group, shared.filter, stored.from)
        : null
    this.#attachSubscription(new Subscription(session, stored.filter, stored, stored.from, group))
  }

  /** The session begins or ceases to outlive its link: its topics' audiences say so. */
  durabilityChanged(session: Session): void {
    session.renewDeliveries()
    for (const subscription of session.subscriptions()) {
      this.router.touch(subscription.group?.filter ?? subscription.filter)
    }
  }

  #attachSubscription(subscription: Subscription): void {
    const { session, group } = subscription
    session.addSubscription(subscription)
    if (group === null) {
      this.#peers?.interest.added(subscription.filter)
      this.router.add(subscription.filter, subscription)
      return
    }
    group.join(subscription)
    this.membersChanged(group)
    this.router.touch(group.filter)
    this.groups.route(group)
    group.lending?.start()
    this.runtime.atTurnEnd(() => group.settle())
  }

  #detachSubscription(subscription: Subscription, why: 'replaced' | 'ended' | 'moved'): void {
    const { session, group } = subscription
    session.removeSubscription(subscription.filter)
    if (group === null) {
      this.#peers?.interest.removed(subscription.filter)
      this.router.remove(subscription.filter, subscription)
      return
    }
    group.leave(subscription)
    this.membersChanged(group)
    // One that is replaced is back in this turn.
    if (why === 'replaced') this.router.touch(group.filter)
    else this.groups.left(group, session, why)
  }

  /** Members came or left, or their connections did. */
  membersChanged(group: Group): void {
    this.#peers?.interest.noticed(group)
  }

  // ---- Publishing ----------------------------------------------------------------------------

  /** A message from outside MQTT. Throws MessageError when topic or size are not allowed. */
  message(fields: MessageFields): Message {
    const topic = this.topics.named(fields.topic)
    if (topic === null) {
      const bytes = Buffer.from(fields.topic)
      throw new MessageError(this.topics.fault(bytes, 0, bytes.length) ?? 'the topic is not valid')
    }
    const at = this.engine.now()
    return {
      topic,
      payload: fields.payload,
      properties: fields.properties ?? NO_BYTES,
      qos: fields.qos ?? 0,
      retain: fields.retain ?? false,
      at,
      expires: at + (fields.expiry ?? Number.POSITIVE_INFINITY) * 1000,
      publisher: fields.publisher ?? '',
    }
  }

  /** Publishes in the broker's own name. QoS 1 and 2 resolve when stored; rejects with the engine's fault. */
  async publish(message: Message): Promise<void> {
    this.counters.messagesIn++
    this.counters.bytesIn += message.payload.length
    if (message.qos > 0) return this.#self.publish(this.intake, message)
    this.passMessages([message], message.publisher)
  }

  /** Hands QoS 0 messages on: consecutive ones for the same audience as one run. */
  passMessages(messages: readonly Message[], publisher: string): void {
    let start = 0
    for (let i = 0; i < messages.length; i++) {
      const message = messages[i] as Message
      if (message.retain) this.retain(message)
      const audience = this.router.audience(message.topic)
      const next = messages[i + 1]
      if (next !== undefined && this.router.audience(next.topic) === audience) continue
      const run = new MessageRun(messages.slice(start, i + 1), publisher)
      start = i + 1
      if (!audience.empty) this.router.pass(run, audience)
    }
  }

  /**
   * Keeps a copy of a retained message of QoS 0, which no record carries. `pos` is the place in the log that it
   * comes behind: the tail, or what its publisher sent before it.
   */
  retain(message: Message, behind: Pos = this.log.last): void {
    // Another node may have heard more of the log than this one: what comes now is newer all the same.
    const pos = this.engine.node === null ? behind : this.#newest(message, behind)
    if (!this.retained.room(message) || !this.retained.apply(message, pos)) return
    const { name } = message.topic
    // The server's own figures are of this moment and this node: never stored.
    if (!this.engine.durable || name.startsWith('$SYS/')) return
    this.#storeRetained(name, pos)
  }

  /** Until it is stored, or a newer one took its place. */
  #storeRetained(topic: string, pos: Pos): void {
    const message = this.retained.get(topic)?.message ?? null
    this.engine.retain([{ topic, message, pos }]).catch((error: unknown) => {
      const again = error instanceof EngineError && error.fault === 'down'
      if (!again || this.engine.node === null) {
        this.report('retained message not stored', `${topic}: ${String(error)}`)
        return
      }
      this.runtime.after(RETAIN_AGAIN_MS, () => {
        if (this.retained.posOf(topic) === pos) this.#storeRetained(topic, pos)
      })
    })
  }

  #newest({ topic }: Message, behind: Pos): Pos {
    return behind === this.log.last ? Math.max(behind, this.retained.posOf(topic.name)) : behind
  }

  publishWill(will: Will, publisher: string): void {
    try {
      const left = this.message({ ...will, publisher })
      // Wills are told to subscribers also where there is no room to keep them.
      const message = left.retain && !this.retained.room(left) ? { ...left, retain: false } : left
      this.publish(message).catch((error: unknown) => {
        this.report('will not published', `${publisher}: ${String(error)}`)
      })
    } catch (error) {
      this.report('will not published', `${publisher}: ${String(error)}`)
    }
  }

  /** Whether that class may publish there; asked once per topic and class. */
  mayPublish(topic: Topic, access: AccessClass): boolean {
    if (topic.judgedFor === access) return topic.mayPublish
    // The server's own figures are nobody else's to write.
    topic.mayPublish = !topic.name.startsWith('$SYS/') && access.mayPublish(topic.name)
    topic.judgedFor = access
    return topic.mayPublish
  }
}

const NO_MESSAGE = {} as Message
