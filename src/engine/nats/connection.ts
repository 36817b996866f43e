// One connection to the NATS servers that never gives up: it finds another server when its own
// goes, says so, and refuses servers too old to be trusted.

import fs from 'node:fs'
import {
  AuthorizationError,
  type ConnectionOptions,
  connect,
  credsAuthenticator,
  type NatsConnection,
  nkeyAuthenticator,
} from '@nats-io/transport-node'
import { fileFault } from '../file-fault.ts'
import type { NatsOptions } from './options.ts'

/** Batch direct get and message TTL need 2.11, one winner of two writers 2.12. */
const OLDEST = [2, 12] as const

export class Connection {
  readonly nc: NatsConnection
  #connected = true
  #lostAt = 0
  #onChange: (connected: boolean) => void = () => {}
  readonly #onLost: (() => void)[] = []

  private constructor(nc: NatsConnection, notify: (message: string) => void) {
    this.nc = nc
    void this.#watch(notify)
  }

  /** Throws a person-readable Error when no server answers, or one refuses us or is too old. */
  static async open(options: NatsOptions, name: string): Promise<Connection> {
    const { notify = () => {} } = options
    const wanted = connectionOptions(options, name)
    let nc: NatsConnection
    try {
      nc = await connect(wanted)
    } catch (error) {
      throw refusal(options, error)
    }
    const old = tooOld(nc.info?.version ?? '')
    if (old !== null) {
      await nc.close()
      throw new Error(old)
    }
    return new Connection(nc, notify)
  }

  get connected(): boolean {
    return this.#connected
  }

  /** Milliseconds since it was lost; 0 while it is there. */
  get awayFor(): number {
    return this.#connected ? 0 : performance.now() - this.#lostAt
  }

  /** Largest message the server takes, headers included. */
  get maxPayload(): number {
    return this.nc.info?.max_payload ?? 1024 * 1024
  }

  /** One listener: told when the connection is lost and when it is back. */
  onChange(listener: (connected: boolean) => void): void {
    this.#onChange = listener
  }

  /** Told each time the connection is lost, and when it is closed: no answer comes any more to what was asked. */
  onLost(listener: () => void): void {
    this.#onLost.push(listener)
  }

  async close(): Promise<void> {
    this.#onChange = () => {}
    // Whoever still has something to say later finds that nobody is told any more.
    this.#connected = false
    this.#lostAt = performance.now()
    for (const listener of this.#onLost) listener()
    await this.nc.close()
  }

  async #watch(notify: (message: string) => void): Promise<void> {
    for await (const status of this.nc.status()) {
      if (status.type === 'disconnect' && this.#connected) {
        this.#connected = false
        this.#lostAt = performance.now()
        for (const listener of this.#onLost) listener()
        this.#onChange(false)
      } else if (status.type === 'reconnect') {
        const old = tooOld(this.nc.info?.version ?? '')
        if (old !== null) notify(old)
        this.#connected = true
        this.#onChange(true)
      } else if (status.type === 'error') {
        notify(`NATS refused: ${status.error.message}`)
      }
    }
  }
}

function refusal({ servers }: NatsOptions, error: unknown): Error {
  const where = servers.map(withoutSecrets).join(', ')
  const why = error instanceof Error ? error.message : String(error)
  const text =
    error instanceof AuthorizationError
      ? `the NATS server at ${where} refused who this node says it is (${why}); give --nats-user and the variable ` +
        'PARTYLINE_NATS_PASSWORD, --nats-token, --nats-creds or --nats-nkey, whichever it asks for, or correct them'
      : `no connection to a NATS server at ${where} (${why}): start nats-server there, or correct the addresses, ` +
        'credentials or TLS options'
  return new Error(text, { cause: error })
}

function connectionOptions(options: NatsOptions, name: string): ConnectionOptions {
  const { servers, tls, user, password, token } = options
  // The library reads them itself when it connects, and would not say which of them it was.
  for (const file of [tls?.caFile, tls?.certFile, tls?.keyFile]) if (file) contentsOf(file)
  const addresses = servers.map(address)
  const secure = tls !== undefined || addresses.some(({ secure }) => secure)
  const known = addresses.find(({ user }) => user !== '')
  const login = user ?? known?.user
  const authenticator = authenticatorOf(options)
  return {
    servers: addresses.map(({ host }) => host),
    name,
    ignoreClusterUpdates: options.learn === false,
    timeout: 2_000,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 200,
    reconnectJitter: 100,
    reconnectJitterTLS: 200,
    // A server that hangs is left within five seconds: as long as an election takes.
    pingInterval: 1_500,
    maxPingOut: 2,
    // A password that is being changed on the servers must not end this node.
    ignoreAuthErrorAbort: true,
    noAsyncTraces: true,
    ...(secure ? { tls: { ...tls } } : {}),
    ...(authenticator ? { authenticator } : {}),
    ...(token === undefined ? {} : { token }),
    ...(login === undefined ? {} : { user: login, pass: password ?? known?.password ?? '' }),
  }
}

function authenticatorOf(options: NatsOptions): ConnectionOptions['authenticator'] {
  const { credentialsFile, nkeyFile } = options
  if (credentialsFile !== undefined) return credsAuthenticator(contentsOf(credentialsFile))
  if (nkeyFile !== undefined) {
    return nkeyAuthenticator(Buffer.from(contentsOf(nkeyFile).toString('utf8').trim()))
  }
  return undefined
}

/** Throws an Error for people that names the file. */
function contentsOf(file: string): Buffer {
  try {
    return fs.readFileSync(file)
  } catch (error) {
    throw new Error(
      `${file} for the NATS servers cannot be read: ${fileFault(error)}; correct its path or its permissions`,
      { cause: error },
    )
  }
}

interface Address {
  /** `host:port` */
  readonly host: string
  readonly secure: boolean
  readonly user: string
  readonly password: string
}

function address(text: string): Address {
  const full = text.includes('://') ? text : `nats://${text}`
  const url = URL.canParse(full) ? new URL(full) : null
  if (url === null || !/^(nats|tls):$/.test(url.protocol) || url.hostname === '') {
    throw new Error(
      `"${withoutSecrets(text)}" is no address of a NATS server: write nats://host:4222`,
    )
  }
  return {
    host: `${url.hostname}:${url.port || '4222'}`,
    secure: url.protocol === 'tls:',
    user: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
  }
}

function withoutSecrets(text: string): string {
  return text.replace(/\/\/[^@/]*@/, '//')
}

/** Why a server of this version cannot be used; null when it can. */
export function tooOld(version: string): string | null {
  const [major = 0, minor = 0] = version.split('.').map((part) => Number.parseInt(part, 10))
  if (major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1])) return null
  return (
    `nats-server ${version || 'of unknown version'} is too old: before ${OLDEST.join('.')} two brokers could both ` +
    'win a session, and stored messages could not be read in batches; update nats-server'
  )
}
