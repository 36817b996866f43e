// One run: a broker of production code between simulated clients, wires and engine; chance
// decides what happens next. In the end all becomes quiet, and what was promised must have been kept.

import { Broker } from '../src/core/broker.ts'
import type { Topic } from '../src/core/topics.ts'
import type { QoS } from '../src/core/types.ts'
import { MqttDoor } from '../src/protocol/mqtt/door.ts'
import { Chance } from './chance.ts'
import { type ClientPlan, type Connection, SimClient, type WillPlan } from './client.ts'
import { Clock, SimRuntime } from './clock.ts'
import { Disk } from './engine.ts'
import { type EngineOfLife, engineOf } from './engine-of-life.ts'
import { Ledger, Violation } from './ledger.ts'
import { draw, drawDisk, type Plan } from './plan.ts'
import { Medium, SimPlace } from './storage.ts'
import { Watch } from './watch.ts'
import { SimWire } from './wire.ts'

const FILTERS = ['a', 'a/b', 'a/#', 'a/+', '+/b', '+/a', '+', '#', '$d/+', 'a/b/#', 'b/+']
const TOPICS = ['a', 'a/b', 'a/c', 'b/b', '$d/a', 'b']
const SHARED: Readonly<Record<string, string>> = {
  w0: '$share/g/q/+',
  w1: '$share/g/q/+',
  w2: '$share/h/q/1',
}
const QUEUES = ['q/1', 'q/2']
/** Virtual milliseconds in which all must have become quiet, the longest of all delays included. */
const QUIET_MS = 120_000
/** Milliseconds an orderly end may take. */
const STOP_MS = 3_000
/** Turns after which something goes round in circles. */
const TURNS_MAX = 200_000

/** One life of the broker's process. */
interface Life extends EngineOfLife {
  readonly runtime: SimRuntime
  readonly broker: Broker
  readonly door: MqttDoor
}

export interface Outcome {
  readonly turns: number
  readonly deliveries: number
  readonly acknowledged: number
  readonly kills: number
  /** Orderly ends. */
  readonly stops: number
  /** What happened to the simulated disk. */
  readonly disk: Medium['counts']
}

export class World {
  readonly plan: Plan
  readonly clock = new Clock()
  readonly ledger = new Ledger()
  readonly #chance: Chance
  readonly #disk: Disk
  readonly medium = new Medium()
  readonly watch: Watch
  readonly #clients: SimClient[] = []
  #life: Life | null = null
  /** Not ready yet. */
  #starting: Life | null = null
  /** On its way to an orderly end. */
  #stopping: Life | null = null
  #fault: unknown = null
  #kills = 0
  #stops = 0
  #settling = false
  #acting = 0

