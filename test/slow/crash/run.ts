// One run: a real server, publishers, durable subscribers coming and going, shared groups, wills and
// retained messages, and `kill -9` at moments a seed decides. Answers what clients saw.

import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { DiskProcess } from '../../support/disk-process.ts'
import { Mourned, Publisher, retainedBelow, Subscriber } from './clients.ts'
import { type History, judge } from './history.ts'

export interface Plan {
  readonly seed: number
  readonly kills: number
  /** Acknowledged messages to reach at least. */
  readonly acknowledged: number
  readonly publishers: number
  /** Unacknowledged messages of each publisher. */
  readonly window: number
  readonly say: (line: string) => void
}

export interface Outcome {
  readonly history: History
  /** Broken promises, empty when all were kept. */
  readonly faults: string[]
  readonly kills: number
  readonly acknowledged: number
  readonly acknowledgedQos2: number
  /** Messages under way at the moments of the kills, together. */
  readonly inFlightAtKills: number
}

/** A subscriber that receives nothing for so long has everything. */
const QUIET_MS = 3_000
const DRAIN_MS = 60_000
/** Messages a millisecond that a subscriber takes at least which is behind. */
const BEHIND_PER_MS = 5
const MOURNED_TOPIC = 'crash-wills/mourned'

export async function crashRun(plan: Plan): Promise<Outcome> {
  const run = new CrashRun(plan)
  try {
    return await run.go()
  } finally {
    await run.end()
  }
}

class CrashRun {
  readonly #plan: Plan
  readonly #folder = fs.mkdtempSync(path.join(os.tmpdir(), 'partyline-crash-'))
  readonly #history: History = { sent: new Map(), received: [], retained: new Map() }
  readonly #publishers: Publisher[]
  readonly #subscribers: Subscriber[]
  readonly #random: () => number
  #server!: DiskProcess
  #acknowledged = 0
  #arrivedAt = 0
  #inFlightAtKills = 0
  #onAcknowledged: () => void = () => {}

