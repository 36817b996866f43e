// Watches a cluster from outside: who is live under which name on a sound node, wills of clients that
// are still there, sessions that were forgotten, what each node retains in the end.

import type { Packet } from 'mqtt-packet'
import type { Broker } from '../src/core/broker.ts'
import type { SharedLog } from '../test/support/shared-log.ts'
import type { ClientEvents, Connection, SimClient } from './client.ts'
import type { Clock } from './clock.ts'
import { type Published, Violation } from './ledger.ts'
import type { SimWire } from './wire.ts'

/** Sessions that last longer than any run, in seconds. */
const LASTING = 100_000

/** One wire of a client to one node. */
export interface Visit {
  readonly client: SimClient
  readonly wire: SimWire
  readonly node: WatchedNode
  readonly openedAt: number
  /** Asks for a clean start. */
  readonly clean: boolean
  accepted: boolean
  /** It began clean at a node without the servers: they may not know that the session before is to end. */
  isLoose: boolean
  /** When CONNACK left; 0 before. */
  acceptedAt: number
  connection: Connection | null
  /** When its node, which ended in order, began to send its clients away; 0 where nothing can be said of that. */
  sentAwayAt: number
}

export interface WatchedNode {
  readonly name: string
  /** Since when it runs, and reaches the servers; Infinity while it does not. */
  soundSince: number
  /** Whether it is without the servers just now, and accepts those who need nothing of them. */
  isLoose(): boolean
}

/** Milliseconds after which a node that is sound must know what others took from it. */
const KNOWS_MS = 4_000
/** Milliseconds after which nobody takes a node for dead that is sound. */
const DEAD_MS = 4_000
/** Milliseconds a client whose node ended in order has to come back before its will is published. */
const AWAY_MS = 30_000
/** Milliseconds within which a node that is sound has told the servers which sessions are over. */
const TELLS_MS = 10_000
/** Milliseconds within which a goodbye is stored, unless something happens. */
const UNSURE_MS = 5_000

export class ClusterWatch implements ClientEvents {
  readonly #clock: Clock
  readonly #lossy: boolean
  readonly #visits: Visit[] = []
  readonly #wills = new Map<string, number>()
  /** Wills that were seen, whether rightly or not yet known. */
  readonly #goodbyes = new Set<string>()
  /** Nodes that ended in order and are gone. */
  readonly #ended = new Set<WatchedNode>()
  readonly #unsure = new Set<string>()
  /** QoS of the message that is being received: only at 2 it comes once. */
  #willQos = 0
  onTrace: ((line: string) => void) | null = null
  /** A node is done with a connection of that client, which may not know it yet. */
  onParted: (client: SimClient) => void = () => {}
  deliveries = 0
  takeovers = 0
  wills = 0

  /** With `lossy` servers what is told them may take longer than another node waits for it. */
  constructor(clock: Clock, lossy: boolean) {
    this.#clock = clock
    this.#lossy = lossy
  }

