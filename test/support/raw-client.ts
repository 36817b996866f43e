// A raw MQTT client for tests: it sends what it is told, sensible or not, and says what it hears, packet by
// packet and in order. It acknowledges nothing by itself and shares no code with the codec under test.
import { createConnection, type Socket } from 'node:net'
import {
  generate,
  type IConnectPacket,
  type IDisconnectPacket,
  type IPublishPacket,
  type ISubscription,
  type Packet,
  type Parser,
  parser,
  type QoS,
} from 'mqtt-packet'
import { WebSocket } from 'ws'
import { type Frame, FrameSplitter } from './bytes.ts'
import { inspect } from './police.ts'

/** Where a server listens. */
export interface Address {
  host: string
  port: number
}

export interface DialOptions {
  /** Protocol version spoken: 3 is MQTT 3.1, 4 is 3.1.1. Default: 4. */
  version?: 3 | 4 | 5
  /** Path of a WebSocket to use instead of plain TCP, such as `/mqtt`. */
  websocket?: string
  /** Milliseconds to wait for anything expected. Default: 10000, which a machine that does much else may take. */
  deadline?: number
  /** Collect bytes without decoding them, for answers of no version in particular. */
  opaque?: boolean
}

/** A received packet: decoded, and its literal bytes. */
export type Heard<K extends Packet['cmd'] = Packet['cmd']> = Extract<Packet, { cmd: K }> & {
  raw: Frame
}

/** What a packet must say; a field that is there and undefined must be undefined. */
export type Fields<P> = { [K in keyof P]?: P[K] | undefined }

export type Properties = NonNullable<IPublishPacket['properties']>
export type ConnectProperties = NonNullable<IConnectPacket['properties']>

export interface PublishOptions {
  qos?: QoS
  retain?: boolean
  dup?: boolean
  /** Packet identifier; the next unused one when absent. */
  id?: number
  properties?: Properties
}

export interface SubscribeOptions {
  qos?: QoS
  nl?: boolean
  rap?: boolean
  rh?: 0 | 1 | 2
  id?: number
  /** Subscription identifier, MQTT 5. */
  identifier?: number
}

/** Opens a connection; nothing is sent on it yet. */
export async function dial(to: Address, options: DialOptions = {}): Promise<RawClient> {
  const client = new RawClient(options)
  if (options.websocket === undefined) await client.openTcp(to)
  else await client.openWebSocket(to, options.websocket)
  return client
}

export class RawClient {
  readonly version: 3 | 4 | 5
  /** Every byte received so far on an opaque client; empty on others. */
  received: Buffer = Buffer.alloc(0)
  /** The WebSocket beneath, where there is one. */
  webSocket: WebSocket | undefined
  /** Plain TCP, also beneath a WebSocket. */
  #socket: Socket | undefined
  #sipping: (() => void) | undefined
  readonly #opaque: boolean
  readonly #deadline: number
  readonly #splitter = new FrameSplitter()
  readonly #parser: Parser
  #frame: Frame | undefined
  readonly #heard: Heard[] = []
  #waiting: (() => void)[] = []
  #closed = false
  #fault: Error | undefined
  #nextId = 1

