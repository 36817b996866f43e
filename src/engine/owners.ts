// Who owns which session record: issues epochs and refuses saves made under an older one.
// Memory and disk share it; both have exactly one process, so ownership never leaves memory.

import { EngineError, type SessionSave } from '../core/engine.ts'
import type { SessionFlow, SessionProfile } from '../core/types.ts'

/** What a session has before anything was saved for it. */
export const EMPTY_PROFILE: SessionProfile = { expiry: 0, subscriptions: [], will: null, user: '' }

/** The flow of a session that has none yet: owed everything after position 0 of this log. */
export function emptyFlow(log: string): SessionFlow {
  return { cursor: 0, sending: [], receiving: [], awaySince: 0, log }
}

/**
 * Owners without a stored session that are remembered at least. Clean sessions claim and never
 * save, so these entries have no natural end; above this many the oldest half is forgotten.
 */
const REMEMBERED = 1 << 18

export class Owners {
  /** Epochs of sessions that are stored. */
  readonly #stored = new Map<string, number>()
  /** Epochs of claimed sessions with nothing stored, in two generations. */
  #recent = new Map<string, number>()
  #older = new Map<string, number>()
  readonly #floor: number
  #epoch: number

  /** Epochs start above `floor`; no epoch at or below it is valid in this run. */
  constructor(floor: number) {
    this.#floor = floor
    this.#epoch = floor
  }

  /** A new epoch for the session; every save under an earlier one is refused from now on. */
  claim(id: string): number {
    const epoch = ++this.#epoch
    if (this.#stored.has(id)) this.#stored.set(id, epoch)
    else this.#remember(id, epoch)
    return epoch
  }

  /** Throws `fenced` when one of the saves is not its session's owner's; changes nothing. */
  check(saves: readonly SessionSave[]): void {
    for (const save of saves) {
      const owner =
        this.#stored.get(save.id) ?? this.#recent.get(save.id) ?? this.#older.get(save.id)
      const valid =
        owner === undefined
          ? save.epoch > this.#floor && save.epoch <= this.#epoch
          : save.epoch === owner
      if (!valid) {
        throw new EngineError(
          'fenced',
          `session "${save.id}" was claimed again since epoch ${save.epoch}: its new owner keeps its state`,
        )
      }
    }
  }

  /** Notes that something is stored for the session, or nothing any more. Ownership stays. */
  saved(save: SessionSave): void {
    if (save.ended) {
      if (this.#stored.delete(save.id)) this.#remember(save.id, save.epoch)
      return
    }
    if (this.#stored.has(save.id)) return
    this.#recent.delete(save.id)
    this.#older.delete(save.id)
    this.#stored.set(save.id, save.epoch)
  }

  /** A session of an earlier run, which is whoever's it was until somebody claims it. */
  found({ id, epoch }: Pick<SessionSave, 'id' | 'epoch'>): void {
    const known = this.#stored.has(id) || this.#recent.has(id) || this.#older.has(id)
    if (!known) this.#stored.set(id, epoch)
  }

  #remember(id: string, epoch: number): void {
    if (this.#recent.size >= REMEMBERED) {
      this.#older = this.#recent
      this.#recent = new Map()
    }
    this.#older.delete(id)
    this.#recent.set(id, epoch)
  }
}
