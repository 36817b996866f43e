// Sessions where several nodes share them: one that another node takes, one that was taken by a node which died
// before it used it, and all of them when this node may be taken for dead or ends.

import type { Broker } from './broker.ts'
import type { ConnectRequest } from './connecting.ts'
import { type Claim, EngineError } from './engine.ts'
import type { Session } from './session.ts'
import type { Pos } from './types.ts'
import { Unclaimed } from './unclaimed.ts'

/** Milliseconds a client whose node drained has to come back elsewhere before its will is published. */
export const DRAINED_MS = 30_000
/** The same for clients that this node sent away because the engine was away. */
const LAPSED_MS = 30_000
/** Milliseconds a node that ends waits until the records of its clients say so, before it tells them. */
const ENDING_MS = 1_000
/** Milliseconds within which whoever asks for a session takes it. */
const TAKEN_MS = 10_000

/** A claim that is ours, until another node takes the session from under it. */
export interface Settling {
  lost: boolean
}

/** Nobody else can take a session. */
export const NEVER_LOST: Settling = { lost: false }

/** What it needs of the sessions beyond what everybody may ask of them. */
export interface Inside {
  /** Makes the stored record ours. */
  own(id: string): Promise<Claim>
  /** The client that is there has to go. */
  takeOver(id: string): void
  /** It is another node's: nothing of it is left here, and nothing published. */
  forget(session: Session): void
  mustSave(session: Session): boolean
  /** The end of that session that is being stored. */
  ended(id: string): Promise<void> | undefined
}

export class Moves {
  readonly #broker: Broker
  readonly #inside: Inside
  /** CONNECTs that own their session and are not done with it. */
  readonly #settling = new Map<string, Settling>()
  readonly #releases = new Map<string, Promise<void>>()
  /** Lowest positions that sessions given up lately may need, should nobody take them after all. */
  readonly #released = new Map<Session, Pos>()
  /** Clients that came while the engine was away, and others whose records may be somebody else's. */
  readonly unclaimed: Unclaimed

  constructor(broker: Broker, inside: Inside) {
    this.#broker = broker
    this.#inside = inside
    this.unclaimed = new Unclaimed(broker, {
      release: (id) => this.release(id),
      ended: (id) => inside.ended(id),
    })
  }

  // ---- Clients that come ---------------------------------------------------------------------

  /** The session's record, for a client that connects. Null: the engine is away, and the client needs nothing of it. */
  async claim({ clientId, cleanStart, expiry }: ConnectRequest): Promise<Claim | null> {
    const waits = !(cleanStart && expiry === 0)
    const broker = this.#broker
    this.#refuseAtTheEnd()
    if (broker.state === 'up' && this.unclaimed.owes(clientId)) {
      await broker.unlessDown(this.unclaimed.settled(clientId))
    }
    if (broker.state === 'down') {
      if (waits) throw away(broker.stateReason)
      return null
    }
    const claiming = this.#inside.own(clientId)
    const claim = await broker.unlessDown(claiming)
    this.#refuseAtTheEnd()
    if (claim !== null) return claim
    claiming.then((late) => this.#ownedLate(late)).catch(() => {})
    if (waits) throw away(broker.stateReason)
    return null
  }

  /** Who came too late to be told to go elsewhere would be lost with this node, and its will published. */
  #refuseAtTheEnd(): void {
    if (this.#broker.state === 'closed') throw away('this node is ending')
  }

  /** Nobody waits for the claim any more; the session is ours all the same. */
  async #ownedLate(claim: Claim): Promise<void> {
    const { sessions } = this.#broker
    const { stored } = claim
    if (stored === null) return
    await this.#releases.get(stored.id)
    if (!sessions.has(stored.id)) sessions.adopt(claim, LAPSED_MS)
  }

