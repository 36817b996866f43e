// What nodes say to each other past the streams: bytes that may be lost, and the request to let a
// session go, which a node that is gone answers at once, through the servers, with silence.

import { RequestError } from '@nats-io/transport-node'
import { sleep } from './api.ts'
import type { Connection } from './connection.ts'
import type { Names } from './options.ts'

/** Milliseconds an owner that is there may take to disconnect a client and save its session. */
const KICK_MS = 1_500
/** Milliseconds without its answer after which it is asked whether it is there, and again. */
const SILENCE_MS = 150
const EVERYBODY = '_all'
/** In place of a session: no client identifier is empty. */
const NOBODY = ''

export interface CastEvents {
  readonly cast: (from: string, bytes: Buffer) => void
  /** Another node wants the session, or owns it since that epoch when it is not 0. */
  readonly kick: (id: string, epoch: number) => Promise<void>
}

export class Cast {
  readonly #connection: Connection
  readonly #names: Names
  readonly #events: CastEvents

  constructor(connection: Connection, names: Names, events: CastEvents) {
    this.#connection = connection
    this.#names = names
    this.#events = events
  }

  /** Resolves when the servers know that this node listens. */
  async start(): Promise<void> {
    const { nc } = this.#connection
    const { node } = this.#names
    for (const to of [node, EVERYBODY]) {
      nc.subscribe(this.#names.subject('n', `${to}.*`), {
        callback: (error, message) => {
          if (error !== null) return
          const from = message.subject.slice(message.subject.lastIndexOf('.') + 1)
          if (from !== node) this.#events.cast(from, Buffer.from(message.data))
        },
      })
    }
    nc.subscribe(this.#names.subject('k', node), {
      callback: (error, message) => {
        if (error !== null) return
        const answer = (): boolean => message.respond()
        const [id, epoch] = message.json<[string, number]>()
        if (id === NOBODY) {
          answer()
          return
        }
        this.#events.kick(id, epoch).then(answer, answer)
      },
    })
    await nc.flush()
  }

  /** To one node, or to all others when null. */
  send(node: string | null, bytes: Buffer): void {
    if (!this.#connection.connected) return
    const to = this.#names.subject('n', `${node ?? EVERYBODY}.${this.#names.node}`)
    this.#connection.nc.publish(to, bytes)
  }

  /**
   * True when the node was there and let go; false when it is gone or does not answer in time. With an epoch it
   * is told that the session is another's since then.
   */
  async kick(node: string, id: string, epoch = 0): Promise<boolean> {
    const { nc, connected } = this.#connection
    if (!connected) return false
    const subject = this.#names.subject('k', node)
    const asked = { over: false }
    const letGo = nc
      .request(subject, JSON.stringify([id, epoch]), { timeout: KICK_MS })
      .then(
        () => true,
        () => false,
      )
      .finally(() => {
        asked.over = true
      })
    return Promise.race([letGo, this.#gone(subject, asked)])
  }

  /**
   * Resolves, with false, when nobody listens there any more. One that was killed a moment ago may still be known to
   * the servers, which then pass on what nobody reads. Never resolves while somebody is there.
   */
  async #gone(subject: string, asked: { readonly over: boolean }): Promise<false> {
    const probe = JSON.stringify([NOBODY, 0])
    for (;;) {
      await sleep(SILENCE_MS)
      if (asked.over) return new Promise(() => {})
      try {
        await this.#connection.nc.request(subject, probe, { timeout: SILENCE_MS })
      } catch (error) {
        if (error instanceof RequestError && error.isNoResponders()) return false
      }
    }
  }
}
