// From a topic to its audience, and from a run to the links of that audience. Keeps every
// subscription under its filter; remembers each topic's audience until a filter that matches changes.

import type { AccessClass } from './access.ts'
import { type Audience, Audiences, type Delivery, NOBODY } from './audience.ts'
import type { Counters } from './counters.ts'
import type { FarGroup } from './far-group.ts'
import type { Run } from './run.ts'
import type { Runtime } from './runtime.ts'
import type { Session } from './session.ts'
import { type Group, SHARE_RUN } from './share.ts'
import { Standings } from './standings.ts'
import { type Subscription, SubscriptionList } from './subscription.ts'
import { hasWildcard, matches } from './topic.ts'
import { STALE, type Topic, type Topics } from './topics.ts'
import { Trie } from './trie.ts'

/** What is under one filter. */
class FilterEntry extends SubscriptionList {
  groups: Group[] | null = null
  far: FarGroup[] | null = null

  get empty(): boolean {
    return this.size === 0 && this.groups === null && this.far === null
  }
}

/**
 * How many changes of wildcard filters are remembered. A topic that missed fewer compares itself with
 * each; one that missed more is matched anew. So a change touches only what it matches, and costs nothing
 * for topics that nobody publishes on.
 */
const CHANGES = 64
/** Links served in one turn; a wider fan-out goes on in the next, so that nobody waits behind it. */
const FAN_OUT_TURN = 1_000
export class Router {
  readonly #topics: Topics
  readonly #counters: Counters
  readonly #runtime: Runtime
  readonly #audiences = new Audiences()
  readonly #standings: Standings
  readonly #exact = new Map<string, FilterEntry>()
  readonly #wild = new Trie<FilterEntry>()
  readonly #changed: string[] = []
  /** Number of wildcard changes so far; `Topic.seen` counts in it. */
  #change = 0
  #subscriptions = 0
  /** Counts lookups, to tell sessions met in this one from those met before. */
  #lookup = 0
  readonly #wide: WideFanOut[] = []
  #wideRuns = 0

  constructor(topics: Topics, counters: Counters, runtime: Runtime) {
    this.#topics = topics
    this.#counters = counters
    this.#runtime = runtime
    this.#standings = new Standings(() => topics.forgetStandings())
    topics.onEvict = (topic) => {
      this.#audiences.release(topic.audience)
      topic.audience = NOBODY
      topic.seen = STALE
    }
  }

  get subscriptionCount(): number {
    return this.#subscriptions
  }

  get audienceCount(): number {
    return this.#audiences.size
  }

  /** Runs that wait for their next turn; publishers to wide audiences pause while there are many. */
  get wideBacklog(): number {
    return this.#wideRuns
  }

  add(filter: string, subscription: Subscription): void {
    this.#entry(filter).add(subscription)
    this.#subscriptions++
    this.touch(filter)
  }

  remove(filter: string, subscription: Subscription): void {
    const entry = this.#find(filter)
    if (entry === null) return
    entry.remove(subscription)
    this.#subscriptions--
    this.#dropIfEmpty(filter, entry)
    this.touch(filter)
  }

  addGroup(group: Group): void {
    const entry = this.#entry(group.filter)
    entry.groups = [...(entry.groups ?? []), group]
    this.touch(group.filter)
  }

  removeGroup(group: Group): void {
    const entry = this.#find(group.filter)
    if (entry?.groups == null) return
    const rest = entry.groups.filter((g) => g !== group)
    entry.groups = rest.length > 0 ? rest : null
    this.#dropIfEmpty(group.filter, entry)
    this.touch(group.filter)
  }

  /** Members at other nodes: for QoS 0, of which the log says nothing. */
  addFar(far: FarGroup): void {
    const entry = this.#entry(far.filter)
    entry.far = [...(entry.far ?? []), far]
    this.touch(far.filter)
  }

  removeFar(far: FarGroup): void {
    const entry = this.#find(far.filter)
    if (entry?.far == null) return
    const rest = entry.far.filter((one) => one !== far)
    entry.far = rest.length > 0 ? rest : null
    this.#dropIfEmpty(far.filter, entry)
    this.touch(far.filter)
  }

  /** Topics that the filter matches look their audience up again before they are used. */
  touch(filter: string): void {
    this.#standings.change()
    if (hasWildcard(filter)) {
      this.#changed[this.#change % CHANGES] = filter
      this.#change++
      return
    }
    const topic = this.#topics.known(filter)
    if (topic !== null) topic.seen = STALE
  }