  /** While that runs, another node may take the session from under it, and it is told. */
  async settling<T>(id: string, settle: (settling: Settling) => Promise<T>): Promise<T> {
    const settling = { lost: false }
    this.#settling.set(id, settling)
    try {
      return await settle(settling)
    } finally {
      if (this.#settling.get(id) === settling) this.#settling.delete(id)
    }
  }

  // ---- Sessions that go ----------------------------------------------------------------------

  /**
   * Another node takes the session: its client goes, what it knows is saved if that still can be, and it is
   * forgotten here. Resolves when this node is done with it.
   */
  release(id: string): Promise<void> {
    const known = this.#releases.get(id)
    if (known !== undefined) return known
    const release = this.#release(id).finally(() => this.#releases.delete(id))
    this.#releases.set(id, release)
    return release
  }

  async #release(id: string): Promise<void> {
    const { saver, sessions, state } = this.#broker
    const settling = this.#settling.get(id)
    if (settling !== undefined) settling.lost = true
    const session = sessions.get(id)
    if (session !== null) {
      session.leaving = true
      this.#inside.takeOver(id)
      const ours = sessions.get(id) === session && !session.claiming
      // A node that ends is still asked: whoever takes it must learn that its client was sent.
      const saves = state === 'up' || state === 'closed'
      if (ours && this.#inside.mustSave(session) && saves) {
        await saver.profile(session).catch(() => {})
      }
      if (sessions.get(id) === session) {
        this.#watch(session)
        this.#inside.forget(session)
      }
    }
    await this.#inside.ended(id)?.catch(() => {})
  }

  /** Whoever asked for it may have died before taking it: then it is ours again. */
  #watch(session: Session): void {
    const { id, epoch } = session
    if (!session.durable) return
    this.#released.set(session, session.floor)
    this.#broker.runtime.after(TAKEN_MS, () => {
      const { engine, sessions, sweep } = this.#broker
      const over = (): boolean => this.#released.delete(session)
      if (sessions.has(id)) over()
      else {
        engine.claim(id, epoch).then(
          (claim) => {
            sessions.adopt(claim, DRAINED_MS)
            over()
          },
          (error: unknown) => {
            if (!(error instanceof EngineError && error.fault === 'fenced')) sweep.doubt()
            over()
          },
        )
      }
    })
  }

  /** Lowest position that sessions may need which are not here, and not surely another node's. */
  get releasedFloor(): Pos {
    return Math.min(Number.POSITIVE_INFINITY, ...this.#released.values())
  }

  /**
   * This node may be taken for dead: what has a record may be another node's soon, and its clients are better
   * off there. Who has none may stay.
   */
  lapsed(): void {
    const now = this.#broker.engine.now()
    for (const session of [...this.#broker.sessions.all()]) {
      // What a member of a shared group was lent, others get.
      if (!this.#inside.mustSave(session) && !session.shares) {
        this.unclaimed.add(session, now)
        continue
      }
      const { link } = session
      this.unclaimed.ended(session)
      this.#inside.forget(session)
      link?.close('engine-lost', 'this node has lost touch with the others')
    }
  }

  /**
   * This node is about to end, or to send these away. Clients that are told so are elsewhere within milliseconds: what
   * they find there, also where this node is too busy to be asked, must say by then that they were not lost. Waits for
   * that, but not long.
   */
  async ending(leaving: Iterable<Session>): Promise<void> {
    const { engine, runtime, saver } = this.#broker
    const now = engine.now()
    const saved: Promise<void>[] = []
    for (const session of leaving) {
      if (session.link === null || session.will === null || this.unclaimed.has(session)) continue
      session.endingSince = now
      saved.push(saver.profile(session))
    }
    if (saved.length === 0) return
    const late = new Promise((resolve) => runtime.after(ENDING_MS, () => resolve(null)))
    await Promise.race([Promise.allSettled(saved), late])
  }

  /** Another node claimed it under that epoch, and asking us to let go did not reach us. */
  lostTo(id: string, epoch: number): void {
    const session = this.#broker.sessions.get(id)
    if (session === null || session.claiming || this.unclaimed.has(session)) return
    if (session.epoch < epoch) void this.release(id)
  }
}

function away(why: string): EngineError {
  return new EngineError('down', `sessions cannot be taken up just now: ${why}`)
}
