// All sessions by client identifier: who owns one now, how the next client takes over, when one
// that is away ends, and what happens to its will.

import type { Broker } from './broker.ts'
import {
  abandoned,
  type Connected,
  type ConnectRequest,
  type Parting,
  SessionLimitError,
  taken,
} from './connecting.ts'
import { Deadlines } from './deadlines.ts'
import type { Claim } from './engine.ts'
import type { Link } from './link.ts'
import { DRAINED_MS, Moves, NEVER_LOST, type Settling } from './moves.ts'
import { Session } from './session.ts'
import { isGroupRecord } from './share.ts'
import type { StoredSession, Will } from './types.ts'
import { publishOnceSaved, takeWill } from './wills.ts'

/** Milliseconds by which expiry and wills may be late. */
const GRANULARITY_MS = 250

export class Sessions {
  readonly #broker: Broker
  readonly #byId = new Map<string, Session>()
  /** Two CONNECTs with one client identifier are handled one after the other, across every await. */
  readonly #claims = new Map<string, Promise<unknown>>()
  /** Sessions whose end is being stored. */
  readonly #ends = new Map<string, Promise<void>>()
  readonly #expiring: Deadlines<Session>
  readonly #wills: Deadlines<Session>
  readonly moves: Moves

  constructor(broker: Broker) {
    this.#broker = broker
    this.moves = new Moves(broker, {
      own: (id) => this.#own(id),
      takeOver: (id) => this.#takeOver(id),
      forget: (session) => this.#forget(session),
      mustSave: (session) => this.#mustSave(session),
      ended: (id) => this.#ends.get(id),
    })
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
      before === undefined
        ? this.#claim(request)
        : before.then(() => {
            // However long it waited: its client may be at another node by now, with what it would end.
            if (request.abandoned?.() === true) throw abandoned(clientId)
            return this.#claim(request)
          })
    const settled = mine
      .catch(() => {})
      .then(() => {
        if (this.#claims.get(clientId) === settled) this.#claims.delete(clientId)
      })
    this.#claims.set(clientId, settled)
    return mine
  }

  async #claim(request: ConnectRequest): Promise<Connected> {
    const { clientId } = request
    this.#takeOver(clientId)
    const asked = this.#broker.engine.now()
    if (this.#broker.engine.node === null) {
      return this.#settle(request, await this.#own(clientId), asked, NEVER_LOST)
    }
    const claim = await this.moves.claim(request)
    if (claim === null) return this.#goAhead(request, asked)
    return this.moves.settling(clientId, (settling) => {
      if (request.abandoned?.() === true) {
        // It stays as it was: its client never heard that it would end, and was there a moment ago.
        this.adopt(claim, DRAINED_MS)
        throw abandoned(clientId)
      }
      return this.#settle(request, claim, asked, settling)
    })
  }

