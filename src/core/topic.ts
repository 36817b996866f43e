// What is a valid topic name and filter, and which names a filter matches: the rules of
// MQTT chapter 4.7 as plain functions. `matches` is also the oracle the trie is tested against.

const SLASH = 0x2f
const PLUS = 0x2b
const HASH = 0x23
const DOLLAR = 0x24

/** Why a filter is refused, or null. Length and depth are limits, not syntax: see `depthOf`. */
export function filterFault(filter: string): string | null {
  if (filter === '') return 'a filter needs at least one character' // [MQTT-4.7.3-1]
  for (let i = 0; i < filter.length; i++) {
    const c = filter.charCodeAt(i)
    if (c === 0) return 'a filter must not contain U+0000' // [MQTT-4.7.3-2]
    if (c !== PLUS && c !== HASH) continue
    const startsLevel = i === 0 || filter.charCodeAt(i - 1) === SLASH
    const endsLevel = i + 1 === filter.length || filter.charCodeAt(i + 1) === SLASH
    if (!startsLevel || !endsLevel) return 'a wildcard must stand for a whole level' // [MQTT-4.7.1-2]
    if (c === HASH && i + 1 !== filter.length) return '"#" must be the last character' // [MQTT-4.7.1-1]
  }
  return null
}

/** Why a topic name is refused, or null. */
export function topicFault(name: string): string | null {
  if (name === '') return 'a topic needs at least one character'
  for (let i = 0; i < name.length; i++) {
    const c = name.charCodeAt(i)
    if (c === PLUS || c === HASH) return 'a topic to publish to must not contain wildcards'
    if (c === 0) return 'a topic must not contain U+0000'
  }
  return null
}

export function hasWildcard(filter: string): boolean {
  return filter.includes('+') || filter.includes('#')
}

/** Levels of a topic or filter: one more than its slashes. */
export function depthOf(topic: string): number {
  let depth = 1
  for (let i = 0; i < topic.length; i++) if (topic.charCodeAt(i) === SLASH) depth++
  return depth
}

/** Whether a valid filter matches a valid topic name. Allocates nothing. */
export function matches(filter: string, name: string): boolean {
  const first = filter.charCodeAt(0)
  // Names that begin with $ are for the server: wildcards at the start do not see them. [MQTT-4.7.2-1]
  if ((first === PLUS || first === HASH) && name.charCodeAt(0) === DOLLAR) return false
  const fn = filter.length
  const nn = name.length
  let f = 0
  let n = 0
  while (f < fn) {
    const c = filter.charCodeAt(f)
    if (c === HASH) return true
    if (c === PLUS) {
      while (n < nn && name.charCodeAt(n) !== SLASH) n++
      f++
    } else {
      while (f < fn && filter.charCodeAt(f) !== SLASH) {
        if (n >= nn || filter.charCodeAt(f) !== name.charCodeAt(n)) return false
        f++
        n++
      }
      if (n < nn && name.charCodeAt(n) !== SLASH) return false
    }
    // Both stand at the end of a level.
    if (f === fn) return n === nn
    f++
    if (n === nn) return f + 1 === fn && filter.charCodeAt(f) === HASH // "a/#" matches "a"
    n++
  }
  // The filter ended with a slash: its last level is empty.
  return n === nn
}

export interface SharedFilter {
  readonly group: string
  readonly filter: string
}

/**
 * Takes `$share/group/filter` apart; null when the filter is not shared, a sentence when it is
 * and is wrong. [MQTT-4.8.2-1] [MQTT-4.8.2-2]
 */
export function sharedFilter(filter: string): SharedFilter | string | null {
  if (!filter.startsWith('$share/')) return null
  const end = filter.indexOf('/', 7)
  if (end < 0) return 'a shared subscription is $share/name/filter'
  const group = filter.slice(7, end)
  if (group === '' || hasWildcard(group))
    return 'the share name must not be empty or hold wildcards'
  const rest = filter.slice(end + 1)
  const fault = filterFault(rest)
  return fault ?? { group, filter: rest }
}
