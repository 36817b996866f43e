// Clients that came while the engine was away, and needed nothing of it. When it is back their sessions are claimed;
// what is stored under their identifiers ended with their clean start, also where they have left meanwhile.

import type { Broker } from './broker.ts'
import { EngineError } from './engine.ts'
import type { Session } from './session.ts'

/** Milliseconds after which a claim that failed is tried again. */
const AGAIN_MS = 500

/** A clean start whose client has left. */
interface Over {
  /** When the client asked, engine time. */
  readonly asked: number
  ending: Promise<void> | null
}

/** What it needs of the sessions beyond what everybody may ask of them. */
export interface UnclaimedDeps {
  /** Another node owns the session of that identifier: its client here goes. */
  readonly release: (id: string) => Promise<void>
  /** The end of that session that is being stored. */
  readonly ended: (id: string) => Promise<void> | undefined
}

export class Unclaimed {
  readonly #broker: Broker
  readonly #deps: UnclaimedDeps
  /** Those that are here, and when their clients asked. */
  readonly #sessions = new Map<Session, number>()
  readonly #claiming = new Set<Session>()
  /** By client identifier. */
  readonly #over = new Map<string, Over>()
  #waiting = false

  constructor(broker: Broker, deps: UnclaimedDeps) {
    this.#broker = broker
    this.#deps = deps
  }

  /** Its client `asked` then, engine time; what it came to replace is older. */
  add(session: Session, asked: number): void {
    if (!this.#sessions.has(session)) this.#sessions.set(session, asked)
    // Once it is claimed, nothing from before is left.
    this.#over.delete(session.id)
  }

  has(session: Session): boolean {
    return this.#sessions.has(session)
  }

  /** Its record is somebody's: nothing is to be done for it any more. */
  delete(session: Session): void {
    this.#sessions.delete(session)
  }

  /** It has ended here; what it came to replace has not ended yet. */
  ended(session: Session): void {
    const asked = this.#sessions.get(session)
    if (asked === undefined) return
    this.#sessions.delete(session)
    this.#over.set(session.id, { asked, ending: null })
    for (const oldest of this.#over.keys()) {
      if (this.#over.size <= this.#broker.limits.sessions) break
      this.#over.delete(oldest)
    }
    if (this.#broker.state === 'up') this.#attempt(this.settled(session.id))
  }

  /** Whether something is stored under that identifier that is over. */
  owes(id: string): boolean {
    return this.#over.has(id)
  }

  /** The engine is back. */
  engineBack(): void {
    for (const [session, asked] of this.#sessions) this.#attempt(this.#claim(session, asked))
    for (const id of this.#over.keys()) this.#attempt(this.settled(id))
  }

  #attempt(attempt: Promise<void>): void {
    attempt.catch((error: unknown) => {
      const { report, runtime } = this.#broker
      if (this.#waiting) return
      this.#waiting = true
      report('sessions not claimed yet', String(error))
      runtime.after(AGAIN_MS, () => {
        this.#waiting = false
        if (this.#broker.state === 'up') this.engineBack()
      })
    })
  }

  async #claim(session: Session, asked: number): Promise<void> {
    if (this.#claiming.has(session)) return
    this.#claiming.add(session)
    const { engine, saver, sessions } = this.#broker
    const { id } = session
    try {
      const { epoch, stored } = await engine.claim(id, undefined, asked)
      if (sessions.get(id) !== session || !this.#sessions.delete(session)) return
      session.epoch = epoch
      // What is stored is of an earlier client, whose session ended with the clean start of this one.
      const will = stored?.profile.will ?? null
      if (stored !== null || session.will !== null) await saver.profile(session)
      if (will !== null) this.#broker.publishWill(will, id)
    } catch (error) {
      if (!isFenced(error)) throw error
      // A client with that identifier came to another node later.
      if (this.#sessions.has(session)) await this.#deps.release(id)
    } finally {
      this.#claiming.delete(session)
    }
  }

  /**
   * Resolves when what was stored before a client with that identifier began clean, and left, is over, or is a later
   * client's at another node. Rejects with EngineError when that cannot be done now.
   */
  settled(id: string): Promise<void> {
    const over = this.#over.get(id)
    if (over === undefined) return Promise.resolve()
    over.ending ??= this.#end(id, over).finally(() => {
      over.ending = null
    })
    return over.ending
  }

  async #end(id: string, over: Over): Promise<void> {
    const { engine, sessions } = this.#broker
    try {
      const { epoch, stored } = await engine.claim(id, undefined, over.asked)
      // Its client is back, and began clean once more.
      if (sessions.get(id) !== null) return
      if (stored === null) await engine.save([{ id, epoch, ended: true }])
      else {
        // As one that was found with nobody to come back to it: with its will, and with what groups lent it.
        const profile = { ...stored.profile, expiry: 0 }
        sessions.adopt({ epoch, stored: { ...stored, profile } }, 0)
        await this.#deps.ended(id)
      }
    } catch (error) {
      if (!isFenced(error)) throw error
    }
    if (this.#over.get(id) === over) this.#over.delete(id)
  }
}

function isFenced(error: unknown): boolean {
  return error instanceof EngineError && error.fault === 'fenced'
}
