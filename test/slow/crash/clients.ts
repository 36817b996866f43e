// MQTT 3.1.1 clients that keep every rule of the standard about their own state, and only that: what a
// publisher and a subscriber must remember so that QoS 1 and 2 hold across lost connections.

import { connect, type Socket } from 'node:net'
import { generate, type IConnackPacket, type Packet, parser } from 'mqtt-packet'
import type { Address } from '../../support/raw-client.ts'
import { type History, keyOf, type Received, type Sent } from './history.ts'

const LEVELS = 3
const RETAINED_EVERY = 50
/** Padding of payloads, so that sizes vary and records fill. */
const PADDING = 'x'.repeat(400)

/** A client with a stored session; reconnects when told. */
export abstract class Client {
  readonly id: string
  #socket: Socket | null = null
  #connected = false
  #known = false
  #dialled = 0
  /** The server is about to be killed, or was and is not back: who dials now may reach nobody. */
  mayBeCut = false
  /** Prefix of the topic of its will, which says which of its connections it is of; none when empty. */
  willBelow = ''
  /** Told when a connection that was accepted is lost, not when the client drops it. */
  onLost: () => void = () => {}
  /** When the server was heard last, by `performance.now()`. */
  heardAt = 0
  /** What the client saw that may not be. */
  readonly faults: string[] = []

  constructor(id: string) {
    this.id = id
  }

  get connected(): boolean {
    return this.#connected
  }

  /** How often it dialled: the number of its connection. */
  get dialled(): number {
    return this.#dialled
  }

