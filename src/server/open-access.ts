// Access where there is no users file, and the one rule that holds with and without it: filters
// that nobody may subscribe to.

import {
  type Access,
  type AccessClass,
  type Credentials,
  type Identity,
  OPEN_ACCESS,
  type Refusal,
} from '../core/access.ts'
import { covers } from './rules.ts'

/** Everybody is welcome under any name; `log` is told once that passwords are not looked at. */
export function openAccess(log: (sentence: string) => void): Access {
  let told = false
  return {
    connect: (credentials) => {
      if (!told && (credentials.username !== null || credentials.password !== null)) {
        told = true
        log(
          `${credentials.address} offered a name or password over ${credentials.door}; this server takes everybody and checks neither: start it with --users FILE to change that`,
        )
      }
      return OPEN_ACCESS.connect(credentials)
    },
    classOf: (user, clientId) => OPEN_ACCESS.classOf(user, clientId),
  }
}

/**
 * Refuses these filters, and whatever they include, to every subscriber. A wider filter stays allowed, and
 * receives what it matches: this is a rule about asking, not about reading.
 */
export function denySubscribe(access: Access, filters: readonly string[]): Access {
  if (filters.length === 0) return access
  // One class stays one class, so that topics remember one verdict for all who share it.
  const classes = new WeakMap<AccessClass, AccessClass>()
  const narrowed = (inner: AccessClass): AccessClass => {
    const there = classes.get(inner)
    if (there !== undefined) return there
    const closed = (filter: string): boolean => filters.some((denied) => covers(denied, filter))
    const made: AccessClass = {
      mayPublish: (topic) => inner.mayPublish(topic),
      maySubscribe: (filter) => !closed(filter) && inner.maySubscribe(filter),
      closed,
    }
    classes.set(inner, made)
    return made
  }
  const settled = (answer: Identity | Refusal): Identity | Refusal =>
    'refused' in answer ? answer : { user: answer.user, access: narrowed(answer.access) }
  return {
    connect: (credentials: Credentials) => {
      const answer = access.connect(credentials)
      return answer instanceof Promise ? answer.then(settled) : settled(answer)
    },
    classOf: (user, clientId) => {
      const inner = access.classOf(user, clientId)
      return inner === null ? null : narrowed(inner)
    },
  }
}
