// A shared group at one of several nodes: who owns its record, what this node was lent and is done with, and what
// nodes tell each other of it. What each has is stated whole each time, so that a lost cast costs time and nothing
// else; what a node is done with it repeats until the owner's record says so.

import type { Broker } from './broker.ts'
import type { Claim } from './engine.ts'
import { type Here, Lender } from './lender.ts'
import { readReport, readStatement, writeReport, writeStatement } from './lending-codec.ts'
import { Kind, type Reader } from './peer-codec.ts'
import type { Timer } from './runtime.ts'
import type { Group } from './share.ts'
import type { Message, Pos } from './types.ts'

/** Milliseconds between two statements when nothing happens. */
const TICK_MS = 500
/** Of so many statements one is for nodes that have not told of themselves. */
const HELLO_EVERY = 4
/** Milliseconds for which an owner may be silent before a node with members claims the record; random between. */
const SILENT_MS = [3_000, 5_000] as const
/** Milliseconds without an owner after which one is made; random between. */
const OWNERLESS_MS = [600, 2_000] as const
/** Milliseconds the process may stand still before it must ask whether it was taken for dead. */
const STOOD_STILL_MS = 8_000
/** Milliseconds that takes. */
const ASK_MS = 3_000
/** Milliseconds a node that nobody has heard of may have something that was lent to it. */
const STRANGE_MS = 30_000
/** Positions one node has at once. */
const ROOM = 256
/** Milliseconds for which this node still answers for a group that it has nothing to do with any more. */
const LINGER_MS = 60_000
/** Milliseconds without members, at whatever node, after which the record ends. */
const VACANT_MS = 30_000

export class Lending implements Here {
  readonly #group: Group
  readonly #broker: Broker
  readonly self: string
  /** While this node owns the record. */
  #lender: Lender | null = null
  #claiming = false
  #owner: string | null = null
  #ownerEpoch = 0
  /** Number of the owner's last statement. */
  #seen = 0
  /** Where the group begins, as its record says. */
  #begin: Pos = Number.POSITIVE_INFINITY
  /** What the record needs that was this node's, until it is surely another's. */
  #heldFrom: Pos = Number.POSITIVE_INFINITY
  #claimAt = 0
  /** Done here, until the owner's record says so; with whoever waits for that. */
  readonly #done = new Map<Pos, (() => void)[]>()
  readonly #fetching = new Set<Pos>()
  /** Given back to the owner, whose statements still name them. */
  readonly #refused = new Set<Pos>()
  #running = false
  #timer: Timer | null = null
  #soon = false
  #tickedAt: number
  #neededAt: number
  #soundAt = 0
  #roomSaid = 0
  #vacantAt = Number.POSITIVE_INFINITY
  /** Whether anybody still uses it is being looked up. */
  #ending = false

  constructor(group: Group, broker: Broker, node: string) {
    this.#group = group
    this.#broker = broker
    this.self = node
    this.#tickedAt = broker.runtime.now()
    this.#neededAt = this.#tickedAt
  }

  /** Whether this node has the cursor. */
  get owns(): boolean {
    return this.#lender !== null
  }

  /** Whether this node has anything to do with the group. */
  get needed(): boolean {
    const { size, isHolding } = this.#group
    return size > 0 || isHolding || this.#done.size > 0 || this.#claiming || this.owns
  }

  /** Whether this node is alive to all others: what it was lent it may give to its members. */
  get sound(): boolean {
    const now = this.#broker.runtime.now()
    const stoodStill = now - this.#tickedAt > STOOD_STILL_MS || now < this.#soundAt
    return this.#running && !stoodStill && !this.#broker.sweep.isLapsed
  }

  /** Lowest position it may still need. */
  get floor(): Pos {
    const { since } = this.#group
    const begin = this.#lender?.begin ?? this.#begin
    const owned = this.#lender?.floor ?? this.#heldFrom
    // Members that asked before the group began, as far as its record says, are owed what came in between.
    return since < begin ? Math.min(owned, since + 1) : owned
  }

  offer(pos: Pos, message: Message): void {
    this.#lender?.offer(pos, message)
  }

