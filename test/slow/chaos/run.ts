// One run: a whole cluster, publishers and durable subscribers that roam over it, and faults in an order a
// seed decides. Answers what clients saw and how long they were without service.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Program } from '../../support/programs.ts'
import { type Client, Publisher, retainedBelow, Subscriber } from '../crash/clients.ts'
import { type History, isOwed, judge } from '../crash/history.ts'
import { generator, until } from '../crash/run.ts'
import { Cluster } from './cluster.ts'
import type { Fault, Scene } from './faults.ts'
import { Roamer } from './roamer.ts'
import { judgeWills, type Trouble } from './wills.ts'

export interface Plan {
  readonly programs: Record<'nats-server' | 'haproxy', Program>
  readonly seed: number
  readonly faults: readonly Fault[]
  /** Whether faults last as long as an operator fears. */
  readonly long: boolean
  /** Whether two members, at whichever nodes, divide a topic between them. */
  readonly groups: boolean
  /** Messages a second, of all publishers together. */
  readonly rate: number
  /** Goes on after the last fault until so many are acknowledged. */
  readonly acknowledged: number
  readonly say: (line: string) => void
}

/** What one fault cost its clients, in milliseconds. */
export interface Cost {
  readonly fault: string
  /** Of each client the longest time without an acknowledgement, or without a message where it only receives. */
  readonly gaps: readonly number[]
  /** From each loss of a connection to the next CONNACK. */
  readonly reconnects: readonly number[]
}

export interface Outcome {
  readonly history: History
  /** Broken promises, empty when all were kept. */
  readonly faults: string[]
  readonly costs: readonly Cost[]
  readonly acknowledged: number
  readonly acknowledgedQos2: number
  /** How often a session changed nodes, and how many records of sessions were watched. */
  readonly moves: number
  readonly records: number
  readonly wills: readonly string[]
  /** What the brokers complained of. */
  readonly log: string
}

const PUBLISHERS = 6
const WINDOW = 200
const PACE_MS = 10
/** Longest a fault may last, its healing included, until every client is served again. */
const SERVED_MS = 90_000
/** How often a fault that met nobody is tried again. */
const TRIES = 3
/** Subscribers that receive nothing for so long, once they have everything, receive nothing twice either. */
const QUIET_MS = 2_000
/** Longest until everything has arrived: what members had whose node was killed others get after 18 s and more. */
const ARRIVED_MS = 120_000
/** Milliseconds a woken zombie has to close connections that are not its own any more. */
const ORPHAN_MS = 15_000
const WILLS = 'chaos-wills/'

export async function chaosRun(plan: Plan): Promise<Outcome> {
  const random = generator(plan.seed)
  const cluster = await Cluster.start(plan.programs, random)
  const run = new ChaosRun(plan, cluster, random)
  try {
    return await run.go()
  } catch (error) {
    throw new Error(`${(error as Error).message}; ${cluster.log}`, { cause: error })
  } finally {
    await run.end()
    await cluster.remove()
  }
}

class ChaosRun {
  readonly #plan: Plan
  readonly #cluster: Cluster
  readonly #random: () => number
  readonly #history: History = { sent: new Map(), received: [], retained: new Map() }
  readonly #publishers: Roamer[] = []
  readonly #subscribers: Roamer[] = []
  readonly #watcher: Subscriber
  readonly #everything: Roamer
  readonly #wanderers: readonly Roamer[]
  readonly #running: Promise<void>[] = []
  readonly #troubles: Trouble[] = []
  readonly #costs: Cost[] = []
  readonly #orphans: Promise<number>[] = []
  readonly #faults: string[] = []
  readonly #timers: NodeJS.Timeout[] = []
  #acknowledged = 0
  #arrivedAt = 0