  constructor(plan: Plan) {
    this.#plan = plan
    this.#random = generator(plan.seed)
    const arrived = () => {
      this.#arrivedAt = performance.now()
    }
    this.#publishers = Array.from(
      { length: plan.publishers },
      (_, n) =>
        new Publisher(`p${n}`, plan.window, this.#history, this.#random, () => {
          this.#acknowledged++
          this.#onAcknowledged()
        }),
    )
    this.#subscribers = [
      new Subscriber('everything', 'crash/', '', arrived),
      new Subscriber('comes-and-goes', 'crash/p0/', '', arrived),
      new Subscriber('member-1', 'crash/p1/', 'team', arrived),
      new Subscriber('member-2', 'crash/p1/', 'team', arrived),
    ]
    for (const { received } of this.#subscribers) this.#history.received.push(received)
  }

  async go(): Promise<Outcome> {
    await this.#start()
    await this.#connect(this.#subscribers)
    await until(() => this.#subscribers.every(({ subscribed }) => subscribed), 10_000)
    await this.#connect(this.#publishers)
    const { kills, acknowledged, say } = this.#plan
    const each = Math.ceil(acknowledged / kills)
    for (let kill = 1; kill <= kills; kill++) {
      await this.#live(Math.floor(each * (0.7 + this.#random() * 0.7)))
      await this.#crash()
      say(`kill ${kill} of ${kills}: ${this.#acknowledged} acknowledged`)
    }
    await this.#live(each)
    await this.#drain()
    const wills = await this.#mourning()
    for (const [topic, key] of await retainedBelow(this.#server.address, 'crash/keep/')) {
      this.#history.retained.set(topic, key)
    }
    const all = [...this.#publishers, ...this.#subscribers]
    const sent = [...this.#history.sent.values()].filter((message) => message.acknowledged)
    return {
      history: this.#history,
      faults: [...all.flatMap(({ faults }) => faults), ...wills, ...judge(this.#history)],
      kills,
      acknowledged: sent.length,
      acknowledgedQos2: sent.filter(({ qos }) => qos === 2).length,
      inFlightAtKills: this.#inFlightAtKills,
    }
  }

  async end(): Promise<void> {
    for (const client of [...this.#publishers, ...this.#subscribers]) client.drop()
    await this.#server?.kill()
    fs.rmSync(this.#folder, { recursive: true, force: true })
  }

  /** Lets messages flow until so many more are acknowledged; one subscriber comes and goes. */
  async #live(more: number): Promise<void> {
    const goal = this.#acknowledged + more
    const wanderer = this.#subscribers[1]!
    let leave = this.#acknowledged + Math.floor(more * this.#random())
    await new Promise<void>((resolve, reject) => {
      const stuck = setTimeout(
        () => reject(new Error(`no progress at ${this.#acknowledged}: ${this.#server.errors}`)),
        DRAIN_MS,
      )
      this.#onAcknowledged = () => {
        if (this.#acknowledged >= leave) {
          leave = Number.POSITIVE_INFINITY
          wanderer.drop()
          setTimeout(() => void wanderer.open(this.#server.address), 30)
        }
        if (this.#acknowledged < goal) return
        this.#onAcknowledged = () => {}
        clearTimeout(stuck)
        resolve()
      }
    })
  }

  async #crash(): Promise<void> {
    for (const { inFlight } of this.#publishers) this.#inFlightAtKills += inFlight
    await this.#kill()
    await this.#start()
    for (const client of [...this.#publishers, ...this.#subscribers]) {
      client.drop()
      client.mayBeCut = false
    }
    await this.#connect(this.#subscribers)
    await this.#connect(this.#publishers)
  }

  async #start(): Promise<void> {
    this.#server = await DiskProcess.start(this.#folder, { SAY_LOST: 'yes' })
  }

  async #kill(): Promise<void> {
    for (const client of [...this.#publishers, ...this.#subscribers]) client.mayBeCut = true
    await this.#server.kill()
  }

  async #connect(clients: readonly (Publisher | Subscriber)[]): Promise<void> {
    await Promise.all(clients.map((client) => client.open(this.#server.address)))
  }

  /** No new messages; everything under way is finished. */
  async #drain(): Promise<void> {
    for (const publisher of this.#publishers) publisher.running = false
    try {
      await until(() => this.#publishers.every(({ inFlight }) => inFlight === 0), DRAIN_MS)
    } catch (error) {
      const states = this.#publishers.map((p) => {
        const where = p.connected ? 'is connected' : 'is not connected'
        return `${p.id} ${where} and waits for ${p.inFlight}${p.faults.map((f) => `, ${f}`).join('')}`
      })
      throw new Error(`unacknowledged for ever: ${states.join('; ')}; ${this.#server.errors}`, {
        cause: error,
      })
    }
    this.#arrivedAt = performance.now()
    // After a long run some are millions behind.
    const most = DRAIN_MS + this.#acknowledged / BEHIND_PER_MS
    await until(() => performance.now() - this.#arrivedAt > QUIET_MS, most)
  }

  /** A will is published when its client is lost, and also when the server was lost with it. */
  async #mourning(): Promise<string[]> {
    const faults: string[] = []
    for (const crash of [false, true]) {
      const topic = `${MOURNED_TOPIC}/${crash}`
      const mourned = new Mourned(`mourned-${crash}`, topic)
      await mourned.open(this.#server.address)
      if (crash) {
        await this.#kill()
        await this.#start()
      }
      mourned.drop()
      let found = false
      for (let tries = 0; tries < 10 && !found; tries++) {
        await sleep(200)
        found = (await retainedBelow(this.#server.address, 'crash-wills/')).has(topic)
      }
      if (!found) faults.push(`no will for a client lost ${crash ? 'with the server' : 'alone'}`)
    }
    return faults
  }
}

/** Repeatable chance: a linear congruence is enough to choose moments. */
export function generator(seed: number): () => number {
  let state = (seed * 2_654_435_761) % 2_147_483_647 || 1
  return () => {
    state = (state * 48_271) % 2_147_483_647
    return state / 2_147_483_647
  }
}

export async function until(done: () => boolean, within: number): Promise<void> {
  const deadline = performance.now() + within
  while (!done()) {
    if (performance.now() > deadline) throw new Error(`not done within ${within} ms: ${done}`)
    await sleep(20)
  }
}
