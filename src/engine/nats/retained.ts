// Retained messages on the servers: one per topic, with the position it belongs to. A change is
// stored only over an equal or lower position, so that all nodes end with the same one.

import type { Clock } from '../../core/deadlines.ts'
import type { RetainedMessage } from '../../core/engine.ts'
import type { Topic } from '../../core/topics.ts'
import { type Message, NO_BYTES, type Pos } from '../../core/types.ts'
import type { RecordCodec, ResolveTopic } from '../record.ts'
import { DamageError } from '../sealed.ts'
import type { Names } from './options.ts'
import { type Reader, type Stored, storedOf } from './reader.ts'
import { Register } from './register.ts'
import { tokenOf } from './session-record.ts'
import { Versions } from './versions.ts'

/** Seconds for which a removal is remembered, for nodes that were cut off. */
const REMOVAL_S = 3_600
/** Milliseconds of silence after which changes that were not heard are looked for. */
const SILENCE_MS = 5_000
const HOLE_MS = 50
/** Milliseconds a change of QoS 0 waits for the next one of its topic. */
const LAZY_MS = 250

export interface RetainedDeps {
  readonly reader: Reader
  /** Of the connection that listens. */
  readonly tailReader: Reader
  readonly names: Names
  readonly clock: Clock
  readonly codec: RecordCodec
  readonly resolve: ResolveTopic
  readonly changed: (change: RetainedMessage) => void
  readonly damaged: (what: string) => void
}

interface Change {
  readonly message: Message
  readonly pos: Pos
}

interface Version extends Change {
  readonly seq: number
}

interface Writer {
  next: Change | null
  /** Whether somebody waits for `next` now. */
  urgent: boolean
  /** Newest version that came to be while ours were under way: told when none is. */
  newest: Version | null
  /** Set while nobody is in a hurry. */
  timer: NodeJS.Timeout | null
  waiting: { resolve: () => void; reject: (error: unknown) => void }[]
}

export class NatsRetained {
  readonly #deps: RetainedDeps
  readonly #register: Register
  readonly #known: Versions
  /** One write per topic at a time; what comes meanwhile replaces what waits. */
  readonly #writers = new Map<string, Writer>()
  /** Everything up to this sequence was heard or read. */
  #heard = 0
  #highest = 0
  #timer: NodeJS.Timeout | null = null
  #catchingUp = false

  constructor(deps: RetainedDeps) {
    this.#deps = deps
    this.#register = new Register(deps.reader, deps.names.retained)
    this.#known = new Versions(deps.clock)
  }

  /** Reports everything stored, and from then on what others store. */
  async start(): Promise<void> {
    const { tailReader, names } = this.#deps
    tailReader.api.connection.nc.subscribe(names.repeated('r'), {
      callback: (error, message) => {
        if (error === null) this.#arrived(storedOf(message))
      },
    })
    await tailReader.api.connection.nc.flush()
    await this.catchUp()
    this.#timer = setInterval(() => void this.catchUp(), SILENCE_MS)
    this.#timer.unref()
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#known.stop()
  }

  /** Resolves when this change, or a newer one of its topic, is stored. Rejects with EngineError. */
  store(message: Message, pos: Pos, lazily = false): Promise<void> {
    const token = tokenOf(message.topic.bytes)
    return new Promise((resolve, reject) => {
      const writer = this.#writers.get(token) ?? this.#newWriter(token)
      if (writer.next === null || writer.next.pos <= pos) writer.next = { message, pos }
      writer.waiting.push({ resolve, reject })
      if (!lazily) this.#hurry(token, writer)
    })
  }

  /** Changes of QoS 0: the newest of each topic, at most four times a second however many come. */
  async storeLazily(changes: readonly RetainedMessage[]): Promise<void> {
    await Promise.all(
      changes.map(({ topic, message, pos }) => {
        if (message !== null) return this.store(message, pos, true)
        const bytes = Buffer.from(topic)
        const found = this.#deps.resolve(bytes, 0, bytes.length)
        return found === null ? undefined : this.store(removal(found), pos, true)
      }),
    )
  }

