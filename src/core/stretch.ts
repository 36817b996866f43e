// The oldest part of the log, read once more before it is given up: who is still owed what stands
// in it, so that each loss has a name and a number.

import type { Audience } from './audience.ts'
import type { Broker } from './broker.ts'
import type { LogRecord } from './engine.ts'
import { MESSAGE_OVERHEAD } from './log.ts'
import type { Session } from './session.ts'
import type { Group } from './share.ts'
import type { Message, Pos } from './types.ts'

/** Messages with one audience: most stretches have few audiences, however many messages. */
interface Share {
  readonly topic: string
  /** Ascending. */
  readonly positions: Pos[]
}

export class Stretch {
  readonly #broker: Broker
  readonly #shares = new Map<Audience, Share>()
  readonly #first: Pos
  /** The first position that stays. */
  before: Pos
  /** Of what was taken, about. */
  bytes = 0
  /** When the first message that was not taken was published; null when all were. */
  next: number | null = null

  /** Nothing yet, beginning at `first`. */
  constructor(broker: Broker, first: Pos) {
    this.#broker = broker
    this.#first = first
    this.before = first
  }

  /** Takes messages published at or before `newest`, engine time. False when it met a later one, and left it. */
  take({ first, messages, wanted }: LogRecord, newest: number): boolean {
    const now = this.#broker.engine.now()
    for (let i = Math.max(0, this.before - first); i < messages.length; i++) {
      // A place that was never kept is no loss; who is behind it may read it yet, from memory.
      if (!wanted[i]) continue
      const message = messages[i] as Message
      if (message.at > newest) {
        this.next = message.at
        return false
      }
      this.before = first + i + 1
      this.bytes += message.payload.length + message.properties.length + MESSAGE_OVERHEAD
      // What has expired is no loss.
      if (message.expires > now) this.#note(message, first + i)
    }
    return true
  }

  #note({ topic }: Message, pos: Pos): void {
    const audience = this.#broker.router.audience(topic)
    const share = this.#shares.get(audience)
    if (share === undefined) this.#shares.set(audience, { topic: topic.name, positions: [pos] })
    else share.positions.push(pos)
  }

  /** Whoever waits for something in it does without, by name and number. */
  giveUp(): void {
    const { before } = this
    // Who is behind the oldest that is stored reads what memory holds, and is not to be given up for nothing.
    if (before === this.#first) return
    const losses = this.#losses()
    for (const session of this.#broker.sessions.all()) {
      if (session.durable && session.floor < before) {
        session.evict(before, losses.get(session) ?? 0)
      }
    }
    for (const group of this.#broker.groups.values()) {
      // A group without durable members reads what memory holds, and nothing of this.
      if (group.durable && group.floor < before) group.evict(before, losses.get(group) ?? 0)
    }
  }

  #losses(): Map<Session | Group, number> {
    const losses = new Map<Session | Group, number>()
    const add = (who: Session | Group, owed: number): void => {
      if (owed > 0) losses.set(who, (losses.get(who) ?? 0) + owed)
    }
    for (const [{ members, groups }, { topic, positions }] of this.#shares) {
      for (const { session, qos } of members) {
        if (qos > 0 && session.durable) add(session, session.owed(positions, topic))
      }
      for (const group of groups) add(group, group.owed(positions))
    }
    return losses
  }
}

/** How many of the ascending positions are above that one. */
export function countAbove(positions: readonly Pos[], pos: Pos): number {
  let low = 0
  let high = positions.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((positions[middle] as Pos) > pos) high = middle
    else low = middle + 1
  }
  return positions.length - low
}
