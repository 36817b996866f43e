// Requests to JetStream and what their answers mean. At most 256 wait at a time: the servers drop
// all that wait when too many do.

import { createInbox, headers, type Msg, type MsgHdrs } from '@nats-io/transport-node'
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

/** Whoever waits for an answer. */
interface Asking {
  readonly resolve: (answer: Msg) => void
  readonly reject: (error: Error) => void
  readonly timer: NodeJS.Timeout
}

interface Answer {
  readonly error?: { code: number; err_code?: number; description?: string }
}

export class Api {
  readonly connection: Connection
  #inFlight = 0
  readonly #waiting: (() => void)[] = []
  readonly #inbox = createInbox()
  readonly #asking = new Map<string, Asking>()
  #token = 0

  constructor(connection: Connection) {
    this.connection = connection
    connection.nc.subscribe(`${this.#inbox}.*`, {
      callback: (error, message) => {
        if (error === null) this.#answered(message)
      },
    })
    connection.onLost(() => this.#lost())
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
      answer = (await this.reply(subject, payload, timeout, hdrs)).json<T>()
    } catch (error) {
      throw new Unanswered(error instanceof Error ? error.message : String(error), { cause: error })
    } finally {
      this.#inFlight--
      this.#waiting.shift()?.()
    }
    if (answer.error) throw new ApiError(answer.error)
    return answer
  }

  /**
   * What whoever listens on the subject answers. Rejects when nobody does, or not in time, or when the connection is
   * lost. As `request` of the library, which makes an error with its stack for every request that goes well, and
   * after a lost connection waits for an answer that cannot come.
   */
  reply(
    subject: string,
    payload: Uint8Array | string,
    timeout: number,
    hdrs?: MsgHdrs,
  ): Promise<Msg> {
    const token = String(++this.#token)
    const reply = `${this.#inbox}.${token}`
    return new Promise((resolve, reject) => {
      this.connection.nc.publish(subject, payload, hdrs ? { reply, headers: hdrs } : { reply })
      const timer = setTimeout(() => {
        this.#asking.delete(token)
        reject(new Error(`no answer within ${timeout} ms`))
      }, timeout)
      this.#asking.set(token, { resolve, reject, timer })
    })
  }

  #answered(message: Msg): void {
    const token = message.subject.slice(this.#inbox.length + 1)
    const asking = this.#asking.get(token)
    if (asking === undefined) return
    this.#asking.delete(token)
    clearTimeout(asking.timer)
    // The servers' own word for a subject on which nobody listens.
    if (message.data.length === 0 && message.headers?.code === 503) {
      asking.reject(new Error('nobody listens'))
    } else asking.resolve(message)
  }

  #lost(): void {
    for (const { reject, timer } of this.#asking.values()) {
      clearTimeout(timer)
      reject(new Error('the connection was lost'))
    }
    this.#asking.clear()
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
