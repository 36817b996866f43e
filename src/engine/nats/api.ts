// Requests to JetStream and what their answers mean. At most 256 wait at a time: the servers drop
// all that wait when too many do.

import { headers, type MsgHdrs } from '@nats-io/transport-node'
import type { Connection } from './connection.ts'

/** Milliseconds one request may take before it is asked again. */
const TIMEOUT_MS = 2_000
const IN_FLIGHT_MAX = 256
/** Milliseconds between attempts: from a busy server to an election. */
const PAUSE_MS = [5, 10, 20, 50, 100] as const

/** What JetStream said no to. `errCode` is its own number. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly code: number
  readonly errCode: number
  constructor(error: { code: number; err_code?: number; description?: string }) {
    super(error.description ?? `error ${error.code}`)
    this.code = error.code
    this.errCode = error.err_code ?? 0
  }
}

/** No answer: it may have happened or not. */
export class Unanswered extends Error {
  override readonly name = 'Unanswered'
}

export const ErrCode = {
  /** Insufficient resources, and storage resources exceeded. */
  noResources: 10023,
  noStorage: 10047,
  messageTooLarge: 10054,
  streamExists: 10058,
  streamNotFound: 10059,
  noMessage: 10037,
  wrongLastSequence: 10071,
  /** Replicas without a cluster, and no peers for them. */
  notClustered: 10074,
  noPeers: 10005,
  full: 10077,
  fullOfMessages: 10122,
  /** The same message is being stored at this moment. */
  inProcess: 10158,
  /** Another write to the subject is being stored at this moment. */
  busy: 10164,
} as const

export interface PubAck {
  readonly seq: number
  /** It was stored before, under that sequence. */
  readonly duplicate: boolean
}

interface Answer {
  readonly error?: { code: number; err_code?: number; description?: string }
}

export class Api {
  readonly connection: Connection
  #inFlight = 0
  readonly #waiting: (() => void)[] = []

  constructor(connection: Connection) {
    this.connection = connection
  }

  /** One request to `$JS.API.<what>`. Throws ApiError or Unanswered. */
  async ask<T>(what: string, body?: object, timeout = TIMEOUT_MS): Promise<T> {
    return this.#request<T & Answer>(
      `$JS.API.${what}`,
      body ? JSON.stringify(body) : '',
      undefined,
      timeout,
    )
  }

  /** One attempt to store a message. Throws ApiError or Unanswered. */
  async store(
    subject: string,
    bytes: Uint8Array,
    fields: Readonly<Record<string, string>>,
  ): Promise<PubAck> {
    const hdrs = headers()
    for (const [name, value] of Object.entries(fields)) hdrs.set(name, value)
    const ack = await this.#request<{ seq: number; duplicate?: boolean } & Answer>(
      subject,
      bytes,
      hdrs,
      TIMEOUT_MS,
    )
    return { seq: ack.seq, duplicate: ack.duplicate === true }
  }

  async #request<T extends Answer>(
    subject: string,
    payload: Uint8Array | string,
    hdrs: MsgHdrs | undefined,
    timeout: number,
  ): Promise<T> {
    if (!this.connection.connected) throw new Unanswered('not connected')
    if (this.#inFlight >= IN_FLIGHT_MAX) await new Promise<void>((go) => this.#waiting.push(go))
    this.#inFlight++
    let answer: T
    try {
      const options = hdrs ? { timeout, headers: hdrs } : { timeout }
      const message = await this.connection.nc.request(subject, payload, options)
      answer = message.json<T>()
    } catch (error) {
      throw new Unanswered(error instanceof Error ? error.message : String(error), { cause: error })
    } finally {
      this.#inFlight--
      this.#waiting.shift()?.()
    }
    if (answer.error) throw new ApiError(answer.error)
    return answer
  }
}

/** Milliseconds until which something is tried again, and the pauses between. */
export class Patience {
  readonly #end: number
  #attempts = 0

  constructor(ms: number) {
    this.#end = performance.now() + ms
  }

  get over(): boolean {
    return performance.now() >= this.#end
  }

  async pause(): Promise<void> {
    await sleep(PAUSE_MS[Math.min(this.#attempts++, PAUSE_MS.length - 1)] ?? 100)
  }
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** Whether the answer means the same attempt may succeed later: no leader, too busy, being stored. */
export function isPassing(error: unknown): boolean {
  if (error instanceof Unanswered) return true
  if (!(error instanceof ApiError)) return false
  if (error.errCode === ErrCode.busy || error.errCode === ErrCode.inProcess) return true
  return error.code === 503 && !isFull(error)
}

/** Whether there is no room. */
export function isFull(error: unknown): boolean {
  if (!(error instanceof ApiError)) return false
  const { full, fullOfMessages, noStorage, noResources } = ErrCode
  return [full, fullOfMessages, noStorage, noResources].some((code) => code === error.errCode)
}