  constructor(seed: number, engine: 'any' | 'disk' = 'any') {
    this.#chance = new Chance(seed)
    this.plan = engine === 'disk' ? drawDisk(this.#chance) : draw(this.#chance)
    this.#disk = new Disk(`log-${seed}`)
    this.watch = new Watch(this.clock, this.plan)
    this.watch.isUnsynced = (message) => this.medium.isUnsynced(message)
    this.ledger.refusing = this.plan.trouble || !this.#complete
  }

  async run(): Promise<Outcome> {
    if (this.plan.engine !== 'disk') await this.#boot()
    else {
      this.clock.at(0, () => this.#start())
      await this.#until(() => this.#life !== null)
    }
    const watcher = this.#client(WATCHER)
    await this.#arrive(watcher, 'will/+', 2)
    for (const plan of [...this.plan.clients, ...this.plan.workers]) {
      const client = this.#client(plan)
      this.#clients.push(client)
      this.#later(client, this.plan.acts)
    }
    await this.#until(() => this.#acting === 0)
    await this.#settle()
    await this.#judge(watcher)
    return {
      turns: this.clock.turns,
      deliveries: this.ledger.deliveries,
      acknowledged: [...this.ledger.messages.values()].filter((m) => m.acked > 0).length,
      kills: this.#kills,
      stops: this.#stops,
      disk: this.medium.counts,
    }
  }

  // ---- The process ---------------------------------------------------------------------------

  async #boot(): Promise<void> {
    const { clock, plan } = this
    const runtime = new SimRuntime(clock, this.#chance)
    const topicOf = (name: string): Topic => {
      const topic = broker.topics.named(name)
      if (topic === null) throw new Violation(`the disk holds the topic ${JSON.stringify(name)}`)
      return topic
    }
    const { engine, storage } = engineOf(plan, {
      runtime,
      topicOf,
      clock,
      chance: this.#chance,
      disk: this.#disk,
      medium: this.medium,
      moment: () => this.#end(runtime),
    })
    const broker: Broker = new Broker({
      engine,
      runtime,
      limits: plan.limits,
      report: (what, about) => {
        // Of a process that is gone, or about to go, nobody hears.
        if (!runtime.dead && broker.state === 'up') this.watch.reported(what, about)
      },
    })
    // `serve` ends when its engine has failed.
    broker.onState = (state) => {
      if (state !== 'failed') return
      this.watch.failed()
      this.clock.at(this.#chance.between(0, 20), () => this.#end(runtime))
    }
    if (storage !== null) storage.calm = this.#settling
    const life = { runtime, broker, door: new MqttDoor(broker), engine, storage }
    this.#starting = life
    try {
      await broker.open()
    } catch (error) {
      if (!(storage instanceof SimPlace) || !storage.troubled) throw error
      this.#end(runtime)
      return
    }
    this.#starting = null
    this.#life = life
    this.watch.booted(broker)
  }

  #start(): void {
    this.#boot().catch((error: unknown) => {
      this.#fault ??= error
    })
  }

