// One line connection: what its lines mean in the role it has, and what it is sent. Speaks
// docs/protocol.md over one wire and dies with it.

import type { Broker } from '../../core/broker.ts'
import type { Goodbye, Link, Sending } from '../../core/link.ts'
import type { Run } from '../../core/run.ts'
import type { Session } from '../../core/session.ts'
import type { Topic } from '../../core/topics.ts'
import { RECORD_MESSAGES_MAX } from '../../core/types.ts'
import type { Wire, WireReader } from '../../net/wire.ts'
import * as answers from './answers.ts'
import { type Command, OVERLONG, parseCommand, parsePublisherLine } from './codec.ts'
import { shown, shownBytes } from './display.ts'
import type { LineDoor } from './door.ts'
import { Farewell } from './farewell.ts'
import { Guest } from './guest.ts'
import { IdleWatch } from './idle.ts'
import { Hold, Inbox } from './inbox.ts'
import { Publishing } from './publishing.ts'
import { Receiving } from './receiving.ts'
import { filterError, subscribeAll } from './subscribing.ts'

const DEFAULT_TOPIC = 'general'
/** Messages after which others have their turn: short lines to many topics are many from few bytes. */
const MESSAGES_PER_TURN = 8 * RECORD_MESSAGES_MAX

type Role = 'none' | 'publisher' | 'subscriber'

export class LineLink implements WireReader, Link {
  readonly door: string
  readonly #wire: Wire
  readonly #shared: LineDoor
  readonly #broker: Broker
  readonly #inbox: Inbox
  readonly #guest: Guest
  readonly #publishing: Publishing
  readonly #receiving: Receiving
  readonly #farewell: Farewell
  #role: Role = 'none'
  #topics: readonly Topic[] = []
  #answeredText = false
  /** Messages since it last let others have their turn. */
  #sinceTurn = 0
  /** Said goodbye, or was told to go: nothing that comes now counts. */
  #leaving = false
  #closed = false
  /** Someone may be thinking: only who has no role is ever asked to go, and late. */
  #idle: IdleWatch | null

