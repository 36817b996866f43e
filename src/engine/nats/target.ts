// The streams that a data folder is copied into, used by nobody else until the copy is whole. Until
// then the log bears the mark of the folder: no server starts on half a copy, and only a copy of the same
// folder may begin anew.

import { EngineError, type LogRecord } from '../../core/engine.ts'
import type { Message, Pos, StoredSession } from '../../core/types.ts'
import { newLogIdentity } from '../identity.ts'
import { RecordCodec } from '../record.ts'
import { looseTopic } from '../scan.ts'
import { encodeFlow, encodeProfile } from '../session-codec.ts'
import { firstPosition } from '../store.ts'
import { Api, ApiError, ErrCode, isFull, isPassing, Patience, sleep } from './api.ts'
import { Connection } from './connection.ts'
import { Names, type NatsOptions } from './options.ts'
import { Reader } from './reader.ts'
import { lifetime } from './retained.ts'
import { decodeSession, encodeSession, tokenOf } from './session-record.ts'
import { Streams } from './streams.ts'

/** Milliseconds one message may take to be stored: longer than any election. */
const STORE_MS = 20_000
/** Milliseconds in which a node that lives refreshes its sign of life twice. */
const ALIVE_MS = 5_000
const LOOK_MS = 250
const HEADROOM = 1024

export type TargetOptions = Omit<NatsOptions, 'resolve'>

/** What lies in the streams. */
export interface Holdings {
  readonly records: number
  readonly sessions: number
  readonly retained: number
}

export class Target {
  readonly #connection: Connection
  readonly #api: Api
  readonly #reader: Reader
  readonly #names: Names
  readonly #streams: Streams
  readonly #codec = new RecordCodec(looseTopic)
  /** Records of messages stored so far. */
  records = 0
  /** Identity of the log that is there now. */
  readonly log: string
  /** Bytes the log may hold, on each server. */
  readonly cap: number
  /** Log identity of a folder whose copy was not finished; null when none was begun. */
  readonly unfinished: string | null

  private constructor(
    connection: Connection,
    names: Names,
    streams: Streams,
    ensured: { log: string; cap: number; copying: string | null },
  ) {
    this.#connection = connection
    this.#api = new Api(connection)
    this.#reader = new Reader(this.#api)
    this.#names = names
    this.#streams = streams
    this.log = ensured.log
    this.cap = ensured.cap
    this.unfinished = ensured.copying
  }

  /** Makes the streams where they are missing. Throws a person-readable Error. */
  static async open(options: TargetOptions): Promise<Target> {
    const names = new Names({ ...options, name: 'copy' })
    const connection = await Connection.open(
      { ...options, resolve: looseTopic },
      `partyline ${names.node}`,
    )
    try {
      const streams = new Streams(new Api(connection), names, { ...options, resolve: looseTopic })
      const ensured = await streams.ensure(newLogIdentity(options.runtime))
      return new Target(connection, names, streams, ensured)
    } catch (error) {
      await connection.close()
      throw error
    }
  }

  close(): Promise<void> {
    return this.#connection.close()
  }

  /** Names of the streams, for people. */
  get streams(): string {
    const { log, sessions, retained, nodes } = this.#names
    return `${log}, ${sessions}, ${retained} and ${nodes}`
  }

