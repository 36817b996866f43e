// Who owns which session in the cluster, and its state: one record each, claimed and saved by
// compare-and-set. The sequence of the claim is the epoch. An owner that is there is asked to let
// go first; one that is gone answers nothing, which the servers say at once.

import { type Claim, EngineError, type SessionSave } from '../../core/engine.ts'
import { isGroupRecord } from '../../core/share.ts'
import type { Pos, StoredSession } from '../../core/types.ts'
import { EMPTY_PROFILE, emptyFlow } from '../owners.ts'
import { DamageError } from '../sealed.ts'
import { decodeFlow, decodeProfile, encodeFlow, encodeProfile } from '../session-codec.ts'
import { sleep } from './api.ts'
import { APPEND_MS } from './appends.ts'
import type { Intents } from './intents.ts'
import type { Names } from './options.ts'
import { faultsOf, fenced, floorOf, isDown, Owned, overtaken, type Wish } from './owned.ts'
import type { Reader, Stored } from './reader.ts'
import { type Outcome, Register } from './register.ts'
import {
  decodeSession,
  encodeSession,
  epochOf,
  type Intent,
  NOBODYS,
  type SessionRecord,
  tokenOf,
} from './session-record.ts'

/** Milliseconds after which whoever asked for a session may have gone to another node for it. */
const LATE_MS = 2_000
/** Milliseconds by which clocks may differ. */
const SKEW_MS = 1_000

/** How long the servers remember that a session ended, for whoever read it before. */
const TOMBSTONE_TTL = '1h'

export interface SessionsDeps {
  readonly reader: Reader
  readonly names: Names
  /** Identity of the log. */
  readonly log: string
  readonly nonce: () => string
  readonly intents: Intents
  /** Time of the servers, in milliseconds. */
  readonly now: () => number
  /** Asks a node to let go of a session; resolves false when it is not there, or not in time. */
  readonly kick: (node: string, id: string) => Promise<boolean>
  /** Tells a node that could not be asked, once it can be reached, that a session is ours since an epoch. */
  readonly remind: (node: string, id: string, epoch: number) => void
  /** Another node owns a session that this one believed to own. */
  readonly lost: (id: string) => void
  readonly damaged: (what: string) => void
  /** This node answers for a session that may need everything from that position on. */
  readonly needs: (floor: Pos) => void
}

export class NatsSessions {
  readonly #deps: SessionsDeps
  readonly #register: Register
  readonly #owned = new Map<string, Owned>()
  /** What was asked of a session is done one after the other. */
  readonly #chains = new Map<string, Promise<unknown>>()
  /** Those that the servers may have granted to a claim of ours that is not over. */
  readonly #taking = new Set<string>()
  /** Appends that QoS 2 messages were saved for and that are not over. */
  readonly #flying = new Map<string, (() => void)[]>()

  constructor(deps: SessionsDeps) {
    this.#deps = deps
    this.#register = new Register(deps.reader, deps.names.sessions)
  }

