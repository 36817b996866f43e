// A shared subscription's group: one cursor over the log for all members, each message lent to
// one of them. What a member that goes away had not acknowledged is lent to another.

import { Mark } from './audience.ts'
import type { Broker } from './broker.ts'
import { Cursor } from './cursor.ts'
import { Lending } from './lending.ts'
import type { Recorded } from './saver.ts'
import { countAbove } from './stretch.ts'
import { type Subscription, SubscriptionList } from './subscription.ts'
import {
  type Message,
  type Pos,
  SendState,
  type SessionFlow,
  type SessionProfile,
} from './types.ts'

/** Messages of a run that one member takes before it is the next one's turn. */
export const SHARE_RUN = 16

/** Records of groups are kept beside those of sessions: no client identifier can hold U+0000. */
const RECORD_PREFIX = '\u0000share/'

/** Whether a stored record is a group's and not a session's. */
export function isGroupRecord(id: string): boolean {
  return id.startsWith(RECORD_PREFIX)
}

/** `name/filter` of the group whose record that is. */
export function groupOfRecord(id: string): string {
  return id.slice(RECORD_PREFIX.length)
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
  readonly leaving = false
  readonly gone = false
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
    const { node } = broker.engine
    this.lending = node === null ? null : new Lending(this, broker, node)
  }

  /** What it is known by. */
  get key(): string {
    return `${this.name}/${this.filter}`
  }

  /** Key of its record. */
  get id(): string {
    return `${RECORD_PREFIX}${this.key}`
  }

  /** Whether its state must be saved. */
  get persistent(): boolean {
    return this.epoch > 0 && this.#broker.engine.durable && this.durable
  }

  get size(): number {
    return this.#members.size
  }

  /** Whether a member outlives its link: then the group waits for it. */
  get durable(): boolean {
    return this.lending !== null || this.#members.some((m) => m.session.durable)
  }

  get attached(): boolean {
    return this.#members.some((m) => m.session.attached)
  }

  /** Members that are connected. */
  get connected(): number {
    let connected = 0
    this.#members.forEach(({ session }) => {
      if (session.link !== null) connected++
    })
    return connected
  }

  /** How many more messages its members would take now. */
  room(): number {
    let room = 0
    this.#members.forEach(({ session, delivery }) => {
      room += session.room(delivery)
    })
    return room
  }

  /** Its members asked for it after that position; Infinity when there are none. */
  get since(): Pos {
    let since = Number.POSITIVE_INFINITY
    this.#members.forEach(({ from }) => {
      since = Math.min(since, from)
    })
    return since
  }

  /** Lowest position it may still need. */
  get floor(): Pos {
    if (this.lending !== null) return this.lending.floor
    let floor = (this.live ? this.#broker.log.last : this.scan) + 1
    for (const pos of this.#lent.keys()) {
      if (pos >= this.#lostBefore) floor = Math.min(floor, pos)
    }
    for (const { pos } of this.#returned) floor = Math.min(floor, pos)
    return floor
  }

  join(member: Subscription): void {
    this.#members.add(member)
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
    if (this.lending !== null) this.lending.offer(pos, message)
    else if (this.live && !this.consider(pos, message)) this.fallBehind(pos)
  }

  protected consider(pos: Pos, message: Message): boolean {
    if (this.#returned.length > 0) return false
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
    return false
  }

  /** The member keeps the message in its own record, with the next save of this turn, and completes it. */
  moved(pos: Pos, member: Recorded): void {
    this.#lent.delete(pos)
    // Should that fail, the member's link is closed, and both are saved with the next save of one of them.
    if (this.persistent) this.#broker.saver.together(this, member)
  }

  #changed(): void {
    if (this.persistent) this.#broker.saver.lazily(this)
  }

  protected overrun(): void {
    this.#broker.counters.droppedOverrun++
    this.#broker.report('overrun', `$share/${this.key}`)
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
    if (this.lending !== null) {
      if (message !== null && !this.#lend(pos, message)) this.lending.returnedHere(pos, message)
      return
    }
    this.#returned.push({ pos, message })
    this.#returned.sort((a, b) => a.pos - b.pos)
    this.#broker.runtime.atTurnEnd(() => this.settle())
  }

  /** How many of these ascending positions, all of its filter, no member has been lent. */
  owed(positions: readonly Pos[]): number {
    if (this.lending !== null) return this.lending.owed(positions)
    return this.live ? 0 : countAbove(positions, this.scan)
  }

  /** The log could not wait any longer for a member: the `owed` messages before that position are lost. */
  evict(before: Pos, owed: number): void {
    const lost = owed + (this.lending?.evict(before) ?? this.#giveUp(before))
    if (lost === 0) return
    this.#broker.counters.messagesEvicted += lost
    this.#broker.report('evicted', `$share/${this.key}, messages lost: ${lost}`)
  }

  #giveUp(before: Pos): number {
    const waiting = this.#returned.length
    this.#returned = this.#returned.filter(({ pos }) => pos >= before)
    this.#lostBefore = Math.max(this.#lostBefore, before)
    if (!this.live && this.scan < before - 1) this.scan = before - 1
    this.#changed()
    return waiting - this.#returned.length
  }

  /** A member may have room again. */
  settle(): void {
    if (this.lending !== null) {
      this.lending.settle()
      return
    }
    if (this.claiming) return
    while (this.#returned.length > 0) {
      const { pos, message } = this.#returned[0] as { pos: Pos; message: Message | null }
      if (message === null) {
        if (this.attached) this.read(pos, (found) => this.#found(pos, found))
        return
      }
      if (!this.#lend(pos, message)) return
      this.#returned.shift()
    }
    if (!this.live) this.wake(this.#broker.log)
  }

  #found(pos: Pos, message: Message | null): void {
    const first = this.#returned[0]
    if (first?.pos === pos) {
      if (message === null) this.#returned.shift()
      else first.message = message
    }
    this.settle()
  }

  /** Reads again what was lent before, in an earlier run or elsewhere: one at a time, null if it is gone. */
  read(pos: Pos, found: (message: Message | null) => void): void {
    if (this.#fetching) return
    this.#fetching = true
    this.#broker.log.message(pos).then(
      (message) => {
        this.#fetching = false
        found(message)
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

  // ---- Several nodes -------------------------------------------------------------------------

  /** What members here were lent. */
  held(): Set<Pos> {
    return new Set(this.#lent.keys())
  }

  /** Whether a member here was lent it. */
  holds(pos: Pos): boolean {
    return this.#lent.has(pos)
  }

  /** A message that the owner lends to this node. False: no member has room. */
  take(pos: Pos, message: Message): boolean {
    return this.#lent.has(pos) || this.#lend(pos, message)
  }

  /** Whether a member here was lent anything. */
  get isHolding(): boolean {
    return this.#lent.size > 0
  }

  /** A member's record was to hold the message and is another node's now: whether it does is found out. */
  doubted(pos: Pos, member: Recorded): void {
    this.#broker.groups.doubts.add(this, pos, member)
  }

  /** It does, or another member may have the message. */
  cleared(pos: Pos, isTaken: boolean): void {
    const message = this.#lent.get(pos) ?? null
    if (!this.#lent.delete(pos)) return
    if (isTaken || message === null) this.lending?.finishedHere(pos)
    else this.lending?.returnedHere(pos, message)
  }

  /** A member's record holds the message; resolves when the group's says so. */
  handed(pos: Pos): Promise<void> {
    this.#lent.delete(pos)
    return this.lending?.handed(pos) ?? Promise.resolve()
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
    const { engine } = this.#broker
    if (flow.log !== engine.log || flow.cursor > engine.bounds().last) return
    this.scan = flow.cursor
    this.#returned = flow.sending
      .flatMap((run) => run.positions)
      .map((pos) => ({ pos, message: null }))
  }
}