  constructor(wire: Wire, shared: LineDoor) {
    const { broker } = shared
    this.#wire = wire
    this.#shared = shared
    this.#broker = broker
    this.door = `${wire.transport}/line`
    this.#inbox = new Inbox(wire, broker.limits.lineBytes, {
      lines: (lines, at) => this.#take(lines, at),
      ended: () => this.#leave(() => this.#farewell.partWhoEnded()),
    })
    this.#receiving = new Receiving(wire, broker)
    this.#farewell = new Farewell(this, wire, broker, this.#receiving)
    this.#guest = new Guest(broker, this, wire.address, {
      answer: (line) => this.#answer(line),
      dismiss: (line) => this.#sayGoodbye(line),
    })
    this.#publishing = new Publishing(broker, this, {
      say: (line) => this.#receiving.say(line),
      roomAgain: () => this.#inbox.release(Hold.room),
    })
    const { idleTimeout } = broker.limits
    this.#idle = new IdleWatch(broker.runtime, idleTimeout * 1000, () => {
      broker.counters.limitsReached++
      this.#dismiss(answers.idle(idleTimeout), 'it said nothing for too long')
    })
    broker.activity.connected(this)
  }

  get peer(): string {
    return this.#wire.peer
  }

  /** The identifier of a nameless session is nobody's business. */
  get clientId(): string {
    return this.#guest.name
  }

  get congested(): boolean {
    return this.#wire.queued > this.#broker.limits.queueBytes
  }

  get receiveMaximum(): number {
    return this.#broker.limits.sendWindow
  }

  /** What WHO says about it. */
  get label(): string {
    const who = this.clientId || this.#guest.user || this.peer
    return this.#role === 'none' ? `${who}, no role yet` : `${who}, ${this.#role}`
  }

  // ---- From the wire -------------------------------------------------------------------------

  read(chunk: Buffer): void {
    this.#idle?.heard()
    // Lines are decoded as they are wanted, which may be long after this turn.
    this.#wire.keep()
    this.#inbox.read(chunk)
  }

  ended(): void {
    this.#inbox.end()
  }

  closed(fault?: Error): void {
    this.#closed = true
    this.#leaving = true
    this.#inbox.stop()
    this.#farewell.closed(fault)
    this.#idle?.stop()
    this.#shared.links.delete(this)
    this.#publishing.forget()
    this.#receiving.close()
    this.#guest.go()
  }

  drained(): void {
    this.#inbox.release(Hold.reader)
    this.#guest.session?.settle()
  }

  // ---- From core -----------------------------------------------------------------------------

  pass(run: Run): void {
    if (this.congested) this.#broker.counters.droppedSlow += run.count
    else this.#receiving.deliver(this.#shared.lines(run), run.count)
  }

  send({ message, qos, packetId }: Sending): boolean {
    this.#receiving.deliver(this.#shared.line(message), 1)
    if (qos > 0) this.#receiving.owes(this.#guest.session, packetId)
    return true
  }

  /** Nobody at a terminal acknowledges: the second half of QoS 2 follows the first at once. */
  release(packetId: number): void {
    const { session } = this.#guest
    this.#broker.runtime.nextTurn(() => {
      if (session === null || this.#guest.session !== session) return
      session.completed(packetId)
      session.settle()
    })
  }

  close(goodbye: Goodbye, why: string): void {
    this.#dismiss(answers.parting(goodbye, this.clientId), why)
  }

  // ---- Lines ---------------------------------------------------------------------------------

  #take(lines: readonly Buffer[], at: number): number {
    if (this.#role === 'publisher') return this.#takeMessages(lines, at)
    this.#takeCommand(lines[at] as Buffer)
    if (this.congested) this.#inbox.hold(Hold.reader)
    return at + 1
  }

  /** Everything up to the next line that is no message goes to the broker in one call. */
  #takeMessages(lines: readonly Buffer[], from: number): number {
    const most = Math.ceil(RECORD_MESSAGES_MAX / this.#topics.length)
    const payloads: Buffer[] = []
    for (let at = from; at < lines.length && payloads.length < most; at++) {
      const line = lines[at] as Buffer
      const parsed = line === OVERLONG ? null : parsePublisherLine(line)
      if (parsed?.is === 'message') {
        payloads.push(parsed.payload)
        continue
      }
      if (payloads.length > 0) break
      if (parsed === null) this.#answer(this.#shared.overlong())
      else if (parsed.is === 'terminate') this.#sayGoodbye(answers.GOODBYE)
      else this.#takeSlashCommand(parsed.line)
      if (this.congested) this.#inbox.hold(Hold.reader)
      return at + 1
    }
    this.#publish(this.#topics, payloads)
    return from + payloads.length
  }

  #takeSlashCommand(line: Buffer): void {
    const command = parseCommand(line)
    switch (command.verb) {
      case 'text':
      case 'nothing':
        this.#answer(answers.noSlashCommand(shownBytes(line)))
        break
      case 'subscriber':
      case 'sub':
      case 'unsub':
        this.#answer(answers.IS_PUBLISHER)
        break
      default:
        this.#obey(command)
    }
  }

  #takeCommand(line: Buffer): void {
    if (line === OVERLONG) {
      this.#answer(this.#shared.overlong())
      return
    }
    const command = parseCommand(line)
    if (command.verb !== 'text') this.#obey(command)
    else if (this.#role !== 'none') this.#answer(answers.noCommand(shownBytes(line)))
    else this.#known(() => this.#hear(shownBytes(line)))
  }

  #hear(text: string): void {
    this.#broker.activity.said(this, text)
    if (!this.#answeredText) this.#answer(answers.HEARD)
    this.#answeredText = true
  }

  #obey(command: Command): void {
    switch (command.verb) {
      case 'publisher':
        if (this.#role === 'subscriber') this.#answer(answers.IS_SUBSCRIBER)
        else this.#entered((session) => this.#bePublisher(session, command.topics))
        break
      case 'subscriber':
        if (this.#role === 'subscriber') this.#answer(answers.IS_SUBSCRIBER)
        else this.#wait(this.#beSubscriber(command.filters, command.name))
        break
      case 'sub':
        if (this.#role === 'none') this.#wait(this.#beSubscriber(command.filters, ''))
        else this.#entered((session) => this.#subscribeMore(session, command.filters))
        break
      case 'unsub':
        this.#unsubscribe(command.filters)
        break
      case 'pub':
        this.#entered((session) => this.#publishOne(session, command.topic, command.text))
        break
      case 'login':
        if (this.#role !== 'none') this.#answer(answers.LOGIN_LATE)
        else this.#wait(this.#guest.logIn(command.name, command.password))
        break
      case 'topics':
        this.#known(() => this.#answer(this.#shared.listTopics(this.#guest.access)))
        break
      case 'who':
        this.#known(() => this.#answer(this.#shared.listLinks(this)))
        break
      case 'help':
        this.#answer(answers.HELP.join('\n'))
        break
      case 'forget':
        if (this.clientId === '') this.#answer(answers.NO_NAME)
        else this.#sayGoodbye(answers.forgotten(this.clientId), 0)
        break
      case 'terminate':
        this.#sayGoodbye(answers.GOODBYE)
        break
      case 'wrong':
        this.#answer(`ERR ${command.why}`)
    }
  }

  #answer(line: string): void {
    if (!this.#closed) this.#publishing.answer(line)
  }

  /** Once it is settled who this is; says why not. */
  #known(work: () => void): void {
    if (this.#guest.known) work()
    else
      this.#wait(
        this.#guest.identify().then((known) => {
          if (known) work()
        }),
      )
  }

  /** With the session of this connection, a nameless one if there is none yet. */
  #entered(work: (session: Session) => Promise<void> | void): void {
    const { session } = this.#guest
    const done = session === null ? this.#enter(work) : work(session)
    if (done !== undefined) this.#wait(done)
  }

  async #enter(work: (session: Session) => Promise<void> | void): Promise<void> {
    const connected = await this.#guest.enter('')
    connected?.session.start()
    if (connected !== null) await work(connected.session)
  }

  /** Lines that follow wait, so that answers keep the order of the lines. */
  #wait(work: Promise<void>): void {
    this.#inbox.hold(Hold.answer)
    work
      .catch((error: unknown) => {
        // The engine, or a bound of core: this line was not done, and the next one may be.
        const why = error instanceof Error ? error.message : String(error)
        this.#broker.report('line not handled', `${this.peer}: ${why}`)
        this.#answer(`ERR that did not work, ${shown(why)}; try again later`)
      })
      .then(() => this.#inbox.release(Hold.answer))
  }

  // ---- Roles ---------------------------------------------------------------------------------

  #bePublisher(session: Session, names: readonly string[]): void {
    const wanted = names.length > 0 ? [...new Set(names)] : [DEFAULT_TOPIC]
    const topics = this.#publishing.topics(wanted, session)
    if (topics === null) return
    this.#topics = topics
    this.#takeRole('publisher', wanted)
    this.#answer(answers.publishes(wanted))
  }

  #publishOne(session: Session, name: string, text: Buffer): void {
    const topics = this.#publishing.topics([name], session)
    if (topics === null) return
    this.#publish(topics, [text])
    this.#publishing.answerFor(name)
  }

  #publish(topics: readonly Topic[], payloads: readonly Buffer[]): void {
    const { counters, runtime } = this.#broker
    this.#publishing.publish(topics, payloads, this.#guest.session?.id ?? '')
    this.#sinceTurn += topics.length * payloads.length
    if (!this.#publishing.room()) {
      counters.linksPaused++
      this.#inbox.hold(Hold.room)
    }
    if (this.#sinceTurn < MESSAGES_PER_TURN) return
    this.#sinceTurn = 0
    this.#inbox.hold(Hold.turn)
    runtime.nextTurn(() => this.#inbox.release(Hold.turn))
  }

  async #beSubscriber(filters: readonly string[], name: string): Promise<void> {
    // Syntax first, so that a mistyped filter does not disturb a session that is there.
    const mistyped = filterError(filters)
    const connected = mistyped === null ? await this.#guest.enter(name) : null
    if (mistyped !== null) this.#answer(mistyped)
    if (connected === null) return
    const { session, present } = connected
    const kept = [...session.subscriptions()].map(({ filter }) => filter)
    const named = filters.length > 0 ? [...new Set(filters)] : kept
    const wanted = named.length > 0 ? named : [DEFAULT_TOPIC]
    const refused = subscribeAll(this.#broker, session, wanted)
    if (refused !== null) {
      this.#guest.leave(present ? undefined : 0)
      this.#refuse(refused)
      return
    }
    for (const filter of kept) {
      if (!wanted.includes(filter)) this.#broker.unsubscribe(session, filter)
    }
    if (session.persistent) await this.#broker.saver.profile(session)
    if (this.#leaving) return
    this.#takeRole('subscriber', wanted)
    this.#answer(answers.receives(wanted, name, present))
    session.start()
  }

  async #subscribeMore(session: Session, filters: readonly string[]): Promise<void> {
    const refused = filterError(filters) ?? subscribeAll(this.#broker, session, filters)
    if (refused !== null) {
      this.#refuse(refused)
      return
    }
    if (session.persistent) await this.#broker.saver.profile(session)
    this.#broker.activity.subscribed(this, filters)
    this.#answer(answers.alsoReceives(filters))
    session.settle()
  }

  #refuse(answer: string): void {
    this.#broker.activity.refused(this, answer.slice('ERR '.length))
    this.#answer(answer)
  }

  #unsubscribe(filters: readonly string[]): void {
    const { session } = this.#guest
    if (session === null || this.#role !== 'subscriber') {
      this.#answer(answers.NO_SUBSCRIPTIONS)
      return
    }
    const missing = filters.find((filter) => session.subscription(filter) === null)
    if (missing === undefined) this.#wait(this.#receiveLess(session, filters))
    else this.#answer(answers.doesNotReceive(missing))
  }

  async #receiveLess(session: Session, filters: readonly string[]): Promise<void> {
    for (const filter of filters) this.#broker.unsubscribe(session, filter)
    if (session.persistent) await this.#broker.saver.profile(session)
    this.#broker.activity.unsubscribed(this, filters)
    this.#answer(answers.noLongerReceives(filters))
  }

  #takeRole(role: 'publisher' | 'subscriber', topics: readonly string[]): void {
    this.#role = role
    this.#idle?.stop()
    this.#idle = null
    this.#broker.activity.role(this, role, topics)
  }

  // ---- The end -------------------------------------------------------------------------------

  /** Ends once everything before is done: messages stored, answers given. */
  #sayGoodbye(line: string, expiry?: number): void {
    this.#leave(() => this.#farewell.part(line), expiry)
  }

  #leave(part: () => void, expiry?: number): void {
    if (this.#leaving) return
    this.#leaving = true
    this.#inbox.stop()
    this.#receiving.settle()
    this.#guest.go(expiry)
    this.#publishing.whenDone(part)
  }

  #dismiss(line: string, why: string): void {
    if (this.#leaving) return
    this.#leaving = true
    this.#inbox.stop()
    this.#guest.go()
    this.#farewell.dismiss(line, why)
  }
}