  /** Whom the topic goes to now. */
  audience(topic: Topic): Audience {
    if (topic.seen === this.#change) return topic.audience
    return this.#refresh(topic)
  }

  /** What topics with that audience have in common for that class, which may publish on them. */
  standing(audience: Audience, access: AccessClass): number {
    return this.#standings.of(audience, access)
  }

  #refresh(topic: Topic): Audience {
    const { seen } = topic
    const missed = this.#change - seen
    if (seen !== STALE && missed <= CHANGES && !topic.evicted) {
      let touched = false
      for (let i = seen; i < this.#change && !touched; i++) {
        touched = matches(this.#changed[i % CHANGES] as string, topic.name)
      }
      if (!touched) {
        topic.seen = this.#change
        return topic.audience
      }
    }
    const audience = this.#match(topic.name)
    if (topic.evicted) {
      // Nobody would tell it of the next change, nor when nobody needs its audience any more.
      audience.topics++
      this.#audiences.release(audience)
      return audience
    }
    if (audience !== topic.audience) {
      this.#audiences.release(topic.audience)
      audience.topics++
      topic.audience = audience
    }
    topic.seen = this.#change
    return audience
  }

  #match(name: string): Audience {
    const lookup = ++this.#lookup
    const members: Delivery[] = []
    const groups: Group[] = []
    const far: FarGroup[] = []
    let overlapping: Map<Session, Subscription[]> | null = null
    const meet = (subscription: Subscription): void => {
      const { session } = subscription
      if (session.metIn !== lookup) {
        session.metIn = lookup
        session.metWith = subscription
        members.push(subscription.delivery)
        return
      }
      overlapping ??= new Map()
      const all = overlapping.get(session)
      if (all !== undefined) all.push(subscription)
      else overlapping.set(session, [session.metWith as Subscription, subscription])
    }
    const visit = (entry: FilterEntry): void => {
      entry.forEach(meet)
      if (entry.groups !== null) groups.push(...entry.groups)
      if (entry.far !== null) far.push(...entry.far)
    }
    const exact = this.#exact.get(name)
    if (exact !== undefined) visit(exact)
    this.#wild.matching(name, visit)
    if (overlapping !== null) this.#mergeOverlapping(members, overlapping)
    return this.#audiences.intern(members, groups, far)
  }

  /** A session gets one copy, whatever number of its subscriptions match. [MQTT-3.3.4-2] */
  #mergeOverlapping(members: Delivery[], overlapping: Map<Session, Subscription[]>): void {
    for (let i = 0; i < members.length; i++) {
      const { session } = members[i] as Delivery
      const all = overlapping.get(session)
      if (all !== undefined) members[i] = session.deliveries.merged(all)
    }
  }

  /** Hands a QoS 0 run to everybody in the audience. Never blocks; who is behind drops and counts. */
  pass(run: Run, audience: Audience): void {
    const { members, groups, far } = audience
    if (members.length > FAN_OUT_TURN) this.#passWide(run, audience)
    else
      for (let i = 0; i < members.length; i++) {
        const delivery = members[i] as Delivery
        const { link } = delivery.session
        if (link !== null) link.pass(run, delivery)
      }
    // The node that it was published at chose the member, or the member's node.
    if (run.relayed === true) return
    for (const group of groups) {
      const others = far.find((one) => one.isOf(group))
      this.passShared(run, group, others)
    }
    for (const one of far) if (!groups.some((group) => one.isOf(group))) one.pass(run)
  }

  /** To one member each, or, where none is here, to other nodes: `far` is what they have of the group. */
  passShared(run: Run, group: Group, far?: FarGroup): void {
    for (let from = 0; from < run.count; from += SHARE_RUN) {
      const to = Math.min(run.count, from + SHARE_RUN)
      const member = group.nextOnline()
      if (member === null) {
        if (far !== undefined) far.pass(run.part(from, run.count))
        else this.#counters.droppedNoMember += run.count - from
        return
      }
      const part = from === 0 && to === run.count ? run : run.part(from, to)
      member.session.link?.pass(part, member.delivery)
    }
  }

  /**
   * First in, first out, so that a later run never overtakes an earlier one. Runs that come while others are
   * on their way wait together: each link then gets all of them at once and writes once.
   */
  #passWide(run: Run, audience: Audience): void {
    run.keep()
    this.#wideRuns++
    const last = this.#wide[this.#wide.length - 1]
    if (last !== undefined && last.next === 0 && last.members === audience.members) {
      last.runs.push(run)
      return
    }
    this.#wide.push({ runs: [run], members: audience.members, next: 0 })
    if (this.#wide.length === 1) this.#serveWide()
  }

  #serveWide(): void {
    let served = 0
    while (served < FAN_OUT_TURN) {
      const fanOut = this.#wide[0]
      if (fanOut === undefined) return
      const end = Math.min(fanOut.members.length, fanOut.next + FAN_OUT_TURN - served)
      for (let i = fanOut.next; i < end; i++) {
        const delivery = fanOut.members[i] as Delivery
        const { link } = delivery.session
        if (link !== null) for (const run of fanOut.runs) link.pass(run, delivery)
      }
      served += end - fanOut.next
      fanOut.next = end
      if (end < fanOut.members.length) break
      this.#wide.shift()
      this.#wideRuns -= fanOut.runs.length
    }
    if (this.#wide.length > 0) this.#runtime.nextTurn(() => this.#serveWide())
  }

  #entry(filter: string): FilterEntry {
    if (hasWildcard(filter)) return this.#wild.at(filter, () => new FilterEntry())
    let entry = this.#exact.get(filter)
    if (entry === undefined) {
      entry = new FilterEntry()
      this.#exact.set(filter, entry)
    }
    return entry
  }

  #find(filter: string): FilterEntry | null {
    return hasWildcard(filter) ? this.#wild.get(filter) : (this.#exact.get(filter) ?? null)
  }

  #dropIfEmpty(filter: string, entry: FilterEntry): void {
    if (!entry.empty) return
    if (hasWildcard(filter)) this.#wild.delete(filter)
    else this.#exact.delete(filter)
  }
}

/** Runs on their way to more links than one turn serves. */
interface WideFanOut {
  readonly runs: Run[]
  readonly members: readonly Delivery[]
  next: number
}