  /** Connects and takes its session up; resolves with the CONNACK, or when the connection is lost. */
  open(to: Address): Promise<void> {
    return new Promise((resolve) => {
      const socket = connect({ host: to.host, port: to.port, noDelay: true })
      this.#socket = socket
      this.#dialled++
      // What was meant for the lost connection does not belong on this one.
      this.#out = []
      const packets = parser({ protocolVersion: 4 })
      packets.on('packet', (packet) => {
        if (this.#socket !== socket) return
        if (packet.cmd === 'connack') {
          this.#welcomed(packet)
          resolve()
        } else this.hear(packet)
      })
      packets.on('error', (error) => this.faults.push(`${this.id}: ${error.message}`))
      socket.on('connect', () => {
        this.send({
          cmd: 'connect',
          protocolId: 'MQTT',
          protocolVersion: 4,
          clientId: this.id,
          clean: false,
          keepalive: 0,
          ...this.will(),
        })
      })
      socket.on('data', (chunk) => {
        if (this.#socket !== socket) return
        this.heardAt = performance.now()
        packets.parse(chunk)
        this.flush()
      })
      socket.on('error', () => {})
      socket.on('close', () => {
        if (this.#socket === socket) {
          // A server that lives has no reason to end a connection of these clients.
          if (!this.mayBeCut) this.faults.push(`${this.id} was cut off by a server that went on`)
          const accepted = this.#connected
          this.#connected = false
          if (accepted) this.onLost()
        }
        resolve()
      })
    })
  }

  /** Loses the connection as a broken network does. */
  drop(): void {
    this.#connected = false
    this.#socket?.destroy()
    this.#socket = null
  }

  /** Turns to another connection and leaves this one open, as a second device would; resolves when it is closed. */
  abandon(): Promise<void> {
    const socket = this.#socket
    this.#connected = false
    this.#socket = null
    return new Promise((resolve) => {
      if (socket === null || socket.destroyed) resolve()
      else socket.on('close', () => resolve())
    })
  }

  #welcomed(packet: IConnackPacket): void {
    if (packet.returnCode !== 0) {
      if (!this.mayBeCut) this.faults.push(`${this.id} was refused with ${packet.returnCode}`)
      return
    }
    if (this.#known && !packet.sessionPresent) this.faults.push(`${this.id} lost its session`)
    this.#connected = true
    this.welcome(this.#known)
    this.#known = true
    this.flush()
  }

  #out: Buffer[] = []

  send(packet: Packet): void {
    this.#out.push(generate(packet, { protocolVersion: 4 }))
    if (packet.cmd === 'connect' || this.#out.length > 200) this.flush()
  }

  flush(): void {
    if (this.#out.length === 0) return
    const bytes = Buffer.concat(this.#out)
    this.#out = []
    this.#socket?.write(bytes)
  }

  protected will(): Partial<Extract<Packet, { cmd: 'connect' }>> {
    if (this.willBelow === '') return {}
    const topic = `${this.willBelow}${this.id}`
    const payload = Buffer.from(`${keyOf(this.id, this.#dialled)} `)
    return { will: { topic, payload, qos: 2, retain: false } }
  }

  protected abstract welcome(again: boolean): void
  protected abstract hear(packet: Packet): void
}

interface Flight {
  readonly sent: Sent
  readonly payload: string
  /** PUBREC arrived: from now on only PUBREL is sent. */
  released: boolean
}

/** Publishes numbered messages as fast as its window allows, and repeats what was not acknowledged. */
export class Publisher extends Client {
  readonly #history: History
  readonly #random: () => number
  readonly #window: number
  readonly #acknowledged: () => void
  /** By packet identifier, in the order they were sent. */
  readonly #flights = new Map<number, Flight>()
  #next = 0
  #packetId = 0
  running = true
  /** Messages it may still begin to send; a run that wants a pace gives more from time to time. */
  allowance = Number.POSITIVE_INFINITY

  constructor(
    id: string,
    window: number,
    history: History,
    random: () => number,
    acknowledged: () => void,
  ) {
    super(id)
    this.#window = window
    this.#history = history
    this.#random = random
    this.#acknowledged = acknowledged
  }

  get inFlight(): number {
    return this.#flights.size
  }

  protected welcome(): void {
    for (const [id, flight] of this.#flights) {
      if (flight.released) this.send({ cmd: 'pubrel', messageId: id })
      else this.#publish(id, flight, true)
    }
    this.#pump()
  }

  protected hear(packet: Packet): void {
    const id = packet.messageId ?? 0
    const flight = this.#flights.get(id)
    if (!flight) return
    if (packet.cmd === 'puback' || packet.cmd === 'pubcomp') this.#flights.delete(id)
    if (packet.cmd === 'pubrec') {
      flight.released = true
      this.send({ cmd: 'pubrel', messageId: id })
    }
    if (!flight.sent.acknowledged && packet.cmd !== 'pubcomp') {
      flight.sent.acknowledged = true
      this.#acknowledged()
    }
    this.#pump()
  }

  /** Sends what the allowance has room for. */
  go(): void {
    this.#pump()
    this.flush()
  }

  #pump(): void {
    while (this.running && this.connected && this.#flights.size < this.#window) {
      if (this.allowance < 1) return
      this.allowance--
      const n = this.#next++
      const qos = this.#random() < 0.35 ? 2 : 1
      const retain = n % RETAINED_EVERY === 0
      const topic = retain ? `crash/keep/${this.id}` : `crash/${this.id}/${n % LEVELS}`
      const sent: Sent = { publisher: this.id, n, topic, qos, retain, acknowledged: false }
      const key = keyOf(this.id, n)
      this.#history.sent.set(key, sent)
      const payload = `${key} ${PADDING.slice(0, Math.floor(this.#random() * PADDING.length))}`
      const flight = { sent, payload, released: false }
      const id = this.#freeId()
      this.#flights.set(id, flight)
      this.#publish(id, flight, false)
    }
  }

  #publish(messageId: number, { sent, payload }: Flight, dup: boolean): void {
    const { topic, qos, retain } = sent
    this.send({ cmd: 'publish', topic, payload, qos, retain, dup, messageId })
  }

  #freeId(): number {
    do this.#packetId = (this.#packetId % 65_535) + 1
    while (this.#flights.has(this.#packetId))
    return this.#packetId
  }
}

/** Receives at QoS 2 and acknowledges; remembers which identifiers wait for their PUBREL. */
export class Subscriber extends Client {
  readonly received: Received
  readonly #filter: string
  readonly #unreleased = new Set<number>()
  readonly #arrived: () => void
  subscribed = false

  constructor(id: string, prefix: string, group: string, arrived: () => void) {
    super(id)
    this.received = { subscriber: id, prefix, group, keys: [] }
    this.#filter = group === '' ? `${prefix}#` : `$share/${group}/${prefix}#`
    this.#arrived = arrived
  }

  protected welcome(again: boolean): void {
    if (again) return
    this.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: this.#filter, qos: 2 }] })
  }

  protected hear(packet: Packet): void {
    const messageId = packet.messageId ?? 0
    if (packet.cmd === 'suback') this.subscribed = true
    else if (packet.cmd === 'publish') {
      if (packet.qos === 2) {
        if (!this.#unreleased.has(messageId)) this.#take(packet.payload)
        this.#unreleased.add(messageId)
        this.send({ cmd: 'pubrec', messageId })
      } else {
        this.#take(packet.payload)
        this.send({ cmd: 'puback', messageId })
      }
    } else if (packet.cmd === 'pubrel') {
      this.#unreleased.delete(messageId)
      this.send({ cmd: 'pubcomp', messageId })
    }
  }

  #take(payload: string | Buffer): void {
    const text = payload.toString()
    const space = text.indexOf(' ')
    this.received.keys.push(text.slice(0, space))
    this.#arrived()
  }
}

/** Connects with a will and says nothing. */
export class Mourned extends Client {
  readonly #topic: string

  constructor(id: string, topic: string) {
    super(id)
    this.#topic = topic
  }

  protected override will() {
    return {
      will: { topic: this.#topic, payload: Buffer.from(this.id), qos: 1, retain: true },
    } as const
  }

  protected welcome(): void {}
  protected hear(): void {}
}

/** Asks, as a new client, what is retained below a prefix; answers topic and key. */
export async function retainedBelow(
  to: Address,
  prefix: string,
  clientId = 'retained',
): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  const socket = connect({ host: to.host, port: to.port })
  const packets = parser({ protocolVersion: 4 })
  const send = (packet: Packet) => socket.write(generate(packet, { protocolVersion: 4 }))
  await new Promise<void>((resolve, reject) => {
    packets.on('packet', (packet) => {
      if (packet.cmd === 'connack') {
        send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: `${prefix}#`, qos: 0 }] })
        // Answered after the retained messages of the subscription: they leave in order.
        setTimeout(() => send({ cmd: 'pingreq' }), 500)
      }
      if (packet.cmd === 'publish')
        found.set(packet.topic, packet.payload.toString().split(' ')[0]!)
      if (packet.cmd === 'pingresp') resolve()
    })
    socket.on('data', (chunk) => packets.parse(chunk))
    socket.on('error', reject)
    socket.on('close', () => reject(new Error('cut off while asking for what is retained')))
    send({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: 4,
      clientId,
      clean: true,
      keepalive: 0,
    })
  })
  socket.destroy()
  return found
}
