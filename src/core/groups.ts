// The groups of shared subscriptions on this node, by `name/filter`: made with their first member,
// forgotten with their last, and their records kept as long as a member anywhere needs them.

import type { Broker } from './broker.ts'
import { Doubts } from './doubts.ts'
import type { Claim } from './engine.ts'
import { disclaimer, readStatement } from './lending-codec.ts'
import { Kind, type Reader } from './peer-codec.ts'
import type { Session } from './session.ts'
import { Group, groupOfRecord, isGroupRecord } from './share.ts'
import type { Pos, StoredSession } from './types.ts'

/** Milliseconds between two looks for sessions that a dead node left. */
const ASK_AGAIN_MS = 1_000

export class Groups {
  readonly #broker: Broker
  readonly #byKey = new Map<string, Group>()
  readonly doubts: Doubts

  constructor(broker: Broker) {
    this.#broker = broker
    this.doubts = new Doubts(broker)
  }

  get size(): number {
    return this.#byKey.size
  }

  values(): Iterable<Group> {
    return this.#byKey.values()
  }

  /** By `name/filter`. */
  get(key: string): Group | undefined {
    return this.#byKey.get(key)
  }

  /** The group of that name and filter, made if there is none; a new one begins after `from`. */
  at(name: string, filter: string, from: Pos): Group {
    const key = `${name}/${filter}`
    const known = this.#byKey.get(key)
    if (known !== undefined) return known
    const group = new Group(name, filter, from, this.#broker)
    this.#byKey.set(key, group)
    const { engine } = this.#broker
    if (engine.durable && engine.node === null) this.#claim(group, key)
    return group
  }

  /** By `name/filter`, of which the name has no slash; made if this node has nothing to do with it. */
  named(key: string): Group {
    const slash = key.indexOf('/')
    const group = this.at(key.slice(0, slash), key.slice(slash + 1), this.#broker.log.last)
    group.lending?.start()
    return group
  }

  #claim(group: Group, key: string): void {
    group.claiming = true
    this.#broker.engine.claim(group.id).then(
      ({ epoch }) => group.claimed(epoch),
      (error: unknown) => {
        this.#broker.report('shared group not claimed', `${key}: ${String(error)}`)
        group.claimed(0)
      },
    )
  }

  /** A member left, or moves to another node. */
  left(group: Group, member: Session, why: 'ended' | 'moved'): void {
    if (group.lending !== null) {
      this.route(group)
      this.#broker.router.touch(group.filter)
      group.lending.changed()
    } else if (group.size > 0) this.#broker.router.touch(group.filter)
    else if (why === 'moved') this.drop(group)
    else this.ended(group, member)
  }

  /** The router knows it while it has members here, or its cursor is here. */
  route(group: Group): void {
    const isRouted = group.size > 0 || group.lending?.owns === true
    if (isRouted === group.routed) return
    group.routed = isRouted
    if (isRouted) this.#broker.router.addGroup(group)
    else this.#broker.router.removeGroup(group)
  }

  /** Its last member, of that session, has left for good. */
  ended(group: Group, member: Session): void {
    this.drop(group)
    if (group.epoch > 0) this.#forget(group, member)
  }

  /** This node has nothing to do with it any more. */
  drop(group: Group): void {
    if (group.routed) this.#broker.router.removeGroup(group)
    group.routed = false
    group.lending?.stop()
    this.#byKey.delete(`${group.name}/${group.filter}`)
  }

  /** Not before the record of its last member says so: a restart in between would begin the group anew. */
  #forget(group: Group, member: Session): void {
    const { saver, sessions, engine } = this.#broker
    const stays = member.persistent && sessions.get(member.id) === member
    const left = stays ? saver.profile(member) : Promise.resolve()
    const { id, epoch } = group
    saver.forget(group)
    group.epoch = 0
    left.then(() => engine.save([{ id, epoch, ended: true }])).catch(() => {})
  }

  // ---- Several nodes -------------------------------------------------------------------------

  /** Another node claims the record of this group. */
  async release(id: string): Promise<void> {
    for (const group of this.#byKey.values()) if (group.id === id) await group.lending?.release()
  }

  /** This node ends: what it owns is another's to take up, as it is now. Resolves when that is saved. */
  async stop(): Promise<void> {
    const lendings = [...this.#byKey.values()].flatMap(({ lending }) => lending ?? [])
    for (const lending of lendings) lending.stop()
    await Promise.all(lendings.map((lending) => lending.release()))
  }

  /** Whether the record is this node's, and is used here. */
  owns(id: string): boolean {
    return isGroupRecord(id) && this.get(groupOfRecord(id))?.lending?.owns === true
  }

  /** The record of a group whose owner died is this node's now. Members may be anywhere, or nowhere: then it ends. */
  adopt(id: string, claim: Claim): void {
    this.named(groupOfRecord(id)).lending?.adopt(claim)
  }

  /** A node came or died. */
  node(id: string, up: boolean): void {
    for (const group of this.#byKey.values()) group.lending?.node(id, up)
  }

  /** This node may be taken for dead: what it was lent others may get. */
  lapsed(): void {
    for (const group of this.#byKey.values()) group.lending?.lost()
  }

  /** Another node says something about a group. */
  heard(from: string, kind: number, reader: Reader): void {
    const name = reader.text()
    const filter = reader.text()
    const lending = this.#byKey.get(`${name}/${filter}`)?.lending
    if (lending != null) lending.heard(from, kind, reader)
    else if (kind === Kind.lent) {
      this.#broker.engine.cast(from, disclaimer({ name, filter }, readStatement(reader)))
    }
  }

  /** Whether a session that is stored is a member, wherever it is. */
  async isStored(group: Group): Promise<boolean> {
    const filter = `$share/${group.key}`
    for await (const { profile } of this.#broker.engine.sessions()) {
      if (profile.subscriptions.some((s) => s.filter === filter)) return true
    }
    return false
  }

  /**
   * What sessions hold of the group that it may not know of, once none of them is that dead node's any more: until then
   * the node might save yet.
   */
  async bequeathed(node: string, group: Group): Promise<ReadonlySet<Pos>> {
    const { engine, runtime } = this.#broker
    for (;;) {
      const taken = new Set<Pos>()
      let settled = true
      if (group.lending?.owns !== true) return taken
      try {
        for await (const stored of engine.sessions()) {
          if (isGroupRecord(stored.id)) continue
          if (stored.node === node) settled = false
          for (const run of stored.flow.sending) {
            if (run.with === group.key) for (const pos of run.positions) taken.add(pos)
          }
        }
      } catch {
        // The engine is away: asked again when it is back.
        settled = false
      }
      if (settled) return taken
      await new Promise<void>((resolve) => runtime.after(ASK_AGAIN_MS, resolve))
    }
  }

  /** Records of an earlier run; those without members any more are forgotten. */
  restore(stored: readonly StoredSession[]): void {
    const byId = new Map([...this.#byKey.values()].map((group) => [group.id, group]))
    for (const { id, epoch, flow } of stored) {
      const group = byId.get(id)
      byId.delete(id)
      if (group !== undefined) group.restore(flow)
      else this.#broker.engine.save([{ id, epoch, ended: true }]).catch(() => {})
    }
    for (const group of byId.values()) group.begin()
  }
}
