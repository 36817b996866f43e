// The two tables of session records: profiles, which change seldom, and flows, which change with
// traffic, under the same key. Turns saves into changes and stored halves into sessions.

import type { SessionSave } from '../core/engine.ts'
import type { StoredSession } from '../core/types.ts'
import { EMPTY_PROFILE, emptyFlow } from './owners.ts'
import { DamageError } from './sealed.ts'
import {
  decodeFlow,
  decodeProfile,
  encodeFlow,
  encodeProfile,
  type Stored,
} from './session-codec.ts'
import { type Change, FIRST_KEY, nameKey, nameOf, type Store } from './store.ts'

export class SessionTable {
  readonly #store: Store
  readonly #damage: (what: string) => void
  readonly #log: () => string

  /** `log` is the identity that flows without one of their own belong to. */
  constructor(store: Store, damage: (what: string) => void, log: () => string) {
    this.#store = store
    this.#damage = damage
    this.#log = log
  }

  changes(saves: readonly SessionSave[]): Change[] {
    const { profile, flow } = this.#store
    const changes: Change[] = []
    for (const save of saves) {
      const { key, hashed } = nameKey(Buffer.from(save.id))
      const id = hashed ? save.id : null
      if (save.ended) {
        changes.push({ table: profile, key, value: null }, { table: flow, key, value: null })
        continue
      }
      if (save.profile) {
        const value = encodeProfile(key, save.profile, save.epoch, id)
        changes.push({ table: profile, key, value })
      }
      if (save.flow) {
        const value = encodeFlow(key, save.flow, save.epoch, id)
        changes.push({ table: flow, key, value })
      }
    }
    return changes
  }

  /** Null when nothing, or nothing sound, is stored under the identifier. */
  read(id: string): StoredSession | null {
    const { key } = nameKey(Buffer.from(id))
    return this.#session(key, id)
  }

  /** Every session; reads a bounded chunk of keys a turn. */
  async *all(): AsyncIterable<StoredSession> {
    const { profile, flow } = this.#store
    for (const table of [profile, flow]) {
      let from: Buffer | null = FIRST_KEY
      while (from) {
        const chunk = this.#store.chunk(table, from)
        for (const { key } of chunk.entries) {
          // A flow beside a profile was met with the profile.
          if (table === flow && profile.doesExist(key)) continue
          const session = this.#session(key, null)
          if (session) yield session
        }
        from = chunk.next
        await this.#store.pause()
      }
    }
  }

  #session(key: Buffer, name: string | null): StoredSession | null {
    const shown = name ?? nameOf(key) ?? 'with a long identifier'
    const profile = this.#half(this.#store.profile.getBinary(key), key, decodeProfile, shown)
    // Without its subscriptions a session would be owed nothing and never know: it is gone.
    if (profile === 'damaged') return null
    const flow = this.#half(this.#store.flow.getBinary(key), key, decodeFlow, shown)
    if (profile === null && flow === null) return null
    // A flow of no log: whoever resumes it starts over and says so.
    if (flow === 'damaged') return this.#joined(key, name, profile, null, '')
    return this.#joined(key, name, profile, flow, this.#log())
  }

  #joined(
    key: Buffer,
    name: string | null,
    profile: Stored<StoredSession['profile']> | null,
    flow: Stored<StoredSession['flow']> | null,
    log: string,
  ): StoredSession | null {
    const id = name ?? nameOf(key) ?? profile?.id ?? flow?.id
    if (id === undefined || id === null) return null
    return {
      id,
      epoch: Math.max(profile?.epoch ?? 0, flow?.epoch ?? 0),
      profile: profile?.part ?? EMPTY_PROFILE,
      flow: flow?.part ?? emptyFlow(log),
    }
  }

  #half<Part>(
    value: Buffer | undefined,
    key: Buffer,
    decode: (key: Buffer, value: Buffer) => Stored<Part>,
    shown: string,
  ): Stored<Part> | null | 'damaged' {
    if (!value) return null
    try {
      return decode(key, value)
    } catch (error) {
      if (!(error instanceof DamageError)) throw error
      this.#damage(`session "${shown}": ${error.message}`)
      return 'damaged'
    }
  }
}
