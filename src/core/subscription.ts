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

/** Subscriptions under one filter, in no order. Adding and removing cost the same however many there are. */
export class SubscriptionList {
  readonly items: Subscription[] = []

  add(subscription: Subscription): void {
    subscription.index = this.items.length
    this.items.push(subscription)
  }

  remove(subscription: Subscription): void {
    const last = this.items.pop()
    if (last === undefined || last === subscription) return
    this.items[subscription.index] = last
    last.index = subscription.index
  }
}
