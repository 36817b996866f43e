// A subscriber inside the process: a link without wire or protocol. What its handler has not
// finished counts as not acknowledged, so a slow handler is served no faster than it works.

import type { Delivery } from '../core/audience.ts'
import type { Broker } from '../core/broker.ts'
import type { Goodbye, Link, Sending } from '../core/link.ts'
import type { Run } from '../core/run.ts'
import type { Session } from '../core/session.ts'
import type { Message } from '../core/types.ts'

/** QoS 1 and 2 messages a handler may be working on at once. */
const AT_ONCE = 100
/** QoS 0 messages that may wait for a handler; more are dropped and counted. */
const WAITING_MAX = 10_000

export interface LocalHandler {
  /** A QoS 1 or 2 message counts as received once the promise, if any, is settled. */
  handle(message: Message): void | Promise<void>
  /** The handler threw or rejected: the message counts as handled all the same. */
  failed(error: unknown): void
  /** The broker ended it, for example because the server stops. */
  closed(why: string): void
}

export class LocalLink implements Link {
  readonly peer = 'this process'
  readonly door = 'local'
  readonly clientId: string
  readonly receiveMaximum = AT_ONCE
  readonly #broker: Broker
  readonly #handler: LocalHandler
  #session: Session | null = null
  #working = 0

  constructor(clientId: string, broker: Broker, handler: LocalHandler) {
    this.clientId = clientId
    this.#broker = broker
    this.#handler = handler
  }

  get congested(): boolean {
    return this.#working > WAITING_MAX
  }

  attach(session: Session): void {
    this.#session = session
    session.start()
  }

  pass(run: Run, _delivery: Delivery): void {
    if (this.congested) {
      this.#broker.counters.droppedSlow += run.count
      return
    }
    for (const message of run.messages()) this.#work(owned(message), 0)
  }

  send({ message, packetId }: Sending): boolean {
    this.#work(owned(message), packetId)
    return true
  }

  release(packetId: number): void {
    this.#later(() => this.#session?.completed(packetId))
  }

  close(_goodbye: Goodbye, why: string): void {
    this.#session = null
    this.#handler.closed(why)
  }

  #work(message: Message, packetId: number): void {
    this.#working++
    this.#broker.counters.messagesOut++
    this.#broker.counters.bytesOut += message.payload.length
    // In a turn of its own: a handler may publish and subscribe, and what called us is not done yet.
    this.#broker.runtime.nextTurn(() => {
      Promise.resolve()
        .then(() => this.#handler.handle(message))
        .catch((error: unknown) => this.#handler.failed(error))
        .finally(() => this.#done(message, packetId))
    })
  }

  #done(message: Message, packetId: number): void {
    this.#working--
    const session = this.#session
    if (session === null || packetId === 0) return
    // QoS 2 needs its second half: PUBREC here, and `release` answers PUBCOMP.
    if (!session.acknowledged(packetId)) session.received(packetId, false)
    if (message.qos > 0) session.settle()
  }

  #later(call: () => void): void {
    this.#broker.runtime.atTurnEnd(() => {
      call()
      this.#session?.settle()
    })
  }
}

/** Slices die with the turn, handlers live longer. */
function owned(message: Message): Message {
  return {
    ...message,
    payload: Buffer.from(message.payload),
    properties: Buffer.from(message.properties),
  }
}
