// SUBSCRIBE and UNSUBSCRIBE, filter by filter: what is granted, what is refused and why.

import type { SubscribeFault } from '../../core/subscribe-fault.ts'
import type { MqttLink } from './link.ts'
import { PacketError, Reason, type Subscribe, type Unsubscribe } from './packets.ts'

const FAULTS: Readonly<Record<SubscribeFault, Reason>> = {
  invalid: Reason.topicFilterInvalid,
  // Not authorized would say that another user could.
  closed: Reason.unspecified,
  forbidden: Reason.notAuthorized,
  quota: Reason.quotaExceeded,
  'shared-no-local': Reason.protocolError,
}

export interface Subscribed {
  /** One for each filter, in order. [MQTT-3.9.3-1] */
  readonly codes: readonly number[]
  /** Why the first of those refused was refused. */
  readonly problem: string | undefined
}

/** Throws PacketError where the standard ends the connection. */
export function subscribe(packet: Subscribe, link: MqttLink): Subscribed {
  const { broker, session } = link
  const codes: number[] = []
  const granted: string[] = []
  let problem: string | undefined
  for (const { filter, retainHandling, ...options } of packet.filters) {
    const wish = { ...options, identifier: packet.identifier }
    const result = broker.subscribe(session, filter, wish, retainHandling)
    if (!('fault' in result)) {
      codes.push(result.granted)
      granted.push(filter)
      continue
    }
    if (result.fault === 'shared-no-local') throw new PacketError(Reason.protocolError, result.why)
    codes.push(FAULTS[result.fault])
    problem ??= `${filter}: ${result.why}`
    broker.activity.refused(link, `subscribing to ${filter}: ${result.why}`)
  }
  if (granted.length > 0) broker.activity.subscribed(link, granted)
  return { codes, problem }
}

/** Reason codes, one for each filter in order. [MQTT-3.11.3-1] Throws PacketError as `subscribe`. */
export function unsubscribe(packet: Unsubscribe, link: MqttLink): readonly number[] {
  const { broker, session } = link
  if (packet.filters.includes('')) {
    throw new PacketError(Reason.protocolError, 'a filter needs at least one character') // [MQTT-4.7.3-1]
  }
  const codes = packet.filters.map((filter) =>
    broker.unsubscribe(session, filter) ? Reason.success : Reason.noSubscriptionExisted,
  )
  broker.activity.unsubscribed(link, packet.filters)
  return codes
}
