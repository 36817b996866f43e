// All sessions by client identifier: who owns one now, how the next client takes over, when one
// that is away ends, and what happens to its will.

import type { AccessClass } from './access.ts'
import type { Broker } from './broker.ts'
import { Deadlines } from './deadlines.ts'
import type { Claim } from './engine.ts'
import type { Link } from './link.ts'
import { Session } from './session.ts'
import { isGroupRecord } from './share.ts'
import type { StoredSession, Will } from './types.ts'

/** Milliseconds by which expiry and wills may be late. */
const GRANULARITY_MS = 250

export interface ConnectRequest {
  readonly clientId: string
  /** Forget what there was. */
  readonly cleanStart: boolean
  /** Seconds the session may outlive the link. */
  readonly expiry: number
  readonly will: Will | null
  readonly user: string
  readonly access: AccessClass
  readonly link: Link
}

export interface Connected {
  readonly session: Session
  /** Whether there was one to resume. */
  readonly present: boolean
}

/** How a link ended. */
export interface Parting {
  /** `discard` after a proper goodbye, `keep` when the server goes down and the session is stored. */
  readonly will: 'publish' | 'discard' | 'keep'
  /** A new session expiry, as DISCONNECT of MQTT 5 may carry. */
  readonly expiry?: number
}

/** Too many sessions: the protocols answer with their quota reason. */
export class SessionLimitError extends Error {}

export class Sessions {
  readonly #broker: Broker
  readonly #byId = new Map<string, Session>()
  /** Two CONNECTs with one client identifier are handled one after the other, across every await. */
  readonly #claims = new Map<string, Promise<unknown>>()
  readonly #expiring: Deadlines<Session>
  readonly #wills: Deadlines<Session>

  constructor(broker: Broker) {
    this.#broker = broker
    this.#expiring = new Deadlines(broker.runtime, GRANULARITY_MS, (s) => this.#expire(s))
    this.#wills = new Deadlines(broker.runtime, GRANULARITY_MS, (s) => this.#publishWill(s))
  }

  get size(): number {
    return this.#byId.size
  }

  /** Sessions whose client is away. */
  get away(): number {
    let away = 0
    for (const session of this.#byId.values()) if (session.link === null) away++
    return away
  }

  all(): Iterable<Session> {
    return this.#byId.values()
  }

  get(id: string): Session | null {
    return this.#byId.get(id) ?? null
  }

  /**
   * Takes the session over for this link, or makes one. The link answers its client and then calls
   * `session.start()`. Rejects with EngineError when ownership or state could not be made safe, and
   * with SessionLimitError.
   */
  connect(request: ConnectRequest): Promise<Connected> {
    const { clientId } = request
    const before = this.#claims.get(clientId)
    const mine =
      before === undefined ? this.#claim(request) : before.then(() => this.#claim(request))
    const settled = mine
      .catch(() => {})
      .then(() => {
        if (this.#claims.get(clientId) === settled) this.#claims.delete(clientId)
      })
    this.#claims.set(clientId, settled)
    return mine
  }

  async #claim(request: ConnectRequest): Promise<Connected> {
    const { clientId, cleanStart, link } = request
    this.#takeOver(clientId)
    const asked = this.#broker.engine.now()
    const { epoch, stored } = await this.#own(clientId)
    let session = this.#resumable(clientId, stored, epoch, asked)
    if (cleanStart && session !== null) {
      await this.#end(session) // [MQTT-3.1.2-4]
      session = null
    }
    const present = session !== null
    if (session === null) {
      if (this.#byId.size >= this.#broker.limits.sessions) {
        this.#broker.counters.limitsReached++
        throw new SessionLimitError(`the server holds ${this.#byId.size} sessions, its limit`)
      }
      session = new Session(clientId, this.#broker)
      // Nothing before its first subscription is owed: it has no past to catch up with.
      session.scan = this.#broker.log.last
      this.#byId.set(clientId, session)
    }
    session.epoch = epoch
    this.#expiring.clear(session)
    this.#wills.clear(session) // [MQTT-3.1.2-26]
    const wasDurable = session.durable
    session.expiry = request.expiry
    session.will = request.will
    session.user = request.user
    session.access = request.access
    if (session.durable !== wasDurable) this.#broker.durabilityChanged(session)
    session.attach(link)
    if (session.persistent || (present && this.#broker.engine.durable)) {
      await this.#broker.saver.profile(session)
    }
    return { session, present }
  }

  /**
   * Makes the stored record ours. What the client published before reaches the engine first, since its QoS 2
   * state is saved with it under the epoch that ends here; other saves wait for the new one.
   */
  async #own(clientId: string): Promise<Claim> {
    const { engine, intake, saver } = this.#broker
    const session = this.#byId.get(clientId)
    intake.flush()
    if (session === undefined) return engine.claim(clientId)
    session.claiming = true
    try {
      const claim = await engine.claim(clientId)
      session.epoch = claim.epoch
      return claim
    } finally {
      session.claiming = false
      saver.claimed()
    }
  }

  /** The client that is there now has to go. [MQTT-3.1.4-3] */
  #takeOver(clientId: string): void {
    const session = this.#byId.get(clientId)
    if (session === undefined || session.link === null) return
    const { link } = session
    this.#broker.counters.takeovers++
    this.disconnect(session, link, { will: 'publish' })
    link.close('session-taken-over', 'another client connected with the same client identifier')
  }

  /** What there is to resume for a client that `asked` then; however long the claim took, it came in time. */
  #resumable(
    clientId: string,
    stored: StoredSession | null,
    epoch: number,
    asked: number,
  ): Session | null {
    const session = this.#byId.get(clientId) ?? (stored === null ? null : this.#revive(stored))
    if (session === null) return null
    session.epoch = epoch
    if (!isExpired(session, asked)) return session
    this.#broker.counters.sessionsExpired++
    void this.#end(session).catch(() => {})
    return null
  }

