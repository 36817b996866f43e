// `npm run sim:cluster`, one run: several brokers of production code over one shared log, clients that
// come to any of them, and nodes that are killed, stopped, cut off and come back. What was promised
// must have been kept by all of them together.

import { Broker } from '../src/core/broker.ts'
import { Farewell } from '../src/core/farewell.ts'
import type { QoS } from '../src/core/types.ts'
import { MqttDoor } from '../src/protocol/mqtt/door.ts'
import { SharedEngine } from '../test/support/shared-engine.ts'
import { SharedLog } from '../test/support/shared-log.ts'
import { Chance } from './chance.ts'
import { type Connection, SimClient, type WillPlan } from './client.ts'
import { Clock, SimRuntime } from './clock.ts'
import { type ClusterPlan, drawCluster, WATCHER } from './cluster-plan.ts'
import { ClusterWatch, type WatchedNode } from './cluster-watch.ts'
import { Ledger, Violation } from './ledger.ts'
import { SimWire } from './wire.ts'

const FILTERS = ['a', 'a/b', 'a/#', 'a/+', '+/b', '+', '#', 'b/+']
const TOPICS = ['a', 'a/b', 'a/c', 'b/b', 'b']
/** Milliseconds of trouble, and of peace afterwards in which all must become quiet. */
const TROUBLE_MS = 60_000
const QUIET_MS = 900_000
const PEACE_MS = 90_000
const TURNS_MAX = 400_000
/** Milliseconds without the servers after which a node gives its sessions up as if it had died. */
const LAPSE_MS = 11_000
const WHY = 'the server is shutting down'
/** Milliseconds a node that was asked to end has before it is killed. */
const STOP_MS = 30_000
/** Milliseconds its last words have to reach its clients. */
const LAST_WORDS_MS = 200
/** Milliseconds a client waits for CONNACK. */
const PATIENCE_MS = 4_000

interface Node extends WatchedNode {
  readonly runtime: SimRuntime
  readonly broker: Broker
  readonly door: MqttDoor
  readonly engine: SharedEngine
  up: boolean
  readonly wires: Set<SimWire>
}

export type Fault = 'kill' | 'pause' | 'cut' | 'outage' | 'stop'

export interface ClusterOutcome {
  readonly turns: number
  readonly deliveries: number
  readonly acknowledged: number
  readonly faults: Record<Fault, number>
  readonly wills: number
}

export class Cluster {
  readonly plan: ClusterPlan
  readonly clock = new Clock()
  readonly ledger = new Ledger()
  readonly watch: ClusterWatch
  readonly #chance: Chance
  readonly #servers: SharedLog
  readonly #nodes: (Node | null)[] = []
  readonly #clients: SimClient[] = []
  readonly #asked = new Map<SimClient, number>()
  readonly #faults: Record<Fault, number> = { kill: 0, pause: 0, cut: 0, outage: 0, stop: 0 }
  #starts = 0
  /** The node whose successor is awaited before the next one ends. */
  #upgrading = -1
  #settling = false
  readonly #end: number