  /** Resolves when nothing is being written. */
  async settled(): Promise<void> {
    for (const [token, writer] of this.#writers) this.#hurry(token, writer)
    while (this.#writers.size > 0) await new Promise((resolve) => setTimeout(resolve, 5))
  }

  /** Reads what was stored and not heard: after a lost connection, or a message lost on its way. */
  async catchUp(): Promise<void> {
    if (this.#catchingUp) return
    this.#catchingUp = true
    const { tailReader, names } = this.#deps
    try {
      // What is removed meanwhile leaves holes; only what is there counts.
      for await (const stored of tailReader.all(
        names.retained,
        names.subject('r', '*'),
        this.#heard + 1,
      )) {
        this.#apply(stored)
        this.#heard = Math.max(this.#heard, stored.seq)
      }
      this.#heard = Math.max(this.#heard, this.#highest)
    } catch {
      // Not connected: tried again when the connection is back, or after the next silence.
    } finally {
      this.#catchingUp = false
    }
  }

  #arrived(stored: Stored): void {
    this.#highest = Math.max(this.#highest, stored.seq)
    this.#apply(stored)
    if (stored.seq === this.#heard + 1) this.#heard = stored.seq
    else if (stored.seq > this.#heard && !this.#catchingUp) {
      setTimeout(() => void this.catchUp(), HOLE_MS).unref()
    }
  }

  #apply(stored: Stored): void {
    const { names, codec, damaged } = this.#deps
    const token = stored.subject.slice(names.subject('r', '').length)
    try {
      const { message, pos } = codec.decodeRetained(Buffer.from(token), stored.data)
      this.#changed(token, stored.seq, message, pos)
    } catch (error) {
      if (!(error instanceof DamageError)) throw error
      damaged(`a retained message: ${error.message}`)
    }
  }

  /** Tells each version once and in the order of the store, our own too: so all nodes end equal. */
  #changed(token: string, seq: number, message: Message, pos: Pos): void {
    if ((this.#known.get(token)?.seq ?? 0) >= seq) return
    const removed = message.payload.length === 0
    this.#known.set(token, { seq, pos }, { removed, expires: message.expires })
    // A newer one of ours is under way: what was here before must not come back until that is stored.
    const writer = this.#writers.get(token)
    if (writer !== undefined) writer.newest = { seq, message, pos }
    else this.#tell(message, pos)
  }

  #tell(message: Message, pos: Pos): void {
    const kept = message.payload.length > 0 ? message : null
    this.#deps.changed({ topic: message.topic.name, message: kept, pos })
  }

  #newWriter(token: string): Writer {
    const writer: Writer = { next: null, urgent: false, newest: null, timer: null, waiting: [] }
    writer.timer = setTimeout(() => this.#hurry(token, writer), LAZY_MS)
    this.#writers.set(token, writer)
    return writer
  }

  #hurry(token: string, writer: Writer): void {
    writer.urgent = true
    if (writer.timer === null) return
    clearTimeout(writer.timer)
    writer.timer = null
    void this.#write(token, writer)
  }

  async #write(token: string, writer: Writer): Promise<void> {
    while (writer.next !== null && writer.urgent) {
      const { next, waiting } = writer
      writer.next = null
      writer.urgent = false
      writer.waiting = []
      try {
        await this.#replace(token, next)
        for (const { resolve } of waiting) resolve()
      } catch (error) {
        for (const { reject } of waiting) reject(error)
      }
    }
    if (writer.next !== null) {
      writer.timer = setTimeout(() => this.#hurry(token, writer), LAZY_MS)
      return
    }
    this.#writers.delete(token)
    if (writer.newest !== null) this.#tell(writer.newest.message, writer.newest.pos)
  }

  async #replace(token: string, { message, pos }: Change): Promise<void> {
    const { names, codec } = this.#deps
    const key = Buffer.from(token)
    const bytes = codec.encodeRetained(key, message, pos)
    const known = this.#known.get(token)
    if (known !== undefined && known.pos > pos) return
    let expected = known?.seq ?? 0
    for (;;) {
      const outcome = await this.#register.write({
        subject: names.subject('r', token),
        bytes,
        expected,
        isMine: (stored) => stored.data.equals(bytes),
        ...lifetime(message),
      })
      if ('seq' in outcome) {
        this.#changed(token, outcome.seq, message, pos)
        return
      }
      const { found } = outcome
      if (found !== null && this.#posOf(key, found) > pos) return
      expected = found?.seq ?? 0
    }
  }

  #posOf(key: Buffer, stored: Stored): Pos {
    try {
      return this.#deps.codec.decodeRetained(key, stored.data).pos
    } catch (error) {
      if (!(error instanceof DamageError)) throw error
      return 0
    }
  }
}

/** How long the servers keep a change: one that expires would else be there for ever, and nobody would remove it. */
export function lifetime({ payload, at, expires }: Message): { ttl?: string } {
  if (payload.length === 0) return { ttl: `${REMOVAL_S}s` }
  if (expires === Number.POSITIVE_INFINITY) return {}
  return { ttl: `${Math.ceil((expires - at) / 1000) + REMOVAL_S}s` }
}

function removal(topic: Topic): Message {
  return {
    topic,
    payload: NO_BYTES,
    properties: NO_BYTES,
    qos: 0,
    retain: true,
    at: 0,
    expires: Number.POSITIVE_INFINITY,
    publisher: '',
  }
}
