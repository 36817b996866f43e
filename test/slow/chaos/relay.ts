// The network between one broker and the NATS servers, in our hands: it can be cut, fall silent, lose
// what the servers repeat of the log, and it sees every session record a broker stores.

import net from 'node:net'
import { type Frame, Frames, payloadOf } from './frames.ts'

/** A session record that the servers took. */
export interface Taken {
  /** Last part of its subject: it stands for the session. */
  readonly token: string
  readonly seq: number
  readonly bytes: Buffer
}

export interface RelayOptions {
  /** `host:port` of each server. */
  readonly servers: readonly string[]
  readonly taken: (taken: Taken) => void
  readonly random: () => number
}

const SESSIONS = 'mq.s.'
const REPEATED = 'mq.t.'

/** Both ways of one connection. */
interface Pair {
  readonly near: net.Socket
  readonly far: net.Socket
}

export class Relay {
  readonly #options: RelayOptions
  readonly #listeners: net.Server[] = []
  readonly #pairs = new Set<Pair>()
  /** Session records whose answer is awaited, by the subject it will come to. */
  readonly #asked = new Map<string, { token: string; bytes: Buffer }>()
  #state: 'open' | 'cut' | 'silent' = 'open'
  /** Share of repeated records to lose, 0 … 1. */
  #loss = 0
  /** Repeated records that were lost. */
  lost = 0

  private constructor(options: RelayOptions) {
    this.#options = options
  }

  static async open(options: RelayOptions): Promise<Relay> {
    const relay = new Relay(options)
    for (const server of options.servers) {
      const listener = net.createServer((near) => relay.#join(near, server))
      await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
      relay.#listeners.push(listener)
    }
    return relay
  }

  /** What to give the broker as `--engine`. */
  get engine(): string {
    return this.#listeners
      .map((listener) => `nats://127.0.0.1:${(listener.address() as net.AddressInfo).port}`)
      .join(',')
  }

  /** Every connection is reset, and none made. */
  cut(): void {
    this.#state = 'cut'
    for (const { near, far } of this.#pairs) {
      near.resetAndDestroy()
      far.destroy()
    }
  }

  /** Nothing arrives any more, nobody is told; what was sent meanwhile arrives late. */
  silence(): void {
    this.#state = 'silent'
    for (const { near, far } of this.#pairs) {
      near.pause()
      far.pause()
    }
  }

  mend(): void {
    this.#state = 'open'
    for (const { near, far } of this.#pairs) {
      near.resume()
      far.resume()
    }
  }

  /** From now on that share of the repeated records is lost. */
  lose(share: number): void {
    this.#loss = share
  }

  async close(): Promise<void> {
    this.cut()
    await Promise.all(
      this.#listeners.map((one) => new Promise((resolve) => one.close(() => resolve(null)))),
    )
  }

  #join(near: net.Socket, server: string): void {
    if (this.#state === 'cut') {
      near.resetAndDestroy()
      return
    }
    const [host, port] = server.split(':')
    const far = net.connect({ host: host!, port: Number(port), noDelay: true })
    near.setNoDelay(true)
    const pair = { near, far }
    this.#pairs.add(pair)
    this.#carry(near, far, pair, (frame) => this.#sent(frame))
    this.#carry(far, near, pair, (frame) => this.#answered(frame))
    if (this.#state === 'silent') {
      near.pause()
      far.pause()
    }
  }

  #carry(
    from: net.Socket,
    to: net.Socket,
    pair: Pair,
    pass: (frame: Frame) => Buffer | null,
  ): void {
    const frames = new Frames()
    from.on('data', (chunk: Buffer) => {
      const out: Buffer[] = []
      for (const frame of frames.push(chunk)) {
        const bytes = pass(frame)
        if (bytes !== null) out.push(bytes)
      }
      if (out.length === 0) return
      if (!to.write(out.length === 1 ? out[0]! : Buffer.concat(out)) && this.#state === 'open') {
        from.pause()
        to.once('drain', () => {
          if (this.#state === 'open') from.resume()
        })
      }
    })
    from.on('error', () => {})
    from.on('close', () => {
      this.#pairs.delete(pair)
      to.end()
      to.destroySoon()
    })
  }

  /** From the broker. */
  #sent(frame: Frame): Buffer {
    const [subject = '', reply = ''] = frame.words
    if (frame.verb === 'HPUB' && subject.startsWith(SESSIONS)) {
      const token = subject.slice(SESSIONS.length)
      this.#asked.set(reply, { token, bytes: Buffer.from(payloadOf(frame)) })
    }
    return frame.bytes
  }

  /** From a server. */
  #answered(frame: Frame): Buffer | null {
    const [subject = ''] = frame.words
    // A broker that learnt the servers' own addresses would go past us.
    if (frame.verb === 'INFO') return withoutAddresses(subject)
    if (!frame.verb.endsWith('MSG')) return frame.bytes
    if (this.#loss > 0 && subject.startsWith(REPEATED) && this.#options.random() < this.#loss) {
      this.lost++
      return null
    }
    const asked = this.#asked.get(subject)
    if (asked !== undefined) {
      this.#asked.delete(subject)
      const seq = sequenceIn(payloadOf(frame))
      if (seq > 0) this.#options.taken({ ...asked, seq })
    }
    return frame.bytes
  }
}

function withoutAddresses(info: string): Buffer {
  const { connect_urls: _, ...rest } = JSON.parse(info) as Record<string, unknown>
  return Buffer.from(`INFO ${JSON.stringify(rest)}\r\n`)
}

/** The sequence under which a record was stored; 0 when it was refused or nobody answered. */
function sequenceIn(answer: Buffer): number {
  if (answer.length === 0) return 0
  const { seq = 0, error } = JSON.parse(answer.toString()) as { seq?: number; error?: object }
  return error === undefined ? seq : 0
}
