// A client as the standard describes it: keeps its half of the session, sends again what was not
// acknowledged, acknowledges in order but in its own time. Its codec is not the broker's.

import { generate, type IConnectPacket, type Packet, type Parser, parser } from 'mqtt-packet'
import type { QoS } from '../src/core/types.ts'
import type { Chance } from './chance.ts'
import type { Clock } from './clock.ts'
import { type Generation, type Ledger, type Published, Violation } from './ledger.ts'
import type { SimWire } from './wire.ts'

export interface ClientPlan {
  readonly id: string
  readonly version: 4 | 5
  /** Seconds the session outlives a connection; Infinity for ever. */
  readonly expiry: number
  /** 0: not announced. */
  readonly receiveMaximum: number
  /** Seconds; 0 for none. */
  readonly keepAlive: number
  /** Longest time it takes to acknowledge, milliseconds. */
  readonly ackMs: number
  /** Topic aliases it lets the broker use. */
  readonly aliases: number
}

export interface WillPlan {
  readonly delay: number
  readonly qos: QoS
}

/** A message it sent and is not done with. */
interface Outgoing {
  readonly packet: Packet
  readonly message: Published
  released: boolean
}

/** One connection of it. */
export interface Connection {
  readonly wire: SimWire
  readonly parser: Parser
  readonly clean: boolean
  /** Seconds the session outlives it. */
  readonly lasting: number
  readonly number: number
  accepted: boolean
  over: boolean
  /** Sent DISCONNECT. */
  goodbye: boolean
  /** QoS 1 and 2 messages received and not acknowledged. */
  readonly unanswered: Set<number>
  readonly aliases: Map<number, string>
  /** QoS 0 messages sent before the last PINGREQ. */
  sure: Published[]
  pinged: Published[]
  pinging: boolean
  /** Reason of the broker's DISCONNECT, -1 without. */
  reason: number
  readonly will: string | null
  readonly willDelay: number
  quota: number
}

export interface ClientEvents {
  /** CONNACK came, and what it said about the session. */
  accepted(client: SimClient, connection: Connection, present: boolean): void
  /** The wire is gone. */
  lost(client: SimClient, connection: Connection): void
  retainedSent(message: Published, clear: boolean): void
  /** PUBACK or PUBREC said that it was taken. */
  taken?(message: Published): void
  /** The broker has surely taken it, and nothing older on its topic can come after it. */
  retainedTaken(message: Published): void
  will(payload: string): void
  /** A packet written or read, for whoever replays a seed. */
  trace(peer: string, way: '->' | '<-', packet: Packet): void
  retained(client: string, topic: string, payload: string): void
}

export class SimClient {
  readonly plan: ClientPlan
  readonly #clock: Clock
  readonly #chance: Chance
  readonly #ledger: Ledger
  readonly #events: ClientEvents
  connection: Connection | null = null
  connections = 0
  /** A CONNECT that asked for a clean start was sent, and no CONNACK came yet. */
  cleanPending = false
  generation: Generation | null = null
  /** Acknowledges at once. */
  prompt = false
  #nextId = 0
  #number = 0
  readonly #out = new Map<number, Outgoing>()
  readonly #asked = new Map<number, () => void>()
  readonly #received = new Set<number>()
  #ackDue: [number, number] = [0, 0]

  constructor(
    plan: ClientPlan,
    clock: Clock,
    chance: Chance,
    ledger: Ledger,
    events: ClientEvents,
  ) {
    this.plan = plan
    this.#clock = clock
    this.#chance = chance
    this.#ledger = ledger
    this.#events = events
  }

  get online(): boolean {
    return this.connection?.accepted === true && !this.connection.over
  }

  /** Nothing of its own is under way. */
  get idle(): boolean {
    return this.#out.size === 0 && this.#asked.size === 0
  }

  get inFlight(): number {
    return this.#out.size
  }

  // ---- Connecting ----------------------------------------------------------------------------

