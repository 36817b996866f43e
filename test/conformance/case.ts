// What a conformance case is and what it may use: a conversation with the target, on clients and topics of its
// own, so that cases can run at the same time against one broker.
import type { IConnectPacket } from 'mqtt-packet'
import { frame, props, text, u8, u16 } from '../support/bytes.ts'
import {
  type Address,
  type DialOptions,
  dial,
  type Heard,
  type RawClient,
  type SubscribeOptions,
} from '../support/raw-client.ts'

/** A broker under test, and what it was set up to do. What is absent is not tested on it. */
export interface Target extends Address {
  /** Path of MQTT over WebSocket on the same port. */
  websocket?: string
  /** The TCP port speaks nothing but MQTT, so a first byte other than 0x10 is a violation of MQTT. */
  mqttOnly: boolean
  /** Credentials that are accepted, while the same name with another password is refused. */
  user?: { name: string; password: string }
  /** A topic nobody may publish to. */
  refusedTopic?: string
  /** A filter nobody may subscribe to. */
  refusedFilter?: string
  /**
   * Seconds after one and a half keep alives within which a silent client is closed. The standard says when a
   * client is too late, not how soon the server must notice. Default: 5.5.
   */
  keepAlivePatience?: number
}

export type Version = 4 | 5

export interface Case {
  version: Version
  /** Identifiers of the statements it proves, such as `MQTT-3.1.0-2`. */
  ids: string[]
  title: string
  run: (t: Talk) => Promise<void>
}

/** Thrown by a case that finds its condition missing on this target. */
export class NotHere extends Error {}

/** A case of both versions, with the identifiers that each of them gives to the same behaviour. */
export function both(v4: string[], v5: string[], title: string, run: Case['run']): Case[] {
  return [...only(4, v4, title, run), ...only(5, v5, title, run)]
}

/** A case of one version. */
export function only(version: Version, ids: string[], title: string, run: Case['run']): Case[] {
  return [{ version, ids: ids.map((id) => `MQTT-${id}`), title, run }]
}

export type Connect = Partial<IConnectPacket> & { dial?: DialOptions }

/** Everything one case needs to talk to the target. */
export class Talk {
  readonly target: Target
  readonly version: Version
  readonly #tag: string
  readonly #clients: RawClient[] = []
  readonly #retained = new Set<string>()
  readonly #lasting = new Set<string>()
  #count = 0

  /** `tag` is unique to the case: letters and digits, at most 15. */
  constructor(target: Target, version: Version, tag: string) {
    this.target = target
    this.version = version
    this.#tag = tag
  }

  /** A topic of this case alone. */
  topic(name: string): string {
    return `conformance/${this.#tag}/${name}`
  }

  /** A topic whose retained message is removed when the case is over. */
  retainedTopic(name: string): string {
    this.#retained.add(this.topic(name))
    return this.topic(name)
  }

  /** A client identifier of this case alone, of the kind every server must allow [MQTT-3.1.3-5]. */
  id(name = `c${this.#count++}`): string {
    return `${this.#tag}${name}`
  }

  /** A connection on which nothing has been said. */
  async dial(options: DialOptions = {}): Promise<RawClient> {
    const client = await dial(this.target, { version: this.version, ...options })
    this.#clients.push(client)
    return client
  }

  /** A connection and the answer to a CONNECT on it, which must be acceptance. */
  async enter(connect: Connect = {}): Promise<{ client: RawClient; connack: Heard<'connack'> }> {
    const { dial: options, ...packet } = connect
    const client = await this.dial(options)
    client.connect({ clientId: this.id(), ...packet })
    const connack = await client.hears('connack')
    const code = codeOf(connack)
    if (code !== 0) throw new Error(`CONNECT was refused with ${hex(code)}`)
    return { client, connack }
  }

  /** A connected client. */
  async client(connect: Connect = {}): Promise<RawClient> {
    return (await this.enter(connect)).client
  }

  /** A connected client with a persistent session. */
  async persistent(clientId: string, connect: Connect = {}): Promise<RawClient> {
    return this.client({ ...this.lasting(clientId), ...connect })
  }

  /** Fields of a CONNECT that resumes or makes a session which outlives the connection. */
  lasting(clientId: string): Connect {
    this.#lasting.add(clientId)
    const properties = this.version === 5 ? { properties: { sessionExpiryInterval: 300 } } : {}
    return { clientId, clean: false, ...properties }
  }

  /** A connected client that has subscribed; retained messages are still to be heard. */
  async subscriber(
    filter: string,
    options: SubscribeOptions = {},
    connect: Connect = {},
  ): Promise<RawClient> {
    const client = await this.client(connect)
    await this.subscribes(client, filter, options)
    return client
  }

  /** Subscribes and waits for the SUBACK, which must grant the QoS asked for. */
  async subscribes(
    client: RawClient,
    filter: string,
    options: SubscribeOptions = {},
  ): Promise<void> {
    const id = client.subscribe(filter, options)
    await client.finds('suback', (suback) => {
      if (suback.messageId !== id) return false
      equal(grantedOf(suback), [options.qos ?? 0], `SUBACK for ${filter}`)
      return true
    })
  }

  /** Publishes and waits until the server has taken the message. */
  async publishes(
    client: RawClient,
    topic: string,
    payload: string | Buffer = '',
    options: Parameters<RawClient['publish']>[2] = {},
  ): Promise<void> {
    const id = client.publish(topic, payload, options)
    if (!options.qos) return
    if (options.qos === 1) {
      await client.finds('puback', (packet) => packet.messageId === id)
      return
    }
    await client.finds('pubrec', (packet) => packet.messageId === id)
    client.ack('pubrel', id)
    await client.finds('pubcomp', (packet) => packet.messageId === id)
  }

