// SUBSCRIBE and UNSUBSCRIBE, filter by filter: what is granted, what is refused and why. Answered once the session's
// record is safe.

import type { SubscribeFault } from '../../core/subscribe-fault.ts'
import { suback, unsuback } from './encode.ts'
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

/** What an answer to this client may hold. */
export interface Telling {
  /** Whether it may say why something was refused. */
  readonly problems: boolean
  /** The largest packet, in bytes. */
  readonly packetBytes: number
}

/** Throws PacketError where the standard ends the connection. */
export function subscribe(packet: Subscribe, link: MqttLink, telling: Telling): void {
  const { broker, session, version } = link
  /** One for each filter, in order. [MQTT-3.9.3-1] */
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
  const told = telling.problems ? problem : undefined
  link.onceSaved('profile', () => {
    link.push(suback(packet.packetId, codes, version, told, telling.packetBytes))
    session.settle()
  })
}

/** Throws PacketError as `subscribe`. */
export function unsubscribe(packet: Unsubscribe, link: MqttLink): void {
  const { broker, session } = link
  if (packet.filters.includes('')) {
    throw new PacketError(Reason.protocolError, 'a filter needs at least one character') // [MQTT-4.7.3-1]
  }
  // One for each filter, in order. [MQTT-3.11.3-1]
  const codes = packet.filters.map((filter) =>
    broker.unsubscribe(session, filter) ? Reason.success : Reason.noSubscriptionExisted,
  )
  broker.activity.unsubscribed(link, packet.filters)
  link.onceSaved('profile', () => link.push(unsuback(packet.packetId, codes, link.version)))
}
