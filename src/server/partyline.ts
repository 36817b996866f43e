// The package's front door: a broker for programs that run it themselves. `createBroker` gives
// one to start, stop, publish to and subscribe from; it is the server that `partyline serve` runs.

import { randomUUID } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import { EVERYTHING } from '../core/access.ts'
import { SILENT } from '../core/activity.ts'
import type { Message, QoS } from '../core/types.ts'
import {
  decodeMessageProperties,
  encodeMessageProperties,
  type MessageProperties,
} from '../protocol/mqtt/message-properties.ts'
import { type PartialSettings, settingsFromCode } from './config.ts'
import { LocalLink } from './local-link.ts'
import { type Notes, Server } from './server.ts'

export type { MessageProperties } from '../protocol/mqtt/message-properties.ts'
export type { PartialSettings } from './config.ts'

export interface PublishOptions extends MessageProperties {
  /** 0, the default, resolves at once; 1 and 2 when the message is stored. */
  readonly qos?: QoS
  readonly retain?: boolean
  /** Seconds after which it is delivered to nobody any more. */
  readonly expiry?: number
}

export interface SubscribeOptions {
  /** Highest QoS of what is received; default 1. */
  readonly qos?: QoS
  /** Keeps messages while nobody subscribes under that name. Without it the subscription ends with `unsubscribe`. */
  readonly name?: string
}

/** What a handler receives. All of it is the handler's own. */
export interface ReceivedMessage extends MessageProperties {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: QoS
  readonly retain: boolean
}

export interface LocalSubscription {
  /** No more messages; a name is kept until its session expires. */
  unsubscribe(): void
}

export interface BrokerSettings extends PartialSettings {
  /** Hears what an operator should know; silent by default. */
  readonly notes?: Notes
}

const QUIET: Notes = { info: () => {}, warn: () => {}, error: () => {} }

export class EmbeddedBroker {
  readonly #server: Server
  readonly #notes: Notes
  readonly #links = new Set<LocalLink>()

  /** @throws ConfigError naming the setting that cannot be used. */
  constructor(settings: BrokerSettings = {}) {
    const { notes = QUIET, ...rest } = settings
    this.#notes = notes
    this.#server = new Server({
      settings: settingsFromCode(rest),
      notes,
      activity: SILENT,
      failed: (why) => notes.error(`nothing can be stored any more: ${why}`),
    })
  }

  /** Where it listens, once started. */
  get addresses(): readonly AddressInfo[] {
    return this.#server.addresses
  }

  /** Listens on the configured ports; rejects with an Error for people when it cannot. */
  async start(): Promise<void> {
    await this.#server.start()
  }

  /** Says goodbye to every client and closes. */
  async stop(): Promise<void> {
    await this.#server.stop()
  }

  /**
   * Publishes to every door. Resolves when QoS 1 and 2 are stored; rejects with MessageError when the topic is
   * not valid and with Error when it could not be stored.
   */
  async publish(
    topic: string,
    payload: string | Buffer,
    options: PublishOptions = {},
  ): Promise<void> {
    const { qos = 0, retain = false, expiry = Number.POSITIVE_INFINITY, ...properties } = options
    const { broker } = this.#server
    await broker.publish(
      broker.message({
        topic,
        payload: typeof payload === 'string' ? Buffer.from(payload) : Buffer.from(payload),
        properties: encodeMessageProperties(properties),
        qos,
        retain,
        expiry,
      }),
    )
  }

  /**
   * Calls back for each message that matches the filter, whichever door it came by. A handler may return a
   * promise: a QoS 1 or 2 message counts as received once it is settled. Rejects with Error when the filter
   * is not valid.
   */
  async subscribe(
    filter: string,
    handle: (message: ReceivedMessage) => void | Promise<void>,
    { qos = 1, name }: SubscribeOptions = {},
  ): Promise<LocalSubscription> {
    const { broker } = this.#server
    const link = new LocalLink(name ?? `local-${randomUUID()}`, broker, {
      handle: (message) => handle(received(message)),
      failed: (error) => this.#notes.error(`a handler of ${filter} failed: ${String(error)}`),
      closed: () => this.#links.delete(link),
    })
    const { session } = await broker.sessions.connect({
      clientId: link.clientId,
      cleanStart: name === undefined,
      expiry: name === undefined ? 0 : broker.limits.sessionExpiryMaximum,
      will: null,
      user: '',
      access: EVERYTHING, // The program that runs the broker is its owner.
      link,
    })
    this.#links.add(link)
    const options = { qos, identifier: 0, noLocal: false, retainAsPublished: true }
    const result = broker.subscribe(session, filter, options)
    const leave = (): void => {
      this.#links.delete(link)
      broker.sessions.disconnect(session, link, { will: 'discard' })
    }
    if ('fault' in result) {
      leave()
      throw new Error(`cannot subscribe to ${filter}: ${result.why}`)
    }
    if (session.persistent) await broker.saver.profile(session)
    link.attach(session)
    return { unsubscribe: leave }
  }
}

/** A broker that does nothing until `start`. Settings are those of `partyline serve`, named as in docs/configuration.md. */
export function createBroker(settings: BrokerSettings = {}): EmbeddedBroker {
  return new EmbeddedBroker(settings)
}

function received({ topic, payload, properties, qos, retain }: Message): ReceivedMessage {
  return { topic: topic.name, payload, qos, retain, ...decodeMessageProperties(properties) }
}
