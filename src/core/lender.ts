// The owner's side of a shared group whose members are at several nodes: it alone reads the log for it. Its record
// says which node may give each open message to a member, and says so before anything of it happens: whoever owns the
// record next knows whom to ask, however the last owner ended.

import type { Broker } from './broker.ts'
import { Cursor } from './cursor.ts'
import type { Report } from './lending-codec.ts'
import { begunAfter, type Deed, type Loan, LoanRecord, runsOf } from './loan-record.ts'
import type { Log } from './log.ts'
import { type Lent, Remotes } from './remotes.ts'
import type { Group } from './share.ts'
import type { Message, Pos, SessionFlow, SessionProfile, StoredSession } from './types.ts'

/** What the owner asks of the node it runs at. */
export interface Here {
  readonly self: string
  /** Whether this node is surely alive to all others. */
  readonly sound: boolean
  isDone(pos: Pos): boolean
  /** The record says that it is done. */
  confirmed(pos: Pos): void
  /** Something is to be said to other nodes. */
  changed(): void
  /** Resolves with what members' records hold of those that a dead node was lent, and the group does not know of. */
  bequeathed(node: string): Promise<ReadonlySet<Pos>>
}

export class Lender extends Cursor {
  readonly #group: Group
  readonly #broker: Broker
  readonly #here: Here
  readonly epoch: number
  readonly claiming = false
  leaving = false
  /** Another node owns the record. */
  gone = false
  readonly durable = true
  /** Number of the last statement. */
  number = 0
  /** Everything after it is the group's. */
  begin: Pos
  readonly #remotes = new Remotes()
  readonly #open = new Map<Pos, Loan>()
  /** Open and nobody's. */
  readonly #pool = new Set<Pos>()
  /** This node may give them to its members, and has found no room. */
  readonly #mine = new Set<Pos>()
  /** Those of the open ones that are in memory. */
  readonly #messages = new Map<Pos, Message>()
  readonly #record: LoanRecord
  #reaching = false
  /** Room here that is not spoken for; null when it has to be asked. */
  #roomHere: number | null = null
  #lostBefore: Pos = 0

