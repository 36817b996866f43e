// Subscribing to several filters at once, as one line asks for: all of them or none.

import type { Broker } from '../../core/broker.ts'
import type { Session } from '../../core/session.ts'
import { filterFault, sharedFilter } from '../../core/topic.ts'
import * as answers from './answers.ts'

/** The answer to a mistyped filter; null when all are filters. */
export function filterError(filters: readonly string[]): string | null {
  for (const filter of filters) {
    const shared = sharedFilter(filter)
    const fault = typeof shared === 'string' ? shared : filterFault(shared?.filter ?? filter)
    if (fault !== null) return answers.badFilter(filter, fault)
  }
  return null
}

/**
 * Subscribes, at QoS 1 when the session is durable. Null when done; otherwise nothing has changed and the
 * answer says why.
 */
export function subscribeAll(
  broker: Broker,
  session: Session,
  filters: readonly string[],
): string | null {
  const { durable } = session
  const options = {
    qos: durable ? 1 : 0,
    identifier: 0,
    noLocal: false,
    retainAsPublished: false,
  } as const
  const created: string[] = []
  for (const filter of filters) {
    // Who comes back under a name has seen what was retained.
    const result = broker.subscribe(session, filter, options, durable ? 1 : 0)
    if ('granted' in result) {
      if (result.created) created.push(filter)
      continue
    }
    for (const one of created) broker.unsubscribe(session, one)
    return answers.notSubscribed(filter, result.fault, result.why)
  }
  return null
}