  /** What is there, without what was ended or removed and is only remembered for an hour. */
  async holdings(): Promise<Holdings> {
    const { log, sessions, retained } = this.#names
    const { state } = await this.#reader.info(log)
    const found = { records: state.messages, sessions: 0, retained: 0 }
    const session = this.#names.subject('s', '')
    for await (const { subject, data } of this.#reader.all(sessions, `${session}*`)) {
      if (!decodeSession(subject.slice(session.length), data).ended) found.sessions++
    }
    const topic = this.#names.subject('r', '')
    for await (const { subject, data } of this.#reader.all(retained, `${topic}*`)) {
      const key = Buffer.from(subject.slice(topic.length))
      if (this.#codec.decodeRetained(key, data).message.payload.length > 0) found.retained++
    }
    return found
  }

  /** A node that runs on these streams, or null. */
  async livingNode(): Promise<string | null> {
    const before = await this.#cards()
    if ([...before.values()].every(({ left }) => left)) return null
    const end = performance.now() + ALIVE_MS
    while (performance.now() < end) {
      await sleep(LOOK_MS)
      for (const [node, { seq, left }] of await this.#cards()) {
        if (!left && seq > (before.get(node)?.seq ?? 0)) return node
      }
    }
    return null
  }

  /** Empties the streams and marks them with the log identity of the folder. */
  async begin(folder: string): Promise<void> {
    await this.#streams.mark(folder)
    for (const stream of [this.#names.log, this.#names.sessions, this.#names.retained]) {
      await this.#patiently(() => this.#api.ask(`STREAM.PURGE.${stream}`, {}, 10_000))
    }
  }

  /** The position before everything that will be stored. */
  async before(): Promise<Pos> {
    const { state } = await this.#reader.info(this.#names.log)
    return state.last_seq === 0 ? 0 : firstPosition(state.last_seq + 1) - 1
  }

  /** Stores messages as one record; returns the position of the first. One call at a time, to keep their order. */
  async append(messages: readonly Message[]): Promise<Pos> {
    const subject = this.#names.subject('l', this.#names.node)
    const bytes = messages.reduce((sum, m) => sum + m.payload.length + m.properties.length, 0)
    const record: LogRecord = {
      first: 0,
      messages: [...messages],
      wanted: messages.map(() => true),
      saves: [],
      bytes,
    }
    const value = this.#codec.encode(Buffer.from(subject), record)
    const id = `${this.#names.node}.${(++this.records).toString(36)}`
    return firstPosition(await this.#store(subject, value, { 'Nats-Msg-Id': id }))
  }

  /** Stores a session that nobody owns now: who asks first has it. */
  async save({ id, profile, flow }: StoredSession): Promise<void> {
    const token = tokenOf(Buffer.from(id))
    const key = Buffer.from(token)
    const record = {
      node: this.#names.node,
      nonce: `${this.#names.node}.0`,
      epoch: 0,
      ended: false,
      profile: encodeProfile(key, profile, 0, null),
      flow: encodeFlow(key, flow, 0, null),
      intents: [],
      came: 0,
    }
    await this.#store(this.#names.subject('s', token), encodeSession(token, id, record), {})
  }

  async retain(message: Message, pos: Pos): Promise<void> {
    const token = tokenOf(message.topic.bytes)
    const bytes = this.#codec.encodeRetained(Buffer.from(token), message, pos)
    const { ttl } = lifetime(message)
    const headers = ttl === undefined ? {} : { 'Nats-TTL': ttl }
    await this.#store(this.#names.subject('r', token), bytes, headers)
  }

  /**
   * The copy is whole: the sessions are those of a node that left, which needs nothing before `floor`, and servers may
   * start.
   */
  async finish(floor: Pos): Promise<void> {
    const card = { version: 1, wish: floor - 1, left: true }
    const subject = this.#names.subject('p', this.#names.node)
    await this.#store(subject, Buffer.from(JSON.stringify(card)), {})
    await this.#streams.mark(null)
  }

  async #cards(): Promise<Map<string, { seq: number; left: boolean }>> {
    const cards = new Map<string, { seq: number; left: boolean }>()
    const begin = this.#names.subject('p', '')
    for await (const { subject, seq, data } of this.#reader.all(this.#names.nodes, `${begin}*`)) {
      const { left } = JSON.parse(data.toString()) as { left: boolean }
      cards.set(subject.slice(begin.length), { seq, left })
    }
    return cards
  }

  async #store(
    subject: string,
    bytes: Buffer,
    fields: Readonly<Record<string, string>>,
  ): Promise<number> {
    const most = this.#connection.maxPayload
    if (bytes.length + HEADROOM > most) {
      throw new EngineError(
        'too-large',
        `${bytes.length} bytes do not fit into one NATS message of ${most}: raise max_payload on the servers, then copy again`,
      )
    }
    return (await this.#patiently(() => this.#api.store(subject, bytes, fields))).seq
  }

  async #patiently<T>(attempt: () => Promise<T>): Promise<T> {
    const patience = new Patience(STORE_MS)
    for (;;) {
      try {
        return await attempt()
      } catch (error) {
        if (!isPassing(error) || patience.over) throw readable(error)
        await patience.pause()
      }
    }
  }
}

function readable(error: unknown): Error {
  const why = error instanceof Error ? error.message : String(error)
  if (isFull(error)) {
    const hint = 'give them more room, or remove the streams and copy with a larger --log-bytes'
    return new EngineError('full', `the NATS servers have no room (${why}): ${hint}`, {
      cause: error,
    })
  }
  if (error instanceof ApiError && error.errCode === ErrCode.messageTooLarge) {
    return new EngineError('too-large', `the NATS servers refuse so large a message: ${why}`)
  }
  return new EngineError('down', `the NATS servers do not store: ${why}; then copy again`, {
    cause: error,
  })
}
