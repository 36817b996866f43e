// Where positions of one log stand in a copy of it. The copy has new positions in the same order;
// only those that somebody names are remembered, so the log may be far larger than memory.

import { IDENTIFIERS, SendRuns } from '../core/send-runs.ts'
import type { Pos, SessionFlow, SessionProfile } from '../core/types.ts'
import { SendState } from '../core/types.ts'

export class MovedPositions {
  readonly #old: Float64Array
  readonly #new: Float64Array
  /** Whether the message at that very place was copied. */
  readonly #exact: Uint8Array
  /** Before it all are settled. */
  #settled = 0
  #last: Pos

  /** `named` are positions of the old log; `before` is the one in the new log that comes before all copied messages. */
  constructor(named: Iterable<Pos>, before: Pos) {
    this.#old = Float64Array.from(new Set(named)).sort()
    this.#new = new Float64Array(this.#old.length).fill(before)
    this.#exact = new Uint8Array(this.#old.length)
    this.#last = before
  }

  /** A message was copied from one position to the other. Call in ascending order. */
  copied(from: Pos, to: Pos): void {
    for (;;) {
      const named = this.#old[this.#settled]
      if (named === undefined || named > from) break
      this.#new[this.#settled] = named === from ? to : this.#last
      this.#exact[this.#settled] = named === from ? 1 : 0
      this.#settled++
    }
    this.#last = to
  }

  /** All messages were copied: whatever stands behind them is at the end. */
  end(): void {
    this.#new.fill(this.#last, this.#settled)
    this.#settled = this.#old.length
  }

  /** Where the last copied message is. */
  get last(): Pos {
    return this.#last
  }

  /** The last copied message at or before a position that was named. */
  of(pos: Pos): Pos {
    return this.#new[this.#index(pos)]!
  }

  /** Whether the message at that position was copied. */
  has(pos: Pos): boolean {
    return this.#exact[this.#index(pos)] === 1
  }

  #index(pos: Pos): number {
    let low = 0
    let high = this.#old.length - 1
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#old[middle]! < pos) low = middle + 1
      else high = middle
    }
    if (this.#old[low] !== pos) throw new RangeError(`position ${pos} was not named`)
    return low
  }
}

/** Every position a stored session names. */
export function positionsOf(profile: SessionProfile, flow: SessionFlow): Pos[] {
  return [
    flow.cursor,
    ...profile.subscriptions.map(({ from }) => from),
    ...flow.sending.flatMap(({ positions }) => positions),
  ]
}

export function movedProfile(profile: SessionProfile, moved: MovedPositions): SessionProfile {
  const subscriptions = profile.subscriptions.map((one) => ({ ...one, from: moved.of(one.from) }))
  return { ...profile, subscriptions }
}

/**
 * The flow of a session in the copied log. Messages it would have to send again and that are not stored any more
 * count as finished, as they would when their turn came. `isRetained` says whether the retained message of a topic
 * is still the one of that position.
 */
export function movedFlow(
  flow: SessionFlow,
  moved: MovedPositions,
  log: string,
  isRetained: (topic: string, pos: Pos) => boolean,
): SessionFlow {
  const sending = new SendRuns()
  for (const run of flow.sending) {
    const { packetId, positions, state, retained } = run
    positions.forEach((pos, i) => {
      const topic = retained?.[i]
      const stored = topic === undefined ? moved.has(pos) : isRetained(topic, pos)
      // A PUBREL needs no message.
      const owed = stored || state === SendState.released
      const next = ((packetId - 1 + i) % IDENTIFIERS) + 1
      if (owed) {
        sending.add({ packetId: next, pos: moved.of(pos), state, topic, with: run.with })
      }
    })
  }
  return { ...flow, cursor: moved.of(flow.cursor), sending: sending.all, log }
}