  /**
   * Proves that nothing is on its way to `listener`: a message published by `speaker` after everything else it
   * said is the next that arrives. The listener subscribes to that message first, if it has not yet.
   */
  async silence(listener: RawClient, speaker: RawClient): Promise<void> {
    await this.marks(listener)
    speaker.publish(this.markTopic, 'mark')
    await listener.hears('publish', { topic: this.markTopic })
  }

  readonly #marked = new Set<RawClient>()

  get markTopic(): string {
    return `conformance-mark/${this.#tag}`
  }

  /** Subscribes the listener to the marks of `silence`, ahead of what is to be watched. */
  async marks(listener: RawClient): Promise<void> {
    if (this.#marked.has(listener)) return
    this.#marked.add(listener)
    await this.subscribes(listener, this.markTopic)
  }

  /**
   * A connection on which nothing but MQTT is spoken. Where the TCP port speaks other protocols too, whatever
   * does not begin like a CONNECT is none of MQTT's business there, so it is a WebSocket.
   */
  async dialMqtt(options: DialOptions = {}): Promise<RawClient> {
    if (this.target.mqttOnly) return await this.dial(options)
    return await this.dial({ ...options, websocket: this.webSocketPath() })
  }

  /** A fresh connection on which these bytes must make the server close, without a CONNACK of success. */
  async refusesFirst(what: string, ...bytes: Buffer[]): Promise<Heard[]> {
    const likeConnect = bytes[0]?.[0] === 0x10
    const client = likeConnect ? await this.dial() : await this.dialMqtt()
    client.sends(...bytes)
    const said = await named(what, client.closed())
    for (const packet of said)
      if (packet.cmd === 'connack' && codeOf(packet) === 0) throw new Error(`${what} was accepted`)
    return said
  }

  /** A connected client of its own sends these bytes; the server must close the connection for it. */
  async closesFor(what: string, ...bytes: Buffer[]): Promise<Heard[]> {
    const client = await this.client()
    client.sends(...bytes)
    return await this.closesWithError(what, client)
  }

  /** A SUBSCRIBE to this filter is not granted: the connection is closed, or the answer is a failure. */
  async refusesFilter(filter: string): Promise<void> {
    const client = await this.client()
    const none = this.version === 5 ? props() : Buffer.alloc(0)
    client.sends(frame(0x82, u16(1), none, text(filter), u8(0)))
    const answered = client.finds('suback').catch(() => undefined)
    const suback = await Promise.race([answered, client.closed().catch(() => undefined)])
    if (suback === undefined || Array.isArray(suback)) {
      must(!client.open, `filter ${filter} was neither refused nor granted`)
      return
    }
    const [code = 0] = grantedOf(suback)
    must(code >= 0x80, `filter ${filter} was granted ${code}`)
  }

  /** The server closes this connection; in MQTT 5 a DISCONNECT before it names an error [MQTT-4.13.2-1]. */
  async closesWithError(what: string, client: RawClient): Promise<Heard[]> {
    const said = await named(what, client.closed())
    for (const packet of said)
      if (packet.cmd === 'disconnect' && (packet.reasonCode ?? 0) < 0x80)
        throw new Error(`${what}: DISCONNECT with ${hex(packet.reasonCode ?? 0)}`)
    return said
  }

  /** The WebSocket path, where the target has one. */
  webSocketPath(): string {
    if (this.target.websocket !== undefined) return this.target.websocket
    throw new NotHere('no WebSocket on this port')
  }

  /** Ends the case: closes its clients, removes what it left in the server, reports what that sent amiss. */
  async end(): Promise<void> {
    const fault = this.#clients.find((client) => client.fault)?.fault
    await this.#sweep()
    for (const client of this.#clients) client.drop()
    if (fault) throw fault
  }

  async #sweep(): Promise<void> {
    // A clean start ends the lasting session of that identifier.
    for (const clientId of this.#lasting) await this.client({ clientId, clean: true })
    if (this.#retained.size === 0) return
    const broom = await this.client()
    for (const topic of this.#retained) broom.publish(topic, '', { retain: true })
    await broom.hearsNothing()
  }
}

/** The return code of 3.1.1 or the reason code of 5. */
export function codeOf(connack: Heard<'connack'>): number {
  return connack.reasonCode ?? connack.returnCode ?? -1
}

export function grantedOf(suback: Heard<'suback'> | Heard<'unsuback'>): number[] {
  return suback.granted as number[]
}

export function hex(code: number): string {
  return `0x${code.toString(16).padStart(2, '0')}`
}

/** @throws Error saying what differs, unless both have the same JSON. */
export function equal(actual: unknown, expected: unknown, what: string): void {
  const [a, b] = [JSON.stringify(actual), JSON.stringify(expected)]
  if (a !== b) throw new Error(`${what}: ${a} instead of ${b}`)
}

/** @throws Error with this message unless it holds. */
export function must(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(otherwise)
}

/** Says in the error of a failed wait what it was about. */
export async function named<T>(what: string, promise: Promise<T>): Promise<T> {
  try {
    return await promise
  } catch (error) {
    throw new Error(`${what}: ${(error as Error).message}`)
  }
}

/** Real time, for what the standard measures in seconds. */
export function seconds(count: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, count * 1000))
}
