// A shared group with members at several nodes. One node owns its record and has the cursor; it lends
// positions to the others. What each has is stated whole each time, so that a lost cast costs time and
// nothing else. What a node is done with it repeats until the owner has saved it.

import type { Broker } from './broker.ts'
import { Kind, type Reader, Writer } from './peer-codec.ts'
import type { Group } from './share.ts'
import type { Pos } from './types.ts'

/** Milliseconds between two statements when nothing happens. */
const TICK_MS = 500
/** Milliseconds without an owner, at least and at most, after which a node with members becomes it. */
const OWNERLESS_MS = [1_200, 3_000] as const
/** Milliseconds a new owner listens for what others still have before it lends. */
const LISTEN_MS = 1_500
/** Positions one node has at once. */
const ROOM = 256

/** Another node with members, as the owner knows it. */
interface Remote {
  room: number
  durable: boolean
  /** Statement in which each position was first lent; 0 for those it had before. */
  readonly lent: Map<Pos, number>
  /** Done there, and saved here. */
  confirmed: Set<Pos>
}

export class Lending {
  readonly #group: Group
  readonly #broker: Broker
  /** Whether this node has the cursor. */
  owns = false
  #ready = false
  #claiming = false
  /** Nothing was stored: it begins where the first of its members asked for it. */
  #fresh = false
  #owner: string | null = null
  #ownerEpoch = 0
  #ownerlessUntil = 0
  /** Number of the owner's last statement. */
  #seen = 0
  readonly #done = new Set<Pos>()
  readonly #fetching = new Set<Pos>()
  readonly #remotes = new Map<string, Remote>()
  #number = 0
  /** Done elsewhere, told before this node's cursor came to them. */
  readonly #over = new Set<Pos>()
  #running = false
  #soon = false

  constructor(group: Group, broker: Broker) {
    this.#group = group
    this.#broker = broker
  }

  /** Whether messages may be given to members. */
  get serves(): boolean {
    return this.owns && this.#ready
  }

  /** Whether other nodes have members of it, as far as the owner knows. */
  get hasOthers(): boolean {
    return this.#remotes.size > 0
  }

