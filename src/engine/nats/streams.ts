// The four streams of a cluster: log, sessions, retained messages, nodes. Made by the first node
// that starts, checked by every other.

import { type Api, ApiError, ErrCode, Patience, Unanswered } from './api.ts'
import type { Names, NatsOptions } from './options.ts'
import type { StreamInfo } from './reader.ts'

/** Says that a stream is ours, and which layout it has. */
const FORMAT_KEY = 'partyline'
const FORMAT = '1'
/** Holds the identity of the log. */
const LOG_KEY = 'partyline_log'
/** Holds the log identity of a data folder while that is copied into these streams. */
const COPY_KEY = 'partyline_copy'
const SECOND_NS = 1_000_000_000
/** Seconds within which a record that is sent again is stored once; appends are retried for 20. */
export const DUPLICATE_WINDOW_S = 60
const LOG_BYTES = 8 * 1024 ** 3
const LOG_BYTES_MIN = 64 * 1024 ** 2
/** Milliseconds a cluster that is starting may take until it answers. */
const START_MS = 20_000

type Config = Readonly<Record<string, unknown>> & { readonly name: string }

export class Streams {
  readonly #api: Api
  readonly #names: Names
  readonly #options: NatsOptions
  readonly #notify: (message: string) => void
  #replicas: number

  constructor(api: Api, names: Names, options: NatsOptions) {
    this.#api = api
    this.#names = names
    this.#options = options
    this.#notify = options.notify ?? (() => {})
    this.#replicas = options.replicas ?? 3
  }

  /**
   * Makes what is missing. Throws a person-readable Error. `identity` becomes the log's if it is new; `copying` is
   * the log identity of the folder that is being copied into it, or null.
   */
  async ensure(
    identity: string,
  ): Promise<{ log: string; cap: number; replicas: number; copying: string | null }> {
    const info = await this.#ensureLog(identity)
    const log = info.config.metadata?.[LOG_KEY]
    if (log === undefined) {
      throw new Error(`the stream ${this.#names.log} has lost the identity of its log: remove it`)
    }
    // The others are as safe as the log is.
    this.#replicas = info.config.num_replicas
    for (const config of this.#others()) await this.#ensureOne(config)
    const copying = info.config.metadata?.[COPY_KEY] ?? null
    return { log, cap: info.config.max_bytes, replicas: this.#replicas, copying }
  }

  /** Says on the log that a folder is being copied into it; null: no more. Throws a person-readable Error. */
  async mark(folder: string | null): Promise<void> {
    const { log } = this.#names
    try {
      const { config } = await this.#api.ask<StreamInfo>(`STREAM.INFO.${log}`)
      const { [COPY_KEY]: _, ...metadata } = config.metadata ?? {}
      const marked = folder === null ? metadata : { ...metadata, [COPY_KEY]: folder }
      await this.#api.ask(`STREAM.UPDATE.${log}`, { ...config, metadata: marked }, 10_000)
    } catch (error) {
      throw readable(error, log)
    }
  }

  async #ensureLog(identity: string): Promise<StreamInfo> {
    const { logBytes } = this.#options
    for (let bytes = logBytes ?? LOG_BYTES; ; bytes = Math.floor(bytes / 2)) {
      try {
        const info = await this.#ensureOne(this.#logConfig(identity, bytes))
        if (logBytes === undefined && info.config.max_bytes < LOG_BYTES) {
          const { max_bytes } = info.config
          this.#notify(
            `the log holds ${max_bytes} bytes: it was made so with --log-bytes, or the servers grant no more`,
          )
        }
        return info
      } catch (error) {
        const small = logBytes !== undefined || bytes / 2 < LOG_BYTES_MIN
        if (small || !isTooMuch(error)) throw readable(error, this.#names.log)
      }
    }
  }

  #logConfig(identity: string, bytes: number): Config {
    const { log, prefix } = this.#names
    return {
      ...this.#common(log, 'l', { [LOG_KEY]: identity }),
      discard: 'new',
      max_bytes: bytes,
      duplicate_window: DUPLICATE_WINDOW_S * SECOND_NS,
      republish: { src: `${prefix}.l.*`, dest: `${prefix}.t.l.{{wildcard(1)}}` },
    }
  }

  #others(): Config[] {
    const { sessions, retained, nodes, prefix } = this.#names
    const newest = { max_msgs_per_subject: 1, duplicate_window: SECOND_NS }
    return [
      { ...this.#common(sessions, 's', {}), ...newest },
      {
        ...this.#common(retained, 'r', {}),
        ...newest,
        republish: { src: `${prefix}.r.*`, dest: `${prefix}.t.r.{{wildcard(1)}}` },
      },
      { ...this.#common(nodes, 'p', {}), ...newest },
    ]
  }

  #common(name: string, kind: string, metadata: Record<string, string>): Config {
    return {
      name,
      subjects: [`${this.#names.prefix}.${kind}.*`],
      retention: 'limits',
      storage: 'file',
      num_replicas: this.#replicas,
      allow_direct: true,
      allow_msg_ttl: true,
      metadata: { [FORMAT_KEY]: FORMAT, ...metadata },
    }
  }

