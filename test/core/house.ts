// A broker with nothing real around it: time that moves when told to, links that write down what
// they are sent, an engine whose commits take as long as the test says.

import { Chance } from '../../sim/chance.ts'
import { Clock, SimRuntime } from '../../sim/clock.ts'
import { Disk, type EngineFaults, SimEngine } from '../../sim/engine.ts'
import type { AccessClass } from '../../src/core/access.ts'
import { EVERYTHING } from '../../src/core/access.ts'
import type { Delivery } from '../../src/core/audience.ts'
import { Broker, type LogFull } from '../../src/core/broker.ts'
import type { Engine } from '../../src/core/engine.ts'
import type { Publisher } from '../../src/core/intake.ts'
import type { Limits } from '../../src/core/limits.ts'
import type { Goodbye, Link, Sending } from '../../src/core/link.ts'
import type { Run } from '../../src/core/run.ts'
import type { Session } from '../../src/core/session.ts'
import type { QoS, Will } from '../../src/core/types.ts'
import { MemoryEngine } from '../../src/engine/memory.ts'

export interface Sent {
  readonly topic: string
  readonly payload: string
  readonly qos: QoS
  readonly retain: boolean
  readonly packetId: number
  readonly duplicate: boolean
  readonly identifiers: readonly number[] | null
}

export class FakeLink implements Link {
  readonly peer = 'test:1'
  readonly door = 'tcp/test'
  readonly clientId: string
  congested = false
  receiveMaximum = 1024
  /** Whether messages fit what the client accepts. */
  accepts = true
  session: Session | null = null
  readonly sent: Sent[] = []
  readonly released: number[] = []
  readonly closed: Goodbye[] = []

  constructor(clientId: string) {
    this.clientId = clientId
  }

  pass(run: Run, delivery: Delivery): void {
    for (const { topic, payload, retain } of run.messages()) {
      this.sent.push({
        topic: topic.name,
        payload: payload.toString(),
        qos: 0,
        retain: retain && delivery.retainAsPublished,
        packetId: 0,
        duplicate: false,
        identifiers: delivery.identifiers,
      })
    }
  }

  send({ message, qos, retain, packetId, duplicate, identifiers }: Sending): boolean {
    if (!this.accepts) return false
    const { topic, payload } = message
    const text = payload.toString()
    this.sent.push({
      topic: topic.name,
      payload: text,
      qos,
      retain,
      packetId,
      duplicate,
      identifiers,
    })
    return true
  }

  release(packetId: number): void {
    this.released.push(packetId)
  }

  close(goodbye: Goodbye): void {
    this.closed.push(goodbye)
  }

  /** Payloads of everything sent since it was last asked. */
  hears(): string[] {
    return this.sent.splice(0).map(({ payload }) => payload)
  }

  /** Acknowledges what was sent and heard nothing about, oldest first. */
  acks(...packetIds: number[]): void {
    for (const id of packetIds) this.session?.acknowledged(id)
    this.session?.settle()
  }
}

export interface ComingOptions {
  readonly clean?: boolean
  readonly expiry?: number
  readonly will?: Partial<Will>
  readonly access?: AccessClass
  readonly receiveMaximum?: number
}

export interface HouseOptions {
  readonly limits?: Partial<Limits>
  readonly logFull?: LogFull
  /** The simulated engine with these habits; the memory engine when absent. */
  readonly engine?: Partial<EngineFaults>
  /** What an earlier house left behind. */
  readonly disk?: Disk
  readonly seed?: number
}

const GOOD: EngineFaults = {
  durable: true,
  commitMs: 1,
  slow: 0,
  refuse: 0,
  fail: 0,
  cap: Number.POSITIVE_INFINITY,
}

export class House {
  readonly clock = new Clock()
  readonly runtime: SimRuntime
  readonly disk: Disk
  readonly engine: Engine
  readonly broker: Broker
  readonly reports: string[] = []

