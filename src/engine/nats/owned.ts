// A session this node owns: the newest version of its record, and which QoS 2 messages of its publisher were
// saved as received before it was known whether they are in the log.

import { EngineError } from '../../core/engine.ts'
import type { Pos, StoredSession } from '../../core/types.ts'
import type { Intent } from './session-record.ts'

/** A claim: with `epoch` only if nobody claimed the session since, with `came` only if no client came for it later. */
export interface Wish {
  readonly epoch: number | undefined
  readonly came: number | undefined
  /** When it was asked for, engine time. */
  readonly asked: number
}

export interface OwnedState {
  /** Sequence of the claim. */
  readonly epoch: number
  readonly profile: Buffer | null
  readonly flow: Buffer | null
  /** Packet identifiers of QoS 2 that are accounted for: stored, or an intent. */
  readonly introduced: Iterable<number>
  readonly intents: readonly Intent[]
  /** When its client came, engine time. */
  readonly came: number
}

export class Owned {
  readonly epoch: number
  readonly came: number
  /** Sequence of the newest version, ours. */
  seq: number
  profile: Buffer | null
  flow: Buffer | null
  /** Nonce of a write that was given up and may have happened. */
  doubtful = ''
  /** Nobody here remembers it any more: who claims it next takes up what is stored. */
  abandoned = false
  readonly introduced: Set<number>
  #intents: Intent[]
  /** Of what core calls received, what waits to be appended again. */
  readonly #withheld = new Set<number>()

  constructor({ epoch, profile, flow, introduced, intents, came }: OwnedState) {
    this.epoch = epoch
    this.came = came
    this.seq = epoch
    this.profile = profile
    this.flow = flow
    this.introduced = new Set(introduced)
    this.#intents = [...intents]
  }

  get intents(): readonly Intent[] {
    return this.#intents
  }

  /** As its record says it. */
  get state(): Omit<OwnedState, 'introduced'> {
    const { epoch, profile, flow, intents, came } = this
    return { epoch, profile, flow, intents, came }
  }

  /**
   * The session is saved with `all` as received. Identifiers that come with an append, `made` of which is the
   * intent, are that until it is over. Core asks for the append before it saves them any other way: one that
   * is new without an append was refused, and its intent stays. Answers those to be saved.
   */
  receive(
    all: readonly number[],
    made: ((packetIds: readonly number[]) => Intent) | null,
  ): readonly number[] {
    const held = new Set(all)
    const fresh = made === null ? [] : all.filter((packetId) => !this.introduced.has(packetId))
    // Of no use any more: forgotten, or the identifier of another message.
    for (const packetId of fresh) {
      held.delete(packetId)
      this.#withheld.delete(packetId)
    }
    for (const packetId of this.#withheld) if (!held.has(packetId)) this.#withheld.delete(packetId)
    this.#keepIntents((packetId) => held.has(packetId))
    for (const packetId of this.introduced) {
      if (!held.has(packetId)) this.introduced.delete(packetId)
    }
    for (const packetId of fresh) this.introduced.add(packetId)
    if (made !== null && fresh.length > 0) this.#intents.push(made(fresh))
    return all.filter((packetId) => !this.#withheld.has(packetId))
  }

  /**
   * What came last with that append is not in it after all: not to be saved as received before it comes with another.
   * False when nothing came with it.
   */
  withhold(group: string): boolean {
    const intent = this.#intents.findLast((one) => one.group === group)
    if (intent === undefined) return false
    this.#intents = this.#intents.filter((one) => one !== intent)
    for (const packetId of intent.packetIds) {
      this.introduced.delete(packetId)
      this.#withheld.add(packetId)
    }
    return true
  }

  /** The append is over. What it did not store is in doubt until it is saved as not received. */
  settled(group: string, stored: boolean): void {
    if (stored) {
      this.#intents = this.#intents.filter((intent) => intent.group !== group)
      return
    }
    for (const intent of this.#intents) {
      if (intent.group !== group) continue
      for (const packetId of intent.packetIds) this.introduced.delete(packetId)
    }
  }

  #keepIntents(isOf: (packetId: number) => boolean): void {
    this.#intents = this.#intents
      .map((intent) => ({ ...intent, packetIds: intent.packetIds.filter(isOf) }))
      .filter(({ packetIds }) => packetIds.length > 0)
  }
}

/** The lowest position a stored session may still need. */
export function floorOf(stored: StoredSession): Pos {
  let floor = stored.flow.cursor + 1
  for (const { positions } of stored.flow.sending) {
    for (const pos of positions) floor = Math.min(floor, pos)
  }
  return floor
}

/** Whoever asked is too late: its client went to another node. */
export function overtaken(id: string): EngineError {
  return new EngineError('fenced', `session "${id}" was taken at another node meanwhile`)
}

/** Somebody owns it since. */
export function fenced(id: string, epoch: number): EngineError {
  return new EngineError(
    'fenced',
    `session "${id}" was claimed again since epoch ${epoch}: its new owner keeps its state`,
  )
}

/** What was asked may have happened. */
export function isDown(error: unknown): boolean {
  return error instanceof EngineError && error.fault === 'down'
}

/** What went wrong, when all of it is over. */
export async function faultsOf(all: readonly Promise<unknown>[]): Promise<unknown[]> {
  const outcomes = await Promise.allSettled(all)
  return outcomes.flatMap((one) => (one.status === 'rejected' ? [one.reason] : []))
}
