// Whom a topic goes to, and how: an interned set of deliveries. Topics with the same audience
// share one object, so "same audience as the frame before?" is one comparison.

import type { FarGroup } from './far-group.ts'
import type { Runtime } from './runtime.ts'
import type { Session } from './session.ts'
import type { Group } from './share.ts'
import type { QoS, SubscriptionOptions } from './types.ts'

/** Three random 32-bit words that identify a member; sums of them identify a set. */
export class Mark {
  readonly a: number
  readonly b: number
  readonly c: number
  constructor(runtime: Runtime) {
    this.a = (runtime.random() * 0x1_0000_0000) >>> 0
    this.b = (runtime.random() * 0x1_0000_0000) >>> 0
    this.c = (runtime.random() * 0x1_0000_0000) >>> 0
  }
}

/** How a session receives a message: all its matching subscriptions taken together. */
export class Delivery {
  readonly session: Session
  /** The highest granted by any of them. [MQTT-3.3.4-2] */
  readonly qos: QoS
  /** Identifiers of all of them that have one; null when none has. [MQTT-3.3.4-4] */
  readonly identifiers: readonly number[] | null
  /** True only if all of them say so: one plain subscription is enough to hear oneself. */
  readonly noLocal: boolean
  /** True if one of them says so. */
  readonly retainAsPublished: boolean
  readonly mark: Mark

  constructor(
    session: Session,
    qos: QoS,
    identifiers: readonly number[] | null,
    noLocal: boolean,
    retainAsPublished: boolean,
    mark: Mark,
  ) {
    this.session = session
    this.qos = qos
    this.identifiers = identifiers
    this.noLocal = noLocal
    this.retainAsPublished = retainAsPublished
    this.mark = mark
  }
}

/** The deliveries of one session, interned: the same wishes give the same object. */
export class Deliveries {
  readonly #session: Session
  readonly #runtime: Runtime
  /** Without identifiers there are twelve at most: an array, made at first use. */
  #plain: (Delivery | undefined)[] | null = null
  #identified: Map<string, Delivery> | null = null

  constructor(session: Session, runtime: Runtime) {
    this.#session = session
    this.#runtime = runtime
  }

  of(options: SubscriptionOptions): Delivery {
    const identifiers = options.identifier === 0 ? null : [options.identifier]
    return this.#intern(options.qos, identifiers, options.noLocal, options.retainAsPublished)
  }

  /** One delivery for several subscriptions that match the same topic. */
  merged(all: readonly SubscriptionOptions[]): Delivery {
    let qos: QoS = 0
    let noLocal = true
    let retainAsPublished = false
    const identifiers: number[] = []
    for (const one of all) {
      if (one.qos > qos) qos = one.qos
      if (!one.noLocal) noLocal = false
      if (one.retainAsPublished) retainAsPublished = true
      if (one.identifier !== 0) identifiers.push(one.identifier)
    }
    identifiers.sort((a, b) => a - b)
    return this.#intern(qos, identifiers.length ? identifiers : null, noLocal, retainAsPublished)
  }

  /** Forgets all: what was handed out stays valid, but is not found again. */
  clear(): void {
    this.#plain = null
    this.#identified = null
  }

  /** How many with identifiers are remembered. */
  get size(): number {
    return this.#identified?.size ?? 0
  }

  #intern(qos: QoS, ids: readonly number[] | null, noLocal: boolean, rap: boolean): Delivery {
    const shape = qos * 4 + (noLocal ? 2 : 0) + (rap ? 1 : 0)
    if (ids === null) {
      this.#plain ??= []
      this.#plain[shape] ??= this.#make(qos, null, noLocal, rap)
      return this.#plain[shape]
    }
    const key = `${shape}:${ids.join()}`
    this.#identified ??= new Map()
    let delivery = this.#identified.get(key)
    if (delivery === undefined) {
      delivery = this.#make(qos, ids, noLocal, rap)
      this.#identified.set(key, delivery)
    }
    return delivery
  }

  #make(qos: QoS, ids: readonly number[] | null, noLocal: boolean, rap: boolean): Delivery {
    return new Delivery(this.#session, qos, ids, noLocal, rap, new Mark(this.#runtime))
  }
}

/** Above this many members a session's delivery is looked up in a map. */
const MEMBERS_SEARCHED = 8

export class Audience {
  readonly members: readonly Delivery[]
  readonly groups: readonly Group[]
  /** Shared groups with members at other nodes, for QoS 0. */
  readonly far: readonly FarGroup[]
  /** Whether a durable session or group is among them: its messages must outlive the process. */
  readonly wanted: boolean
  /** Topics that have it; at zero it is forgotten. The router's. */
  topics = 0
  readonly key: number
  readonly check: number
  #bySession: Map<Session, Delivery> | null = null

  constructor(
    members: readonly Delivery[],
    groups: readonly Group[],
    far: readonly FarGroup[],
    wanted: boolean,
    key: number,
    check: number,
  ) {
    this.members = members
    this.groups = groups
    this.far = far
    this.wanted = wanted
    this.key = key
    this.check = check
  }

  get empty(): boolean {
    return this.members.length === 0 && this.groups.length === 0 && this.far.length === 0
  }

  /** How that session is served; null when it is not a member. */
  of(session: Session): Delivery | null {
    if (this.members.length <= MEMBERS_SEARCHED) {
      for (const delivery of this.members) if (delivery.session === session) return delivery
      return null
    }
    if (this.#bySession === null) {
      this.#bySession = new Map()
      for (const delivery of this.members) this.#bySession.set(delivery.session, delivery)
    }
    return this.#bySession.get(session) ?? null
  }
}

/** Nobody listens. */
export const NOBODY: Audience = new Audience([], [], [], false, 0, 0)

/** Tells a set that is wanted from the same set when it is not. */
const WANTED = 0x9e3779b9

/** The audiences in use, one object per set. */
export class Audiences {
  readonly #byKey = new Map<number, Audience>()

  get size(): number {
    return this.#byKey.size
  }

  /**
   * The audience of these members. Two sets are taken for equal when 85 bits of random sums and their sizes
   * agree; the words are secret, so nobody can make two sets agree.
   */
  intern(
    members: readonly Delivery[],
    groups: readonly Group[],
    far: readonly FarGroup[],
  ): Audience {
    if (members.length === 0 && groups.length === 0 && far.length === 0) return NOBODY
    // A group keeps its mark when durable members come and go: the same set may be wanted or not.
    const wanted =
      members.some((m) => m.qos > 0 && m.session.durable) || groups.some((g) => g.durable)
    let a = wanted ? WANTED : 0
    let b = 0
    let c = 0
    for (const set of [members, groups, far]) {
      for (const { mark } of set) {
        a = (a + mark.a) >>> 0
        b = (b + mark.b) >>> 0
        c = (c + mark.c) >>> 0
      }
    }
    const key = (b & 0x1f_ffff) * 0x1_0000_0000 + a
    const known = this.#byKey.get(key)
    if (known !== undefined && known.check === c && known.members.length === members.length) {
      return known
    }
    const audience = new Audience(members.slice(), groups.slice(), far.slice(), wanted, key, c)
    if (known === undefined) this.#byKey.set(key, audience)
    return audience
  }

  /** One topic fewer has it. */
  release(audience: Audience): void {
    if (audience === NOBODY) return
    audience.topics--
    if (audience.topics <= 0 && this.#byKey.get(audience.key) === audience) {
      this.#byKey.delete(audience.key)
    }
  }
}
