// Reads stored messages: in batches from whichever replica answers, which may lag, and one at a
// time from the stream's leader, whose word is final. No JetStream consumers: they stall when the
// server that holds them dies.

import { createInbox, type Msg } from '@nats-io/transport-node'
import { type Api, ApiError, ErrCode, Unanswered } from './api.ts'

/** Milliseconds without another message after which a batch is asked for again. */
const SILENCE_MS = 500

export interface Stored {
  readonly seq: number
  readonly subject: string
  /** Time of the stream's leader, in milliseconds. */
  readonly time: number
  /** Nats-Msg-Id; empty when it has none. */
  readonly id: string
  readonly data: Buffer
}

export interface Batch {
  /** In order of sequence. */
  readonly messages: Stored[]
  /** Messages behind the last of these, as far as that replica knows. */
  readonly pending: number
}

export interface BatchRequest {
  /** The first sequence wanted. */
  readonly seq: number
  readonly batch: number
  readonly max_bytes?: number
  /** Only messages of this subject; may hold wildcards. */
  readonly next_by_subj?: string
}

export interface StreamInfo {
  readonly config: {
    readonly metadata?: Readonly<Record<string, string>>
    readonly max_bytes: number
    readonly num_replicas: number
    readonly [option: string]: unknown
  }
  readonly state: {
    readonly messages: number
    readonly bytes: number
    readonly first_seq: number
    readonly last_seq: number
  }
}

interface Waiting {
  readonly messages: Stored[]
  readonly done: (pending: number) => void
  readonly failed: (error: Error) => void
  timer: NodeJS.Timeout
}

export class Reader {
  readonly api: Api
  readonly #inbox = createInbox()
  readonly #waiting = new Map<string, Waiting>()
  #token = 0

  constructor(api: Api) {
    this.api = api
    api.connection.nc.subscribe(`${this.#inbox}.*`, {
      callback: (error, message) => {
        if (error === null) this.#answered(message)
      },
    })
  }