  constructor(options: HouseOptions = {}) {
    const chance = new Chance(options.seed ?? 1)
    this.runtime = new SimRuntime(this.clock, chance)
    this.disk = options.disk ?? new Disk('log')
    const { runtime, disk, clock } = this
    const faults = { ...GOOD, ...options.engine }
    const simulated = new SimEngine(disk, clock, runtime, chance, faults)
    this.engine = options.engine === undefined ? new MemoryEngine(runtime) : simulated
    this.broker = new Broker({
      engine: this.engine,
      runtime,
      ...(options.limits === undefined ? {} : { limits: options.limits }),
      ...(options.logFull === undefined ? {} : { logFull: options.logFull }),
      report: (what, about) => this.reports.push(`${what}: ${about}`),
    })
    simulated.topicOf = (name) => {
      const topic = this.broker.topics.named(name)
      if (topic === null) throw new Error(`no topic ${name}`)
      return topic
    }
  }

  static async open(options: HouseOptions = {}): Promise<House> {
    const house = new House(options)
    await house.broker.open()
    return house
  }

  /** The process dies; what it had not committed may be lost. */
  crash(): Disk {
    this.runtime.kill()
    if (this.engine instanceof SimEngine) this.engine.crash()
    return this.disk
  }

  /** Everything that can happen without time passing. */
  async turns(): Promise<void> {
    await this.passes(0)
  }

  async passes(ms: number): Promise<void> {
    const until = this.clock.time + ms
    // What the test did just now ends its turn, too.
    this.clock.at(0, () => {})
    while (await this.clock.turn(until));
  }

  /** A client comes and waits until it is served. */
  async comes(id: string, options: ComingOptions = {}): Promise<FakeLink> {
    const before = this.clock.time
    let served: FakeLink | null = null
    void this.asks(id, options).then(({ link }) => {
      served = link
    })
    while (served === null) {
      if (this.clock.time > before + 60_000) throw new Error(`${id} is not served`)
      await this.passes(10)
    }
    return served
  }

  /** A client asks to come; time has to pass for an answer. */
  async asks(
    id: string,
    options: ComingOptions = {},
  ): Promise<{ link: FakeLink; present: boolean }> {
    const link = new FakeLink(id)
    link.receiveMaximum = options.receiveMaximum ?? link.receiveMaximum
    const will: Will | null =
      options.will === undefined
        ? null
        : {
            topic: 'will',
            payload: Buffer.from(id),
            properties: Buffer.alloc(0),
            qos: 0,
            retain: false,
            delay: 0,
            expiry: Number.POSITIVE_INFINITY,
            ...options.will,
          }
    const { session, present } = await this.broker.sessions.connect({
      clientId: id,
      cleanStart: options.clean ?? false,
      expiry: options.expiry ?? 0,
      will,
      user: '',
      access: options.access ?? EVERYTHING,
      link,
    })
    link.session = session
    session.start()
    return { link, present }
  }

  leaves(link: FakeLink, will: 'publish' | 'discard' = 'publish'): void {
    this.broker.sessions.disconnect(link.session as Session, link, { will })
  }

  subscribes(link: FakeLink, filter: string, qos: QoS = 1, more: object = {}): void {
    const options = { qos, identifier: 0, noLocal: false, retainAsPublished: false, ...more }
    const result = this.broker.subscribe(link.session as Session, filter, options)
    if ('fault' in result) throw new Error(result.why)
    link.session?.settle()
  }

  /** Publishes in the server's own name; the promise is the acknowledgement. */
  says(topic: string, payload: string, qos: QoS = 1, retain = false): Promise<void> {
    const message = this.broker.message({ topic, payload: Buffer.from(payload), qos, retain })
    return this.broker.publish(message)
  }
}

/** A publisher that remembers what it was told. */
export class FakePublisher implements Publisher {
  intakeBytes = 0
  readonly answers: [token: number, fault: string | null][] = []
  woken = 0

  stored(token: number, fault: string | null): void {
    this.answers.push([token, fault])
  }

  roomAgain(): void {
    this.woken++
  }
}
