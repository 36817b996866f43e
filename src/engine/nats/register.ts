// Writes records that have one newest version per subject: each write expects the sequence of the
// one it read, so of two writers one wins. Tells a lost answer from a lost race by a nonce.

import { EngineError } from '../../core/engine.ts'
import { type Api, ApiError, ErrCode, isFull, isPassing, Patience } from './api.ts'
import type { Reader, Stored } from './reader.ts'

/** Milliseconds after which a write is given up. */
const WRITE_MS = 20_000

export type Outcome =
  | { readonly seq: number }
  /** Somebody else wrote: what the leader has now, null when nothing. */
  | { readonly found: Stored | null }

export interface Write {
  readonly subject: string
  readonly bytes: Buffer
  /** Sequence of the version this one replaces; 0 when there must be none. */
  readonly expected: number
  /** Whether the version the leader has is this write itself. */
  readonly isMine: (stored: Stored) => boolean
  /** How long the servers keep it, such as `1h`; for ever when absent. */
  readonly ttl?: string
}

export class Register {
  readonly #api: Api
  readonly #reader: Reader
  readonly #stream: string

  constructor(reader: Reader, stream: string) {
    this.#api = reader.api
    this.#reader = reader
    this.#stream = stream
  }

  /** Until it is known who won. Throws EngineError; after `down` the write may still happen. */
  async write(write: Write): Promise<Outcome> {
    const { subject, bytes, expected, isMine, ttl } = write
    if (bytes.length + 512 > this.#api.connection.maxPayload) {
      throw new EngineError('too-large', `${bytes.length} bytes do not fit into one NATS message`)
    }
    const fields: Record<string, string> = {
      'Nats-Expected-Last-Subject-Sequence': String(expected),
      ...(ttl === undefined ? {} : { 'Nats-TTL': ttl }),
    }
    const patience = new Patience(WRITE_MS)
    for (;;) {
      try {
        return { seq: (await this.#api.store(subject, bytes, fields)).seq }
      } catch (error) {
        if (error instanceof ApiError && error.errCode === ErrCode.wrongLastSequence) {
          const found = await this.newest(subject, patience)
          if (found !== null && isMine(found)) return { seq: found.seq }
          // A leader that was deposed a moment ago: its answer settles nothing.
          if ((found?.seq ?? 0) !== expected) return { found }
        } else if (!isPassing(error)) throw refusalOf(error)
        if (patience.over) throw downOf(error)
        await patience.pause()
      }
    }
  }

  /** From the leader, as long as it takes. Throws EngineError. */
  async newest(subject: string, patience = new Patience(WRITE_MS)): Promise<Stored | null> {
    for (;;) {
      try {
        return await this.#reader.lastOfLeader(this.#stream, subject)
      } catch (error) {
        if (!isPassing(error)) throw refusalOf(error)
        if (patience.over) throw downOf(error)
        await patience.pause()
      }
    }
  }

  /** From any replica, and so perhaps an older version. Throws EngineError. */
  async probably(subject: string): Promise<Stored | null> {
    try {
      return await this.#reader.last(this.#stream, subject)
    } catch {
      return this.newest(subject)
    }
  }
}

function refusalOf(error: unknown): EngineError {
  const why = error instanceof Error ? error.message : String(error)
  const fault = isFull(error) ? 'full' : 'failed'
  return new EngineError(fault, `the NATS servers refused: ${why}`, { cause: error })
}

function downOf(error: unknown): EngineError {
  const why = error instanceof Error ? error.message : String(error)
  return new EngineError(
    'down',
    `the NATS servers did not answer within ${WRITE_MS / 1000} s (${why})`,
    {
      cause: error,
    },
  )
}
