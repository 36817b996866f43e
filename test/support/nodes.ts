// Several brokers over one shared log, in virtual time, with links that write down what they are sent:
// for tests that say what happens at which node.

import { Chance } from '../../sim/chance.ts'
import { Clock, SimRuntime } from '../../sim/clock.ts'
import { EVERYTHING } from '../../src/core/access.ts'
import { Broker } from '../../src/core/broker.ts'
import type { QoS, Will } from '../../src/core/types.ts'
import { FakeLink } from '../core/house.ts'
import { SharedEngine } from './shared-engine.ts'
import { SharedLog } from './shared-log.ts'

export interface Visit {
  readonly clean?: boolean
  readonly expiry?: number
  readonly will?: Partial<Will>
}

interface Node {
  readonly broker: Broker
  readonly engine: SharedEngine
  readonly runtime: SimRuntime
}

export class Nodes {
  readonly clock = new Clock()
  readonly servers: SharedLog
  readonly all: Node[] = []
  readonly reports: string[] = []
  /** Casts so far, of all nodes. */
  casts = 0
  #losing = 0
  readonly #chance = new Chance(1)

  private constructor() {
    const runtime = new SimRuntime(this.clock, this.#chance)
    this.servers = new SharedLog('shared', runtime, { delayMs: 2, lost: 0 })
  }

  static async start(count: number): Promise<Nodes> {
    const nodes = new Nodes()
    for (let i = 0; i < count; i++) await nodes.boot()
    await nodes.pass(5_000)
    return nodes
  }

  /** One more node. */
  async boot(): Promise<Broker> {
    const runtime = new SimRuntime(this.clock, this.#chance)
    const engine = new SharedEngine(this.servers, `n${this.all.length}`, runtime)
    const cast = engine.cast.bind(engine)
    engine.cast = (node, bytes) => {
      this.casts++
      if (this.#losing > 0) this.#losing--
      else cast(node, bytes)
    }
    const broker = new Broker({
      engine,
      runtime,
      report: (what, about) => this.reports.push(`${engine.node} ${what}: ${about}`),
    })
    engine.topicOf = (name) => broker.topics.named(name) as never
    this.all.push({ broker, engine, runtime })
    await this.done(broker.open())
    return broker
  }

  /** The next casts get nowhere. */
  losesNextCasts(count: number): void {
    this.#losing = count
  }

  node(index: number): Node {
    return this.all[index] as Node
  }

  broker(index: number): Broker {
    return this.node(index).broker
  }

  /** Its process dies. */
  kill(index: number): void {
    const { engine, runtime } = this.node(index)
    engine.kill()
    runtime.kill()
  }

  /** Its process stands still, until it goes on. */
  pauses(index: number): void {
    const { engine, runtime } = this.node(index)
    engine.paused = true
    runtime.pause()
  }

  goesOn(index: number): void {
    const { engine, runtime } = this.node(index)
    engine.paused = false
    runtime.resume()
  }

  /** Lets time pass until what is awaited has happened. */
  async done<T>(awaited: Promise<T>): Promise<T> {
    let over = false
    const mark = (): void => {
      over = true
    }
    awaited.then(mark, mark)
    const until = this.clock.time + 60_000
    while (!over && (await this.clock.turn(until)));
    return awaited
  }

  async pass(ms: number): Promise<void> {
    const until = this.clock.time + ms
    while (await this.clock.turn(until));
  }

  async comes(index: number, clientId: string, visit: Visit = {}): Promise<FakeLink> {
    const { clean = false, expiry = 3_600, will } = visit
    const link = new FakeLink(clientId)
    const whole: Will | null =
      will === undefined
        ? null
        : {
            topic: `will/${clientId}`,
            payload: Buffer.from(`will of ${clientId}`),
            properties: Buffer.alloc(0),
            qos: 1,
            retain: false,
            delay: 0,
            expiry: Number.POSITIVE_INFINITY,
            ...will,
          }
    const { session, present } = await this.done(
      this.broker(index).sessions.connect({
        clientId,
        cleanStart: clean,
        expiry,
        will: whole,
        user: '',
        access: EVERYTHING,
        link,
      }),
    )
    link.session = session
    this.present = present
    session.start()
    return link
  }

  /** Whether the last who came found a session. */
  present = false

  /** Its connection is lost. */
  goes(index: number, link: FakeLink): void {
    if (link.session !== null) {
      this.broker(index).sessions.disconnect(link.session, link, { will: 'publish' })
    }
  }

  subscribe(index: number, { session }: FakeLink, filter: string, qos: QoS): void {
    if (session === null) throw new Error('it never came')
    const broker = this.broker(index)
    const options = { qos, identifier: 0, noLocal: false, retainAsPublished: false }
    const result = broker.subscribe(session, filter, options)
    if ('fault' in result) throw new Error(result.why)
    if (session.persistent) broker.saver.profile(session).catch(() => {})
    session.settle()
  }

  unsubscribe(index: number, { session }: FakeLink, filter: string): void {
    if (session !== null) this.broker(index).unsubscribe(session, filter)
  }

  /** QoS 0. */
  publish(index: number, topic: string, text: string, retain = false): void {
    const broker = this.broker(index)
    const message = broker.message({ topic, payload: Buffer.from(text), retain })
    this.clock.at(0, () => void broker.publish(message))
  }

  /** QoS 1 or 2; resolves when stored. */
  store(index: number, topic: string, text: string, qos: QoS = 1): Promise<void> {
    const broker = this.broker(index)
    return this.done(broker.publish(broker.message({ topic, payload: Buffer.from(text), qos })))
  }

  retained(index: number, topic: string): string | null {
    return this.broker(index).retained.get(topic)?.message.payload.toString() ?? null
  }

  stop(): void {
    for (const { engine, runtime } of this.all) {
      engine.kill()
      runtime.kill()
    }
  }
}
