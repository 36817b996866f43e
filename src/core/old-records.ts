// The log behind its tail, as the engine reads it: what was read lately stays for a moment, because
// a client with a small window comes back to it many times, and many clients to the same part.

import type { Engine, LogRecord } from './engine.ts'
import type { Runtime } from './runtime.ts'
import type { Pos } from './types.ts'

/** Parts kept, about 1 MiB each. */
const PARTS = 8
/** Milliseconds after which they go when nobody asked. */
const KEPT_MS = 1_000
/** Reads begun in one turn: each may take the engine milliseconds, and everybody else waits meanwhile. */
const READS_A_TURN = 4

interface Part {
  /** Everything stored in (after, scanned] is in `records`. */
  readonly after: Pos
  readonly scanned: Pos
  readonly records: readonly LogRecord[]
}

type Found = Pick<Part, 'records' | 'scanned'>

export class OldRecords {
  readonly #engine: Pick<Engine, 'read'>
  readonly #runtime: Pick<Runtime, 'after' | 'nextTurn'>
  /** Last used last. */
  #parts: Part[] = []
  #used = false
  #fading = false
  #begun = 0
  #waiting: (() => void)[] = []
  /** On their way, by `after` and `until`. */
  readonly #reading = new Map<string, Promise<Found>>()

  constructor(engine: Pick<Engine, 'read'>, runtime: Pick<Runtime, 'after' | 'nextTurn'>) {
    this.#engine = engine
    this.#runtime = runtime
  }

  /** As `Engine.read`, except that the answer may be empty before `until` is reached. Rejects as it does. */
  read(after: Pos, until: Pos): Promise<Found> {
    const part = this.#find(after)
    if (part !== null) return Promise.resolve(part)
    const key = `${after}-${until}`
    const known = this.#reading.get(key)
    if (known !== undefined) return known
    const reading = this.#load(after, until).finally(() => this.#reading.delete(key))
    this.#reading.set(key, reading)
    return reading
  }

  #find(after: Pos): Found | null {
    const index = this.#parts.findLastIndex((part) => part.after <= after && after < part.scanned)
    if (index < 0) return null
    const [part] = this.#parts.splice(index, 1) as [Part]
    this.#parts.push(part)
    this.#used = true
    return { records: part.records.slice(firstBehind(part.records, after)), scanned: part.scanned }
  }

  async #load(after: Pos, until: Pos): Promise<Found> {
    while (this.#begun >= READS_A_TURN) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
      const part = this.#find(after)
      if (part !== null) return part
    }
    if (this.#begun++ === 0) this.#runtime.nextTurn(() => this.#turn())
    const { records, scanned } = await this.#engine.read(after, until)
    this.#parts.push({ after, scanned, records })
    if (this.#parts.length > PARTS) this.#parts.shift()
    this.#used = true
    if (!this.#fading) this.#fadeLater()
    return { records, scanned }
  }

  #turn(): void {
    this.#begun = 0
    const waiting = this.#waiting
    this.#waiting = []
    for (const go of waiting) go()
  }

  #fadeLater(): void {
    this.#fading = true
    this.#used = false
    this.#runtime.after(KEPT_MS, () => {
      this.#fading = this.#used
      if (this.#used) this.#fadeLater()
      else this.#parts = []
    })
  }
}

/** Index of the first record that holds a position behind that one. */
function firstBehind(records: readonly LogRecord[], pos: Pos): number {
  let low = 0
  let high = records.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const { first, messages } = records[middle] as LogRecord
    if (first + messages.length - 1 > pos) high = middle
    else low = middle + 1
  }
  return low
}
