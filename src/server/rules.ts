// Topic rules: what a user or client may publish and subscribe to, as lists of filters. Only ever
// allows; what no rule names is refused, and without any rule everything is allowed.

import { type AccessClass, EVERYTHING } from '../core/access.ts'
import { matches } from '../core/topic.ts'

export interface Rule {
  readonly allows: 'publish' | 'subscribe' | 'both'
  /** May hold `%u` for the name of the user and `%c` for the client identifier. */
  readonly filter: string
}

/**
 * Whether every topic that `filter` matches is matched by `allowed`, too. Exact for one allowed filter; that
 * several together may cover a filter which none covers alone is not seen.
 */
export function covers(allowed: string, filter: string): boolean {
  const mine = allowed === '+/#' ? ['#'] : allowed.split('/')
  const theirs = filter === '+/#' ? ['#'] : filter.split('/')
  // Names that begin with $ are for the server: wildcards at the start do not see them. [MQTT-4.7.2-1]
  const first = mine[0]
  if ((first === '#' || first === '+') && theirs[0]?.startsWith('$')) return false
  for (let level = 0; ; level++) {
    const [one, other] = [mine[level], theirs[level]]
    if (one === '#') return true
    if (one === undefined) return other === undefined
    // "a/#" includes "a" itself, which no filter of one more level does.
    if (other === undefined || other === '#') return false
    if (one !== '+' && one !== other) return false
  }
}

/** One set of rules with all names put in. */
export class RuleSet implements AccessClass {
  readonly #publish: readonly string[]
  readonly #subscribe: readonly string[]

  constructor(rules: readonly Rule[]) {
    this.#publish = rules.filter(({ allows }) => allows !== 'subscribe').map(({ filter }) => filter)
    this.#subscribe = rules.filter(({ allows }) => allows !== 'publish').map(({ filter }) => filter)
  }

  mayPublish(topic: string): boolean {
    return this.#publish.some((filter) => matches(filter, topic))
  }

  maySubscribe(filter: string): boolean {
    return this.#subscribe.some((allowed) => covers(allowed, filter))
  }
}

/** The rules of one user, handing out as few classes as possible: topics remember verdicts by class. */
export class Rules {
  readonly #rules: readonly Rule[]
  /** The class of everybody under these rules; null when they name the client. */
  readonly #shared: AccessClass | null

  /** `share` gives the same class for the same rules, whoever's they are. */
  constructor(
    rules: readonly Rule[],
    user: string,
    share: (rules: readonly Rule[]) => AccessClass,
  ) {
    this.#rules = rules.flatMap((rule) => fill(rule, '%u', user))
    const byClient = this.#rules.some(({ filter }) => filter.includes('%c'))
    this.#shared = rules.length === 0 ? EVERYTHING : byClient ? null : share(this.#rules)
  }

  classFor(clientId: string): AccessClass {
    return this.#shared ?? new RuleSet(this.#rules.flatMap((rule) => fill(rule, '%c', clientId)))
  }
}

/** Gives one class to equal rules. */
export function sharing(): (rules: readonly Rule[]) => AccessClass {
  const classes = new Map<string, AccessClass>()
  return (rules) => {
    const key = JSON.stringify(rules.map(({ allows, filter }) => `${allows} ${filter}`).sort())
    const there = classes.get(key)
    if (there !== undefined) return there
    const made = new RuleSet(rules)
    classes.set(key, made)
    return made
  }
}

/**
 * The rule with a name put in. A rule is left out for names that would reach further than one level, or into
 * the topics of the server: clients choose their own identifier, and `#` is one that many would like.
 */
function fill(rule: Rule, mark: string, name: string): Rule[] {
  if (!rule.filter.includes(mark)) return [rule]
  if (name === '' || /[+#/\0]/.test(name)) return []
  const filter = rule.filter.replaceAll(mark, () => name)
  return filter.startsWith('$') && !rule.filter.startsWith('$') ? [] : [{ ...rule, filter }]
}