  /** Something happened to a node: a goodbye it heard just before may not have been stored. */
  upset(node: WatchedNode | null): void {
    const lately = this.#clock.time - UNSURE_MS
    for (const visit of this.#visits) {
      const { connection } = visit
      if (connection?.will == null || (node !== null && visit.node !== node)) continue
      // What is stored of those it was sending away nobody knows.
      if (!this.#ended.has(visit.node)) visit.sentAwayAt = 0
      if (visit.wire.partedAt === 0 || visit.wire.partedAt > lately)
        this.#unsure.add(connection.will)
    }
  }

  /** A node that ends in order is about to tell its clients. */
  sendsAway(node: WatchedNode): void {
    this.note(`${node.name} sends its clients away`)
    for (const visit of this.#visits) {
      if (visit.node === node && visit.wire.partedAt === 0) visit.sentAwayAt = this.#clock.time
    }
  }

  /** It has done so, and all it knew is stored. */
  ended(node: WatchedNode): void {
    this.note(`${node.name} has ended`)
    this.#ended.add(node)
  }

  opened(client: SimClient, wire: SimWire, node: WatchedNode, clean: boolean): void {
    const before = this.#visits.findLast((v) => v.client === client)
    // A goodbye that was overtaken by the next connection was perhaps never read.
    const will = before?.connection?.will ?? null
    const parted = before?.wire.partedAt ?? 0
    const lately = this.#lossy && parted + UNSURE_MS > this.#clock.time
    if (will !== null && (parted === 0 || lately)) this.#unsure.add(will)
    const visit: Visit = {
      client,
      wire,
      node,
      openedAt: this.#clock.time,
      clean,
      accepted: false,
      isLoose: false,
      acceptedAt: 0,
      connection: null,
      sentAwayAt: 0,
    }
    this.#visits.push(visit)
    wire.onParted = (why) => {
      this.note(`${wire.peer} at ${node.name}: ${why}`)
      this.onParted(client)
      // A goodbye that a node hears without the servers is stored when they are back, unless it gives up before.
      const { connection, sentAwayAt } = visit
      const stores = node.soundSince <= this.#clock.time || sentAwayAt > 0
      if (connection?.will != null && !stores) this.#unsure.add(connection.will)
    }
    wire.onWritten = (bytes) => {
      if (!visit.accepted && bytes[0] === 0x20 && bytes[3] === 0) this.#welcomed(visit)
    }
  }

  /** CONNACK leaves: no sound node may hold another live link of that name. [MQTT-3.1.4-3] */
  #welcomed(visit: Visit): void {
    visit.accepted = true
    visit.acceptedAt = this.#clock.time
    const { client, node } = visit
    const now = this.#clock.time
    for (const other of this.#visits) {
      if (other === visit || other.client !== client || !other.accepted) continue
      if (other.wire.partedAt !== 0) continue
      if (Math.max(other.node.soundSince, node.soundSince) + KNOWS_MS > now) continue
      throw new Violation(
        `two live links for ${client.plan.id}: ${other.wire.peer} at ${other.node.name}, ${visit.wire.peer} at ${node.name}`,
      )
    }
  }

  accepted(client: SimClient, connection: Connection, present: boolean): void {
    const visit = this.#visits.findLast((v) => v.wire === connection.wire)
    if (visit !== undefined) visit.connection = connection
    const { plan, generation } = client
    if (connection.clean && visit?.node.isLoose() === true) {
      client.cleanPending = true
      visit.isLoose = true
    }
    if (connection.clean && present) {
      throw new Violation(`${plan.id} asked for a clean start in vain`)
    }
    const lasts = generation?.durable === true && plan.expiry >= LASTING
    if (lasts && !connection.clean && !present) {
      throw new Violation(`the session of ${plan.id} is gone`)
    }
  }

