// How long the log remembers: no longer than somebody needs it, no longer than it may, and no more
// than it may hold. Under pressure those furthest behind pay, where that is the rule.

import type { Broker } from './broker.ts'
import type { LogRecord } from './engine.ts'
import { MESSAGE_OVERHEAD } from './log.ts'
import { Stretch } from './stretch.ts'
import type { Pos } from './types.ts'

/** Milliseconds between two rounds of forgetting, while there is something to forget. */
const ROUND_MS = 1_000
/** Share of the log's bytes that is kept free for what comes next, by making those behind let go. */
const HEADROOM = 0.2
/** That many of the largest record fit into it, too, but it is never more than half of the log. */
const HEADROOM_RECORDS = 2
/** Share of the log's bytes given up at once, oldest first. */
const GIVEN_UP = 0.05
/** Messages that grow too old are looked for as often as this share of their age, and once a minute. */
const AGE_STEP = 0.01
const AGE_STEP_MS = 60_000

export class Retention {
  readonly #broker: Broker
  #scheduled = false
  /** What was to be forgotten so far is. */
  #forgetting: Promise<unknown> = Promise.resolve()
  #relieving = false
  /** Bytes of the largest record so far. */
  #largest = 0
  #ageing = false
  /** Engine time before which nothing is too old. */
  #ageDue = 0

  constructor(broker: Broker) {
    this.#broker = broker
  }

  /** Something was stored, by this run or by an earlier one: look soon whether something can go. */
  stored(): void {
    this.#relieve()
    if (this.#scheduled) return
    this.#scheduled = true
    this.#broker.runtime.after(ROUND_MS, () => {
      this.#scheduled = false
      void this.round()
      this.#dropOld()
      if (this.#broker.engine.bounds().bytes > 0) this.stored()
    })
  }

  /** A record is about to be stored: from now on there is to be room for one of its size. */
  expects(record: LogRecord): void {
    const size = record.bytes + record.messages.length * MESSAGE_OVERHEAD
    if (size <= this.#largest || !record.wanted.includes(true)) return
    this.#largest = size
    this.#relieve()
  }

  /** Forgets what nobody needs any more; resolves when that is done. */
  async round(): Promise<void> {
    const { engine, sweep } = this.#broker
    const floor = this.#floor()
    if (!sweep.owes && floor > engine.bounds().first) {
      // The engine reports its own faults; what could not be forgotten is tried again next round.
      this.#forgetting = Promise.allSettled([this.#forgetting, engine.truncate(floor - 1)])
    }
    await this.#forgetting
  }

  #floor(): Pos {
    let floor = Math.min(this.#broker.log.last + 1, this.#broker.sessions.moves.releasedFloor)
    for (const session of this.#broker.sessions.all()) {
      if (session.durable) floor = Math.min(floor, session.floor)
    }
    for (const group of this.#broker.groups.values()) {
      if (group.durable) floor = Math.min(floor, group.floor)
    }
    return floor
  }

  // ---- Too much ------------------------------------------------------------------------------

  /** A client that is away must not be the reason why others cannot publish, unless that is the rule. */
  #relieve(): void {
    if (this.#relieving || this.#broker.logFull === 'reject' || !this.#isPressed()) return
    this.#relieving = true
    this.#giveUpOldest().then(
      () => {
        this.#relieving = false
      },
      () => {
        // The engine says itself what is wrong; the next record asks again.
        this.#relieving = false
      },
    )
  }

  #isPressed(): boolean {
    const { bytes, cap } = this.#broker.engine.bounds()
    const records = Math.min(this.#largest * HEADROOM_RECORDS, cap / 2)
    return bytes > cap - Math.max(cap * HEADROOM, records)
  }

  async #giveUpOldest(): Promise<void> {
    const { engine } = this.#broker
    await this.round()
    while (this.#isPressed()) {
      const { bytes, cap } = engine.bounds()
      const stretch = await this.#oldest(Number.POSITIVE_INFINITY, cap * GIVEN_UP)
      stretch.giveUp()
      await this.round()
      // Whatever it is that holds the log now, more losses would not change it.
      if (engine.bounds().bytes >= bytes) return
    }
  }

  // ---- Too old -------------------------------------------------------------------------------

  #dropOld(): void {
    const now = this.#broker.engine.now()
    if (this.#ageing || now < this.#ageDue) return
    this.#ageing = true
    this.#giveUpOld(now).then(
      () => {
        this.#ageing = false
      },
      () => {
        this.#ageing = false
      },
    )
  }

  async #giveUpOld(now: number): Promise<void> {
    const longest = this.#broker.limits.backlogMaximum * 1000
    const stretch = await this.#oldest(now - longest, Number.POSITIVE_INFINITY)
    const soonest = now + Math.min(longest * AGE_STEP, AGE_STEP_MS)
    // What comes from now on is as old as that no sooner.
    this.#ageDue = Math.max(soonest, (stretch.next ?? now) + longest)
    stretch.giveUp()
    await this.round()
  }

  /** The oldest messages that were published at or before `newest`, up to about so many bytes of them. */
  async #oldest(newest: number, bytes: number): Promise<Stretch> {
    const { engine } = this.#broker
    const { first, last } = engine.bounds()
    const stretch = new Stretch(this.#broker, first)
    let after = first - 1
    while (after < last) {
      const { records, scanned } = await engine.read(after, last)
      for (const record of records) {
        if (!stretch.take(record, newest) || stretch.bytes >= bytes) return stretch
      }
      if (scanned <= after) return stretch
      after = scanned
      // A record that was damaged is passed over with the others.
      stretch.before = after + 1
      await new Promise<void>((resolve) => this.#broker.runtime.nextTurn(resolve))
    }
    return stretch
  }
}
