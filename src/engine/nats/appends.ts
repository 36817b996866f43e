// Records on their way into the log. One publish at a time, so that a retry never overtakes; what
// was appended meanwhile goes with the next, as one. Sessions saved with a record go before it.

import { EngineError, type LogRecord, type SessionSave } from '../../core/engine.ts'
import { RECORD_BYTES_MAX, RECORD_MESSAGES_MAX } from '../../core/types.ts'
import type { RecordCodec } from '../record.ts'
import { firstPosition } from '../store.ts'
import { type Api, ApiError, ErrCode, isFull, isPassing, Patience } from './api.ts'

/** Milliseconds after which an append is given up: longer than any election measured. */
export const APPEND_MS = 20_000
/** Room for subject and headers within the servers' largest message. */
const HEADROOM = 1024
/** Bytes a stored record takes beside its contents. */
export const RECORD_OVERHEAD = 128

interface Entry {
  readonly record: LogRecord
  readonly resolve: () => void
  readonly reject: (error: Error) => void
  refused: boolean
}

/** Records that are stored as one. */
export interface Group {
  /** Nats-Msg-Id: the servers store it once, however often it is sent. */
  readonly id: string
  readonly entries: Entry[]
  messages: number
  bytes: number
  /** Bytes it takes in the log, about. */
  size: number
  /** Saves that are not durable yet. */
  saving: number
  saved: () => void
  /** A save that may have happened and may not: what refers to this group must never be stored. */
  doubt: EngineError | null
  readonly delivered: Promise<void>
  readonly deliver: () => void
  wasDelivered: boolean
  /** What must be stored between delivery and acknowledgement; set at delivery. */
  kept: Promise<void>
}

export interface AppendsDeps {
  readonly api: Api
  readonly subject: string
  readonly codec: RecordCodec
  /** A new message identity. */
  readonly identity: () => string
  readonly save: (saves: readonly SessionSave[], group: string) => Promise<void>
  /** Whether the record of that sequence is empty: who took a session over stored it in place of ours. */
  readonly isVoid: (seq: number) => Promise<boolean>
  /** The group is in the log. Called before its delivery is waited for. */
  readonly stored: (group: Group, seq: number, duplicate: boolean) => void
  /** What these sessions received and saved for the group of that identity is stored with it, or is not. */
  readonly settled: (saves: readonly SessionSave[], group: string, stored: boolean) => void
  /** Nothing waits for that group any more. */
  readonly landed: (group: string) => void
}

export class Appends {
  readonly #deps: AppendsDeps
  readonly #key: Buffer
  #queue: Group[] = []
  readonly #byId = new Map<string, Group>()
  #pumping = false
  /** Publishers hear of their messages in the order they published them. */
  #told: Promise<void> = Promise.resolve()

  constructor(deps: AppendsDeps) {
    this.#deps = deps
    this.#key = Buffer.from(deps.subject)
  }

  append(record: LogRecord): Promise<void> {
    return new Promise((resolve, reject) => {
      const entry: Entry = { record, resolve, reject, refused: false }
      const group = this.#join(entry)
      if (record.saves.length > 0) this.#saveBefore(group, entry)
      if (!this.#pumping) void this.#pump()
    })
  }

  /** The group with that identity, if it is one of ours and still waited for. */
  waiting(id: string): Group | undefined {
    return this.#byId.get(id)
  }

  /** Resolves when nothing is on its way any more. */
  async settled(): Promise<void> {
    while (this.#pumping)
      await this.#told.then(() => new Promise((resolve) => setTimeout(resolve, 5)))
    await this.#told
  }

  #join(entry: Entry): Group {
    const { messages, bytes } = entry.record
    const last = this.#queue[this.#queue.length - 1]
    if (
      last !== undefined &&
      last.messages + messages.length <= RECORD_MESSAGES_MAX &&
      last.bytes + bytes <= RECORD_BYTES_MAX
    ) {
      last.entries.push(entry)
      last.messages += messages.length
      last.bytes += bytes
      return last
    }
    let deliver: () => void = () => {}
    const delivered = new Promise<void>((resolve) => {
      deliver = resolve
    })
    const group: Group = {
      id: this.#deps.identity(),
      entries: [entry],
      messages: messages.length,
      bytes,
      size: 0,
      saving: 0,
      saved: () => {},
      doubt: null,
      delivered,
      deliver,
      wasDelivered: false,
      kept: Promise.resolve(),
    }
    this.#queue.push(group)
    return group
  }

  #saveBefore(group: Group, entry: Entry): void {
    group.saving++
    this.#deps
      .save(entry.record.saves, group.id)
      .then(
        () => {},
        (error: Error) => {
          entry.refused = true
          entry.reject(error)
          if (!(error instanceof EngineError && error.fault === 'down')) return
          group.doubt = error
          this.#deps.settled(entry.record.saves, group.id, false)
        },
      )
      .then(() => {
        if (--group.saving === 0) group.saved()
      })
  }