  constructor(
    group: Group,
    broker: Broker,
    here: Here,
    epoch: number,
    stored: StoredSession | null,
  ) {
    super()
    this.#group = group
    this.#broker = broker
    this.#here = here
    this.epoch = epoch
    this.#record = new LoanRecord(this, broker.saver, broker.runtime, (assigned, finished) => {
      this.#written(assigned, finished)
    })
    const known = stored !== null && stored.flow.log === broker.engine.log ? stored : null
    const begin = known?.profile.subscriptions[0]?.from ?? known?.flow.cursor
    this.begin = begin ?? Math.min(group.since, broker.log.last)
    this.scan = known?.flow.cursor ?? this.begin
    for (const run of known?.flow.sending ?? []) {
      for (const pos of run.positions) this.#inherit(pos, run.with ?? null)
    }
    if (known === null) this.#record.writeWhole()
  }

  get id(): string {
    return this.#group.id
  }

  /** Whether the record says where it begins. */
  get beginSaved(): boolean {
    return this.#record.isWhole
  }

  /** Members at other nodes, as far as it knows. */
  get membersElsewhere(): number {
    return this.#remotes.members
  }

  /** Somebody has room. */
  get attached(): boolean {
    return !this.gone && this.#target() !== null
  }

  /** Lowest position it may still need. */
  get floor(): Pos {
    let floor = (this.live ? this.#broker.log.last : this.scan) + 1
    if (this.#reaching) floor = Math.min(floor, this.#group.since + 1)
    for (const pos of this.#open.keys()) if (pos >= this.#lostBefore) floor = Math.min(floor, pos)
    return floor
  }

  // ---- Taking over ---------------------------------------------------------------------------

  /** What the owner before left open. */
  #inherit(pos: Pos, node: string | null): void {
    this.#open.set(pos, { node, exact: true })
    if (node === null) this.#pool.add(pos)
    else if (node !== this.#here.self) this.#remotes.at(node).lent.set(pos, 1)
    else if (this.#here.isDone(pos)) this.finish(pos, node)
    else if (!this.#group.holds(pos)) this.#mine.add(pos)
  }

  /** Nodes that messages were lent to before this node owned the record. */
  heirs(): string[] {
    return this.#remotes.nodes()
  }

  /** Another node has the record: nothing happens here any more. */
  lost(): void {
    this.gone = true
    this.live = false
    this.#mine.clear()
    this.#messages.clear()
    this.#broker.saver.lost(this)
  }

  /** That node is dead: unless a member took a message over for good, others get it. */
  async died(node: string): Promise<void> {
    const remote = this.#remotes.get(node)
    if (remote === undefined) return
    remote.members = 0
    remote.room = 0
    const unsure: Pos[] = []
    for (const [pos, loan] of [...this.#open]) {
      if (loan.node !== node) continue
      if (loan.exact) unsure.push(pos)
      else this.#takeBack(pos)
    }
    if (unsure.length > 0) {
      const taken = await this.#here.bequeathed(node)
      if (this.gone) return
      for (const pos of unsure) {
        if (this.#open.get(pos)?.node !== node) continue
        if (taken.has(pos)) this.finish(pos, node)
        else this.#takeBack(pos)
      }
    }
    if (remote.members === 0 && remote.lent.size === 0) this.#remotes.delete(node)
    this.settle()
  }

  #takeBack(pos: Pos): void {
    const loan = this.#open.get(pos)
    if (loan === undefined || loan.node === null) return
    this.#remotes.get(loan.node)?.lent.delete(pos)
    this.#mine.delete(pos)
    loan.node = null
    this.#pool.add(pos)
  }

  // ---- Lending -------------------------------------------------------------------------------

  offer(pos: Pos, message: Message): void {
    if (this.live && !this.consider(pos, message)) this.fallBehind(pos)
  }

  protected consider(pos: Pos, message: Message): boolean {
    if (this.gone) return false
    if (this.#open.has(pos) || !this.#matches(message)) return true
    if (this.#pool.size > 0) return false
    const node = this.#target()
    if (node === null) return false
    this.#open.set(pos, { node: null, exact: message.qos === 2 })
    this.#assign(pos, node, message)
    return true
  }

  /** While catching up, the log brings messages of other topics too. */
  #matches(message: Message): boolean {
    return this.#broker.router.audience(message.topic).groups.includes(this.#group)
  }

  protected overrun(): void {
    this.#broker.counters.droppedOverrun++
    this.#broker.report('overrun', `$share/${this.#group.key}`)
  }

  /** The node that gets the next message: this one while it has room, else the one with the most. */
  #target(): string | null {
    if (this.#room() > 0) return this.#here.self
    return this.#remotes.roomiest()
  }

  #room(): number {
    if (this.#roomHere === null) {
      const waiting = this.#mine.size + this.#record.assignedTo(this.#here.self)
      this.#roomHere = this.#here.sound ? Math.max(0, this.#group.room() - waiting) : 0
      this.#broker.runtime.atTurnEnd(() => {
        this.#roomHere = null
      })
    }
    return this.#roomHere
  }

  #assign(pos: Pos, node: string, message: Message | null): void {
    const loan = this.#open.get(pos) as Loan
    loan.node = node
    this.#pool.delete(pos)
    this.#record.assign(pos, node)
    if (node === this.#here.self) {
      this.#roomHere = this.#room() - 1
      if (message !== null) this.#messages.set(pos, message)
    } else {
      this.#remotes.at(node).room--
      this.#messages.delete(pos)
    }
  }

  /** Somebody may have room again. */
  settle(): void {
    if (this.gone) return
    this.#roomHere = null
    this.#place()
    this.#spread()
    this.wake(this.#broker.log)
  }

  /** What is nobody's goes to whoever has room. */
  #spread(): void {
    for (const pos of this.#pool) {
      const node = this.#target()
      if (node === null) return
      this.#assign(pos, node, this.#messages.get(pos) ?? null)
    }
  }

  /** What this node may give goes to its members. */
  #place(): void {
    if (!this.#here.sound) return
    for (const pos of this.#mine) {
      const message = this.#messages.get(pos)
      if (message === undefined) {
        if (this.#group.room() > 0) this.#group.read(pos, (found) => this.#found(pos, found))
        return
      }
      if (!this.#group.take(pos, message)) return
      this.#mine.delete(pos)
      this.#messages.delete(pos)
    }
  }

  #found(pos: Pos, message: Message | null): void {
    if (message === null) this.finish(pos, this.#here.self)
    else if (this.#open.get(pos)?.node === this.#here.self) this.#messages.set(pos, message)
    this.settle()
  }

  /** A member here went away with it, and no other has room. */
  returnedHere(pos: Pos, message: Message): void {
    if (this.gone || this.#open.get(pos)?.node !== this.#here.self) return
    this.#messages.set(pos, message)
    this.#mine.add(pos)
  }

  /** What finds no room here for long goes elsewhere. */
  tick(): void {
    if (this.gone) return
    this.settle()
    let { room } = this.#remotes
    for (const pos of this.#mine) {
      if (room-- <= 0) break
      this.#takeBack(pos)
    }
    this.#spread()
    this.#record.tick()
  }

  override wake(log: Log): void {
    if (!this.gone) super.wake(log)
  }

  // ---- What nodes are done with --------------------------------------------------------------

  /**
   * That node is done with it, and told once the record says so. It need not be the one that it was lent to: a session
   * that keeps the message for itself may have gone to another.
   */
  finish(pos: Pos, node: string): void {
    const loan = this.#open.get(pos)
    if (loan !== undefined) {
      this.#open.delete(pos)
      this.#pool.delete(pos)
      this.#mine.delete(pos)
      this.#messages.delete(pos)
      if (loan.node !== null) this.#remotes.get(loan.node)?.lent.delete(pos)
    }
    const isHere = node === this.#here.self
    if (loan === undefined && !this.#record.isFinishing(pos)) this.#confirm(pos, node)
    // Another node repeats itself until it is told.
    else if (loan !== undefined || isHere) {
      this.#record.finish(pos, node, !isHere || loan?.exact !== false)
    }
  }

  #confirm(pos: Pos, node: string): void {
    if (node === this.#here.self) this.#here.confirmed(pos)
    else {
      this.#remotes.get(node)?.confirmed.add(pos)
      this.#here.changed()
    }
  }

  // ---- The record ----------------------------------------------------------------------------

  #written(assigned: readonly Deed[], finished: readonly Deed[]): void {
    for (const { pos, node } of assigned) this.#lent(pos, node)
    for (const { pos, node } of finished) this.#confirm(pos, node)
    this.#here.changed()
    this.settle()
  }

  /** The record says that the node may have it. */
  #lent(pos: Pos, node: string): void {
    if (this.#open.get(pos)?.node !== node) return
    if (node === this.#here.self) this.#mine.add(pos)
    else this.#remotes.at(node).lent.set(pos, this.number + 1)
  }

  flow(): SessionFlow {
    return {
      cursor: this.live ? this.#broker.log.last : this.scan,
      sending: runsOf(this.#open),
      receiving: [],
      awaySince: 0,
      log: this.#broker.engine.log,
    }
  }

  profile(): SessionProfile {
    return begunAfter(this.begin, this.#group.filter)
  }

  // ---- Where it begins -----------------------------------------------------------------------

  /** Members asked for it before it began: what came in between is theirs too. */
  reachBack(since: Pos): void {
    if (since >= this.begin || this.#reaching || this.gone) return
    this.#reaching = true
    this.#broker.log
      .between(since, this.begin, (message) => this.#matches(message))
      .then(
        (found) => {
          this.#reaching = false
          if (this.gone) return
          for (const [pos, message] of found) {
            if (this.#open.has(pos)) continue
            this.#open.set(pos, { node: null, exact: message.qos === 2 })
            this.#pool.add(pos)
          }
          this.begin = since
          this.#record.writeWhole()
          this.settle()
        },
        () => {
          this.#reaching = false
        },
      )
  }

  // ---- Other nodes ---------------------------------------------------------------------------

  /** What is said to each node: what it may give to its members, and what it need not repeat. */
  statements(): Iterable<Lent> {
    return this.#remotes.all()
  }

  heard(node: string, report: Report): void {
    const { epoch, seen, members, held, done, since } = report
    if (this.gone) return
    const remote = this.#remotes.at(node)
    remote.members = members
    if (members > 0) this.reachBack(since)
    for (const pos of remote.confirmed) if (!done.has(pos)) remote.confirmed.delete(pos)
    for (const pos of done) {
      if (!remote.confirmed.has(pos)) this.finish(pos, node)
    }
    let unseen = 0
    for (const [pos, first] of [...remote.lent]) {
      if (first > seen || epoch !== this.epoch) unseen++
      else if (!held.has(pos)) this.#takeBack(pos)
    }
    unseen += this.#record.assignedTo(node)
    remote.room = report.room - unseen
    if (members === 0 && remote.lent.size === 0 && done.size === 0) this.#remotes.delete(node)
    else if (epoch !== this.epoch || unseen > 0) this.#here.changed()
    this.settle()
  }

  // ---- Too much ------------------------------------------------------------------------------

  /** How many of these ascending positions, all of its filter, nobody may have yet. */
  owed(positions: readonly Pos[]): number {
    return this.live ? 0 : positions.filter((pos) => pos > this.scan).length
  }

  /** The log could not wait any longer: messages before that position are lost, unless a member has them. */
  evict(before: Pos): number {
    let lost = 0
    for (const pos of [...this.#pool, ...this.#mine]) {
      if (pos >= before) continue
      lost++
      this.finish(pos, this.#here.self)
    }
    this.#lostBefore = Math.max(this.#lostBefore, before)
    if (!this.live && this.scan < before - 1) this.scan = before - 1
    this.#record.write()
    return lost
  }
}