  /** The client is about to connect: what it began clean has begun clean once its node could tell the servers. */
  comes(client: SimClient): void {
    const visit = this.#visits.findLast((v) => v.client === client)
    if (visit?.isLoose !== true || visit.connection !== client.connection) return
    if (visit.node.soundSince + TELLS_MS <= this.#clock.time) client.cleanPending = false
  }

  lost(_client: SimClient, connection: Connection): void {
    if (connection.goodbye && connection.will !== null) this.#goodbyes.add(connection.will)
  }

  retainedSent(): void {}

  retainedTaken(_message: Published): void {}

  will(payload: string): void {
    this.wills++
    const times = this.#wills.get(payload) ?? 0
    this.#wills.set(payload, this.#willQos === 2 || times === 0 ? times + 1 : times)
    for (const visit of this.#visits) {
      const { connection, wire, client, node } = visit
      if (connection?.will !== payload) continue
      this.#checkAway(visit, payload)
      // Who stands still for long is dead to all others, and its clients with it.
      if (node.soundSince + DEAD_MS > this.#clock.time) continue
      if (wire.partedAt === 0 && !wire.lost && client.connection === connection) {
        throw new Violation(`${payload} although its client is there`)
      }
    }
  }

  /** Who was sent away and came back elsewhere in time was never lost. */
  #checkAway(visit: Visit, payload: string): void {
    const { client, wire, sentAwayAt, connection } = visit
    if (sentAwayAt === 0 || !wire.endedByBroker) return
    const after = this.#visits.slice(this.#visits.indexOf(visit) + 1)
    const next = after.filter((v) => v.client === client)
    // It had come to another node before, which took it over, and may not have answered yet.
    if (next.some((v) => v.openedAt < wire.partedAt)) return
    const back = next.find((v) => v.acceptedAt > sentAwayAt)?.acceptedAt ?? this.#clock.time
    // One that begins clean, answered or not, ends the session, and whatever will it has is due. [MQTT-3.1.3-9]
    const lasting = (connection?.lasting ?? 0) * 1000
    if (lasting > 0 && next.some((v) => v.clean && v.openedAt <= back)) return
    if (back <= sentAwayAt + Math.min(AWAY_MS, lasting || AWAY_MS)) {
      throw new Violation(`${payload} although its client was only sent away`)
    }
  }

  retained(): void {}

  trace(peer: string, way: '->' | '<-', packet: Packet): void {
    const { cmd } = packet
    if (packet.cmd === 'publish' && way === '<-') this.#willQos = packet.qos
    const id = packet.messageId ?? ''
    const text =
      packet.cmd === 'publish'
        ? `${packet.topic} "${packet.payload.toString().split(' ', 1)[0]}" q${packet.qos}${packet.dup ? ' dup' : ''}${packet.retain ? ' retain' : ''}`
        : packet.cmd === 'connack'
          ? `${packet.reasonCode ?? packet.returnCode} ${packet.sessionPresent ? 'present' : ''}`
          : packet.cmd === 'connect'
            ? `${packet.clean ? 'clean' : ''}`
            : packet.cmd === 'disconnect'
              ? `${packet.reasonCode ?? 0}`
              : packet.cmd === 'subscribe'
                ? packet.subscriptions.map(({ topic, qos }) => `${topic} q${qos}`).join()
                : ''
    this.note(`${peer} ${way} ${cmd} ${id} ${text}`)
  }

  note(what: string): void {
    this.onTrace?.(`${this.#clock.turns} ${this.#clock.time - 1_700_000_000_000} ms ${what}`)
  }

  /** Every node retains the same: what the servers do. */
  checkRetained(brokers: readonly Broker[], servers: SharedLog, topics: readonly string[]): void {
    for (const topic of topics) {
      const found = brokers.map((b) => b.retained.get(topic)?.message.payload.toString() ?? 'none')
      found.push(servers.retained.get(topic)?.message?.payload.toString() ?? 'none')
      if (new Set(found).size > 1) {
        throw new Violation(`${topic} retains ${found.map((f) => f.split(' ', 1)[0]).join(' / ')}`)
      }
    }
  }

  /** A session is on one node at most. */
  checkOwners(brokers: readonly Broker[]): void {
    const owners = new Map<string, number>()
    for (const broker of brokers) {
      for (const { id } of broker.sessions.all()) owners.set(id, (owners.get(id) ?? 0) + 1)
    }
    for (const [id, count] of owners) {
      if (count > 1) throw new Violation(`${count} nodes hold the session of ${id}`)
    }
  }

  /** Once, and never after a goodbye. */
  checkWills(): void {
    for (const [payload, times] of this.#wills) {
      if (times > 1) throw new Violation(`${payload} came ${times} times`)
      if (this.#goodbyes.has(payload) && !this.#unsure.has(payload)) {
        const visit = this.#visits.find(({ connection }) => connection?.will === payload)
        // A goodbye that nobody heard is none.
        if (visit?.wire.endedByBroker === true) {
          throw new Violation(`${payload} after a goodbye`)
        }
      }
    }
  }
}