  /** That process is no more, unless another took its place already. */
  #end(runtime: SimRuntime): void {
    const life = this.#life ?? this.#starting ?? this.#stopping
    if (life?.runtime === runtime) this.#kill()
  }

  #kill(): void {
    const life = this.#life ?? this.#starting ?? this.#stopping
    if (life === null) return
    this.#kills++
    this.#life = null
    this.#starting = null
    this.#stopping = null
    this.#over(life)
  }

  /** That process is no more; the next one starts soon. */
  #over(life: Life): void {
    this.ledger.ended(this.clock.turns)
    life.runtime.kill()
    life.storage?.crash()
    this.watch.killed()
    this.clock.at(this.#chance.between(1, 400), () => this.#start())
  }

  /** As on SIGTERM; whatever has not ended by then ends when the process does. */
  #stop(): void {
    const life = this.#life
    if (life === null) return
    this.#stops++
    this.#life = null
    this.#stopping = life
    this.watch.note('the process is asked to end')
    this.watch.failed()
    const over = (): void => {
      if (this.#stopping !== life) return
      this.#stopping = null
      this.#over(life)
    }
    life.broker.close('the server is shutting down').then(over, over)
    this.clock.at(STOP_MS, over)
  }

  #open(peer: { receive(b: Buffer): void; gone(): void }, client: SimClient): SimWire {
    const calm = this.#settling || client.plan === WATCHER
    const faults = calm ? { ...this.plan.wireFaults, delay: 1, split: 0 } : this.plan.wireFaults
    const life = this.#life
    const name = `${client.plan.id}#${client.connections}`
    const runtime = life?.runtime ?? new SimRuntime(this.clock, this.#chance)
    const wire = new SimWire(name, this.clock, runtime, this.#chance, faults, peer)
    if (life === null) this.clock.at(1, () => wire.killed())
    else {
      this.watch.opened(client, wire)
      const noted = wire.onParted
      wire.onParted = (why) => {
        noted(why)
        // The broker may give what it lent to others before the client knows.
        this.ledger.lost(client.generation, this.clock.turns)
      }
      life.door.open(wire)
    }
    return wire
  }

  // ---- The clients ---------------------------------------------------------------------------

  #client(plan: ClientPlan): SimClient {
    return new SimClient(plan, this.clock, this.#chance, this.ledger, this.watch)
  }

  #connect(client: SimClient): Connection {
    const { plan } = client
    const fresh = client.cleanPending || (plan.version === 5 && client.generation === null)
    const clean = fresh || plan.expiry === 0 || (!this.#settling && this.#chance.is(0.1))
    const will: WillPlan | null =
      this.#chance.is(0.4) && !this.#settling && plan !== WATCHER
        ? {
            delay: plan.version === 5 ? this.#chance.pick([0, 1, 3]) : 0,
            qos: this.#chance.pick([0, 1, 2] as const),
          }
        : null
    return client.connect((peer) => this.#open(peer, client), clean, will)
  }

  #later(client: SimClient, acts: number): void {
    if (acts === this.plan.acts) this.#acting++
    if (acts === 0) {
      this.#acting--
      return
    }
    const { pause, pace } = this.plan
    const ms = this.#chance.is(0.05) ? pause : this.#chance.between(0, pace)
    this.clock.at(ms, () => {
      this.#act(client)
      this.#later(client, acts - 1)
    })
  }

  #act(client: SimClient): void {
    const chance = this.#chance
    const { connection, plan } = client
    if (chance.is(this.plan.kill)) this.#kill()
    if (this.plan.stop > 0 && chance.is(this.plan.stop)) this.#stop()
    if (connection === null || connection.over) {
      this.#connect(client)
      return
    }
    if (chance.is(this.plan.unrest)) {
      this.#disturb(client, connection)
      return
    }
    if (!client.online) return
    if (chance.is(this.plan.stall)) connection.wire.stall(chance.between(10, 3_000))
    if (plan.keepAlive > 0) client.ping()
    if (plan.id.startsWith('w')) this.#work(client)
    else this.#talk(client)
  }

  #disturb(client: SimClient, connection: Connection): void {
    const what = this.#chance.between(0, 3)
    if (what === 0) client.disconnect()
    else if (what === 1) connection.wire.cut(this.#chance.between(0, 3_000))
    else if (what === 2) this.#connect(client)
    else {
      connection.wire.cut(this.#chance.between(0, 50))
      this.#connect(client)
    }
  }

  #talk(client: SimClient): void {
    const chance = this.#chance
    const { plan } = client
    const kind = chance.random()
    if (kind < 0.15) {
      const identifier = chance.is(0.5) ? chance.between(1, 300) : 0
      const noLocal = plan.version === 5 && chance.is(0.1)
      client.subscribe(chance.pick(FILTERS), this.#qos(), noLocal, identifier, chance.is(0.1))
    } else if (kind < 0.2) client.unsubscribe(chance.pick(FILTERS))
    else if (kind < 0.27) client.ping()
    else if (kind < 0.4) {
      for (let n = chance.pick([1, 2, 4]); n > 0; n--) {
        const padding = chance.is(0.2) ? 0 : chance.between(1, this.plan.padding)
        // One QoS above 0 a topic: what is sent again at QoS 1 may rightly come after newer QoS 2.
        const qos = chance.is(0.3) ? 0 : plan.aliases > 0 ? 1 : 2
        client.publish(`r/${plan.id}`, qos, true, padding, 0)
      }
    } else {
      for (let n = chance.pick([1, 1, 3, 8]); n > 0; n--) {
        const topic = chance.pick(chance.is(0.4) ? QUEUES : TOPICS)
        const expiry = plan.version === 5 && chance.is(0.05) ? 1 : 0
        client.publish(topic, this.#qos(), false, chance.between(1, this.plan.padding), expiry)
      }
    }
  }

  #work(client: SimClient): void {
    const filter = SHARED[client.plan.id] as string
    const kind = this.#chance.random()
    if (kind < 0.25) client.subscribe(filter, this.#chance.pick([1, 2] as const), false, 0, false)
    else if (kind < 0.3) client.unsubscribe(filter)
    else if (kind < 0.6 && this.plan.engine === 'disk') {
      client.publish(this.#chance.pick(QUEUES), this.#qos(), false, 1, 0)
    }
  }

  #qos(): QoS {
    return this.#chance.pick([0, 1, 1, 2] as const)
  }

  // ---- The end -------------------------------------------------------------------------------

  /** Nothing goes wrong any more; everybody comes back and takes what is owed. */
  async #settle(): Promise<void> {
    this.#settling = true
    await this.#until(() => this.#life !== null)
    for (const client of this.#clients) this.#lastWord(client)
    const storage = this.#life?.storage
    if (storage) storage.calm = true
    for (const client of this.#clients) client.prompt = true
    const deadline = this.clock.time + QUIET_MS
    while (this.clock.time < deadline) {
      for (const client of this.#clients) this.#tend(client)
      await this.#advance(1_000)
      if (this.clock.time > deadline - QUIET_MS + 14_000 && this.#allIdle()) break
    }
    // What one client owes may never fit into a log that is smaller than that.
    if (!this.#allIdle() && this.#complete)
      throw new Violation(`not quiet after ${QUIET_MS / 1000} s: ${this.#who()}`)
  }

  /** What a topic retains in the end is judged: its last changes must not come in the easiest order. */
  #lastWord(client: SimClient): void {
    const { id, aliases } = client.plan
    if (id.startsWith('w')) return
    const qos = aliases > 0 ? 1 : 2
    for (const one of [qos, 0, qos] as const) client.publish(`r/${id}`, one, true, 1, 0)
  }

  #tend(client: SimClient): void {
    const { connection } = client
    if (connection === null || connection.over) this.#connect(client)
    else if (client.online && client.plan.keepAlive > 0) client.ping()
  }

  #allIdle(): boolean {
    return this.#clients.every((client) => client.idle && client.online)
  }

  /** Whether the log may hold all that is published. */
  get #complete(): boolean {
    const { engineFaults, limits } = this.plan
    return engineFaults.cap === Number.POSITIVE_INFINITY && !limits.memoryLogBytes
  }

  #who(): string {
    const busy = this.#clients.filter((client) => !client.idle || !client.online)
    return busy.map((c) => `${c.plan.id} (${c.online ? 'online' : 'away'}, ${c.inFlight})`).join()
  }

  async #judge(watcher: SimClient): Promise<void> {
    const { plan, ledger } = this
    const complete = this.#complete
    const wholeTail = (plan.limits.tailBytes ?? 0) >= 1_000_000
    if (complete) ledger.checkDelivered((g) => (g.durable && plan.engine !== 'memory') || wholeTail)
    const untouched = this.#kills + this.#stops === 0
    this.watch.checkWills(!untouched)
    if (!watcher.online && untouched) throw new Violation('the watcher was cut off')
    const kept = this.#kills === 0 || plan.engine === 'disk'
    if (complete && kept) await this.#checkRetained()
    this.watch.checkBounds()
  }

  /** Whoever comes now is told the last retained message of each topic. */
  async #checkRetained(): Promise<void> {
    const reader = this.#client({ ...WATCHER, id: 'reader' })
    const found = new Map<string, number>()
    this.watch.onRetained = (topic, number) => found.set(topic, number)
    await this.#arrive(reader, 'r/#', 0)
    await this.#advance(2_000)
    this.watch.checkRetained(found)
  }

  async #arrive(client: SimClient, filter: string, qos: QoS): Promise<void> {
    while (client.generation?.wish(filter)?.confirmed === undefined) {
      this.#connect(client)
      await this.#until(() => client.online || client.connection?.over === true)
      client.subscribe(filter, qos, false, 0, false)
      await this.#until(() => client.idle)
    }
  }

  // ---- Time ----------------------------------------------------------------------------------

  async #advance(ms: number): Promise<void> {
    const until = this.clock.time + ms
    while (await this.clock.turn(until)) this.#check()
  }

  async #until(done: () => boolean): Promise<void> {
    const until = this.clock.time + 600_000
    while (!done()) {
      if (!(await this.clock.turn(until))) throw new Violation('nothing happens any more')
      this.#check()
    }
  }

  #check(): void {
    if (this.#fault !== null) throw this.#fault
    if (this.clock.turns > TURNS_MAX) throw new Violation('it goes round in circles')
    this.watch.checkBounds()
  }
}

/** Sees every will; nothing bad happens to it. */
const WATCHER: ClientPlan = {
  id: 'watcher',
  version: 5,
  expiry: 0,
  receiveMaximum: 0,
  keepAlive: 0,
  ackMs: 0,
  aliases: 0,
}
