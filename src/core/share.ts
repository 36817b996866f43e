// A shared subscription's group: one cursor over the log for all members, each message lent to
// one of them. What a member that goes away had not acknowledged is lent to another.

import { Mark } from './audience.ts'
import type { Broker } from './broker.ts'
import { Cursor } from './cursor.ts'
import { Lending } from './lending.ts'
import type { Log } from './log.ts'
import type { Session } from './session.ts'
import { countAbove } from './stretch.ts'
import { type Subscription, SubscriptionList } from './subscription.ts'
import {
  type Message,
  type Pos,
  SendState,
  type SessionFlow,
  type SessionProfile,
} from './types.ts'

/** Records of groups are kept beside those of sessions: no client identifier can hold U+0000. */
const RECORD_PREFIX = '\u0000share/'

/** Whether a stored record is a group's and not a session's. */
export function isGroupRecord(id: string): boolean {
  return id.startsWith(RECORD_PREFIX)
}

export class Group extends Cursor {
  readonly #broker: Broker
  readonly name: string
  /** Without `$share/name/`. */
  readonly filter: string
  readonly mark: Mark
  /** Of its record; 0 until the record is claimed. */
  epoch = 0
  /** Its record is on its way: nothing is lent, because who keeps QoS 2 for itself and the group are saved as one. */
  claiming = false
  leaving = false
  /** Tail of the log when the first of the members here asked for it. */
  since: Pos
  /** Whether the router knows it. */
  routed = false
  /** What is between the nodes that have members; null where there is one node. */
  readonly lending: Lending | null
  readonly #members = new SubscriptionList()
  #turn = 0
  /** What stands before it in the log is gone: a member that holds it may acknowledge it, nobody else gets it. */
  #lostBefore: Pos = 0
  /** Lent and not acknowledged. */
  readonly #lent = new Map<Pos, Message | null>()
  /** Given back by members that went, or lent when an earlier run ended; served before anything new. */
  #returned: { readonly pos: Pos; message: Message | null }[] = []
  #fetching = false

  /** Messages after `from` are its members'. */
  constructor(name: string, filter: string, from: Pos, broker: Broker) {
    super()
    this.#broker = broker
    this.name = name
    this.filter = filter
    this.mark = new Mark(broker.runtime)
    this.scan = from
    this.since = from
    this.lending = broker.engine.node === null ? null : new Lending(this, broker)
  }

  /** Key of its record. */
  get id(): string {
    return `${RECORD_PREFIX}${this.name}/${this.filter}`
  }

  /** Whether its state must be saved. */
  get persistent(): boolean {
    return this.epoch > 0 && !this.gone && this.#broker.engine.durable && this.durable
  }

  /** Another node owns its record. */
  get gone(): boolean {
    return this.lending !== null && !this.lending.owns
  }