  get othersDurable(): boolean {
    return [...this.#remotes.values()].some(({ durable }) => durable)
  }

  get othersHaveRoom(): boolean {
    return [...this.#remotes.values()].some(({ room }) => room > 0)
  }

  start(): void {
    if (this.#running) return
    this.#running = true
    this.#orphaned(OWNERLESS_MS[0])
    this.#say()
    this.#tick()
  }

  /** Nobody is left here. */
  stop(): void {
    this.#running = false
    if (!this.owns) this.#say()
  }

  #orphaned(ms: number): void {
    const { runtime } = this.#broker
    this.#owner = null
    this.#ownerlessUntil =
      runtime.now() + ms + runtime.random() * (OWNERLESS_MS[1] - OWNERLESS_MS[0])
  }

  #tick(): void {
    this.#broker.runtime.after(TICK_MS, () => {
      if (!this.#running) return
      const ownerless = !this.owns && this.#owner === null && this.#group.size > 0
      if (ownerless && this.#broker.runtime.now() >= this.#ownerlessUntil) this.#claim()
      this.#say()
      this.#tick()
    })
  }

  #claim(): void {
    if (this.#claiming || this.#broker.state !== 'up') return
    this.#claiming = true
    const { engine, runtime } = this.#broker
    engine.claim(this.#group.id).then(
      ({ epoch, stored }) => {
        this.#claiming = false
        this.owns = true
        this.#ready = false
        this.#ownerEpoch = epoch
        this.#remotes.clear()
        this.#over.clear()
        this.#fresh = stored === null
        this.#group.own(epoch, stored?.flow ?? null)
        for (const pos of this.#done) this.#group.finishedAway(pos)
        this.#done.clear()
        this.#say()
        runtime.after(LISTEN_MS, () => {
          if (!this.owns || this.#group.epoch !== epoch) return
          this.#ready = true
          if (this.#group.persistent) this.#broker.saver.flow(this.#group).catch(() => {})
          this.#group.settle()
        })
      },
      () => {
        this.#claiming = false
        this.#orphaned(0)
      },
    )
  }

  /** Another node has the record now. */
  lost(): void {
    if (!this.owns) return
    this.owns = false
    this.#ready = false
    const away = new Set<Pos>()
    for (const { lent } of this.#remotes.values()) for (const pos of lent.keys()) away.add(pos)
    this.#remotes.clear()
    this.#orphaned(OWNERLESS_MS[0])
    this.#group.disown(away)
    this.#say()
  }

  /** A node came or died. */
  node(id: string, up: boolean): void {
    if (up) return
    if (id === this.#owner) this.#orphaned(0)
    const remote = this.#remotes.get(id)
    if (remote === undefined) return
    this.#remotes.delete(id)
    void this.#takeBack([...remote.lent.keys()])
  }

  /** What a dead node had: unless one of its sessions took it over for good, others get it. */
  async #takeBack(positions: readonly Pos[]): Promise<void> {
    const group = this.#group
    const unsure = new Set(positions.filter((pos) => group.isExact(pos)))
    for (const pos of positions) if (!unsure.has(pos)) group.returned(pos)
    if (unsure.size === 0) return
    const taken = new Set<Pos>()
    try {
      for await (const { id, flow } of this.#broker.engine.sessions()) {
        if (id === group.id) continue
        for (const run of flow.sending) {
          for (const pos of run.positions) if (unsure.has(pos)) taken.add(pos)
        }
      }
    } catch {
      this.#broker.runtime.after(TICK_MS, () => void this.#takeBack([...unsure]))
      return
    }
    for (const pos of unsure) {
      if (taken.has(pos)) group.finished(pos)
      else group.returned(pos)
    }
  }

  // ---- The owner -----------------------------------------------------------------------------

  /** Lends to the node with the most room; false when none has any. */
  lendAway(pos: Pos): boolean {
    if (!this.serves) return false
    let best: Remote | null = null
    for (const remote of this.#remotes.values()) {
      if (remote.room > 0 && (best === null || remote.room > best.room)) best = remote
    }
    if (best === null) return false
    best.room--
    best.lent.set(pos, this.#number + 1)
    this.changed()
    return true
  }

  /** Whether a position that the cursor comes to was dealt with before it did. */
  isOver(pos: Pos): boolean {
    return this.#over.delete(pos)
  }

  /** Says it at the end of this turn. */
  changed(): void {
    if (this.#soon) return
    this.#soon = true
    this.#broker.runtime.atTurnEnd(() => {
      this.#soon = false
      this.#say()
    })
  }

  /** This node is done with a position that it was lent. */
  finishedHere(pos: Pos): void {
    if (this.owns) return
    this.#done.add(pos)
    this.changed()
  }

  #say(): void {
    if (this.owns) {
      this.#number++
      for (const [node, remote] of this.#remotes) this.#state(node, remote)
    } else this.#report()
  }

  #state(node: string, { lent, confirmed }: Remote): void {
    const writer = this.#begin(Kind.lent)
    writer.double(this.#ownerEpoch)
    writer.uint(this.#number)
    writePositions(writer, lent.keys())
    writePositions(writer, confirmed)
    this.#broker.engine.cast(node, writer.finish())
  }

  #report(): void {
    const { group, held } = { group: this.#group, held: this.#group.held() }
    for (const pos of this.#fetching) held.add(pos)
    const writer = this.#begin(Kind.report)
    writer.double(this.#ownerEpoch)
    writer.uint(this.#seen)
    writer.uint(this.#running ? group.size : 0)
    writer.uint(group.hereAttached ? Math.max(0, ROOM - held.size) : 0)
    writer.byte(group.hereDurable ? 1 : 0)
    writer.double(group.since)
    writePositions(writer, held)
    writePositions(writer, this.#done)
    this.#broker.engine.cast(this.#owner, writer.finish())
  }

  #begin(kind: number): Writer {
    const writer = new Writer(kind)
    writer.text(this.#group.name)
    writer.text(this.#group.filter)
    return writer
  }

  heard(from: string, kind: number, reader: Reader): void {
    if (kind === Kind.report) this.#heardReport(from, reader)
    else this.#heardLent(from, reader)
  }

  #heardReport(from: string, reader: Reader): void {
    const epoch = reader.double()
    const seen = reader.uint()
    const members = reader.uint()
    const room = reader.uint()
    const durable = reader.byte() === 1
    const since = reader.double()
    const held = readPositions(reader)
    const done = readPositions(reader)
    if (!this.owns) return
    const group = this.#group
    const remote = this.#remotes.get(from) ?? {
      room: 0,
      durable,
      lent: new Map<Pos, number>(),
      confirmed: new Set<Pos>(),
    }
    this.#remotes.set(from, remote)
    remote.durable = durable
    if (this.#fresh && !this.#ready && members > 0) group.reachBack(since)
    for (const pos of held) {
      if (!remote.lent.has(pos) && group.lentElsewhere(pos)) remote.lent.set(pos, 0)
    }
    this.#finish(remote, done)
    if (epoch === this.#ownerEpoch) {
      for (const [pos, since] of [...remote.lent]) {
        if (since > seen || held.has(pos)) continue
        remote.lent.delete(pos)
        group.returned(pos)
      }
    }
    const unseen = [...remote.lent.values()].filter((since) => since > seen).length
    remote.room = Math.max(0, room - unseen)
    if (members === 0 && remote.lent.size === 0) {
      this.#remotes.delete(from)
      this.#broker.groups.emptied(group)
      return
    }
    if (epoch !== this.#ownerEpoch || unseen > 0) this.changed()
    group.settle()
  }

  #finish(remote: Remote, done: ReadonlySet<Pos>): void {
    for (const pos of remote.confirmed) if (!done.has(pos)) remote.confirmed.delete(pos)
    const news = [...done].filter((pos) => !remote.confirmed.has(pos))
    if (news.length === 0) return
    for (const pos of news) {
      remote.lent.delete(pos)
      if (!this.#group.finishedAway(pos)) this.#over.add(pos)
    }
    const confirm = (): void => {
      for (const pos of news) remote.confirmed.add(pos)
      this.changed()
    }
    if (this.#group.persistent) this.#broker.saver.flow(this.#group).then(confirm, () => {})
    else confirm()
  }

  // ---- The others ----------------------------------------------------------------------------

  #heardLent(from: string, reader: Reader): void {
    const epoch = reader.double()
    const number = reader.uint()
    const positions = readPositions(reader)
    const confirmed = readPositions(reader)
    if (epoch < this.#ownerEpoch) return
    if (this.owns) {
      if (epoch === this.#ownerEpoch) return
      this.lost()
    }
    this.#owner = from
    this.#ownerEpoch = epoch
    this.#seen = number
    for (const pos of confirmed) this.#done.delete(pos)
    const held = this.#group.held()
    let given = 0
    for (const pos of positions) {
      if (this.#done.has(pos) || held.has(pos) || this.#fetching.has(pos)) continue
      this.#take(pos)
      given++
    }
    if (given > 0 || confirmed.size > 0) this.changed()
  }

  #take(pos: Pos): void {
    this.#fetching.add(pos)
    this.#broker.log.message(pos).then(
      (message) => {
        this.#fetching.delete(pos)
        if (message === null) this.#done.add(pos)
        // One that finds no room is given back by not being held.
        else if (!this.owns) this.#group.take(pos, message)
        this.changed()
      },
      () => {
        this.#fetching.delete(pos)
        this.changed()
      },
    )
  }
}

function writePositions(writer: Writer, positions: Iterable<Pos>): void {
  const all = [...positions]
  writer.uint(all.length)
  for (const pos of all) writer.double(pos)
}

function readPositions(reader: Reader): Set<Pos> {
  const positions = new Set<Pos>()
  for (let count = reader.uint(); count > 0; count--) positions.add(reader.double())
  return positions
}