  connect(
    open: (peer: { receive(b: Buffer): void; gone(): void }) => SimWire,
    clean: boolean,
    will: WillPlan | null,
  ): Connection {
    this.connection?.wire.cut(this.#chance.between(0, 400))
    const { version, id, expiry, keepAlive, receiveMaximum, aliases } = this.plan
    this.connections++
    const read = parser({ protocolVersion: version })
    const wire = open({
      receive: (bytes) => {
        if (!connection.over) read.parse(bytes)
      },
      gone: () => this.#gone(connection),
    })
    const number = this.connections
    const payload = `will:${id}:${number}`
    const connection: Connection = {
      wire,
      parser: read,
      clean,
      lasting: version === 4 && clean ? 0 : expiry,
      number,
      accepted: false,
      over: false,
      goodbye: false,
      unanswered: new Set(),
      aliases: new Map(),
      sure: [],
      pinged: [],
      pinging: false,
      reason: -1,
      will: will === null ? null : payload,
      willDelay: will?.delay ?? 0,
      quota: 65_535,
    }
    this.connection = connection
    read.on('packet', (packet: Packet) => this.#packet(connection, packet))
    read.on('error', (error: Error) => {
      throw new Violation(`${id} cannot read what the broker sent: ${error.message}`)
    })
    if (clean) {
      this.cleanPending = true
      this.#forget()
    }
    const packet: IConnectPacket = {
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: version,
      clientId: id,
      clean,
      keepalive: keepAlive,
    }
    if (version === 5) {
      packet.properties = {
        sessionExpiryInterval: Math.min(expiry, 0xffff_ffff),
        ...(receiveMaximum > 0 ? { receiveMaximum } : {}),
        ...(aliases > 0 ? { topicAliasMaximum: aliases } : {}),
      }
    }
    if (will !== null) {
      packet.will = {
        topic: `will/${id}`,
        payload: Buffer.from(payload),
        qos: will.qos,
        retain: false,
      }
      if (version === 5) packet.will.properties = { willDelayInterval: will.delay }
    }
    this.#write(connection, packet)
    return connection
  }

  /** Says goodbye as one should. */
  disconnect(): void {
    const { connection } = this
    if (connection === null || connection.over) return
    connection.goodbye = true
    const packet: Packet =
      this.plan.version === 5 ? { cmd: 'disconnect', reasonCode: 0 } : { cmd: 'disconnect' }
    this.#write(connection, packet)
    connection.wire.finish()
    this.#gone(connection)
  }

  /** The broker has no session for it: what it knew is worth nothing. */
  #forget(): void {
    this.#ledger.end(this.generation, this.#clock.turns)
    this.generation = null
    for (const { message } of this.#out.values()) message.abandoned ||= message.acked === 0
    this.#out.clear()
    this.#asked.clear()
    this.#received.clear()
  }

  #gone(connection: Connection): void {
    if (connection.over) return
    connection.over = true
    this.#asked.clear()
    this.#ledger.lost(this.generation, this.#clock.turns)
    if (connection.lasting === 0 && this.connection === connection) {
      this.#forget()
    }
    this.#events.lost(this, connection)
  }

  #accept(connection: Connection, present: boolean): void {
    connection.accepted = true
    this.cleanPending = false
    this.#events.accepted(this, connection, present)
    if (!present) this.#forget()
    // Before MQTT 5 a session may be there of which a first CONNACK never came through.
    this.generation ??= this.#ledger.begin(this.plan.id, connection.lasting > 0)
    this.generation.wire = connection.wire
    // In the order they were first sent. [MQTT-4.4.0-1] [MQTT-4.6.0-1]
    for (const [messageId, { packet, message, released }] of this.#out) {
      if (released) this.#write(connection, { cmd: 'pubrel', messageId })
      else if (packet.cmd === 'publish') {
        message.attempts++
        message.doubted ||= this.generation.doubtful
        this.#write(connection, { ...packet, dup: true })
      }
    }
  }

  // ---- Its own packets -----------------------------------------------------------------------

