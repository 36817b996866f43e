// What a client that is gone leaves behind: taken from its session once, and only if it may be published; and where
// others might publish it as well, not before the session's record says that it is taken.

import type { Broker } from './broker.ts'
import type { Session } from './session.ts'
import type { Will } from './types.ts'

/** The will, if it may be published, or the one that waits for the record; the session has none any more. */
export function takeWill(broker: Broker, session: Session): Will | null {
  const { will, dueWill, id, user } = session
  session.will = null
  session.dueWill = null
  if (will === null) return dueWill
  if (dueWill !== null) broker.publishWill(dueWill, id)
  const access = broker.access.classOf(user, id)
  const topic = broker.topics.named(will.topic)
  if (access === null || topic === null || !broker.mayPublish(topic, access)) {
    broker.counters.publishesDenied++
    broker.report('will not allowed', id)
    return null
  }
  broker.counters.willsPublished++
  return will
}

/**
 * Whoever may still save the session publishes its will: another node that took it has it too. Should the session end
 * before that is saved, the will goes with it, and is published when its end is stored.
 */
export function publishOnceSaved(broker: Broker, session: Session, will: Will): void {
  session.dueWill = will
  const saved = (): void => {
    if (session.dueWill !== will) return
    session.dueWill = null
    broker.publishWill(will, session.id)
  }
  broker.saver.profile(session).then(saved, () => {})
}
