// Saves session records: together what a turn changed, now when a packet waits for it, some time soon
// when only a duplicate is at stake (lazy-saves.ts).

import { type Engine, EngineError, type EngineFault, type SessionSave } from './engine.ts'
import type { Intake } from './intake.ts'
import { LazySaves } from './lazy-saves.ts'
import type { Runtime } from './runtime.ts'
import type { SessionFlow, SessionProfile } from './types.ts'

/** What has a record of its own: a session, or a shared group that waits for its members. */
export interface Recorded {
  readonly id: string
  readonly epoch: number
  /** A claim is under way, after which `epoch` is another: saves wait for it. */
  readonly claiming: boolean
  /** Another node owns it: nothing of it is saved here any more. */
  readonly gone: boolean
  /** Another node takes it: it is saved once more, if that is still possible. */
  readonly leaving: boolean
  flow(): SessionFlow
  profile(): SessionProfile
}

/** Milliseconds after which an engine that was away, or full, is asked again. */
const AGAIN_MS = 500

interface Due {
  profile: boolean
  readonly promise: Promise<void>
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

export class Saver {
  readonly #engine: Engine
  readonly #runtime: Runtime
  readonly #intake: Intake
  #due = new Map<Recorded, Due>()
  #scheduled = false
  /** What the save on its way holds. */
  readonly #flying = new Set<Recorded>()
  /** Groups and members between which a message moved: saved all together or not at all, until that has landed. */
  readonly #tied = new Set<Recorded>()
  readonly #lazy: LazySaves<Recorded>
  /** The engine is away: nothing is asked of it until the next attempt. */
  #away = false