  async #settle(
    request: ConnectRequest,
    { epoch, stored }: Claim,
    asked: number,
    settling: Settling,
  ): Promise<Connected> {
    const { clientId, cleanStart } = request
    const alone = this.#broker.engine.node === null
    // All that is stored was taken up at the start: what is not here has ended, and could not be removed.
    const leftOver = alone && stored !== null && !this.#byId.has(clientId)
    let { session, left } = this.#resumable(clientId, alone ? null : stored, epoch, asked)
    if (cleanStart && session !== null) {
      left = await this.#endBefore(session) // [MQTT-3.1.2-4]
      session = null
    }
    if (settling.lost) throw taken(clientId)
    const present = session !== null
    session ??= this.#make(clientId, epoch)
    session.epoch = epoch
    this.#expiring.clear(session)
    this.#wills.clear(session) // [MQTT-3.1.2-26]
    this.#give(session, request)
    const { engine } = this.#broker
    const replaces = present ? engine.durable : stored !== null && engine.node !== null
    if (replaces || this.#mustSave(session)) await this.#broker.saver.profile(session)
    // Not before the record has lost it: whoever owned that next would publish it, too.
    if (left !== null) this.#broker.publishWill(left, clientId)
    // The client is not told that nothing is there while a restart would bring it back. [MQTT-3.1.2-4]
    if (leftOver && !session.persistent) await this.#broker.saver.ended(session)
    if (settling.lost) throw taken(clientId)
    return { session, present }
  }

  /**
   * An earlier session ends because a new one begins. Where nodes share sessions its record stays, with us as the
   * owner, and is overwritten: without one, others would not know where the client is. Resolves with the will that is
   * to be published then.
   */
  async #endBefore(session: Session): Promise<Will | null> {
    const will = this.#broker.engine.node === null ? null : takeWill(this.#broker, session)
    if (this.#broker.engine.node === null) await this.#end(session)
    else this.#endHere(session)
    return will
  }

  #make(clientId: string, epoch: number): Session {
    if (this.#byId.size >= this.#broker.limits.sessions) {
      this.#broker.counters.limitsReached++
      if (this.#broker.engine.node !== null && epoch > 0) {
        this.#broker.engine.save([{ id: clientId, epoch, ended: true }]).catch(() => {})
      }
      throw new SessionLimitError(`the server holds ${this.#byId.size} sessions, its limit`)
    }
    const session = new Session(clientId, this.#broker)
    // Nothing before its first subscription is owed: it has no past to catch up with.
    session.scan = this.#broker.log.last
    this.#byId.set(clientId, session)
    return session
  }

  #give(session: Session, { expiry, will, user, access, link }: ConnectRequest): void {
    const wasDurable = session.durable
    session.expiry = expiry
    session.will = will
    session.user = user
    session.access = access
    if (session.durable !== wasDurable) this.#broker.durabilityChanged(session)
    session.attach(link)
  }

  /** Where nodes share sessions, the will of one that ends with its link must outlive this node. */
  #mustSave(session: Session): boolean {
    return session.persistent || (session.will !== null && this.#broker.engine.node !== null)
  }

  /**
   * Makes the stored record ours. What the client published before reaches the engine first, since its QoS 2
   * state is saved with it under the epoch that ends here; other saves wait for the new one.
   */
  async #own(clientId: string): Promise<Claim> {
    const { engine, intake, saver } = this.#broker
    const session = this.#byId.get(clientId)
    intake.flush()
    if (session !== undefined) session.claiming = true
    try {
      const claim = await engine.claim(clientId)
      // One that another node took meanwhile is not what is stored: nothing of it may be saved over that.
      if (session !== undefined && !session.leaving && !session.gone) session.epoch = claim.epoch
      return claim
    } catch (error) {
      // Where it was asked of others, it may have happened.
      if (engine.node !== null) this.#broker.sweep.doubt()
      throw error
    } finally {
      if (session !== undefined) {
        session.claiming = false
        saver.claimed()
      }
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

  /**
   * What there is to resume for a client that `asked` then; however long the claim took, it came in time. `left` is the
   * will of one that was over, to be published once the record has lost it.
   */
  #resumable(
    clientId: string,
    stored: StoredSession | null,
    epoch: number,
    asked: number,
  ): { session: Session | null; left: Will | null } {
    // One that another node took is not what it was, even if it is still being saved.
    const left = this.#byId.get(clientId)
    if (left?.leaving === true) this.#forget(left)
    const known = this.#byId.get(clientId)
    const session = known ?? (stored === null ? null : this.#revive(stored))
    if (session === null) return { session, left: null }
    session.epoch = epoch
    // One that ends with its link is only found where a node died with both.
    const over = known === undefined && session.expiry === 0
    if (!over && !session.isExpired(asked)) return { session, left: null }
    this.#broker.counters.sessionsExpired++
    const will = this.#broker.engine.node === null ? null : takeWill(this.#broker, session)
    if (this.#broker.engine.node === null) this.#end(session).catch(() => {})
    else this.#endHere(session)
    return { session: null, left: will }
  }

  /** The link is gone, however. Safe to call for a link that lost its session to another. */
  disconnect(session: Session, link: Link, parting: Parting): void {
    if (session.link !== link) return
    if (session.gone) {
      session.detach()
      return
    }
    const wasDurable = session.durable
    if (parting.expiry !== undefined) session.expiry = parting.expiry
    if (parting.will === 'discard') session.will = null // [MQTT-3.1.2-10] [MQTT-3.14.4-3]
    session.detach()
    if (session.expiry === 0) {
      if (parting.will === 'keep' && this.#broker.engine.node !== null) session.will = null
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
    const { engine, saver } = this.#broker
    const unclaimed = this.moves.unclaimed.has(session)
    const shared = engine.node !== null && !unclaimed
    const will = shared ? takeWill(this.#broker, session) : null
    this.#endHere(session)
    if (!engine.durable || unclaimed) return
    const ended = saver.ended(session)
    this.#ends.set(session.id, ended)
    try {
      await ended
    } finally {
      if (this.#ends.get(session.id) === ended) this.#ends.delete(session.id)
    }
    if (will !== null) this.#broker.publishWill(will, session.id)
  }

  #endHere(session: Session): void {
    this.#expiring.clear(session)
    this.#wills.clear(session)
    this.#byId.delete(session.id)
    this.moves.unclaimed.ended(session)
    const will = takeWill(this.#broker, session)
    if (will !== null) this.#broker.publishWill(will, session.id)
    this.#broker.unsubscribeAll(session)
    this.#broker.saver.forget(session)
  }

  #publishWill(session: Session): void {
    const { engine, saver } = this.#broker
    const will = takeWill(this.#broker, session)
    if (will === null) return
    if (engine.node === null || this.moves.unclaimed.has(session)) {
      this.#broker.publishWill(will, session.id)
      if (session.persistent) saver.profile(session).catch(() => {})
    } else publishOnceSaved(this.#broker, session, will)
  }

  // ---- Several nodes -------------------------------------------------------------------------

  /** A client that is owed nothing from before: it may talk at QoS 0 now and is claimed when the engine is back. */
  #goAhead(request: ConnectRequest, asked: number): Connected {
    const known = this.#byId.get(request.clientId)
    if (known !== undefined) this.#forget(known)
    const session = this.#make(request.clientId, 0)
    this.moves.unclaimed.add(session, asked)
    this.#give(session, request)
    return { session, present: false }
  }

  /** It is another node's, or about to be: nothing of it is left here, and nothing published. */
  #forget(session: Session): void {
    session.gone = true
    this.#expiring.clear(session)
    this.#wills.clear(session)
    this.#byId.delete(session.id)
    this.moves.unclaimed.delete(session)
    this.#broker.saver.lost(session)
    this.#broker.unsubscribeAll(session, 'moved')
  }

  /** Whether somebody here uses it, or is about to. */
  has(id: string): boolean {
    return this.#byId.has(id) || this.#claims.has(id) || this.moves.unclaimed.owes(id)
  }

  /**
   * Takes up a session whose node is gone, now that it is claimed. Its client has `grace` milliseconds before its
   * will is published, where its connection was not lost but ended by its node.
   */
  adopt({ epoch, stored }: Claim, grace: number): void {
    if (stored === null || this.#byId.has(stored.id)) return
    const { awaySince } = stored.flow
    const session = this.#revive({ ...stored, epoch })
    const { will, expiry } = session
    if (expiry === 0) {
      void this.#end(session).catch(() => {})
      return
    }
    if (will !== null) {
      const patience = awaySince > 0 ? Math.max(grace, DRAINED_MS) : grace
      this.#wills.set(session, session.awaySince + Math.max(will.delay * 1000, patience))
    }
    this.#broker.saver.profile(session).catch(() => {})
  }

  // ---- Start and stop ------------------------------------------------------------------------

  /** Sessions of an earlier run. Those that were connected when it ended count as away from now. */
  async restore(): Promise<void> {
    const groups: StoredSession[] = []
    for await (const stored of this.#broker.engine.sessions()) {
      if (isGroupRecord(stored.id)) groups.push(stored)
      else if (!this.#byId.has(stored.id)) this.#revive(stored)
    }
    this.#broker.groups.restore(groups)
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

  /** Says goodbye to all clients, or these; sessions and their wills stay as they are stored. */
  closeLinks(why: string, leaving: Iterable<Session> = [...this.#byId.values()]): void {
    const others = this.#broker.engine.node !== null
    for (const session of leaving) {
      const { link } = session
      if (link === null) continue
      this.disconnect(session, link, { will: 'keep' })
      link.close(others ? 'use-another-server' : 'server-shutting-down', why)
    }
  }

  /** Resolves when the ends of sessions are stored. */
  async stop(): Promise<void> {
    this.#expiring.stop()
    this.#wills.stop()
    await Promise.allSettled(this.#ends.values())
  }
}
