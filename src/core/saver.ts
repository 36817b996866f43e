// Saves session records: together what a turn changed, now when a packet waits for it, within a
// quarter of a second when only a duplicate is at stake.

import type { Engine, SessionSave } from './engine.ts'
import type { Intake } from './intake.ts'
import type { Runtime } from './runtime.ts'
import type { SessionFlow, SessionProfile } from './types.ts'

/** What has a record of its own: a session, or a shared group that waits for its members. */
export interface Recorded {
  readonly id: string
  readonly epoch: number
  /** A claim is under way, after which `epoch` is another: saves wait for it. */
  readonly claiming: boolean
  flow(): SessionFlow
  profile(): SessionProfile
}

/** Milliseconds a lazy save may wait. */
const LAZY_MS = 250

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
  #lazy = new Set<Recorded>()
  #timer = false

  constructor(engine: Engine, runtime: Runtime, intake: Intake) {
    this.#engine = engine
    this.#intake = intake
    this.#runtime = runtime
  }

  /** Resolves when the session's traffic state, as it is at the end of this turn or later, is saved. */
  flow(session: Recorded): Promise<void> {
    return this.#enter(session, false).promise
  }

  /** As `flow`, with subscriptions, will and expiry. */
  profile(session: Recorded): Promise<void> {
    return this.#enter(session, true).promise
  }

  /** Some time soon. */
  lazily(session: Recorded): void {
    this.#lazy.add(session)
    if (this.#timer) return
    this.#timer = true
    this.#runtime.after(LAZY_MS, () => {
      this.#timer = false
      this.#enterLazy()
    })
  }

  /** Deletes the session's record. Resolves when that is durable. */
  async ended(session: Recorded): Promise<void> {
    this.#lazy.delete(session)
    const due = this.#due.get(session)
    this.#due.delete(session)
    due?.resolve()
    await this.#engine.save([{ id: session.id, epoch: session.epoch, ended: true }])
  }

  /** A claim is settled: what had to wait for it can be written. */
  claimed(): void {
    if (this.#due.size > 0) this.#schedule()
  }

  /** Writes whatever waits; resolves when it is written. */
  async flush(): Promise<void> {
    this.#enterLazy()
    const all = [...this.#due.values()].map((due) => due.promise)
    if (all.length > 0) await Promise.allSettled(all)
  }

  #enterLazy(): void {
    const lazy = this.#lazy
    this.#lazy = new Set()
    for (const session of lazy) this.#enter(session, false).promise.catch(() => {})
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
    this.#schedule()
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
    if (this.#flying.size > 0) return
    // A session's state names QoS 2 messages it received: those have to be on their way before it.
    this.#intake.flush()
    const now: [Recorded, Due][] = []
    for (const [session, due] of this.#due) {
      if (session.claiming) continue
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
      () => landed((due) => due.resolve()),
      (error: unknown) => landed((due) => due.reject(error)),
    )
  }
}