  /** Members came or went, or have room again. */
  settle(): void {
    if (this.#lender !== null) {
      this.#lender.reachBack(this.#group.since)
      this.#lender.settle()
    } else if (this.#roomSaid === 0 && this.#group.room() > 0) this.changed()
  }

  owed(positions: readonly Pos[]): number {
    return this.#lender?.owed(positions) ?? 0
  }

  evict(before: Pos): number {
    return this.#lender?.evict(before) ?? 0
  }

  // ---- Ownership -----------------------------------------------------------------------------

  start(): void {
    if (this.#running) return
    this.#running = true
    this.#tickedAt = this.#broker.runtime.now()
    this.#neededAt = this.#tickedAt
    this.#orphaned(OWNERLESS_MS)
    this.changed()
    this.#tick()
  }

  stop(): void {
    this.#running = false
    this.#timer?.cancel()
  }

  #orphaned([least, most]: readonly [number, number]): void {
    const { runtime } = this.#broker
    this.#claimAt = runtime.now() + least + runtime.random() * (most - least)
  }

  #tick(): void {
    const { runtime, state } = this.#broker
    this.#timer = runtime.after(TICK_MS, () => {
      const now = runtime.now()
      if (now - this.#tickedAt > STOOD_STILL_MS) this.#soundAt = now + ASK_MS
      this.#tickedAt = now
      const mayClaim = state === 'up' && this.sound && this.needed
      if (this.#lender === null && mayClaim && now >= this.#claimAt) this.#claim()
      this.#lender?.tick()
      if (this.needed) {
        this.#neededAt = now
        this.#say()
      }
      this.#watchVacancy(now)
      if (now - this.#neededAt < LINGER_MS) this.#tick()
      else this.#broker.groups.drop(this.#group)
    })
  }

  #claim(): void {
    if (this.#claiming) return
    this.#claiming = true
    this.#broker.engine.claim(this.#group.id).then(
      (claim) => {
        this.#claiming = false
        this.adopt(claim)
      },
      () => {
        this.#claiming = false
        this.#orphaned(OWNERLESS_MS)
        // It may have happened all the same.
        this.#broker.sweep.doubt()
      },
    )
  }