  constructor(engine: Engine, runtime: Runtime, intake: Intake) {
    this.#engine = engine
    this.#intake = intake
    this.#runtime = runtime
    this.#lazy = new LazySaves<Recorded>(runtime, {
      shared: engine.node !== null,
      isAway: () => this.#away,
      due: (session) => {
        if (!session.gone) this.#enter(session, false).promise.catch(() => {})
      },
    })
  }

  /** Records that are not as their sessions are: to be saved some time soon, or on their way. */
  get waiting(): number {
    return this.#lazy.size + this.#due.size + this.#flying.size
  }

  /** Resolves when the session's traffic state, as it is at the end of this turn or later, is saved. */
  flow(session: Recorded): Promise<void> {
    return this.#enter(session, false).promise
  }

  /** As `flow`, with subscriptions, will and expiry. */
  profile(session: Recorded): Promise<void> {
    return this.#enter(session, true).promise
  }

  /**
   * As `flow`, for a group that gave a message to a member for good. One of the two records names the message, in
   * whatever is stored from now on, also when a save of them fails: neither none, which loses it, nor both, which
   * doubles it.
   */
  together(group: Recorded, member: Recorded): void {
    if (this.#engine.node === null) this.#tied.add(group).add(member)
    this.#enter(group, false).promise.catch(() => this.lazily(group))
  }

  /** Adds to the saves of a record those that must not come later than they. */
  accompany(saves: SessionSave[]): void {
    if (this.#tied.size === 0) return
    const tied = [...this.#tied]
    const ids = new Set(saves.map(({ id }) => id))
    // What is being claimed cannot be saved just now, and the record cannot wait: a duplicate is less than a loss.
    if (!tied.some(({ id }) => ids.has(id)) || tied.some(({ claiming }) => claiming)) return
    for (const one of tied) {
      if (!ids.has(one.id)) saves.push({ id: one.id, epoch: one.epoch, flow: one.flow() })
    }
  }

  /** Some time soon: within a quarter of a second, or half a minute where several nodes share the engine. */
  lazily(session: Recorded): void {
    if (!session.gone) this.#lazy.add(session)
  }

  /** Saves nothing of it any more. */
  forget(session: Recorded): void {
    this.#lazy.delete(session)
    this.#tied.delete(session)
    const due = this.#due.get(session)
    this.#due.delete(session)
    due?.resolve()
  }

  /** Deletes the session's record. Resolves when that is durable. */
  async ended(session: Recorded): Promise<void> {
    this.forget(session)
    const { id, epoch } = session
    for (;;) {
      try {
        return await this.#engine.save([{ id, epoch, ended: true }])
      } catch (error) {
        if (this.#engine.node === null && faultOf(error) === 'full') this.#endLater(id, epoch)
        if (this.#engine.node === null || faultOf(error) !== 'down') throw error
        await new Promise<void>((resolve) => this.#runtime.after(AGAIN_MS, resolve))
      }
    }
  }

  /** A disk that was full may have room: what is not removed would be there again after a restart. */
  #endLater(id: string, epoch: number): void {
    this.#runtime.after(AGAIN_MS, () => {
      this.#engine.save([{ id, epoch, ended: true }]).catch((error: unknown) => {
        if (faultOf(error) === 'full') this.#endLater(id, epoch)
      })
    })
  }

  /** Another node owns it: whoever waits for a save is told. */
  lost(session: Recorded): void {
    this.#lazy.delete(session)
    const due = this.#due.get(session)
    this.#due.delete(session)
    due?.reject(taken(session))
  }

  /** A claim is settled: what had to wait for it can be written. */
  claimed(): void {
    if (this.#due.size > 0) this.#schedule()
  }

  /** Writes whatever waits; resolves when it is written. */
  async flush(): Promise<void> {
    this.#lazy.flush()
    const all = [...this.#due.values()].map((due) => due.promise)
    if (all.length > 0) await Promise.allSettled(all)
  }

  #enter(session: Recorded, profile: boolean): Due {
    let due = this.#due.get(session)
    if (due === undefined) {
      let resolve: () => void = () => {}
      let reject: (error: unknown) => void = () => {}
      const promise = new Promise<void>((yes, no) => {
        resolve = yes
        reject = no
      })
      due = { profile, promise, resolve, reject }
      this.#due.set(session, due)
    }
    due.profile ||= profile
    if (session.gone) this.lost(session)
    else this.#schedule()
    return due
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    this.#runtime.atTurnEnd(() => {
      this.#scheduled = false
      this.#write()
    })
  }

  #write(): void {
    // One save at a time for all: a group and the member that took a message over from it change in
    // one save or not at all, also when an earlier save of only one of them is on its way.
    if (this.#flying.size > 0 || this.#away) return
    // A session's state names QoS 2 messages it received: those have to be on their way before it.
    this.#intake.flush()
    const tied = [...this.#tied]
    const waits = tied.some(({ claiming }) => claiming)
    if (!waits && tied.some((one) => this.#due.has(one))) {
      for (const one of tied) this.#enter(one, false).promise.catch(() => {})
    }
    const now: [Recorded, Due][] = []
    for (const [session, due] of this.#due) {
      if (session.claiming) continue
      // Whoever is tied to one that is being claimed waits with it.
      if (waits && this.#tied.has(session)) continue
      this.#due.delete(session)
      this.#lazy.delete(session)
      this.#flying.add(session)
      now.push([session, due])
    }
    if (now.length === 0) return
    const saves = now.map(([session, due]): SessionSave => {
      const { id, epoch } = session
      const flow = session.flow()
      return due.profile ? { id, epoch, flow, profile: session.profile() } : { id, epoch, flow }
    })
    const landed = (tell: (due: Due) => void): void => {
      for (const [session, due] of now) {
        this.#flying.delete(session)
        tell(due)
      }
      if (this.#due.size > 0) this.#schedule()
    }
    this.#engine.save(saves).then(
      () => {
        for (const [session] of now) if (!this.#due.has(session)) this.#tied.delete(session)
        landed((due) => due.resolve())
      },
      (error: unknown) => {
        if (this.#engine.node === null || !this.#tryAgain(now, error)) {
          landed((due) => due.reject(error))
          return
        }
        for (const [session] of now) this.#flying.delete(session)
        if (this.#due.size > 0) this.#schedule()
      },
    )
  }

  /**
   * On a shared engine: what was refused because another node owns one of the sessions, or because the engine is
   * away, is not refused for the others. False when nothing would change.
   */
  #tryAgain(now: readonly [Recorded, Due][], error: unknown): boolean {
    const fault = faultOf(error)
    const away = fault === 'down'
    const isLost = ({ gone, leaving }: Recorded): boolean => gone || (leaving && !away)
    if (!away && !(fault === 'fenced' && now.some(([session]) => isLost(session)))) return false
    for (const [session, due] of now) {
      if (isLost(session)) due.reject(taken(session))
      else this.#putBack(session, due)
    }
    if (!away) return true
    this.#away = true
    this.#runtime.after(AGAIN_MS, () => {
      this.#away = false
      if (this.#due.size > 0) this.#schedule()
    })
    return true
  }

  #putBack(session: Recorded, due: Due): void {
    const newer = this.#due.get(session)
    if (newer === undefined) {
      this.#due.set(session, due)
      return
    }
    // Who waited longer is told first: what they do then has an order.
    this.#due.set(session, {
      profile: due.profile || newer.profile,
      promise: newer.promise,
      resolve: () => {
        due.resolve()
        newer.resolve()
      },
      reject: (error) => {
        due.reject(error)
        newer.reject(error)
      },
    })
  }
}

function taken({ id }: Recorded): EngineError {
  return new EngineError('fenced', `session "${id}" is another node's now`)
}

function faultOf(error: unknown): EngineFault {
  return error instanceof EngineError ? error.fault : 'failed'
}