  publish(topic: string, qos: QoS, retain: boolean, padding: number, expiry: number): void {
    const { connection, plan } = this
    if (connection === null || !this.online) return
    if (qos > 0 && this.#out.size >= connection.quota) return
    const number = ++this.#number
    const key = `${plan.id}:${number}`
    const clear = retain && padding === 0
    const payload = clear ? '' : `${key} ${'x'.repeat(padding)}`
    const messageId = qos > 0 ? this.#freeId() : 0
    const message: Published = {
      key,
      publisher: plan.id,
      number,
      topic,
      qos,
      retain,
      sent: this.#clock.turns,
      sentAt: this.#clock.time,
      expires: expiry > 0,
      acked: 0,
      refused: false,
      attempts: 1,
      connection: connection.number,
      abandoned: false,
      doubted: false,
    }
    // An empty payload cannot be told from another: only what it leaves behind is judged.
    if (!clear) this.#ledger.messages.set(key, message)
    if (retain) this.#events.retainedSent(message, clear)
    const packet: Packet = {
      cmd: 'publish',
      topic,
      payload,
      qos,
      retain,
      dup: false,
      ...(qos > 0 ? { messageId } : {}),
      ...(expiry > 0 && plan.version === 5
        ? { properties: { messageExpiryInterval: expiry } }
        : {}),
    }
    if (qos > 0) this.#out.set(messageId, { packet, message, released: false })
    else connection.sure.push(message)
    this.#write(connection, packet)
  }

  subscribe(filter: string, qos: QoS, noLocal: boolean, identifier: number, rap: boolean): void {
    const { connection, generation, plan } = this
    if (connection === null || generation === null || !this.online) return
    const wish = generation.ask(filter, qos, noLocal, this.#clock.turns)
    const messageId = this.#freeId()
    this.#asked.set(messageId, () => {
      wish.confirmed ||= this.#clock.turns
    })
    this.#write(connection, {
      cmd: 'subscribe',
      messageId,
      subscriptions: [{ topic: filter, qos, nl: noLocal, rap, rh: 0 }],
      ...(plan.version === 5 && identifier > 0
        ? { properties: { subscriptionIdentifier: identifier } }
        : {}),
    })
  }

  unsubscribe(filter: string): void {
    const { connection, generation } = this
    if (connection === null || generation === null || !this.online) return
    const wish = generation.wish(filter)
    if (wish !== undefined) {
      wish.endAsked = this.#clock.turns
      if (wish.group !== null) this.#ledger.group(wish.group).losses.push(this.#clock.turns)
    }
    const messageId = this.#freeId()
    this.#asked.set(messageId, () => {
      if (wish !== undefined) wish.ended = this.#clock.turns
    })
    this.#write(connection, { cmd: 'unsubscribe', messageId, unsubscriptions: [filter] })
  }

  ping(): void {
    const { connection } = this
    if (connection === null || !this.online || connection.pinging) return
    connection.pinging = true
    connection.pinged = connection.sure
    connection.sure = []
    this.#write(connection, { cmd: 'pingreq' })
  }

  #freeId(): number {
    do {
      this.#nextId = (this.#nextId % 65_535) + 1
    } while (this.#out.has(this.#nextId) || this.#asked.has(this.#nextId))
    return this.#nextId
  }

  #write(connection: Connection, packet: Packet): void {
    if (connection.over) return
    this.#events.trace(connection.wire.peer, '->', packet)
    connection.wire.write(generate(packet, { protocolVersion: this.plan.version }))
  }

  // ---- The broker's packets ------------------------------------------------------------------

  #packet(connection: Connection, packet: Packet): void {
    if (connection.over) return
    this.#events.trace(connection.wire.peer, '<-', packet)
    switch (packet.cmd) {
      case 'connack': {
        const code = packet.reasonCode ?? packet.returnCode ?? 0
        if (code !== 0) return
        connection.quota = packet.properties?.receiveMaximum ?? 65_535
        this.#accept(connection, packet.sessionPresent)
        return
      }
      case 'publish':
        this.#publish(connection, packet)
        return
      case 'puback':
      case 'pubrec':
        this.#taken(connection, packet.messageId ?? 0, packet.cmd, packet.reasonCode ?? 0)
        return
      case 'pubcomp':
        this.#out.delete(packet.messageId ?? 0)
        return
      case 'pubrel':
        this.#release(connection, packet.messageId ?? 0)
        return
      case 'suback':
      case 'unsuback': {
        const id = packet.messageId ?? 0
        const told = this.#asked.get(id)
        this.#asked.delete(id)
        const refused =
          packet.cmd === 'suback' && packet.granted.some((code) => (code as number) >= 0x80)
        if (!refused) told?.()
        return
      }
      case 'pingresp':
        connection.pinging = false
        for (const message of connection.pinged) this.#sureOf(message)
        return
      case 'disconnect':
        connection.reason = packet.reasonCode ?? 0
        return
      default:
        throw new Violation(`${this.plan.id} got a ${packet.cmd}`)
    }
  }

  /** A message of QoS 0 is last unless an older one will be sent again. */
  #sureOf(message: Published): void {
    for (const out of this.#out.values()) if (out.message.topic === message.topic) return
    this.#events.retainedTaken(message)
  }

  #taken(connection: Connection, id: number, cmd: 'puback' | 'pubrec', reason: number): void {
    const out = this.#out.get(id)
    if (out === undefined || out.message.qos !== (cmd === 'puback' ? 1 : 2)) {
      throw new Violation(`${this.plan.id} got a ${cmd} for ${id}, which is not under way`)
    }
    const { message } = out
    if (reason >= 0x80) {
      message.refused = true
      this.#out.delete(id)
      return
    }
    this.#events.taken?.(message)
    if (message.acked === 0) this.#events.retainedTaken(message)
    message.acked ||= this.#clock.turns
    if (cmd === 'puback') {
      this.#out.delete(id)
      return
    }
    out.released = true
    this.#write(connection, { cmd: 'pubrel', messageId: id })
  }

  #publish(connection: Connection, packet: Packet & { cmd: 'publish' }): void {
    const { qos, retain, messageId, properties } = packet
    let { topic } = packet
    const alias = properties?.topicAlias
    if (alias !== undefined) {
      if (alias > this.plan.aliases) throw new Violation(`alias ${alias} was not allowed`)
      if (topic !== '') connection.aliases.set(alias, topic)
      else topic = connection.aliases.get(alias) ?? ''
    }
    const id = messageId ?? 0
    if (qos > 0) {
      connection.unanswered.add(id)
      const { receiveMaximum } = this.plan
      if (receiveMaximum > 0 && connection.unanswered.size > receiveMaximum) {
        throw new Violation(`${this.plan.id} got more than its Receive Maximum ${receiveMaximum}`)
      }
    }
    if (qos === 2 && this.#received.has(id)) {
      if (!packet.dup) throw new Violation(`${this.plan.id} got ${id} again before PUBREL`)
    } else {
      if (qos === 2) this.#received.add(id)
      const payload = packet.payload.toString()
      if (payload.startsWith('will:') && this.plan.id === 'watcher') this.#events.will(payload)
      if (retain) this.#events.retained(this.plan.id, topic, payload)
      const { generation } = this
      if (generation === null) throw new Violation(`${this.plan.id} got a message before CONNACK`)
      const got = { topic, payload, qos, retain, connection: connection.number }
      this.#ledger.received(generation, got, this.#clock.turns)
    }
    if (qos === 1) {
      this.#soon(0, connection, () => {
        connection.unanswered.delete(id)
        this.#write(connection, { cmd: 'puback', messageId: id })
      })
    } else if (qos === 2) {
      this.#soon(1, connection, () => this.#write(connection, { cmd: 'pubrec', messageId: id }))
    }
  }

  #release(connection: Connection, id: number): void {
    this.#received.delete(id)
    this.#soon(1, connection, () => {
      connection.unanswered.delete(id)
      this.#write(connection, { cmd: 'pubcomp', messageId: id })
    })
  }

  /** Acknowledgements of one kind keep their order, whatever time they take. [MQTT-4.6.0-2] */
  #soon(kind: 0 | 1, connection: Connection, answer: () => void): void {
    const ms = this.prompt ? 0 : this.#chance.between(0, this.plan.ackMs)
    this.#ackDue[kind] = Math.max(this.#ackDue[kind], this.#clock.time + ms)
    this.#clock.at(this.#ackDue[kind] - this.#clock.time, () => {
      if (!connection.over) answer()
    })
  }
}