  /**
   * With `epoch` only if nobody claimed it since that one, with `came` only if no client came for it later, elsewhere;
   * else rejects `fenced` and disturbs nobody.
   */
  claim(id: string, epoch?: number, came?: number): Promise<Claim> {
    const wish = { epoch, came, asked: this.#deps.now() }
    return this.#inTurn(id, () => this.#claim(id, wish).finally(() => this.#taking.delete(id)))
  }

  /** `group` is the append whose QoS 2 messages are saved here first. */
  async save(saves: readonly SessionSave[], group: string | null): Promise<void> {
    for (const { id, epoch } of saves) {
      const owned = this.#owned.get(id)
      if (owned !== undefined && owned.epoch !== epoch) throw fenced(id, epoch)
    }
    // What a shared group calls done is in its member's record before it is done.
    const groups = saves.filter(({ id }) => isGroupRecord(id))
    if (groups.length === 0) return this.#saveAll(saves, group)
    const members = saves.filter(({ id }) => !isGroupRecord(id))
    await this.#saveAll(members, group)
    await this.#saveAll(groups, group)
  }

  /** Rejects when nothing of it is under way any more: who is refused one of them may save the others again. */
  async #saveAll(saves: readonly SessionSave[], group: string | null): Promise<void> {
    const each = (doing: (save: SessionSave) => Promise<void>): Promise<unknown[]> =>
      faultsOf(saves.map((save) => this.#inTurn(save.id, () => doing(save))))
    const faults = await each((save) => this.#save(save, group))
    if (faults.length === 0) return
    // An append in doubt is given up; any other may be stored, without what was to be in it.
    if (group !== null && !faults.some(isDown))
      faults.push(...(await each((s) => this.#undo(s, group))))
    throw faults.find(isDown) ?? faults[0]
  }

  /** What was saved as received with an append is not in that after all. */
  async #undo({ id, epoch }: SessionSave, group: string): Promise<void> {
    const owned = this.#owned.get(id)
    if (owned?.epoch !== epoch || !owned.withhold(group)) return
    const known = this.#storedOf(id, epoch, null, owned.flow)
    if (known !== null) await this.#save({ id, epoch, flow: known.flow }, null)
  }

  /** The append is over; `stored` says whether what was saved with it is in the log. */
  settled(saves: readonly SessionSave[], group: string, stored: boolean): void {
    for (const { id } of saves) this.#owned.get(id)?.settled(group, stored)
  }

  /** Nothing waits for that append any more. */
  landed(group: string): void {
    for (const tell of this.#flying.get(group) ?? []) tell()
    this.#flying.delete(group)
  }

  /** This node gave its sessions up, which are its own until another claims them. */
  lapsed(): void {
    for (const owned of this.#owned.values()) owned.abandoned = true
  }

  /**
   * Another node takes the session, or has it since an epoch that is not 0: `letGo` ends our use of it, then it is
   * not ours any more.
   */
  async release(id: string, since: number, letGo: () => Promise<void>): Promise<void> {
    // Whoever asked for it here hears first that it is theirs, and in a later turn that it is not.
    if (this.#taking.has(id)) {
      await Promise.allSettled([this.#chains.get(id)])
      await sleep(0)
    }
    const owned = this.#owned.get(id)
    if (owned === undefined || (since > 0 && owned.epoch >= since)) return
    await letGo()
    await this.#inTurn(id, async () => {
      // Its client may have come back here meanwhile, and made it ours again.
      if (this.#owned.get(id)?.epoch === owned.epoch) this.#owned.delete(id)
    })
  }

  /** Every session, claimed ones that were never saved too: ours as we know them, the others as a replica does. */
  async *all(): AsyncIterable<StoredSession & { readonly node: string }> {
    await Promise.allSettled(this.#chains.values())
    const { names, reader } = this.#deps
    const ours = new Set<string>()
    for (const [id, { epoch, profile, flow }] of this.#owned) {
      ours.add(id)
      const stored = this.#storedOf(id, epoch, profile, flow)
      yield { ...(stored ?? this.#unsaved(id, epoch)), node: names.node }
    }
    for await (const found of reader.all(names.sessions, names.subject('s', '*'))) {
      const record = this.#decode(found)
      if (record === null || record.ended) continue
      const { id, node, profile, flow } = record
      if (ours.has(id) || this.#owned.has(id)) continue
      const epoch = epochOf(record, found.seq)
      const stored = this.#storedOf(id, epoch, profile, flow)
      yield { ...(stored ?? this.#unsaved(id, epoch)), node }
    }
  }

  #inTurn<T>(id: string, doing: () => Promise<T>): Promise<T> {
    const before = this.#chains.get(id)
    const mine = before === undefined ? doing() : before.then(doing, doing)
    const over = (): void => {
      if (this.#chains.get(id) === mine) this.#chains.delete(id)
    }
    this.#chains.set(id, mine)
    mine.then(over, over)
    return mine
  }

  // ---- Claiming ------------------------------------------------------------------------------

  async #claim(id: string, { epoch: since, came, asked }: Wish): Promise<Claim> {
    const { subject } = this.#placeOf(id)
    const mine = this.#owned.get(id)
    let seq = 0
    let record: SessionRecord | null = null
    // A claim that was held up must not take the session from where its client went meanwhile.
    const yieldTo = (found: Stored | null, known: number | null): void => {
      const theirs = found && this.#decode(found)
      if (found === null || theirs === null || this.#deps.now() - asked < LATE_MS) return
      const isNew = epochOf(theirs, found.seq) !== known && found.time > asked - SKEW_MS
      if (isNew && this.#ownerOf(theirs) !== '') throw overtaken(id)
    }
    if (mine !== undefined) {
      seq = mine.seq
      record = { ...NOBODYS, ...mine.state, node: this.#deps.names.node }
    } else {
      const found = await this.#register.probably(subject)
      yieldTo(found, null)
      seq = found?.seq ?? 0
      record = found && (this.#decode(found) ?? NOBODYS)
    }
    let unaware = ''
    for (;;) {
      if (since !== undefined && (record === null || epochOf(record, seq) !== since)) {
        throw fenced(id, since)
      }
      const owner = this.#ownerOf(record)
      if (owner !== '' && came !== undefined && (record?.came ?? 0) > came) throw overtaken(id)
      // With an epoch it is not asked but told afterwards: it is taken for dead, and may not be.
      const letGo = owner !== '' && since === undefined && (await this.#deps.kick(owner, id))
      unaware = letGo ? '' : owner
      if (letGo) {
        const found = await this.#register.newest(subject)
        if (found !== null && found.seq !== seq) {
          yieldTo(found, record && epochOf(record, seq))
          seq = found.seq
          record = this.#decode(found) ?? NOBODYS
          // Somebody was faster: that one is asked in turn.
          if (record.node !== this.#deps.names.node && !record.ended) continue
        }
      }
      // Whoever takes up a dead node's session has no client for it.
      const client = since === undefined ? (came ?? asked) : (record?.came ?? 0)
      const taken = { ...(record === null || record.ended ? NOBODYS : record), came: client }
      const outcome = await this.#take(id, taken, seq)
      if ('seq' in outcome) {
        if (unaware !== '') this.#deps.remind(unaware, id, outcome.seq)
        return this.#claimed(id, outcome.seq, taken)
      }
      const { found } = outcome
      const known = record && epochOf(record, seq)
      seq = found?.seq ?? 0
      record = found && (this.#decode(found) ?? NOBODYS)
      // It was not ours any more: what is known of it here is over before we take it back.
      if (this.#owned.delete(id)) this.#deps.lost(id)
      yieldTo(found, known)
    }
  }

  #take(id: string, record: SessionRecord, expected: number): Promise<Outcome> {
    const { names, nonce } = this.#deps
    const { token, subject } = this.#placeOf(id)
    this.#taking.add(id)
    const mark = nonce()
    const claim: SessionRecord = { ...record, node: names.node, nonce: mark, epoch: 0 }
    const bytes = encodeSession(token, id, claim)
    const isMine = (stored: Stored): boolean => this.#decode(stored)?.nonce === mark
    return this.#register.write({ subject, bytes, expected, isMine })
  }

  async #claimed(id: string, epoch: number, record: SessionRecord): Promise<Claim> {
    const { profile, flow, intents, came } = record
    const known = this.#owned.get(id)
    const isKnown = known !== undefined && !known.abandoned
    let stored = this.#storedOf(id, epoch, profile, flow)
    const owned = new Owned({
      epoch,
      profile,
      flow,
      introduced: isKnown ? known.introduced : (stored?.flow.receiving ?? []),
      intents: known?.intents ?? intents,
      came,
    })
    // Until it is known what there is to take up; should that fail, the next claim finds out.
    owned.abandoned = !isKnown
    this.#owned.set(id, owned)
    if (stored !== null) this.#deps.needs(floorOf(stored))
    if (!isKnown && stored !== null) {
      const receiving = await this.#received(owned, stored.flow.receiving)
      stored = { ...stored, flow: { ...stored.flow, receiving } }
      // Whoever claims it here next, before anything of it is saved, has to hear the same.
      owned.flow = encodeFlow(Buffer.from(this.#placeOf(id).token), stored.flow, epoch, null)
    }
    owned.abandoned = false
    return { epoch, stored }
  }

  /** Those of the packet identifiers whose messages are in the log. */
  async #received(owned: Owned, packetIds: readonly number[]): Promise<number[]> {
    for (const { group } of owned.intents) await this.#over(group)
    const { intents } = owned
    const lost = await this.#deps.intents.unfulfilled(intents)
    for (const { group, packetIds } of intents) {
      owned.settled(group, !packetIds.some((packetId) => lost.has(packetId)))
    }
    return packetIds.filter((packetId) => !lost.has(packetId))
  }

  /** An append of our own, from before we gave a session up, is found out about by waiting. */
  async #over(group: string): Promise<void> {
    const flying = this.#flying.get(group)
    if (flying === undefined) return
    const over = new Promise<void>((tell) => flying.push(tell))
    await Promise.race([over, sleep(APPEND_MS)])
    if (this.#flying.has(group)) throw new EngineError('down', 'the NATS servers did not answer')
  }

  /** The other node that owns it; empty when none does. */
  #ownerOf(record: SessionRecord | null): string {
    if (record === null || record.ended || record.node === this.#deps.names.node) return ''
    return record.node
  }

  // ---- Saving --------------------------------------------------------------------------------

  async #save(save: SessionSave, group: string | null): Promise<void> {
    const { id, epoch } = save
    const { token, subject } = this.#placeOf(id)
    const owned = this.#owned.get(id) ?? (await this.#readopt(id, subject, epoch))
    if (owned === null || owned.epoch !== epoch) throw fenced(id, epoch)
    const parts = this.#parts(owned, save, token, group)
    const mark = this.#deps.nonce()
    const record: SessionRecord = {
      node: this.#deps.names.node,
      nonce: mark,
      epoch,
      ended: save.ended === true,
      came: owned.came,
      ...parts,
    }
    const bytes = encodeSession(token, id, record)
    await this.#replace(id, subject, owned, bytes, mark, record.ended)
    owned.profile = parts.profile
    owned.flow = parts.flow
    // An owner that saves again finds its own tombstone.
    if (record.ended) this.#owned.delete(id)
  }

  async #replace(
    id: string,
    subject: string,
    owned: Owned,
    bytes: Buffer,
    mark: string,
    ended: boolean,
  ): Promise<void> {
    for (;;) {
      let outcome: Outcome
      try {
        outcome = await this.#register.write({
          subject,
          bytes,
          expected: owned.seq,
          isMine: (stored) => this.#decode(stored)?.nonce === mark,
          ...(ended ? { ttl: TOMBSTONE_TTL } : {}),
        })
      } catch (error) {
        owned.doubtful = mark
        throw error
      }
      if ('seq' in outcome) {
        owned.seq = outcome.seq
        return
      }
      const { found } = outcome
      const theirs = found && this.#decode(found)
      if (found !== null && owned.doubtful !== '' && theirs?.nonce === owned.doubtful) {
        // The write that was given up had happened.
        owned.seq = found.seq
        continue
      }
      this.#owned.delete(id)
      this.#deps.lost(id)
      throw fenced(id, owned.epoch)
    }
  }

  /** After its end a session is not kept here: its owner may still save it anew. */
  async #readopt(id: string, subject: string, epoch: number): Promise<Owned | null> {
    const found = await this.#register.newest(subject)
    const record = found && this.#decode(found)
    if (found === null || record === null) return null
    if (record.node !== this.#deps.names.node || record.epoch !== epoch || !record.ended)
      return null
    const owned = new Owned({ ...NOBODYS, epoch, introduced: [], came: record.came })
    owned.seq = found.seq
    this.#owned.set(id, owned)
    return owned
  }

  #parts(
    owned: Owned,
    save: SessionSave,
    token: string,
    group: string | null,
  ): Pick<SessionRecord, 'profile' | 'flow' | 'intents'> {
    if (save.ended) return { profile: null, flow: null, intents: [] }
    const key = Buffer.from(token)
    let { profile, flow } = owned
    if (save.profile) profile = encodeProfile(key, save.profile, save.epoch, null)
    if (save.flow) {
      const made = group === null ? null : (ids: readonly number[]) => this.#intent(group, ids)
      const receiving = owned.receive(save.flow.receiving, made)
      flow = encodeFlow(key, { ...save.flow, receiving }, save.epoch, null)
    }
    return { profile, flow, intents: owned.intents }
  }

  #intent(group: string, packetIds: readonly number[]): Intent {
    if (!this.#flying.has(group)) this.#flying.set(group, [])
    return this.#deps.intents.made(group, packetIds)
  }

  // ---- Reading -------------------------------------------------------------------------------

  #placeOf(id: string): { token: string; subject: string } {
    const token = tokenOf(Buffer.from(id))
    return { token, subject: this.#deps.names.subject('s', token) }
  }

  #decode(stored: Stored): (SessionRecord & { readonly id: string }) | null {
    const token = stored.subject.slice(this.#deps.names.subject('s', '').length)
    try {
      return decodeSession(token, stored.data)
    } catch (error) {
      if (!(error instanceof DamageError)) throw error
      this.#deps.damaged(`session record ${token}: ${error.message}`)
      return null
    }
  }

  #unsaved(id: string, epoch: number): StoredSession {
    return { id, epoch, profile: EMPTY_PROFILE, flow: emptyFlow(this.#deps.log) }
  }

  #storedOf(
    id: string,
    epoch: number,
    profile: Buffer | null,
    flow: Buffer | null,
  ): StoredSession | null {
    if (profile === null && flow === null) return null
    const key = Buffer.from(this.#placeOf(id).token)
    try {
      return {
        id,
        epoch,
        profile: profile === null ? EMPTY_PROFILE : decodeProfile(key, profile).part,
        flow: flow === null ? emptyFlow(this.#deps.log) : decodeFlow(key, flow).part,
      }
    } catch (error) {
      if (!(error instanceof DamageError)) throw error
      this.#deps.damaged(`session "${id}": ${error.message}`)
      return null
    }
  }
}
