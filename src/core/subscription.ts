// A subscription: one session's wish for one filter. The router keeps it under its filter,
// the session keeps it under its name, and a shared group keeps it among its members.

import type { Delivery } from './audience.ts'
import type { Session } from './session.ts'
import type { Group } from './share.ts'
import type { Pos, QoS, SubscriptionOptions } from './types.ts'

export class Subscription implements SubscriptionOptions {
  readonly session: Session
  /** As the client wrote it, `$share/name/` included; its key within the session. */
  readonly filter: string
  readonly qos: QoS
  readonly identifier: number
  readonly noLocal: boolean
  readonly retainAsPublished: boolean
  /** Tail of the log when it was made: messages up to here are not owed. */
  readonly from: Pos
  /** The group it shares, or null. */
  readonly group: Group | null
  /** How a message that matches this subscription alone is delivered. */
  delivery: Delivery
  /** Place in the list of subscriptions under the same filter, or of the group's members. */
  index = -1

  constructor(
    session: Session,
    filter: string,
    options: SubscriptionOptions,
    from: Pos,
    group: Group | null,
  ) {
    this.session = session
    this.filter = filter
    this.qos = options.qos
    this.identifier = options.identifier
    this.noLocal = options.noLocal
    this.retainAsPublished = options.retainAsPublished
    this.from = from
    this.group = group
    this.delivery = session.deliveries.of(this)
  }
}

/**
 * Subscriptions under one filter, in no order. Adding and removing cost the same however many there are; most
 * filters have one subscriber, which needs no array.
 */
export class SubscriptionList {
  #only: Subscription | null = null
  #many: Subscription[] | null = null

  get size(): number {
    return this.#many?.length ?? (this.#only === null ? 0 : 1)
  }

  /** The subscription at that place, 0 … size - 1. */
  at(index: number): Subscription | null {
    if (this.#many !== null) return this.#many[index] ?? null
    return index === 0 ? this.#only : null
  }

  add(subscription: Subscription): void {
    if (this.#many === null) {
      if (this.#only === null) {
        this.#only = subscription
        return
      }
      this.#only.index = 0
      this.#many = [this.#only]
      this.#only = null
    }
    subscription.index = this.#many.length
    this.#many.push(subscription)
  }

  remove(subscription: Subscription): void {
    if (this.#many === null) {
      if (this.#only === subscription) this.#only = null
      return
    }
    const last = this.#many.pop()
    if (last !== undefined && last !== subscription) {
      this.#many[subscription.index] = last
      last.index = subscription.index
    }
    if (this.#many.length > 0) return
    this.#many = null
  }

  forEach(visit: (subscription: Subscription) => void): void {
    if (this.#many !== null) for (const subscription of this.#many) visit(subscription)
    else if (this.#only !== null) visit(this.#only)
  }

  some(test: (subscription: Subscription) => boolean): boolean {
    if (this.#many !== null) return this.#many.some(test)
    return this.#only !== null && test(this.#only)
  }
}