  /** From any replica: an answer that is short or empty means no more than "not there yet". Throws Unanswered. */
  batch(stream: string, request: BatchRequest): Promise<Batch> {
    const { connection } = this.api
    if (!connection.connected) return Promise.reject(new Unanswered('not connected'))
    const token = String(++this.#token)
    return new Promise((resolve, reject) => {
      const messages: Stored[] = []
      const end = (): void => {
        clearTimeout(waiting.timer)
        this.#waiting.delete(token)
      }
      const waiting: Waiting = {
        messages,
        done: (pending) => {
          end()
          resolve({ messages, pending })
        },
        failed: (error) => {
          end()
          // What arrived is in order and sound; the rest is asked for again.
          if (messages.length > 0) resolve({ messages, pending: 1 })
          else reject(error)
        },
        timer: setTimeout(() => waiting.failed(new Unanswered('no answer')), SILENCE_MS),
      }
      this.#waiting.set(token, waiting)
      connection.nc.publish(`$JS.API.DIRECT.GET.${stream}`, JSON.stringify(request), {
        reply: `${this.#inbox}.${token}`,
      })
    })
  }

  /** The newest message of a subject, from any replica: it may be an older one. Throws Unanswered. */
  async last(stream: string, subject: string): Promise<Stored | null> {
    if (!this.api.connection.connected) throw new Unanswered('not connected')
    try {
      const what = `$JS.API.DIRECT.GET.${stream}.${subject}`
      const answer = await this.api.reply(what, '', SILENCE_MS)
      return answer.headers?.code ? null : storedOf(answer)
    } catch (error) {
      throw new Unanswered(error instanceof Error ? error.message : String(error), { cause: error })
    }
  }

  /** The newest message of a subject, from the leader. Throws ApiError or Unanswered. */
  lastOfLeader(stream: string, subject: string): Promise<Stored | null> {
    return this.#ofLeader(stream, { last_by_subj: subject })
  }

  /** The first message at or after a sequence, from the leader. Throws ApiError or Unanswered. */
  nextOfLeader(stream: string, seq: number, subjects: string): Promise<Stored | null> {
    return this.#ofLeader(stream, { seq, next_by_subj: subjects })
  }

  /**
   * As `nextOfLeader`, where `known` was stored once, which is at or after `seq`: null when everything up to it is gone.
   * One that was the leader and was paused answers, too, before it hears of its successor: its "nothing" is no answer.
   */
  async nextKnown(
    stream: string,
    seq: number,
    known: number,
    subjects: string,
  ): Promise<Stored | null> {
    const found = await this.nextOfLeader(stream, seq, subjects)
    if (found !== null) return found
    const { state } = await this.info(stream)
    if (state.first_seq > known) return null
    throw new Unanswered(`who answers for the stream ${stream} does not know what it holds`)
  }

  /** From the leader. Throws ApiError or Unanswered. */
  info(stream: string): Promise<StreamInfo> {
    return this.api.ask<StreamInfo>(`STREAM.INFO.${stream}`)
  }

  /**
   * Every message of the subjects from a sequence on, up to what the leader has when all others were read.
   * Waits while nobody answers.
   */
  async *all(stream: string, subjects: string, from = 1): AsyncGenerator<Stored> {
    let seq = from
    for (;;) {
      try {
        const { messages, pending } = await this.batch(stream, {
          seq,
          batch: 500,
          max_bytes: 4 * 1024 * 1024,
          next_by_subj: subjects,
        })
        for (const message of messages) {
          seq = message.seq + 1
          yield message
        }
        if (pending > 0 && messages.length > 0) continue
        const missed = await this.nextOfLeader(stream, seq, subjects)
        if (missed === null) return
        seq = missed.seq + 1
        yield missed
      } catch (error) {
        if (!(error instanceof Unanswered)) throw error
        if (this.api.connection.nc.isClosed()) throw error
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
    }
  }

  async #ofLeader(stream: string, request: object): Promise<Stored | null> {
    try {
      const { message } = await this.api.ask<{ message: LeaderMessage }>(
        `STREAM.MSG.GET.${stream}`,
        request,
      )
      const lines = Buffer.from(message.hdrs ?? '', 'base64').toString()
      return {
        seq: message.seq,
        subject: message.subject,
        time: Date.parse(message.time),
        id: headerOf(lines, 'Nats-Msg-Id'),
        data: Buffer.from(message.data ?? '', 'base64'),
      }
    } catch (error) {
      if (error instanceof ApiError && error.errCode === ErrCode.noMessage) return null
      throw error
    }
  }

  #answered(message: Msg): void {
    const token = message.subject.slice(this.#inbox.length + 1)
    const waiting = this.#waiting.get(token)
    if (!waiting) return
    const code = message.headers?.code ?? 0
    if (code === 204) {
      waiting.done(Number(message.headers?.get('Nats-Num-Pending') ?? 0))
    } else if (code === 404) {
      waiting.done(0)
    } else if (code !== 0) {
      waiting.failed(new Unanswered(message.headers?.description || `status ${code}`))
    } else {
      waiting.messages.push(storedOf(message))
      waiting.timer.refresh()
    }
  }
}

interface LeaderMessage {
  readonly subject: string
  readonly seq: number
  readonly time: string
  readonly hdrs?: string
  readonly data?: string
}

function headerOf(lines: string, name: string): string {
  return new RegExp(`^${name}: *(.*?)\r?$`, 'm').exec(lines)?.[1] ?? ''
}

/** A message as the servers repeat it, or hand it out directly. */
export function storedOf(message: Msg): Stored {
  const { headers, data } = message
  const field = (name: string): string => headers?.get(name) ?? ''
  // Of a large read only a small part would be kept, and the whole of it pinned.
  const copies = data.byteLength * 4 < data.buffer.byteLength
  return {
    seq: Number(field('Nats-Sequence')),
    subject: field('Nats-Subject') || message.subject,
    time: Date.parse(field('Nats-Time-Stamp')),
    id: field('Nats-Msg-Id'),
    data: copies ? Buffer.from(data) : Buffer.from(data.buffer, data.byteOffset, data.byteLength),
  }
}
