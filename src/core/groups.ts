// The groups of shared subscriptions on this node, by `name/filter`: made with their first member,
// forgotten with their last, and their records kept as long as a member anywhere needs them.

import type { Broker } from './broker.ts'
import type { Session } from './session.ts'
import { Group } from './share.ts'
import type { Pos, StoredSession } from './types.ts'

export class Groups {
  readonly #broker: Broker
  readonly #byKey = new Map<string, Group>()

  constructor(broker: Broker) {
    this.#broker = broker
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

  /** Its last members are at other nodes, or on their way there: its record stays for them. */
  emptied(group: Group): void {
    if (group.size > 0 || group.lending?.hasOthers === true) return
    this.#drop(group)
    if (group.lending?.owns === true) this.#broker.saver.flow(group).catch(() => {})
  }

  /** Its last member, of that session, has left for good. */
  ended(group: Group, member: Session): void {
    this.#drop(group)
    if (group.epoch > 0) this.#forget(group, member)
  }

  #drop(group: Group): void {
    // Saved later, perhaps: its cursor must not follow the log until then.
    group.park()
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

  /** Another node claims the record of this group. */
  async release(id: string): Promise<void> {
    for (const group of this.#byKey.values()) if (group.id === id) await group.release()
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