  constructor(seed: number, plan?: ClusterPlan) {
    this.#chance = new Chance(seed)
    this.plan = plan ?? drawCluster(seed, this.#chance)
    this.watch = new ClusterWatch(this.clock, this.plan.faults.lost > 0)
    this.watch.onParted = ({ generation }) => this.ledger.lost(generation, this.clock.turns)
    this.ledger.scattered = true
    this.#end = this.clock.time + TROUBLE_MS
    const runtime = new SimRuntime(this.clock, this.#chance)
    this.#servers = new SharedLog(`shared-${seed}`, runtime, this.plan.faults)
  }

  async run(): Promise<ClusterOutcome> {
    for (let i = 0; i < this.plan.nodes; i++) this.#boot(i)
    await this.#until(() => this.#nodes.every((node) => node?.up === true))
    for (const plan of [...this.plan.clients, ...this.plan.workers, WATCHER]) {
      const client = new SimClient(plan, this.clock, this.#chance, this.ledger, this.watch)
      this.#clients.push(client)
      this.#later(client)
    }
    this.#trouble()
    await this.#advance(TROUBLE_MS)
    await this.#settle()
    this.#judge()
    return {
      turns: this.clock.turns,
      deliveries: this.ledger.deliveries,
      acknowledged: [...this.ledger.messages.values()].filter((m) => m.acked > 0).length,
      faults: this.#faults,
      wills: this.watch.wills,
    }
  }

  // ---- Nodes ---------------------------------------------------------------------------------

  #boot(index: number): void {
    const { clock } = this
    const runtime = new SimRuntime(clock, this.#chance)
    const name = `n${index}.${++this.#starts}`
    const engine = new SharedEngine(this.#servers, name, runtime)
    const broker = new Broker({
      engine,
      runtime,
      limits: { tailBytes: this.plan.tailBytes },
      report: (what, about) => this.watch.note(`${name} reports ${what}: ${about}`),
    })
    engine.topicOf = (topic) => {
      const found = broker.topics.named(topic)
      if (found === null) throw new Violation(`the log holds the topic ${JSON.stringify(topic)}`)
      return found
    }
    const node: Node = {
      name,
      runtime,
      broker,
      door: new MqttDoor(broker),
      engine,
      up: false,
      wires: new Set(),
      soundSince: Number.POSITIVE_INFINITY,
      isLoose: () => broker.state !== 'up',
    }
    this.#nodes[index] = node
    broker.onState = (state) => {
      this.watch.note(`${name} is ${state}`)
      node.soundSince = Number.POSITIVE_INFINITY
      if (state === 'up') this.#sound(node)
    }
    broker.open().then(
      () => {
        node.up = true
        node.soundSince = clock.time
        this.watch.note(`${name} is open`)
        if (index === this.#upgrading) this.#upgrade(index + 1)
      },
      () => {
        // The servers were away for too long: it starts again.
        if (this.#nodes[index] !== node) return
        engine.kill()
        runtime.kill()
        clock.at(500, () => this.#boot(index))
      },
    )
  }

  #kill(index: number): void {
    const node = this.#nodes[index]
    if (node === null || node === undefined) return
    this.#faults.kill++
    this.ledger.killed = true
    this.watch.upset(node)
    this.watch.note(`${node.name} is killed`)
    this.#nodes[index] = null
    node.soundSince = Number.POSITIVE_INFINITY
    node.engine.kill()
    node.runtime.kill()
    for (const wire of node.wires) wire.killed()
    this.clock.at(this.#chance.pick([200, 3_000, 30_000]), () => this.#boot(index))
  }

  /** All nodes in turn, as one changes the version of a cluster. */
  #upgrade(index: number): void {
    this.#upgrading = index < this.#nodes.length ? index : -1
    if (this.#upgrading >= 0) this.#stop(index)
  }

  /** SIGTERM: nobody new comes, then those who are there are sent away. */
  #stop(index: number): void {
    const node = this.#nodes[index]
    if (node === null || node === undefined || !node.up || this.#settling) return
    this.#faults.stop++
    const ms = this.#chance.pick([0, 500, 3_000])
    this.watch.note(`${node.name} ends in order in ${ms} ms`)
    node.up = false
    // What it cannot store nobody else learns.
    if (node.soundSince <= this.clock.time) this.watch.sendsAway(node)
    node.soundSince = Number.POSITIVE_INFINITY
    const farewell = new Farewell(node.broker, ms, WHY)
    this.clock.at(STOP_MS, () => {
      if (this.#nodes[index] === node) this.#kill(index)
    })
    node.runtime.after(ms, () => {
      farewell.stop()
      this.#close(index, node)
    })
  }

  #close(index: number, node: Node): void {
    this.watch.note(`${node.name} closes`)
    node.broker.close(WHY).then(() => {
      if (this.#nodes[index] !== node) return
      this.watch.ended(node)
      this.#nodes[index] = null
      this.clock.at(LAST_WORDS_MS, () => {
        node.runtime.kill()
        for (const wire of node.wires) wire.killed()
      })
      this.clock.at(this.#chance.pick([LAST_WORDS_MS, 3_000]), () => this.#boot(index))
    })
  }

  #pause(node: Node): void {
    this.#faults.pause++
    this.watch.upset(node)
    const ms = this.#chance.pick([300, 4_000, 12_000, 25_000])
    if (ms >= LAPSE_MS) this.ledger.killed = true
    this.watch.note(`${node.name} stops for ${ms} ms`)
    node.engine.paused = true
    node.soundSince = Number.POSITIVE_INFINITY
    node.runtime.pause()
    this.clock.at(ms, () => this.#resume(node))
  }

  #resume(node: Node): void {
    if (!node.engine.paused) return
    this.watch.note(`${node.name} goes on`)
    node.engine.paused = false
    node.runtime.resume()
    this.#sound(node)
  }

  #cut(node: Node): void {
    this.#faults.cut++
    this.watch.upset(node)
    const ms = this.#chance.pick([500, 4_000, 12_000, 30_000])
    if (ms >= LAPSE_MS) this.ledger.killed = true
    this.watch.note(`${node.name} is cut off for ${ms} ms`)
    node.engine.cut = true
    node.soundSince = Number.POSITIVE_INFINITY
    this.clock.at(ms, () => this.#heal(node))
  }

  #heal(node: Node): void {
    if (!node.engine.cut) return
    this.watch.note(`${node.name} is connected again`)
    node.engine.cut = false
    this.#sound(node)
  }

  #outage(): void {
    this.#faults.outage++
    this.watch.upset(null)
    const ms = this.#chance.pick([700, 6_000, 40_000])
    this.watch.note(`the servers are away for ${ms} ms`)
    this.#servers.away = true
    for (const node of this.#nodes) if (node !== null) node.soundSince = Number.POSITIVE_INFINITY
    this.clock.at(ms, () => this.#endOutage())
  }

  #endOutage(): void {
    if (!this.#servers.away) return
    this.watch.note('the servers are back')
    this.#servers.away = false
    for (const node of this.#nodes) if (node !== null) this.#sound(node)
  }

  #sound(node: Node): void {
    const { engine } = node
    if (engine.cut || engine.paused || engine.dead || this.#servers.away || !node.up) return
    if (node.broker.state !== 'up') return
    node.soundSince = this.clock.time
  }

  /** Something bad happens now and then. */
  #trouble(): void {
    this.clock.at(this.#chance.between(500, 8_000), () => {
      if (this.#settling) return
      const { kills, pauses, cuts, outages } = this.plan
      const index = this.#chance.between(0, this.#nodes.length - 1)
      const node = this.#nodes[index] ?? null
      const what = this.#chance.between(0, 7)
      if (what <= 1 && kills) this.#kill(index)
      else if (what <= 3 && pauses && node !== null && !node.engine.paused) this.#pause(node)
      else if (what <= 5 && cuts && node !== null && !node.engine.cut) this.#cut(node)
      else if (what === 6 && outages && !this.#servers.away) this.#outage()
      else if (what === 7 && this.plan.upgrades) {
        if (this.#chance.is(0.5)) this.#stop(index)
        else if (this.#upgrading < 0) this.#upgrade(0)
      }
      this.#trouble()
    })
  }

  // ---- Clients -------------------------------------------------------------------------------

  #open(
    peer: { receive(b: Buffer): void; gone(): void },
    client: SimClient,
    clean: boolean,
  ): SimWire {
    const index = this.#chance.between(0, this.#nodes.length - 1)
    const node = this.#nodes[index] ?? null
    const name = `${client.plan.id}#${client.connections}`
    const runtime = node?.runtime ?? new SimRuntime(this.clock, this.#chance)
    const wire = new SimWire(name, this.clock, runtime, this.#chance, this.plan.wireFaults, peer)
    if (node === null || !node.up) this.clock.at(1, () => wire.killed())
    else {
      this.watch.note(`${name} goes to ${node.name}`)
      this.watch.opened(client, wire, node, clean)
      node.wires.add(wire)
      node.door.open(wire)
    }
    return wire
  }

  #connect(client: SimClient): Connection {
    const { plan } = client
    this.#asked.set(client, this.clock.time)
    this.watch.comes(client)
    const fresh = client.cleanPending || (plan.version === 5 && client.generation === null)
    const whim = !this.#settling && plan !== WATCHER && this.#chance.is(0.1)
    const clean = fresh || plan.expiry === 0 || whim
    const will: WillPlan | null =
      this.#chance.is(0.4) && !this.#settling && plan !== WATCHER
        ? {
            delay: plan.version === 5 ? this.#chance.pick([0, 1, 3]) : 0,
            qos: this.#chance.pick([0, 1, 2] as const),
          }
        : null
    return client.connect((peer) => this.#open(peer, client, clean), clean, will)
  }

  #later(client: SimClient): void {
    if (this.clock.time > this.#end) return
    this.clock.at(this.#chance.between(0, this.plan.pace), () => {
      if (!this.#settling) this.#act(client)
      this.#later(client)
    })
  }

  #act(client: SimClient): void {
    if (this.#comes(client) || client.plan === WATCHER) return
    const chance = this.#chance
    const connection = client.connection as Connection
    if (chance.is(this.plan.unrest)) this.#disturb(client, connection)
    else if (client.plan.id.startsWith('w')) this.#work(client)
    else this.#talk(client)
  }

  /** True while it is not there; it tries again when it was not answered for long. */
  #comes(client: SimClient): boolean {
    const { connection } = client
    const waited = this.clock.time - (this.#asked.get(client) ?? 0)
    if (connection === null || connection.over || (!client.online && waited > PATIENCE_MS)) {
      this.#connect(client)
      return true
    }
    if (!client.online) return true
    if (client.plan === WATCHER && client.generation?.wish('will/+') === undefined) {
      client.subscribe('will/+', 2, false, 0, false)
    }
    return false
  }

  #disturb(client: SimClient, connection: Connection): void {
    const what = this.#chance.between(0, 3)
    if (what === 0) client.disconnect()
    else if (what === 1) connection.wire.cut(this.#chance.between(0, 3_000))
    else this.#connect(client)
  }

  #talk(client: SimClient): void {
    const chance = this.#chance
    const kind = chance.random()
    if (kind < 0.15) client.subscribe(chance.pick(FILTERS), this.#qos(), false, 0, false)
    else if (kind < 0.18) client.unsubscribe(chance.pick(FILTERS))
    else if (kind < 0.35) {
      const padding = chance.is(0.2) ? 0 : chance.between(1, 40)
      client.publish(`r/${chance.pick(['x', 'y'])}`, this.#qos(), true, padding, 0)
    } else {
      for (let n = chance.pick([1, 1, 3, 8]); n > 0; n--) {
        const topic = chance.is(0.3) ? 'q/1' : chance.pick(TOPICS)
        client.publish(topic, this.#qos(), false, chance.between(1, 40), 0)
      }
    }
  }

  #work(client: SimClient): void {
    if (this.#chance.is(0.3))
      client.subscribe('$share/g/q/+', this.#chance.pick([1, 2] as const), false, 0, false)
  }

  #qos(): QoS {
    return this.#chance.pick([0, 1, 1, 2] as const)
  }

  // ---- The end -------------------------------------------------------------------------------

  async #settle(): Promise<void> {
    this.#settling = true
    this.#servers.calm = true
    this.#endOutage()
    for (const node of this.#nodes) {
      if (node === null) continue
      this.#heal(node)
      this.#resume(node)
    }
    for (const client of this.#clients) client.prompt = true
    const began = this.clock.time
    while (this.clock.time < began + QUIET_MS) {
      if (this.clock.time > began + 2_000) for (const client of this.#clients) this.#comes(client)
      await this.#advance(500)
      if (this.clock.time > began + PEACE_MS && this.#allIdle()) return
    }
    const busy = this.#clients.filter((client) => !client.idle || !client.online)
    const who = busy.map((c) => `${c.plan.id} (${c.online ? 'online' : 'away'}, ${c.inFlight})`)
    throw new Violation(`not quiet after ${QUIET_MS / 1000} s: ${who.join()}`)
  }

  #allIdle(): boolean {
    return this.#clients.every(({ idle, online }) => idle && online) && !this.#isBehind()
  }

  /** Somebody is owed something: a client that takes one message at a time needs long for a backlog. */
  #isBehind(): boolean {
    return this.#nodes.some((node) => {
      if (node === null) return false
      const { sessions, groups, log } = node.broker
      const all = [...[...sessions.all()].filter(({ link }) => link !== null), ...groups.values()]
      return all.some(({ floor }) => floor <= log.last)
    })
  }

  #judge(): void {
    const brokers = this.#nodes.flatMap((node) => (node === null ? [] : [node.broker]))
    // One that expires within the run may have done so in a connection whose CONNACK was lost.
    const lasting = this.#clients.filter(({ plan }) => plan.expiry > 1_000).map((c) => c.plan.id)
    this.ledger.checkDelivered(({ durable, client }) => durable && lasting.includes(client))
    this.watch.checkOwners(brokers)
    this.watch.checkRetained(brokers, this.#servers, ['r/x', 'r/y'])
    this.watch.checkWills()
  }

  // ---- Time ----------------------------------------------------------------------------------

  async #advance(ms: number): Promise<void> {
    const until = this.clock.time + ms
    while (await this.clock.turn(until)) this.#check()
  }

  async #until(done: () => boolean): Promise<void> {
    const until = this.clock.time + 60_000
    while (!done()) {
      if (!(await this.clock.turn(until))) throw new Violation('nothing happens any more')
      this.#check()
    }
  }

  #check(): void {
    if (this.clock.turns > TURNS_MAX) throw new Violation('it goes round in circles')
  }
}