  async #pump(): Promise<void> {
    this.#pumping = true
    // What is appended in the rest of this turn goes with it.
    await null
    for (;;) {
      const group = this.#queue[0]
      if (group === undefined) break
      while (group.saving > 0) {
        await new Promise<void>((resolve) => {
          group.saved = resolve
        })
      }
      this.#queue.shift()
      await this.#store(group)
    }
    this.#pumping = false
  }

  async #store(group: Group): Promise<void> {
    const entries = group.entries.filter((entry) => !entry.refused)
    if (entries.length === 0) return this.#deps.landed(group.id)
    if (group.doubt !== null) return this.#refuse(group, group.doubt)
    const { codec, subject, api } = this.#deps
    const record = entries.length === 1 ? entries[0]!.record : merged(entries)
    const bytes = codec.encode(this.#key, record)
    if (bytes.length + HEADROOM > api.connection.maxPayload) {
      return this.#refuse(group, tooLarge(bytes.length, api.connection.maxPayload))
    }
    group.size = bytes.length + RECORD_OVERHEAD
    this.#byId.set(group.id, group)
    const patience = new Patience(APPEND_MS)
    for (;;) {
      try {
        const { seq, duplicate } = await api.store(subject, bytes, { 'Nats-Msg-Id': group.id })
        // Stored by an earlier attempt, or made impossible by who took one of its sessions over.
        if (duplicate && !group.wasDelivered && (await this.#deps.isVoid(seq))) {
          return this.#refuse(group, voided())
        }
        this.#deps.stored(group, seq, duplicate)
        this.#tell(group, entries)
        return
      } catch (error) {
        if (group.wasDelivered) return this.#tell(group, entries)
        const passing = isPassing(error)
        if (!passing || patience.over) return this.#refuse(group, refusal(error, passing))
        await patience.pause()
      }
    }
  }

  #tell(group: Group, entries: readonly Entry[]): void {
    const finished = group.delivered.then(() => group.kept)
    finished.catch(() => {})
    this.#told = this.#told.then(async () => {
      try {
        await finished
        for (const { resolve } of entries) resolve()
      } catch (error) {
        for (const { reject } of entries) reject(error as Error)
      }
      this.#byId.delete(group.id)
      this.#settle(group, true)
    })
  }

  #refuse(group: Group, error: EngineError): void {
    this.#byId.delete(group.id)
    this.#told = this.#told.then(() => {
      for (const entry of group.entries) entry.reject(error)
      this.#settle(group, false)
    })
  }

  #settle(group: Group, stored: boolean): void {
    for (const { record, refused } of group.entries) {
      if (!refused) this.#deps.settled(record.saves, group.id, stored)
    }
    this.#deps.landed(group.id)
  }
}

/** The records of a group that are in the log, each at its place behind the first. */
export function placed(group: Group, seq: number): LogRecord[] {
  let first = firstPosition(seq)
  const records: LogRecord[] = []
  for (const { record, refused } of group.entries) {
    if (refused) continue
    record.first = first
    first += record.messages.length
    records.push(record)
  }
  return records
}

function merged(entries: readonly Entry[]): LogRecord {
  const messages = entries.flatMap(({ record }) => record.messages)
  const wanted = new Array<boolean>(messages.length).fill(true)
  const bytes = entries.reduce((sum, { record }) => sum + record.bytes, 0)
  return { first: 0, messages, wanted, saves: [], bytes }
}

function tooLarge(bytes: number, most: number): EngineError {
  return new EngineError(
    'too-large',
    `${bytes} bytes do not fit into one NATS message of ${most}: raise max_payload on the servers`,
  )
}

function voided(): EngineError {
  return new EngineError(
    'down',
    'another node took sessions over and did not wait for these messages: they must be sent again',
  )
}

/** What a publish that was given up means. */
function refusal(error: unknown, passing: boolean): EngineError {
  const why = error instanceof Error ? error.message : String(error)
  if (isFull(error)) {
    return new EngineError(
      'full',
      `the log on the NATS servers is full (${why}): end sessions that are behind or raise its limit`,
      { cause: error },
    )
  }
  if (error instanceof ApiError && error.errCode === ErrCode.messageTooLarge) {
    return new EngineError('too-large', `the NATS servers refuse so large a message: ${why}`)
  }
  if (passing) {
    return new EngineError(
      'down',
      `the NATS servers did not confirm within ${APPEND_MS / 1000} s (${why}): it may still be stored`,
      { cause: error },
    )
  }
  return new EngineError('failed', `the NATS servers refused: ${why}`, { cause: error })
}