  constructor(plan: Plan, cluster: Cluster, random: () => number) {
    this.#plan = plan
    this.#cluster = cluster
    this.#random = random
    for (let n = 0; n < PUBLISHERS; n++) {
      const publisher = new Publisher(`p${n}`, WINDOW, this.#history, random, () => {
        this.#acknowledged++
        roamer.progress()
      })
      publisher.allowance = 0
      const roamer = this.#roamer(publisher, n)
      this.#publishers.push(roamer)
    }
    this.#everything = this.#subscriber('everything', 'crash/', '')
    this.#wanderers = [
      this.#subscriber('roams-1', 'crash/p0/', ''),
      this.#subscriber('roams-2', 'crash/p1/', ''),
    ]
    if (plan.groups) {
      for (let n = 1; n <= 3; n++) this.#subscriber(`member-${n}`, 'crash/p2/', 'team')
    }
    this.#watcher = new Subscriber('watcher', WILLS, '', () => {})
    this.#subscribers.push(this.#roamer(this.#watcher, 0))
  }

  #subscriber(id: string, prefix: string, group: string): Roamer {
    const subscriber = new Subscriber(id, prefix, group, () => {
      this.#arrivedAt = performance.now()
      roamer.progress()
    })
    this.#history.received.push(subscriber.received)
    const roamer = this.#roamer(subscriber, this.#subscribers.length)
    this.#subscribers.push(roamer)
    return roamer
  }

  #roamer(client: Client, first: number): Roamer {
    if (client.id !== 'watcher') client.willBelow = WILLS
    return new Roamer(client, this.#cluster.front, first, this.#random)
  }

  get #all(): Roamer[] {
    return [...this.#publishers, ...this.#subscribers]
  }

  async go(): Promise<Outcome> {
    const { faults, acknowledged } = this.#plan
    this.#run(this.#subscribers)
    await until(
      () => this.#subscribers.every(({ client }) => (client as Subscriber).subscribed),
      30_000,
    )
    this.#run(this.#publishers)
    this.#pace()
    this.#wander()
    await this.#served()
    for (const [n, fault] of faults.entries()) {
      for (let tries = 0; tries < TRIES && !(await this.#strike(fault, n)); tries++);
    }
    await until(() => this.#acknowledged >= acknowledged, 600_000)
    await this.#drain()
    await this.#lookForRetained()
    const orphans = (await Promise.all(this.#orphans)).reduce((sum, one) => sum + one, 0)
    if (orphans > 0) this.#faults.push(`${orphans} connections of a zombie stayed open`)
    const sent = [...this.#history.sent.values()].filter((message) => message.acknowledged)
    const wills = this.#watcher.received.keys
    const mourned = this.#all.map(({ client, connections }) => ({ client: client.id, connections }))
    return {
      history: this.#history,
      faults: [
        ...this.#faults,
        ...this.#all.flatMap(({ client }) => client.faults),
        ...this.#cluster.owners.faults().slice(0, 5),
        ...judgeWills(wills, mourned, this.#troubles),
        ...judge(this.#history),
      ],
      costs: this.#costs,
      acknowledged: sent.length,
      acknowledgedQos2: sent.filter(({ qos }) => qos === 2).length,
      moves: this.#cluster.owners.moves,
      records: this.#cluster.owners.records,
      wills,
      log: this.#cluster.log,
    }
  }

  async end(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer)
    for (const roamer of this.#all) roamer.stop()
    await Promise.all(this.#running)
  }

  #run(roamers: readonly Roamer[]): void {
    for (const roamer of roamers) this.#running.push(roamer.run())
  }

  /** Gives publishers leave to go on, a little at a time. */
  #pace(): void {
    const share = (this.#plan.rate * PACE_MS) / 1000 / PUBLISHERS
    this.#every(PACE_MS, () => {
      for (const { client } of this.#publishers) {
        const publisher = client as Publisher
        publisher.allowance = Math.min(publisher.allowance + share, WINDOW)
        publisher.go()
      }
    })
  }

  /** Subscribers that come, go and come back elsewhere. */
  #wander(): void {
    this.#every(1_000, () => {
      for (const roamer of this.#wanderers) {
        if (roamer.client.connected && this.#random() < 0.4) roamer.leave(this.#random() * 1_500)
      }
    })
  }

  #every(ms: number, act: () => void): void {
    this.#timers.push(setInterval(act, ms))
  }

  /** Whether it met somebody, and so proves something. */
  async #strike(fault: Fault, n: number): Promise<boolean> {
    const { faults, say } = this.#plan
    const measured = [...this.#publishers, this.#everything]
    for (const roamer of this.#all) roamer.measure()
    const spread = await this.#spread()
    const from = performance.now()
    const met = await fault.strike(this.#scene())
    const held = performance.now() - from
    await this.#served()
    const to = performance.now()
    if (fault.ofNats) this.#troubles.push({ from, to, name: fault.name })
    const steady = this.#all.filter((roamer) => !this.#wanderers.includes(roamer))
    const cost = {
      fault: fault.name,
      gaps: measured.map((roamer) => roamer.measured.gap),
      reconnects: steady.flatMap((roamer) => roamer.measured.reconnects),
    }
    const cut = this.#all.some((roamer) => roamer.measured.reconnects.length > 0)
    const proves = met && (cut || fault.cutsOff !== true)
    if (proves) this.#costs.push(cost)
    const [median, most] = [Math.round(medianOf(cost.gaps)), Math.round(Math.max(...cost.gaps))]
    say(
      `${n + 1} of ${faults.length}: ${fault.name}, held ${Math.round(held)} ms, without service ${median} ms, ` +
        `at most ${most} ms, ${cost.reconnects.length} cut off of ${spread}; ${this.#acknowledged} acknowledged` +
        `${proves ? '' : '; met nobody'}`,
    )
    await sleep(200 + this.#random() * 300)
    return proves
  }

  #scene(): Scene {
    const { long } = this.#plan
    return {
      cluster: this.#cluster,
      random: this.#random,
      long,
      served: () => this.#served(),
      moved: (since) =>
        until(
          () => this.#all.every(({ client }) => client.connected && client.heardAt > since + 300),
          SERVED_MS,
        ),
      abandon: () => {
        for (const roamer of this.#all) roamer.abandons = true
      },
      close: () => {
        const left = this.#all.reduce((sum, { abandoned }) => sum + abandoned, 0)
        for (const roamer of this.#all) {
          roamer.abandons = false
          this.#orphans.push(roamer.orphans(ORPHAN_MS))
        }
        return left
      },
    }
  }

  /** Every publisher had an acknowledgement, and the subscriber of everything a message, since now. */
  async #served(): Promise<void> {
    const since = performance.now()
    const served = (): boolean =>
      [...this.#publishers, this.#everything].every(({ progressAt }) => progressAt > since) &&
      this.#all.every((one) => one.client.connected || this.#wanderers.includes(one))
    try {
      await until(served, SERVED_MS)
    } catch (error) {
      throw new Error(`not served again within ${SERVED_MS} ms: ${this.#states()}`, {
        cause: error,
      })
    }
  }

  /** How many clients each broker has. */
  async #spread(): Promise<string> {
    const counts = this.#cluster.nodes.map(({ broker }) => broker.clients())
    return (await Promise.all(counts)).join(' + ')
  }

  #states(): string {
    const now = performance.now()
    return this.#all
      .map(({ client, progressAt }) => {
        const where = client.connected ? 'is connected' : 'is not connected'
        return `${client.id} ${where}, last served ${Math.round(now - progressAt)} ms ago`
      })
      .join('; ')
  }

  /** No new messages; everything under way is finished. */
  async #drain(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer)
    const publishers = this.#publishers.map(({ client }) => client as Publisher)
    for (const publisher of publishers) publisher.running = false
    await until(() => publishers.every(({ inFlight }) => inFlight === 0), SERVED_MS)
    await until(() => this.#all.every(({ client }) => client.connected), SERVED_MS)
    this.#arrivedAt = performance.now()
    const since = performance.now()
    while (isOwed(this.#history) && performance.now() - since < ARRIVED_MS) await sleep(500)
    this.#plan.say(`${Math.round(performance.now() - since)} ms until everything had arrived`)
    await until(() => performance.now() - this.#arrivedAt > QUIET_MS, SERVED_MS)
  }

  /** The same on every node. */
  async #lookForRetained(): Promise<void> {
    const answers = await Promise.all(
      this.#cluster.nodes.map(({ broker }, n) =>
        retainedBelow(broker.address, 'crash/keep/', `retained-${n}`),
      ),
    )
    for (const [topic, key] of answers[0]!) this.#history.retained.set(topic, key)
    const texts = answers.map((answer) => [...answer].sort().join())
    if (new Set(texts).size > 1) {
      this.#faults.push(`nodes retain different messages: ${texts.join(' | ')}`)
    }
  }
}

export function medianOf(values: readonly number[]): number {
  if (values.length === 0) return 0
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)]!
}
