// Watches wires and bounds from outside: who is live under which name, why a wire was ended, when
// a will was due, what a topic retains, how much is queued.

import type { Packet } from 'mqtt-packet'
import type { Broker } from '../src/core/broker.ts'
import type { ClientEvents, Connection, SimClient } from './client.ts'
import type { Clock } from './clock.ts'
import { type Published, Violation } from './ledger.ts'
import type { Plan } from './plan.ts'
import type { SimWire } from './wire.ts'

/** Milliseconds by which a will may be late: the broker's granularity, a commit, a wire. */
const WILL_SLACK_MS = 12_000
/** Bytes beyond the mark that answers and one more message may take. */
const QUEUE_SLACK = 16 * 1024
/** Milliseconds after which a link that finds no room is given up. */
const UNREAD_MS = 30_000

/** One wire of a client, as the broker sees it. */
interface Visit {
  readonly client: SimClient
  readonly wire: SimWire
  readonly openedAt: number
  /** When the broker wrote CONNACK; 0 before. */
  acceptedAt: number
  connection: Connection | null
  present: boolean
}

interface Keeping {
  readonly topic: string
  /** Everything sent there: number and whether it clears. */
  readonly sent: Map<number, boolean>
  sure: number
}

export class Watch implements ClientEvents {
  readonly #clock: Clock
  readonly #plan: Plan
  readonly #visits = new Map<string, Visit[]>()
  readonly #open = new Set<Visit>()
  readonly #wills = new Map<string, number[]>()
  readonly #retained = new Map<string, Keeping>()
  #broker: Broker | null = null
  #keepAliveClosed = 0
  #killedAt = 0
  /** Ended because their process was about to end. */
  readonly #excused = new Set<SimWire>()
  /** The watcher was behind and missed what memory had forgotten. */
  #blind = false
  /** Found where nothing may be thrown. */
  #fault: Violation | null = null
  /** Whether a message is on its way to the disk, and not there. */
  isUnsynced: (message: string) => boolean = () => false
  onTrace: ((line: string) => void) | null = null
  onRetained: (topic: string, number: number) => void = () => {}

  constructor(clock: Clock, plan: Plan) {
    this.#clock = clock
    this.#plan = plan
  }

  booted(broker: Broker): void {
    this.#broker = broker
    this.#keepAliveClosed = 0
  }

