// A shared subscription's group: one cursor over the log for all members, each message lent to
// one of them. What a member that goes away had not acknowledged is lent to another.

import { Mark } from './audience.ts'
import type { Broker } from './broker.ts'
import { Cursor } from './cursor.ts'
import { type Subscription, SubscriptionList } from './subscription.ts'
import type { Message, Pos } from './types.ts'

export class Group extends Cursor {
  readonly #broker: Broker
  readonly name: string
  /** Without `$share/name/`. */
  readonly filter: string
  readonly mark: Mark
  readonly #members = new SubscriptionList()
  #turn = 0
  /** Lent and not acknowledged. */
  readonly #lent = new Map<Pos, Message>()
  /** Given back by members that went; served before anything new. */
  #returned: [Pos, Message][] = []

  constructor(name: string, filter: string, broker: Broker) {
    super()
    this.#broker = broker
    this.name = name
    this.filter = filter
    this.mark = new Mark(broker.runtime)
    this.scan = broker.log.last
  }

  get size(): number {
    return this.#members.items.length
  }

  /** Whether a member outlives its link: then the group waits for it. */
  get durable(): boolean {
    return this.#members.items.some((m) => m.session.durable)
  }

  get attached(): boolean {
    return this.#members.items.some((m) => m.session.attached)
  }

  /** Lowest position it may still need. */
  get floor(): Pos {
    let floor = (this.live ? this.#broker.log.last : this.scan) + 1
    for (const pos of this.#lent.keys()) floor = Math.min(floor, pos)
    for (const [pos] of this.#returned) floor = Math.min(floor, pos)
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
    const { items } = this.#members
    for (let i = 0; i < items.length; i++) {
      const member = items[(this.#turn + i) % items.length]
      if (member === undefined || member.session.link === null) continue
      this.#turn = (this.#turn + i + 1) % items.length
      return member
    }
    return null
  }

  offer(pos: Pos, message: Message): void {
    if (this.live && !this.consider(pos, message)) this.fallBehind(pos)
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
    const { items } = this.#members
    for (let i = 0; i < items.length; i++) {
      const member = items[(this.#turn + i) % items.length]
      if (member === undefined) continue
      this.#lent.set(pos, message)
      if (!member.session.lend(pos, message, member.delivery, this)) {
        this.#lent.delete(pos)
        continue
      }
      this.#turn = (this.#turn + i + 1) % items.length
      return true
    }
    return false
  }

  protected overrun(): void {
    this.#broker.counters.droppedOverrun++
    this.#broker.report('overrun', `$share/${this.name}/${this.filter}`)
  }

  /** The member acknowledged it, or it will never be delivered to another. */
  finished(pos: Pos): void {
    this.#lent.delete(pos)
  }

  /** The member went away before it acknowledged. */
  returned(pos: Pos): void {
    const message = this.#lent.get(pos)
    if (message === undefined) return
    this.#lent.delete(pos)
    this.#returned.push([pos, message])
    this.#returned.sort((a, b) => a[0] - b[0])
    this.#broker.runtime.atTurnEnd(() => this.settle())
  }

  /** The log could not wait any longer for a member. */
  evict(before: Pos): void {
    this.#returned = this.#returned.filter(([pos]) => pos >= before)
    if (this.live || this.scan >= before - 1) return
    this.scan = before - 1
    this.overrun()
  }

  /** A member may have room again. */
  settle(): void {
    while (this.#returned.length > 0) {
      const [pos, message] = this.#returned[0] as [Pos, Message]
      if (!this.#lend(pos, message)) return
      this.#returned.shift()
    }
    if (!this.live) this.wake(this.#broker.log)
  }
}