  /** The link is gone, however. Safe to call for a link that lost its session to another. */
  disconnect(session: Session, link: Link, parting: Parting): void {
    if (session.link !== link) return
    const wasDurable = session.durable
    if (parting.expiry !== undefined) session.expiry = parting.expiry
    if (parting.will === 'discard') session.will = null // [MQTT-3.1.2-10] [MQTT-3.14.4-3]
    session.detach()
    if (session.expiry === 0) {
      void this.#end(session).catch((error: unknown) => {
        this.#broker.report('session not removed', `${session.id}: ${String(error)}`)
      })
      return
    }
    if (session.durable !== wasDurable) this.#broker.durabilityChanged(session)
    this.#leave(session, parting)
  }

  #leave(session: Session, parting: Parting): void {
    const now = this.#broker.engine.now()
    session.awaySince = now
    if (parting.will === 'publish' && session.will !== null) {
      if (session.will.delay === 0) this.#publishWill(session)
      else this.#wills.set(session, now + session.will.delay * 1000)
    }
    this.#expiring.set(session, now + session.expiry * 1000)
    if (!session.persistent) return
    this.#broker.saver.profile(session).catch((error: unknown) => {
      this.#broker.report('session not saved', `${session.id}: ${String(error)}`)
    })
  }

  #expire(session: Session): void {
    if (session.link !== null || this.#byId.get(session.id) !== session) return
    if (session.claiming) {
      // Whoever claims it finds it expired; should that fail, it is ended after all.
      this.#expiring.set(session, this.#broker.engine.now() + GRANULARITY_MS)
      return
    }
    this.#broker.counters.sessionsExpired++
    this.#end(session).catch((error: unknown) => {
      this.#broker.report('session not removed', `${session.id}: ${String(error)}`)
    })
  }

  /** Forgets everything about it; a will that was still waiting is published first. [MQTT-3.1.2-8] */
  async #end(session: Session): Promise<void> {
    this.#expiring.clear(session)
    this.#wills.clear(session)
    this.#byId.delete(session.id)
    if (session.will !== null) this.#publishWill(session)
    this.#broker.unsubscribeAll(session)
    if (this.#broker.engine.durable) await this.#broker.saver.ended(session)
  }

  #publishWill(session: Session): void {
    const { will, id, user } = session
    if (will === null) return
    session.will = null
    const access = this.#broker.access.classOf(user, id)
    const topic = this.#broker.topics.named(will.topic)
    if (access === null || topic === null || !this.#broker.mayPublish(topic, access)) {
      this.#broker.counters.publishesDenied++
      this.#broker.report('will not allowed', id)
      return
    }
    this.#broker.counters.willsPublished++
    this.#broker.publishWill(will, id)
    if (session.persistent) this.#broker.saver.profile(session).catch(() => {})
  }

  // ---- Start and stop ------------------------------------------------------------------------

  /** Sessions of an earlier run. Those that were connected when it ended count as away from now. */
  async restore(): Promise<void> {
    const groups: StoredSession[] = []
    for await (const stored of this.#broker.engine.sessions()) {
      if (isGroupRecord(stored.id)) groups.push(stored)
      else if (!this.#byId.has(stored.id)) this.#revive(stored)
    }
    this.#broker.restoreGroups(groups)
  }

  #revive(stored: StoredSession): Session {
    const session = new Session(stored.id, this.#broker)
    session.epoch = stored.epoch
    session.restore(stored.profile, stored.flow)
    this.#byId.set(session.id, session)
    for (const s of stored.profile.subscriptions) this.#broker.resubscribe(session, s)
    const now = this.#broker.engine.now()
    if (session.awaySince === 0) session.awaySince = now
    if (session.will !== null) {
      this.#wills.set(session, session.awaySince + session.will.delay * 1000)
    }
    this.#expiring.set(session, session.awaySince + session.expiry * 1000)
    return session
  }

  /** Says goodbye to every client; sessions and their wills stay as they are stored. */
  closeLinks(why: string): void {
    for (const session of [...this.#byId.values()]) {
      const { link } = session
      if (link === null) continue
      this.disconnect(session, link, { will: 'keep' })
      link.close('server-shutting-down', why)
    }
  }

  stop(): void {
    this.#expiring.stop()
    this.#wills.stop()
  }
}

function isExpired({ awaySince, expiry }: Session, at: number): boolean {
  return awaySince > 0 && awaySince + expiry * 1000 <= at
}
