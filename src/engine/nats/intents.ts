// Exactly once from a publisher across the death of its node: a packet identifier is saved before
// its message is appended, and whoever takes the session over finds out whether that happened.

import { isFull, isPassing, Patience, Unanswered } from './api.ts'
import { APPEND_MS } from './appends.ts'
import type { Names } from './options.ts'
import type { Reader } from './reader.ts'
import type { Intent } from './session-record.ts'
import { DUPLICATE_WINDOW_S } from './streams.ts'

/** Milliseconds up to which the servers surely remember the identity of an append. */
const REMEMBERED_MS = DUPLICATE_WINDOW_S * 1000 - 15_000
const PATIENCE_MS = 20_000

export class Intents {
  readonly #reader: Reader
  readonly #names: Names
  readonly #now: () => number
  readonly #tail: () => number

  /** `tail` is the newest sequence of the log this node knows. */
  constructor(reader: Reader, names: Names, now: () => number, tail: () => number) {
    this.#reader = reader
    this.#names = names
    this.#now = now
    this.#tail = tail
  }

  made(group: string, packetIds: readonly number[]): Intent {
    return { group, packetIds, after: this.#tail(), at: this.#now() }
  }

  /** Packet identifiers whose messages are not in the log, and now never will be. Throws Unanswered or ApiError. */
  async unfulfilled(intents: readonly Intent[]): Promise<Set<number>> {
    const lost = new Set<number>()
    for (const intent of intents) {
      if (!(await this.#isOrNeverWill(intent)))
        for (const packetId of intent.packetIds) lost.add(packetId)
    }
    return lost
  }

  /**
   * Stores an empty record under the identity of the append: either that is refused as a repetition, or
   * the append, should it still come, will be. Where the servers may have forgotten the identity, it may stand before
   * the empty record.
   */
  async #isOrNeverWill(intent: Intent): Promise<boolean> {
    const patience = new Patience(PATIENCE_MS)
    const subject = this.#names.subject('l', this.#names.node)
    for (;;) {
      try {
        const ack = await this.#reader.api.store(subject, Buffer.alloc(0), {
          'Nats-Msg-Id': intent.group,
        })
        const young = this.#now() - intent.at < REMEMBERED_MS
        if (!ack.duplicate) return !young && (await this.#isStored(intent, ack.seq))
        const stored = await this.#reader.nextKnown(
          this.#names.log,
          ack.seq,
          ack.seq,
          `${subject.slice(0, -this.#names.node.length)}*`,
        )
        // Somebody who took the session over before us may have stored that empty record.
        if (stored === null || stored.seq !== ack.seq || stored.data.length > 0) return true
        return !young && (await this.#isStored(intent, ack.seq))
      } catch (error) {
        // No room for an empty record: then there was none for the append either, unless before.
        if (isFull(error)) return this.#isStored(intent, null)
        if (!isPassing(error) || patience.over) throw error
        await patience.pause()
      }
    }
  }

  /**
   * Looks for the append where it must be, up to a sequence that is known to exist. Throws Unanswered when whoever
   * answers does not know that one: it may not know the append either.
   */
  async #isStored(intent: Intent, known: number | null): Promise<boolean> {
    const { log } = this.#names
    const end = intent.at + APPEND_MS + REMEMBERED_MS
    for await (const { seq, id, time, data } of this.#reader.all(
      log,
      this.#names.subject('l', '*'),
      intent.after + 1,
    )) {
      if (id === intent.group && data.length > 0) return true
      if (time > end || seq === known) return false
    }
    if (known !== null) throw new Unanswered('the log could not be read to its end')
    return false
  }
}