  /** The record is this node's. */
  adopt({ epoch, stored }: Claim): void {
    if (this.#running && epoch > this.#ownerEpoch) this.#own(epoch, stored)
  }

  #own(epoch: number, stored: Claim['stored']): void {
    this.#owner = null
    this.#ownerEpoch = epoch
    this.#seen = 0
    this.#vacantAt = Number.POSITIVE_INFINITY
    this.#heldFrom = Number.POSITIVE_INFINITY
    this.#refused.clear()
    const lender = new Lender(this.#group, this.#broker, this, epoch, stored)
    this.#lender = lender
    // What the record has let go of already, nobody else would say.
    for (const pos of [...this.#done.keys()]) lender.finish(pos, this.self)
    this.#broker.groups.route(this.#group)
    lender.reachBack(this.#group.since)
    const { runtime } = this.#broker
    for (const node of lender.heirs()) this.#watchHeir(node, lender, runtime.now() + STRANGE_MS)
    this.#say()
    lender.settle()
  }

  /** A node that nobody hears of by then is dead. */
  #watchHeir(node: string, lender: Lender, until: number): void {
    const { sweep, runtime } = this.#broker
    if (this.#lender !== lender || sweep.isLive(node)) return
    if (sweep.isDead(node) || runtime.now() >= until) void lender.died(node)
    else runtime.after(TICK_MS, () => this.#watchHeir(node, lender, until))
  }

  /** Another node takes the record: what is known here is saved, if that can still be. */
  async release(): Promise<void> {
    const lender = this.#lender
    if (lender === null) return
    lender.leaving = true
    await this.#broker.saver.flow(lender).catch(() => {})
    if (this.#lender === lender) this.lost()
  }

  /** Another node has the record now, or may have it. */
  lost(): void {
    if (this.#lender !== null) {
      this.#heldFrom = this.#lender.floor
      this.#lender.lost()
    }
    this.#lender = null
    this.#broker.groups.route(this.#group)
    this.#begin = Number.POSITIVE_INFINITY
    this.#orphaned(SILENT_MS)
    this.changed()
  }

  /** A node came or died. */
  node(id: string, up: boolean): void {
    if (up) return
    if (id === this.#owner) {
      this.#owner = null
      this.#orphaned([0, OWNERLESS_MS[1]])
    }
    void this.#lender?.died(id)
  }

  #watchVacancy(now: number): void {
    const lender = this.#lender
    if (lender === null || this.#group.size > 0 || lender.membersElsewhere > 0) {
      this.#vacantAt = Number.POSITIVE_INFINITY
      return
    }
    this.#vacantAt = Math.min(this.#vacantAt, now)
    if (now - this.#vacantAt < VACANT_MS || this.#ending) return
    this.#ending = true
    this.#end(lender).then(
      () => {
        this.#ending = false
      },
      () => {
        this.#ending = false
        this.#vacantAt = now
      },
    )
  }

  /** Unless a session is on its way from one node to another, nobody is left who could be owed anything. */
  async #end(lender: Lender): Promise<void> {
    const { engine, groups, saver } = this.#broker
    const wanted = await groups.isStored(this.#group)
    const vacant = this.#group.size === 0 && lender.membersElsewhere === 0
    if (wanted || !vacant || this.#lender !== lender) {
      this.#vacantAt = this.#broker.runtime.now()
      return
    }
    lender.lost()
    this.#lender = null
    saver.forget(lender)
    groups.route(this.#group)
    await engine.save([{ id: lender.id, epoch: lender.epoch, ended: true }])
  }

  bequeathed(node: string): Promise<ReadonlySet<Pos>> {
    return this.#broker.groups.bequeathed(node, this.#group)
  }

  // ---- What this node is done with -----------------------------------------------------------

  isDone(pos: Pos): boolean {
    return this.#done.has(pos)
  }

  finishedHere(pos: Pos): void {
    if (!this.#done.has(pos)) this.#done.set(pos, [])
    if (this.#lender !== null) this.#lender.finish(pos, this.self)
    else this.changed()
  }

  /** A member's record holds the message now; resolves when the group's says that nobody else gets it. */
  handed(pos: Pos): Promise<void> {
    return new Promise((resolve) => {
      const waiting = this.#done.get(pos)
      this.#done.set(pos, [...(waiting ?? []), resolve])
      if (waiting === undefined) this.finishedHere(pos)
    })
  }

  confirmed(pos: Pos): void {
    const waiting = this.#done.get(pos)
    this.#done.delete(pos)
    for (const tell of waiting ?? []) tell()
  }

  /** A member here went away with it, and no other has room: it stays with this node only if this is the owner. */
  returnedHere(pos: Pos, message: Message): void {
    if (this.#lender !== null) {
      this.#lender.returnedHere(pos, message)
      return
    }
    this.#refused.add(pos)
    this.changed()
  }

  // ---- Talking -------------------------------------------------------------------------------

  /** Says it at the end of this turn. */
  changed(): void {
    if (this.#soon || !this.#running) return
    this.#soon = true
    this.#broker.runtime.atTurnEnd(() => {
      this.#soon = false
      this.#say()
    })
  }

  #say(): void {
    if (this.#lender === null) this.#report()
    else this.#state(this.#lender)
  }

  #state(lender: Lender): void {
    const { engine } = this.#broker
    const { epoch } = lender
    const number = ++lender.number
    const begin = lender.beginSaved ? lender.begin : Number.POSITIVE_INFINITY
    for (const { node, lent, confirmed } of lender.statements()) {
      engine.cast(node, writeStatement(this.#group, { epoch, number, begin, lent, confirmed }))
    }
    if (number % HELLO_EVERY !== 1) return
    // Who has members and was not heard of yet has to know whom to tell.
    const hello = { epoch, number, begin, lent: null, confirmed: new Set<Pos>() }
    engine.cast(null, writeStatement(this.#group, hello))
  }

  #report(): void {
    const { engine } = this.#broker
    const held = this.#group.held()
    for (const pos of this.#fetching) held.add(pos)
    const room = this.sound ? Math.min(ROOM - held.size, this.#group.room()) : 0
    this.#roomSaid = Math.max(0, room)
    engine.cast(
      this.#owner,
      writeReport(this.#group, {
        epoch: this.#ownerEpoch,
        seen: this.#seen,
        members: this.#running ? this.#group.size : 0,
        room: this.#roomSaid,
        since: this.#group.since,
        held,
        done: new Set(this.#done.keys()),
      }),
    )
  }

  heard(from: string, kind: number, reader: Reader): void {
    if (kind === Kind.lent) this.#heardLent(from, reader)
    // What a dead node said before is not to bring it back: nobody would tell a second time that it died.
    else if (!this.#broker.sweep.isDead(from)) this.#lender?.heard(from, readReport(reader))
  }

  #heardLent(from: string, reader: Reader): void {
    const { epoch, number, begin, lent, confirmed } = readStatement(reader)
    if (epoch < this.#ownerEpoch || (epoch === this.#ownerEpoch && number < this.#seen)) return
    if (this.#lender !== null) this.lost()
    const isNew = epoch > this.#ownerEpoch
    if (isNew) {
      this.#ownerEpoch = epoch
      this.#seen = 0
      this.#heldFrom = Number.POSITIVE_INFINITY
      this.#refused.clear()
    }
    this.#owner = from
    this.#begin = begin
    this.#orphaned(SILENT_MS)
    if (lent !== null) {
      this.#seen = number
      for (const pos of this.#refused) if (!lent.has(pos)) this.#refused.delete(pos)
      for (const pos of lent) this.#take(pos)
      for (const pos of confirmed) this.confirmed(pos)
    }
    const news = isNew || (lent?.size ?? 0) > 0 || confirmed.size > 0
    if (news || !this.needed) this.changed()
  }

  #take(pos: Pos): void {
    const known = this.#done.has(pos) || this.#fetching.has(pos) || this.#group.holds(pos)
    if (known || this.#refused.has(pos)) return
    if (!this.sound) {
      this.#refused.add(pos)
      return
    }
    this.#fetching.add(pos)
    const giveBack = (): void => {
      this.#refused.add(pos)
      this.changed()
    }
    this.#broker.log.message(pos).then(
      (message) => {
        this.#fetching.delete(pos)
        if (message === null) this.finishedHere(pos)
        else if (!this.sound || !this.#group.take(pos, message)) giveBack()
        else this.changed()
      },
      () => {
        this.#fetching.delete(pos)
        giveBack()
      },
    )
  }
}