  /** Whether the cursor is here. */
  get #serves(): boolean {
    return this.lending === null ? !this.claiming : this.lending.serves
  }

  get size(): number {
    return this.#members.size
  }

  /** Whether a member outlives its link: then the group waits for it. */
  get durable(): boolean {
    return this.hereDurable || this.lending?.othersDurable === true
  }

  get attached(): boolean {
    return this.hereAttached || this.lending?.othersHaveRoom === true
  }

  get hereDurable(): boolean {
    return this.#members.some((m) => m.session.durable)
  }

  get hereAttached(): boolean {
    return this.#members.some((m) => m.session.attached)
  }

  /** Lowest position it may still need. */
  get floor(): Pos {
    let floor = this.gone
      ? Number.POSITIVE_INFINITY
      : (this.live ? this.#broker.log.last : this.scan) + 1
    for (const pos of this.#lent.keys()) {
      if (pos >= this.#lostBefore) floor = Math.min(floor, pos)
    }
    for (const { pos } of this.#returned) floor = Math.min(floor, pos)
    return floor
  }

  join(member: Subscription): void {
    this.#members.add(member)
    this.since = Math.min(this.since, member.from)
    member.session.joined()
  }

  leave(member: Subscription): void {
    this.#members.remove(member)
  }

  /** Whose turn it is among those who are there; null when nobody is. For QoS 0. */
  nextOnline(): Subscription | null {
    const { size } = this.#members
    for (let i = 0; i < size; i++) {
      const member = this.#members.at((this.#turn + i) % size)
      if (member === null || member.session.link === null) continue
      this.#turn = (this.#turn + i + 1) % size
      return member
    }
    return null
  }

  offer(pos: Pos, message: Message): void {
    if (this.live && !this.consider(pos, message)) this.fallBehind(pos)
  }

  protected consider(pos: Pos, message: Message): boolean {
    if (this.#returned.length > 0) return false
    if (this.lending !== null && (this.#lent.has(pos) || this.lending.isOver(pos))) return true
    return !this.#matches(message) || this.#lend(pos, message)
  }

  /** While catching up, the log brings messages of other topics too. */
  #matches(message: Message): boolean {
    return this.#broker.router.audience(message.topic).groups.includes(this)
  }

  #lend(pos: Pos, message: Message): boolean {
    const { size } = this.#members
    for (let i = 0; i < size; i++) {
      const member = this.#members.at((this.#turn + i) % size)
      if (member === null) continue
      this.#lent.set(pos, message)
      // Lent for good when the member remembers it itself: both records change together.
      if (!member.session.lend(pos, message, member.delivery, this)) {
        this.#lent.delete(pos)
        continue
      }
      this.#turn = (this.#turn + i + 1) % size
      this.#changed()
      return true
    }
    return this.#lendAway(pos, message)
  }

  #lendAway(pos: Pos, message: Message): boolean {
    if (this.lending?.lendAway(pos) !== true) return false
    this.#lent.set(pos, message)
    this.#changed()
    return true
  }

  /** The member keeps the message in its own record, with the next save of this turn, and completes it. */
  moved(pos: Pos, member: Session): void {
    if (this.gone) {
      this.#broker.saver.flow(member).then(
        () => this.finished(pos),
        () => {},
      )
      return
    }
    this.#lent.delete(pos)
    // Should that fail, the member's link is closed, and what it kept is saved with its next save.
    if (this.persistent) this.#broker.saver.together(this)
  }

  #changed(): void {
    if (this.persistent) this.#broker.saver.lazily(this)
  }

  protected overrun(): void {
    this.#broker.counters.droppedOverrun++
    this.#broker.report('overrun', `$share/${this.name}/${this.filter}`)
  }

  /** The member acknowledged it, or it will never be delivered to another. */
  finished(pos: Pos): void {
    if (!this.#lent.delete(pos)) return
    this.#changed()
    this.lending?.finishedHere(pos)
  }

  /** The member went away before it acknowledged. */
  returned(pos: Pos): void {
    const message = this.#lent.get(pos)
    if (message === undefined) return
    this.#lent.delete(pos)
    if (this.gone) {
      if (message === null || !this.#lend(pos, message)) this.lending?.changed()
      return
    }
    this.#returned.push({ pos, message })
    this.#returned.sort((a, b) => a.pos - b.pos)
    this.#broker.runtime.atTurnEnd(() => this.settle())
  }

  /** How many of these ascending positions, all of its filter, no member has been lent. */
  owed(positions: readonly Pos[]): number {
    return this.live ? 0 : countAbove(positions, this.scan)
  }

  /** The log could not wait any longer for a member: the `owed` messages before that position are lost. */
  evict(before: Pos, owed: number): void {
    const waiting = this.#returned.length
    this.#returned = this.#returned.filter(({ pos }) => pos >= before)
    this.#lostBefore = Math.max(this.#lostBefore, before)
    if (!this.live && this.scan < before - 1) this.scan = before - 1
    this.#changed()
    const lost = owed + waiting - this.#returned.length
    if (lost === 0) return
    this.#broker.counters.messagesEvicted += lost
    this.#broker.report('evicted', `$share/${this.name}/${this.filter}, messages lost: ${lost}`)
  }

  /** A member may have room again. */
  settle(): void {
    if (!this.#serves) {
      this.lending?.changed()
      return
    }
    while (this.#returned.length > 0) {
      const { pos, message } = this.#returned[0] as { pos: Pos; message: Message | null }
      if (message === null) {
        if (this.attached) this.#fetch(pos)
        return
      }
      if (!this.#lend(pos, message)) return
      this.#returned.shift()
    }
    if (!this.live) this.wake(this.#broker.log)
  }

  /** What was lent when an earlier run ended has to be read again. */
  #fetch(pos: Pos): void {
    if (this.#fetching) return
    this.#fetching = true
    this.#broker.log.message(pos).then(
      (message) => {
        this.#fetching = false
        const first = this.#returned[0]
        if (first?.pos === pos) {
          if (message === null) this.#returned.shift()
          else first.message = message
        }
        this.settle()
      },
      () => {
        // The engine says itself what is wrong. Members that only listen would never wake us.
        this.#broker.log.later(() => {
          this.#fetching = false
          this.settle()
        })
      },
    )
  }

  override wake(log: Log): void {
    if (this.#serves) super.wake(log)
  }

  // ---- Several nodes -------------------------------------------------------------------------

  /** Its record is this node's: goes on where the owner before left off. */
  own(epoch: number, flow: SessionFlow | null): void {
    this.epoch = epoch
    this.live = false
    if (flow === null) {
      this.scan = this.since
      return
    }
    this.restore(flow)
    this.#returned = this.#returned.filter(({ pos }) => !this.#lent.has(pos))
  }

  /** Nobody is left here: it stays where it is, however late that is saved. */
  park(): void {
    if (this.live) this.fallBehind(this.#broker.log.last + 1)
  }

  /** A member at another node asked for it earlier. */
  reachBack(since: Pos): void {
    if (!this.live) this.scan = Math.min(this.scan, since)
  }

  /** Its record is another node's. `away` is lent to other nodes, the rest to members here. */
  disown(away: ReadonlySet<Pos>): void {
    if (this.live) this.fallBehind(this.#broker.log.last + 1)
    this.epoch = 0
    this.#returned = []
    for (const pos of away) this.#lent.delete(pos)
    this.#broker.saver.forget(this)
  }

  /** Another node takes the record. */
  async release(): Promise<void> {
    if (this.lending?.owns !== true) return
    this.leaving = true
    if (this.persistent) await this.#broker.saver.flow(this).catch(() => {})
    this.leaving = false
    this.lending.lost()
  }

  /** What members here were lent. */
  held(): Set<Pos> {
    return new Set(this.#lent.keys())
  }

  /** A message that the owner lends to this node. False: no member has room. */
  take(pos: Pos, message: Message): boolean {
    return this.#lent.has(pos) || this.#lend(pos, message)
  }

  /** Another node has it since before this one became the owner; false when it is known to be over. */
  lentElsewhere(pos: Pos): boolean {
    if (this.#lent.has(pos)) return false
    const waiting = this.#returned.length
    this.#returned = this.#returned.filter((one) => one.pos !== pos)
    if (this.#returned.length === waiting && (this.live || pos <= this.scan)) return false
    this.#lent.set(pos, null)
    return true
  }

  /** Another node is done with it. False: the cursor has not come to it yet. */
  finishedAway(pos: Pos): boolean {
    const waiting = this.#returned.length
    this.#returned = this.#returned.filter((one) => one.pos !== pos)
    const known = this.#lent.delete(pos) || this.#returned.length < waiting
    if (known) this.#changed()
    return known || this.live || pos <= this.scan
  }

  /** Whether it is, or may be, of QoS 2. */
  isExact(pos: Pos): boolean {
    return this.#lent.get(pos)?.qos !== 1
  }

  // ---- At rest -------------------------------------------------------------------------------

  flow(): SessionFlow {
    const open = [...this.#lent.keys(), ...this.#returned.map(({ pos }) => pos)]
    return {
      cursor: this.live ? this.#broker.log.last : this.scan,
      sending:
        open.length === 0
          ? []
          : [{ packetId: 1, positions: open.sort((a, b) => a - b), state: SendState.published }],
      receiving: [],
      awaySince: 0,
      log: this.#broker.engine.log,
    }
  }

  profile(): SessionProfile {
    return { expiry: Number.POSITIVE_INFINITY, subscriptions: [], will: null, user: '' }
  }

  /** An earlier run ended before it was stored: what came since the first of its members is theirs. */
  begin(): void {
    this.#members.forEach(({ from }) => {
      this.scan = Math.min(this.scan, from)
    })
  }

  /** The record is its own now, or cannot be had: then it goes on without. */
  claimed(epoch: number): void {
    this.epoch = epoch
    this.claiming = false
    this.settle()
  }

  /** Takes up where an earlier run was; called once its members are back. */
  restore(flow: SessionFlow): void {
    const { last } = this.#broker.engine.bounds()
    const { log, node } = this.#broker.engine
    if (flow.log !== log || (node === null && flow.cursor > last)) return
    this.scan = flow.cursor
    this.#returned = flow.sending
      .flatMap((run) => run.positions)
      .map((pos) => ({ pos, message: null }))
  }
}