  /** Waits for a cluster that is still electing its first leader. */
  async #ensureOne(config: Config): Promise<StreamInfo> {
    const patience = new Patience(START_MS)
    for (;;) {
      try {
        return await this.#attempt({ ...config, num_replicas: this.#replicas })
      } catch (error) {
        if (this.#mayBeFewer(error) && (isAlone(error) || patience.over)) {
          this.#fewer()
          continue
        }
        // Servers that start together know each other only after a while, and each other's streams.
        const starting = isElecting(error) || isTooFewServers(error) || isMadeMeanwhile(error)
        if (!(starting || error instanceof Unanswered) || patience.over)
          throw readable(error, config.name)
        await patience.pause()
      }
    }
  }

  async #attempt(config: Config): Promise<StreamInfo> {
    const known = await this.#known(config.name)
    if (known !== null) return this.#checked(known, config.name)
    try {
      const made = await this.#api.ask<StreamInfo>(`STREAM.CREATE.${config.name}`, config, 10_000)
      return made
    } catch (error) {
      // Another node made it at the same moment.
      if (error instanceof ApiError && error.errCode === ErrCode.streamExists) {
        const others = await this.#known(config.name)
        if (others !== null) return this.#checked(others, config.name)
      }
      throw error
    }
  }

  #mayBeFewer(error: unknown): boolean {
    return isTooFewServers(error) && this.#options.replicas === undefined && this.#replicas > 1
  }

  /** With two servers one copy: either of two stops when the other does, so two would be worse. */
  #fewer(): void {
    this.#replicas = 1
    this.#notify(
      'ONE copy of everything: fewer than three NATS servers are here, so the loss of one is the loss of all it ' +
        'holds; add servers, then raise num_replicas of the streams with the nats tool',
    )
  }

  async #known(name: string): Promise<StreamInfo | null> {
    try {
      return await this.#api.ask<StreamInfo>(`STREAM.INFO.${name}`)
    } catch (error) {
      if (error instanceof ApiError && error.errCode === ErrCode.streamNotFound) return null
      throw error
    }
  }

  #checked(info: StreamInfo, name: string): StreamInfo {
    const format = info.config.metadata?.[FORMAT_KEY]
    if (format === undefined) {
      throw new Error(
        `the stream ${name} is somebody else's: choose another prefix for Partyline's, or remove it`,
      )
    }
    if (format !== FORMAT) {
      throw new Error(
        `the stream ${name} has format ${format}; this version reads ${FORMAT}: update it`,
      )
    }
    const { replicas } = this.#options
    if (replicas !== undefined && replicas !== info.config.num_replicas) {
      this.#notify(
        `the stream ${name} has ${info.config.num_replicas} copies, not ${replicas}: change num_replicas with the nats tool`,
      )
    }
    return info
  }
}

function isTooFewServers(error: unknown): boolean {
  if (!(error instanceof ApiError)) return false
  const { errCode, message } = error
  return (
    errCode === ErrCode.notClustered || (errCode === ErrCode.noPeers && !/storage/.test(message))
  )
}

/** Another node made it, and the server that was asked does not know it yet. */
function isMadeMeanwhile(error: unknown): boolean {
  return error instanceof ApiError && error.errCode === ErrCode.streamExists
}

/** The one server is no part of a cluster: there will be no others. */
function isAlone(error: unknown): boolean {
  return error instanceof ApiError && error.errCode === ErrCode.notClustered
}

function isTooMuch(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined
  if (!(cause instanceof ApiError)) return false
  const { errCode, message } = cause
  return (
    errCode === ErrCode.noStorage ||
    errCode === ErrCode.noResources ||
    (errCode === ErrCode.noPeers && /storage/.test(message))
  )
}

function isElecting(error: unknown): boolean {
  return error instanceof ApiError && error.code === 503 && error.errCode === 10008
}

/** What to do when the servers refuse a stream. */
function advice(error: ApiError): string {
  if (isElecting(error)) {
    return 'they are not enough to elect a leader; start the others, of three at least two, and look whether their routes name each other'
  }
  if (isTooFewServers(error)) {
    return 'there are fewer of them, in one cluster, than copies were asked for; start more, or ask for fewer with --replicas'
  }
  return 'give them what is missing, or ask for less with --log-bytes'
}

function readable(error: unknown, name: string): Error {
  if (error instanceof Unanswered) {
    return new Error(
      'the NATS servers do not answer for JetStream: start them with -js (or a jetstream block), and enough of them to elect a leader',
      { cause: error },
    )
  }
  if (error instanceof ApiError) {
    return new Error(
      `the NATS servers did not make the stream ${name} (${error.message}): ${advice(error)}`,
      { cause: error },
    )
  }
  return error instanceof Error ? error : new Error(String(error))
}
