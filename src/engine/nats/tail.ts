// The live end of the log: what the servers repeat as they store it, put in order, each record
// once. What was lost on the way is read from the stream; only its leader's word makes a hole.

import { sleep, Unanswered } from './api.ts'
import { type Reader, type Stored, storedOf } from './reader.ts'

/** Milliseconds a record may be overtaken by the next, or by its own acknowledgement. */
const OVERTAKEN_MS = 50
/** Milliseconds of silence after which the end of the stream is asked for. */
const SILENCE_MS = 500
const BATCH = 500
const BATCH_BYTES = 4 * 1024 * 1024
/** Records kept that arrived above a hole; what comes beyond is read again when the hole is closed. */
const AHEAD_MAX = 4_096
/** Answers without progress before the leader is asked. */
const BARREN_MAX = 2

export class Tail {
  readonly #reader: Reader
  readonly #stream: string
  readonly #subjects: string
  readonly #deliver: (stored: Stored) => void
  readonly #ahead = new Map<number, Stored>()
  #last = 0
  /** Highest sequence known to exist. */
  #highest = 0
  #heardSince = false
  #repairing = false
  #overtaken: NodeJS.Timeout | null = null
  #silence: NodeJS.Timeout | null = null
  #started = false
  #stopped = false
  /** Records that had to be read because they did not arrive. */
  repaired = 0

  /** `deliver` is called for every record after where it started, once, in order. */
  constructor(reader: Reader, stream: string, subjects: string, deliver: (stored: Stored) => void) {
    this.#reader = reader
    this.#stream = stream
    this.#subjects = subjects
    this.#deliver = deliver
  }

  /** Sequence of the last record delivered. */
  get last(): number {
    return this.#last
  }

  /** Whether everything known to exist is delivered. */
  get caughtUp(): boolean {
    return this.#last >= this.#highest
  }

  /**
   * Listens on `subject` and delivers what follows the end of the stream as it is now. `lossy` says which
   * records to take for lost on their way.
   */
  async start(subject: string, lossy: (sequence: number) => boolean): Promise<void> {
    this.#reader.api.connection.nc.subscribe(subject, {
      callback: (error, message) => {
        if (error !== null) return
        const stored = storedOf(message)
        if (!lossy(stored.seq)) this.heard(stored)
      },
    })
    // What is stored from here on is heard: the subscription is with the server before this answer.
    await this.#reader.api.connection.nc.flush()
    const { state } = await this.#reader.info(this.#stream)
    this.#last = state.last_seq
    this.#highest = Math.max(this.#highest, state.last_seq)
    for (const ahead of this.#ahead.keys()) if (ahead <= this.#last) this.#ahead.delete(ahead)
    this.#started = true
    this.#drain()
    this.#silence = setInterval(() => void this.#listenToSilence(), SILENCE_MS)
    this.#silence.unref()
  }

  stop(): void {
    this.#stopped = true
    if (this.#overtaken !== null) clearTimeout(this.#overtaken)
    if (this.#silence !== null) clearInterval(this.#silence)
  }

  /** The connection is back: whatever was stored meanwhile was not heard. */
  reconnected(): void {
    this.#heardSince = false
    void this.#listenToSilence()
  }

  /** A record that exists, from wherever it is known. */
  heard(stored: Stored): void {
    const { seq } = stored
    this.#heardSince = true
    if (seq <= this.#last) return
    if (seq > this.#highest) this.#highest = seq
    if (this.#ahead.size < AHEAD_MAX || seq === this.#last + 1) this.#ahead.set(seq, stored)
    this.#drain()
  }

  #drain(): void {
    if (!this.#started) return
    for (;;) {
      const next = this.#ahead.get(this.#last + 1)
      if (next === undefined) break
      this.#ahead.delete(next.seq)
      this.#last = next.seq
      this.#deliver(next)
    }
    if (this.#last >= this.#highest || this.#overtaken !== null || this.#stopped) return
    this.#overtaken = setTimeout(() => {
      this.#overtaken = null
      void this.#repair()
    }, OVERTAKEN_MS)
  }

  /** Nothing arrived: perhaps nothing was stored, perhaps the last record was lost. */
  async #listenToSilence(): Promise<void> {
    const heard = this.#heardSince
    this.#heardSince = false
    if (heard || this.#repairing || !this.#reader.api.connection.connected) return
    try {
      await this.#read()
    } catch (error) {
      if (!(error instanceof Unanswered)) throw error
    }
  }

  /** Reads until everything known to exist is delivered. */
  async #repair(): Promise<void> {
    if (this.#repairing) return
    this.#repairing = true
    let barren = 0
    while (!this.#stopped && this.#last < this.#highest) {
      const before = this.#last
      try {
        const pastHole = await this.#read()
        if (this.#last > before) barren = 0
        else if (pastHole || ++barren >= BARREN_MAX) await this.#askLeader()
        else await sleep(OVERTAKEN_MS / 2)
      } catch {
        await sleep(OVERTAKEN_MS)
      }
    }
    this.#repairing = false
  }

  /** Reads on from any replica. True when that replica has only later records. */
  async #read(): Promise<boolean> {
    const next = this.#last + 1
    const { messages } = await this.#reader.batch(this.#stream, {
      seq: next,
      batch: BATCH,
      max_bytes: BATCH_BYTES,
    })
    for (const stored of messages) {
      if (stored.seq > this.#last) this.repaired++
      this.heard(stored)
    }
    return messages.length > 0 && messages[0]!.seq > next
  }

  async #askLeader(): Promise<void> {
    const next = this.#last + 1
    const found = await this.#reader.nextOfLeader(this.#stream, next, this.#subjects)
    if (found !== null) {
      this.#skipTo(found.seq - 1)
      this.repaired++
      this.heard(found)
      return
    }
    const { state } = await this.#reader.info(this.#stream)
    if (state.first_seq > next) this.#skipTo(state.first_seq - 1)
    else await sleep(OVERTAKEN_MS)
  }

  /** The leader has nothing up to that sequence any more. */
  #skipTo(seq: number): void {
    if (seq <= this.#last) return
    this.#last = seq
    for (const ahead of this.#ahead.keys()) if (ahead <= seq) this.#ahead.delete(ahead)
    this.#drain()
  }
}