  killed(): void {
    this.#killedAt = this.#clock.time
    this.note('the process is killed')
    for (const { wire } of this.#open) wire.killed()
    this.#open.clear()
    this.#broker = null
  }

  /** The engine failed: whoever is connected is cut off. */
  failed(): void {
    for (const { wire } of this.#open) this.#excused.add(wire)
  }

  reported(what: string, about: string): void {
    if (what === 'overrun' && about === 'watcher') this.#blind = true
    const { engineFaults, trouble } = this.#plan
    const bad = trouble || engineFaults.cap < Number.POSITIVE_INFINITY
    if (what === 'overrun' || what === 'evicted' || bad || this.#plan.limits.memoryLogBytes) return
    this.#fault ??= new Violation(`the broker reports: ${what}: ${about}`)
  }

  opened(client: SimClient, wire: SimWire): void {
    const visit: Visit = {
      client,
      wire,
      openedAt: this.#clock.time,
      acceptedAt: 0,
      connection: null,
      present: false,
    }
    const { id } = client.plan
    const visits = this.#visits.get(id)
    if (visits === undefined) this.#visits.set(id, [visit])
    else visits.push(visit)
    this.#open.add(visit)
    if (this.#broker?.state === 'failed') this.#excused.add(wire)
    wire.onParted = (why) => this.note(`${wire.peer}: ${why}`)
    wire.onWritten = (bytes) => {
      if (visit.acceptedAt === 0 && bytes[0] === 0x20 && bytes[3] === 0) this.#welcomed(visit)
    }
  }

  /** CONNACK leaves: every other link of that name must be done with. [MQTT-3.1.4-3] */
  #welcomed(visit: Visit): void {
    visit.acceptedAt = this.#clock.time
    for (const other of this.#open) {
      if (other === visit || other.client !== visit.client || other.wire.partedAt !== 0) continue
      if (other.acceptedAt === 0) continue
      throw new Violation(`two live links for ${visit.client.plan.id}`)
    }
  }

  // ---- What clients tell ---------------------------------------------------------------------

  accepted(client: SimClient, connection: Connection, present: boolean): void {
    const visits = this.#visits.get(client.plan.id) ?? []
    const visit = visits.find((v) => v.wire === connection.wire)
    if (visit === undefined) throw new Violation('an answer on a wire that was never opened')
    visit.connection = connection
    visit.present = present
    if (connection.clean || (client.generation === null && client.plan.version === 5)) {
      if (present) throw new Violation(`${client.plan.id} asked for a clean start in vain`)
      return
    }
    this.#checkPresent(visit, visits, present)
  }

  #checkPresent(visit: Visit, visits: readonly Visit[], present: boolean): void {
    const { plan } = visit.client
    const before = visits.filter((v) => v !== visit)
    const known = before.findLast((v) => v.connection !== null)
    if (known === undefined) return
    const lasts = (known.connection?.lasting ?? 0) * 1000
    const now = this.#clock.time
    const left = known.wire.partedAt === 0 ? now : known.wire.partedAt
    if (!present && now - left < lasts) {
      throw new Violation(`the session of ${plan.id} is gone after ${now - left} of ${lasts} ms`)
    }
    const attempts = before.some((v) => v.connection === null && v.openedAt >= known.openedAt)
    if (attempts && now - left >= lasts && visit.client.generation !== null) {
      visit.client.generation.doubtful = true
    }
    const latest = Math.max(...before.map((v) => v.wire.partedAt || now), this.#killedAt)
    // An engine that fails may have failed to forget it.
    const sure = !attempts && this.#killedAt === 0 && !this.#plan.trouble
    if (present && sure && visit.openedAt - latest > lasts + 1_000) {
      throw new Violation(`the session of ${plan.id} is still there after ${lasts} ms`)
    }
  }

  lost(client: SimClient, connection: Connection): void {
    const { wire } = connection
    if (!wire.endedByBroker || connection.goodbye || client.connection !== connection) return
    const full = this.#plan.engineFaults.cap < Number.POSITIVE_INFINITY
    if (this.#excused.has(wire) || this.#plan.trouble || full || this.#plan.limits.memoryLogBytes)
      return
    const silent = wire.partedAt - wire.arrivedAt
    if (client.plan.keepAlive > 0 && silent >= client.plan.keepAlive * 1500) return
    if (wire.paused && wire.partedAt - wire.pausedSince >= UNREAD_MS) return
    const reason = connection.reason.toString(16)
    throw new Violation(`${client.plan.id} was cut off for no reason (reason ${reason})`)
  }

  retainedSent(message: Published, clear: boolean): void {
    let keeping = this.#retained.get(message.topic)
    if (keeping === undefined) {
      keeping = { topic: message.topic, sent: new Map(), sure: 0 }
      this.#retained.set(message.topic, keeping)
    }
    keeping.sent.set(message.number, clear)
  }

  taken(message: Published): void {
    if (this.isUnsynced(message.key)) {
      throw new Violation(`${message.key} was acknowledged before it was synced`)
    }
  }

  retainedTaken(message: Published): void {
    if (!message.retain) return
    // Of what is written within 250 ms a kill takes the last.
    if (message.qos === 0 && this.#plan.engine === 'disk') return
    const keeping = this.#retained.get(message.topic)
    if (keeping !== undefined) keeping.sure = Math.max(keeping.sure, message.number)
  }

  will(payload: string): void {
    const times = this.#wills.get(payload)
    if (times === undefined) this.#wills.set(payload, [this.#clock.time])
    else times.push(this.#clock.time)
  }

  retained(client: string, topic: string, payload: string): void {
    if (client === 'reader') this.onRetained(topic, Number(payload.split(' ', 1)[0]?.split(':')[1]))
  }

  trace(peer: string, way: '->' | '<-', packet: Packet): void {
    this.onTrace?.(`${this.#stamp()} ${peer} ${way} ${describe(packet)}`)
  }

  /** Something that happened to the process or a wire. */
  note(what: string): void {
    this.onTrace?.(`${this.#stamp()} ${what}`)
  }

  #stamp(): string {
    return `${this.#clock.turns} ${this.#clock.time - 1_700_000_000_000} ms`
  }

  // ---- Checks --------------------------------------------------------------------------------

  /** After every turn. */
  checkBounds(): void {
    if (this.#fault !== null) throw this.#fault
    const broker = this.#broker
    if (broker === null) return
    const { limits, log, intake, engine } = broker
    if (log.tailBytes > limits.tailBytes + 64 * 1024) throw new Violation('the tail grows')
    if (intake.bytes > limits.intakeBytes + 64 * 1024) throw new Violation('the intake grows')
    const { bytes, cap } = engine.bounds()
    if (bytes > cap) throw new Violation('the log is larger than it may be')
    for (const visit of this.#open) {
      const { wire } = visit
      if (wire.queued > limits.queueBytes + QUEUE_SLACK) {
        throw new Violation(`${wire.queued} bytes are queued to ${wire.peer}`)
      }
      if (wire.partedAt !== 0) this.#parted(visit)
    }
    this.#keepAliveClosed = broker.counters.keepAliveClosed
  }

  #parted(visit: Visit): void {
    this.#open.delete(visit)
    const { wire, client } = visit
    const closed = (this.#broker as Broker).counters.keepAliveClosed > this.#keepAliveClosed
    if (!closed || !wire.endedByBroker) return
    const { keepAlive } = client.plan
    const silent = wire.partedAt - wire.arrivedAt
    if (wire.paused || silent < keepAlive * 1500) {
      throw new Violation(`${wire.peer} was given up ${silent} ms after it was heard`)
    }
  }

  checkRetained(found: ReadonlyMap<string, number>): void {
    if (this.#plan.trouble) return
    for (const { topic, sent, sure } of this.#retained.values()) {
      const number = found.get(topic)
      const newest = Math.max(...sent.keys())
      if (number === undefined) {
        const cleared = [...sent].some(([n, clear]) => clear && n >= sure)
        if (sure > 0 && !cleared) throw new Violation(`${topic} retains nothing, not even ${sure}`)
      } else if (number < sure || number > newest || sent.get(number) !== false) {
        throw new Violation(`${topic} retains ${number} although ${sure} was taken`)
      }
    }
  }

  checkWills(killed: boolean): void {
    if (this.#plan.trouble || this.#plan.limits.memoryLogBytes) return
    if (this.#plan.engineFaults.cap < Number.POSITIVE_INFINITY) return
    for (const visits of this.#visits.values()) {
      for (const [i, visit] of visits.entries()) {
        this.#checkWill(visit, visits[i + 1] ?? null, killed)
      }
    }
  }

  #checkWill(visit: Visit, next: Visit | null, killed: boolean): void {
    const { connection, wire } = visit
    if (connection === null || connection.will === null) return
    const times = this.#wills.get(connection.will) ?? []
    const what = `${connection.will} came ${times.length} times`
    const { partedAt } = wire
    if (partedAt === 0 && times.length > 0) throw new Violation(`${what} from a live connection`)
    if (connection.goodbye && wire.endedByBroker && (next === null || next.openedAt > partedAt)) {
      if (times.length > 0) throw new Violation(`${what} after a goodbye`)
      return
    }
    if (killed || partedAt === 0 || connection.goodbye) return
    if (times.length > 1) throw new Violation(what)
    const delay = Math.min(connection.willDelay, connection.lasting) * 1000
    const due = partedAt + delay
    const [told] = times
    const came = next === null ? Number.POSITIVE_INFINITY : next.acceptedAt
    const asked = next === null ? Number.POSITIVE_INFINITY : next.openedAt
    const cleaned = next !== null && (next.connection === null || next.connection.clean)
    const early = told !== undefined && told < due && !cleaned
    if (early) throw new Violation(`${what}, ${due - (told as number)} ms too early`)
    if (told !== undefined && told > due + WILL_SLACK_MS) throw new Violation(`${what}, too late`)
    if (next !== null && (came === 0 || next.connection === null)) return
    if (told === undefined && !this.#blind && (delay === 0 || asked > due + 1_000)) {
      throw new Violation(`${what}, but was due ${due - partedAt} ms after the loss`)
    }
    const resumed = next?.present === true
    if (told !== undefined && resumed && came + 1 < due) {
      throw new Violation(`${what} although the client was back in time`)
    }
  }
}

function describe(packet: Packet): string {
  const parts = Object.entries(packet).flatMap(([key, value]) => {
    if (value === null || value === false || key === 'length' || key === 'payload') return []
    return key === 'cmd' ? [] : [`${key}=${JSON.stringify(value)}`]
  })
  const payload = packet.cmd === 'publish' ? ` "${packet.payload.toString().split(' ', 1)[0]}"` : ''
  return `${packet.cmd}${payload} ${parts.join(' ')}`
}
