// Whether a session may subscribe to a filter, and if not, why: syntax, rights and limits, in
// the order in which a client can do something about them.

import type { Broker } from './broker.ts'
import type { Session } from './session.ts'
import { depthOf, filterFault, sharedFilter } from './topic.ts'
import type { SubscriptionOptions } from './types.ts'

/** Why a subscription was refused. */
export type SubscribeFault = 'invalid' | 'closed' | 'forbidden' | 'quota' | 'shared-no-local'

export interface SubscribeRefusal {
  readonly fault: SubscribeFault
  /** Half a sentence for the client. */
  readonly why: string
}

/** Null when the subscription may be made. Counts what it refuses. */
export function subscribeFault(
  broker: Broker,
  session: Session,
  filter: string,
  options: SubscriptionOptions,
): SubscribeRefusal | null {
  const { limits, counters } = broker
  const shared = sharedFilter(filter)
  if (typeof shared === 'string') return { fault: 'invalid', why: shared }
  const plain = shared?.filter ?? filter
  const syntax = filterFault(plain)
  if (syntax !== null) return { fault: 'invalid', why: syntax }
  if (Buffer.byteLength(filter) > limits.topicBytes) {
    counters.limitsReached++
    return { fault: 'invalid', why: `a filter is at most ${limits.topicBytes} bytes` }
  }
  if (depthOf(plain) > limits.topicLevels) {
    counters.limitsReached++
    return { fault: 'invalid', why: `a filter has at most ${limits.topicLevels} levels` }
  }
  if (shared !== null && options.noLocal) {
    return { fault: 'shared-no-local', why: 'No Local does not go with a shared subscription' } // [MQTT-3.8.3-4]
  }
  if (session.access.closed?.(plain) === true) {
    counters.subscribesDenied++
    return { fault: 'closed', why: 'nobody may subscribe to this filter here' }
  }
  if (!session.access.maySubscribe(plain)) {
    counters.subscribesDenied++
    return { fault: 'forbidden', why: 'you may not subscribe to this filter' }
  }
  if (session.subscription(filter) !== null) return null
  return quotaFault(broker, session, shared === null ? null : `${shared.group}/${shared.filter}`)
}

/** `group` is the key of the shared group it would join. */
function quotaFault(
  { limits, router, groups, counters }: Broker,
  session: Session,
  group: string | null,
): SubscribeRefusal | null {
  const over =
    session.subscriptionCount >= limits.subscriptionsPerSession
      ? `a client has at most ${limits.subscriptionsPerSession} subscriptions`
      : router.subscriptionCount >= limits.subscriptions
        ? `the server holds at most ${limits.subscriptions} subscriptions`
        : group !== null && groups.get(group) === undefined && groups.size >= limits.groups
          ? `the server holds at most ${limits.groups} shared groups`
          : null
  if (over === null) return null
  counters.limitsReached++
  return { fault: 'quota', why: over }
}