  constructor(options: DialOptions) {
    this.version = options.version ?? 4
    this.#opaque = options.opaque ?? false
    this.#deadline = options.deadline ?? 10_000
    this.#parser = parser({ protocolVersion: this.version })
    this.#parser.on('packet', (packet) => {
      this.#heard.push(Object.assign(packet, { raw: this.#frame! }) as Heard)
    })
    this.#parser.on('error', (error: Error) => this.#fail(error))
  }

  async openTcp(to: Address): Promise<void> {
    const socket = createConnection({ host: to.host, port: to.port, noDelay: true })
    this.#socket = socket
    socket.on('data', (chunk) => this.#read(chunk))
    socket.on('end', () => this.#close())
    socket.on('close', () => this.#close())
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('error', reject)
    })
    // A reset is one way of closing a connection; who waits for it hears of it as closed.
    socket.on('error', () => this.#close())
  }

  async openWebSocket(to: Address, path: string): Promise<void> {
    const webSocket = new WebSocket(`ws://${to.host}:${to.port}${path}`, 'mqtt', {
      perMessageDeflate: false,
      createConnection: () => {
        this.#socket = createConnection({ host: to.host, port: to.port, noDelay: true })
        return this.#socket
      },
    })
    this.webSocket = webSocket
    webSocket.on('message', (data, binary) => {
      if (!binary) this.#fail(new Error('a WebSocket text frame'))
      else this.#read(Buffer.isBuffer(data) ? data : Buffer.concat(data as Buffer[]))
    })
    webSocket.on('close', () => this.#close())
    await new Promise<void>((resolve, reject) => {
      webSocket.once('open', resolve)
      webSocket.once('error', reject)
    })
    webSocket.on('error', () => this.#close())
  }

  /** True until the server has closed the connection or `drop` was called. */
  get open(): boolean {
    return !this.#closed
  }

  /** What the server sent that the standard forbids, if anything. */
  get fault(): Error | undefined {
    return this.#fault
  }

  /** Packets received and not yet asked for. */
  get pending(): readonly Heard[] {
    return this.#heard
  }

  /** Sends literal bytes; several buffers leave in one write. */
  sends(...bytes: Buffer[]): void {
    const joined = bytes.length === 1 ? bytes[0]! : Buffer.concat(bytes)
    if (this.webSocket) this.webSocket.send(joined)
    else this.#socket!.write(joined)
  }

  /** Sends one packet, encoded by `mqtt-packet`. */
  sendPacket(packet: Packet): void {
    this.sends(this.encode(packet))
  }

  encode(packet: Packet): Buffer {
    return generate(packet, { protocolVersion: this.version })
  }

  /** Sends a CONNECT; clean by default, keep alive 0. */
  connect(connect: Partial<IConnectPacket> & { clientId: string }): void {
    this.sendPacket({
      cmd: 'connect',
      protocolId: this.version === 3 ? 'MQIsdp' : 'MQTT',
      protocolVersion: this.version,
      clean: true,
      keepalive: 0,
      ...connect,
    })
  }

  /** Sends a PUBLISH and returns its packet identifier, 0 for QoS 0. */
  publish(topic: string, payload: string | Buffer = '', options: PublishOptions = {}): number {
    const qos = options.qos ?? 0
    const messageId = qos === 0 ? 0 : (options.id ?? this.nextId())
    this.sendPacket({
      cmd: 'publish',
      topic,
      payload,
      qos,
      retain: options.retain ?? false,
      dup: options.dup ?? false,
      ...(qos > 0 && { messageId }),
      ...(options.properties && { properties: options.properties }),
    })
    return messageId
  }

  /** Sends a SUBSCRIBE for one filter or several and returns its packet identifier. */
  subscribe(filters: string | (string | ISubscription)[], options: SubscribeOptions = {}): number {
    const messageId = options.id ?? this.nextId()
    const { qos = 0, nl = false, rap = false, rh = 0 } = options
    const list = typeof filters === 'string' ? [filters] : filters
    this.sendPacket({
      cmd: 'subscribe',
      messageId,
      subscriptions: list.map((filter) =>
        typeof filter === 'string' ? { topic: filter, qos, nl, rap, rh } : filter,
      ),
      ...(options.identifier !== undefined && {
        properties: { subscriptionIdentifier: options.identifier },
      }),
    })
    return messageId
  }

  unsubscribe(filters: string | string[], id = this.nextId()): number {
    const list = typeof filters === 'string' ? [filters] : filters
    this.sendPacket({ cmd: 'unsubscribe', messageId: id, unsubscriptions: list })
    return id
  }

  /** Sends PUBACK, PUBREC, PUBREL or PUBCOMP; a reason code is MQTT 5 alone. */
  ack(cmd: 'puback' | 'pubrec' | 'pubrel' | 'pubcomp', id: number, reasonCode = 0): void {
    this.sendPacket({ cmd, messageId: id, ...(this.version === 5 && { reasonCode }) })
  }

  ping(): void {
    this.sendPacket({ cmd: 'pingreq' })
  }

  disconnect(reasonCode = 0, properties: IDisconnectPacket['properties'] = undefined): void {
    this.sendPacket({
      cmd: 'disconnect',
      ...(this.version === 5 && { reasonCode, ...(properties && { properties }) }),
    })
  }

  /** A packet identifier this client has not used yet. */
  nextId(): number {
    return this.#nextId++
  }

  /** The next packet, which must be of this kind and have these fields. */
  async hears<K extends Packet['cmd']>(
    cmd: K,
    fields: Fields<Extract<Packet, { cmd: K }>> = {},
  ): Promise<Heard<K>> {
    await this.#until(() => this.#heard.length > 0, `a ${cmd}`)
    const packet = this.#heard.shift()!
    if (packet.cmd !== cmd) throw new Error(`heard ${show(packet)} instead of a ${cmd}`)
    mustMatch(packet, fields)
    return packet as Heard<K>
  }

  /** The next PUBLISH, acknowledged as its QoS asks; the packets of a QoS 2 exchange included. */
  async receives(fields: Fields<IPublishPacket> = {}): Promise<Heard<'publish'>> {
    const packet = await this.hears('publish', fields)
    const id = packet.messageId ?? 0
    if (packet.qos === 1) this.ack('puback', id)
    if (packet.qos === 2) {
      this.ack('pubrec', id)
      await this.finds('pubrel', (pubrel) => pubrel.messageId === id)
      this.ack('pubcomp', id)
    }
    return packet
  }

  /** The first packet of this kind, whatever stands before it; the others stay to be heard. */
  async finds<K extends Packet['cmd']>(
    cmd: K,
    wanted: (packet: Heard<K>) => boolean = () => true,
  ): Promise<Heard<K>> {
    const index = () => this.#heard.findIndex((p) => p.cmd === cmd && wanted(p as Heard<K>))
    await this.#until(() => index() >= 0, `a certain ${cmd}`)
    return this.#heard.splice(index(), 1)[0] as Heard<K>
  }

  /** Proves that nothing was on its way: the next packet is the answer to a PINGREQ sent now. */
  async hearsNothing(): Promise<void> {
    this.ping()
    await this.hears('pingresp')
  }

  /** Takes what was received and not yet asked for. */
  takes(): Heard[] {
    return this.#heard.splice(0)
  }

  /** Waits until the server has closed the connection; returns what it said before. */
  async closed(within = this.#deadline): Promise<Heard[]> {
    await this.#until(() => this.#closed, 'the connection to be closed', within)
    if (this.#fault) throw this.#fault
    return this.takes()
  }

  /** Waits for `count` bytes on an opaque client, or for the connection to be closed. */
  async receivesBytes(count: number): Promise<Buffer> {
    const enough = () => this.received.length >= count || this.#closed
    await this.#until(enough, `${count} bytes`)
    return this.received
  }

  /** Stops reading, so that the server's writes pile up; `resume` goes on. */
  pause(): void {
    this.#socket?.pause()
  }

  resume(): void {
    if (this.#sipping) this.#socket?.off('data', this.#sipping)
    this.#sipping = undefined
    this.#socket?.resume()
  }

  /** Reads slowly until `resume`: at most 64 KiB, then nothing for so many milliseconds. */
  sips(every: number): void {
    const socket = this.#socket
    this.#sipping = () => {
      socket?.pause()
      setTimeout(() => socket?.resume(), every)
    }
    socket?.on('data', this.#sipping)
    socket?.resume()
  }

  /** Ends our side of the connection and leaves the other side open. */
  end(): void {
    this.#socket?.end()
  }

  /** Breaks the connection without a goodbye, as a failing network does. */
  drop(): void {
    this.#closed = true
    this.#socket?.destroy()
    this.webSocket?.terminate()
  }

  #read(chunk: Buffer): void {
    if (this.#opaque) this.received = Buffer.concat([this.received, chunk])
    else this.#decode(chunk)
    this.#wake()
  }

  #decode(chunk: Buffer): void {
    try {
      for (const frame of this.#splitter.push(chunk)) {
        inspect(frame, this.version)
        this.#frame = frame
        this.#parser.parse(frame.bytes)
      }
    } catch (error) {
      this.#fail(error as Error)
    }
  }

  #fail(error: Error): void {
    this.#fault ??= new Error(`the server sent ${error.message}`)
    this.#wake()
  }

  #close(): void {
    this.#closed = true
    this.#wake()
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const wake of waiting) wake()
  }

  async #until(ready: () => boolean, what: string, within = this.#deadline): Promise<void> {
    const end = performance.now() + within
    while (!ready()) {
      if (this.#fault) throw this.#fault
      if (this.#closed) throw new Error(`the connection was closed; expected ${what}`)
      const left = end - performance.now()
      if (left <= 0) throw new Error(`waited ${within} ms for ${what}${this.#leftovers()}`)
      await this.#change(left)
    }
  }

  #change(left: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.ceil(left))
      this.#waiting.push(() => {
        clearTimeout(timer)
        resolve()
      })
    })
  }

  #leftovers(): string {
    return this.#heard.length === 0 ? '' : `; heard ${this.#heard.map(show).join(', ')}`
  }
}

/** One packet in a few words, for messages of failed expectations. */
export function show(packet: Packet): string {
  const { raw: _raw, ...fields } = packet as Heard
  return JSON.stringify(fields, (key, value) =>
    key === 'payload' && value?.type === 'Buffer' ? Buffer.from(value.data).toString() : value,
  ).slice(0, 200)
}

function mustMatch(packet: Packet, fields: object): void {
  const actual = packet as unknown as Record<string, unknown>
  for (const [key, value] of Object.entries(fields))
    if (plain(actual[key]) !== plain(value))
      throw new Error(`heard ${show(packet)}, where ${key} should be ${plain(value)}`)
}

function plain(value: unknown): string {
  return `${JSON.stringify(Buffer.isBuffer(value) ? value.toString() : value)}`
}
