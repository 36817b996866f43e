// Reads every value of a data folder and checks it, without changing anything. Runs in a child
// process of its own (scan-child.ts), because a damaged database can end the process that reads it.

import { Topic } from '../core/topics.ts'
import { RecordCodec } from './record.ts'
import { DamageError } from './sealed.ts'
import { decodeFlow, decodeProfile } from './session-codec.ts'
import {
  FIRST_KEY,
  firstPosition,
  nameOf,
  recordSequence,
  type Sizes,
  Store,
  type Table,
} from './store.ts'

/** What `partyline data inspect` and `check` print. */
export interface Inspection {
  readonly log: string
  readonly records: number
  readonly messages: number
  /** Positions of the first and last stored record, 0 when there is none. */
  readonly firstPosition: number
  readonly lastPosition: number
  readonly oldest: number
  readonly newest: number
  readonly sessions: number
  readonly retained: number
  readonly sizes: Sizes
  /** Sessions whose cursors are furthest behind, the furthest first. */
  readonly behind: readonly { id: string; cursor: number; awaySince: number }[]
  /** One sentence for each value that is not what was written; at most DAMAGE_LISTED of them. */
  readonly damage: readonly string[]
  readonly damaged: number
}

const DAMAGE_LISTED = 20
const BEHIND_LISTED = 10

/** Throws when the folder cannot be opened at all. */
export async function inspectFolder(directory: string): Promise<Inspection> {
  const store = Store.open(directory, true)
  try {
    // A new turn takes a new snapshot: one that lasted would keep a running server's file growing.
    return await inspectStore(store, () => new Promise((resolve) => setTimeout(resolve, 0)))
  } finally {
    await store.close()
  }
}

/** Reads and checks every value; `pause` comes between two portions. */
export function inspectStore(store: Store, pause: () => Promise<void>): Promise<Inspection> {
  return new Scan(store, pause).run()
}

/** One throw-away topic a message: nothing here looks anything up by name. */
export function looseTopic(bytes: Buffer, start: number, length: number): Topic {
  return new Topic(Buffer.from(bytes.subarray(start, start + length)), 0)
}

class Scan {
  readonly #store: Store
  readonly #pause: () => Promise<void>
  readonly #damage: string[] = []
  #damaged = 0

  constructor(store: Store, pause: () => Promise<void>) {
    this.#store = store
    this.#pause = pause
  }

  async run(): Promise<Inspection> {
    const log = this.#state()
    const records = await this.#records()
    const sessions = await this.#sessions()
    const retained = await this.#retained()
    return {
      log,
      ...records,
      ...sessions,
      retained,
      sizes: this.#store.sizes(),
      damage: this.#damage,
      damaged: this.#damaged,
    }
  }

  #state(): string {
    let log = ''
    this.#checked('the state of the log', () => {
      log = this.#store.readState()?.log ?? ''
    })
    return log
  }

  async #records() {
    const codec = new RecordCodec(looseTopic)
    const found = {
      records: 0,
      messages: 0,
      firstPosition: 0,
      lastPosition: 0,
      oldest: 0,
      newest: 0,
    }
    await this.#each(this.#store.log, (key, value) => {
      const sequence = recordSequence(key)
      this.#checked(`record ${sequence}`, () => {
        const record = codec.decode(key, value, firstPosition(sequence))
        const kept = record.messages.filter((_, i) => record.wanted[i])
        found.records++
        found.messages += kept.length
        if (found.records === 1) {
          found.firstPosition = record.first
          found.oldest = kept[0]!.at
        }
        found.lastPosition = record.first + record.messages.length - 1
        found.newest = kept[kept.length - 1]!.at
      })
    })
    return found
  }

  async #sessions() {
    let sessions = 0
    let behind: { id: string; cursor: number; awaySince: number }[] = []
    await this.#each(this.#store.profile, (key, value) => {
      sessions++
      this.#checked(`the profile of session "${nameOf(key) ?? 'with a long identifier'}"`, () => {
        decodeProfile(key, value)
      })
    })
    await this.#each(this.#store.flow, (key, value) => {
      const name = nameOf(key)
      this.#checked(`the flow of session "${name ?? 'with a long identifier'}"`, () => {
        const { id, part } = decodeFlow(key, value)
        const { cursor, awaySince } = part
        behind.push({ id: name ?? id ?? '', cursor, awaySince })
        if (behind.length > BEHIND_LISTED * 100) behind = furthest(behind)
      })
    })
    return { sessions, behind: furthest(behind) }
  }

  async #retained(): Promise<number> {
    const codec = new RecordCodec(looseTopic)
    let retained = 0
    await this.#each(this.#store.retained, (key, value) => {
      retained++
      this.#checked('a retained message', () => codec.decodeRetained(key, value))
    })
    return retained
  }

  async #each(table: Table, visit: (key: Buffer, value: Buffer) => void): Promise<void> {
    let from: Buffer | null = FIRST_KEY
    while (from) {
      const chunk = this.#store.chunk(table, from)
      for (const { key, value } of chunk.entries) visit(key, value)
      from = chunk.next
      await this.#pause()
    }
  }

  #checked(what: string, look: () => void): void {
    try {
      look()
    } catch (error) {
      if (!(error instanceof DamageError)) throw error
      this.#damaged++
      if (this.#damage.length < DAMAGE_LISTED) this.#damage.push(`${what}: ${error.message}`)
    }
  }
}

function furthest<Entry extends { cursor: number }>(entries: Entry[]): Entry[] {
  return entries.sort((a, b) => a.cursor - b.cursor).slice(0, BEHIND_LISTED)
}
