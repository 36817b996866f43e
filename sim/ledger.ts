// Who published what, who subscribed to what, who received what: written down by the simulated
// clients, judged against what the standard promises. Knows nothing of the broker's insides.

import { matches, sharedFilter } from '../src/core/topic.ts'
import type { QoS } from '../src/core/types.ts'

/** A promise was broken. */
export class Violation extends Error {}

export interface Published {
  readonly key: string
  readonly publisher: string
  /** Grows with every message of that publisher. */
  readonly number: number
  readonly topic: string
  readonly qos: QoS
  readonly retain: boolean
  /** Turn in which it was first sent. */
  readonly sent: number
  /** The same in milliseconds. */
  readonly sentAt: number
  readonly expires: boolean
  /** Turn in which PUBACK or PUBREC said it was taken; 0 before. */
  acked: number
  refused: boolean
  attempts: number
  /** Which of its publisher's connections it was first sent on. */
  readonly connection: number
  /** Its publisher's session ended before it was told that the message is taken: it is not sent again. */
  abandoned: boolean
  /**
   * Sent again in a session that its publisher took for the one before: that one had expired, and the CONNACK that
   * would have said so was lost. To the broker it is another message.
   */
  doubted: boolean
}

/** One subscription of one session, from request to end. */
export interface Wish {
  readonly filter: string
  /** Name of the shared group, with its filter; null for one's own. */
  readonly group: string | null
  /** What is matched: the filter without `$share/name/`. */
  readonly plain: string
  leastQos: QoS
  mostQos: QoS
  /** True while it was always so, and once it was ever so. */
  noLocal: boolean
  everNoLocal: boolean
  readonly requested: number
  confirmed: number
  /** Turn in which its end was asked for, and in which that was confirmed; 0 before. */
  endAsked: number
  ended: number
}

/** A client's session from the CONNACK that said there was none before, until it ends. */
export class Generation {
  readonly client: string
  /** Whether it outlives connections. */
  durable: boolean
  readonly wishes: Wish[] = []
  /** How often each message was delivered live, by key. */
  readonly delivered = new Map<string, number>()
  /** The same at QoS 2: once, unless the subscription was of QoS 1 in between. */
  readonly exactly = new Map<string, number>()
  /** Highest number delivered, by publisher, topic and QoS. */
  readonly highest = new Map<string, number>()
  /** Every message it got, live or retained. */
  readonly seen = new Set<string>()
  over = false
  /** Its last connection; `partedAt` is when the broker was done with it, in milliseconds, 0 before. */
  wire: { readonly partedAt: number } | null = null
  /** It may have expired unnoticed, in a connection whose CONNACK was lost: nothing is sure to be owed. */
  doubtful = false

  constructor(client: string, durable: boolean) {
    this.client = client
    this.durable = durable
  }

  wish(filter: string): Wish | undefined {
    return this.wishes.findLast((w) => w.filter === filter && w.endAsked === 0)
  }

  ask(filter: string, qos: QoS, noLocal: boolean, turn: number): Wish {
    const known = this.wish(filter)
    if (known !== undefined) {
      known.leastQos = Math.min(known.leastQos, qos) as QoS
      known.mostQos = Math.max(known.mostQos, qos) as QoS
      known.noLocal &&= noLocal
      known.everNoLocal ||= noLocal
      return known
    }
    const shared = sharedFilter(filter)
    const apart = shared !== null && typeof shared !== 'string' ? shared : null
    const wish: Wish = {
      filter,
      group: apart === null ? null : `${apart.group}/${apart.filter}`,
      plain: apart?.filter ?? filter,
      leastQos: qos,
      mostQos: qos,
      noLocal,
      everNoLocal: noLocal,
      requested: turn,
      confirmed: 0,
      endAsked: 0,
      ended: 0,
    }
    this.wishes.push(wish)
    return wish
  }
}

export interface Received {
  readonly topic: string
  readonly payload: string
  readonly qos: QoS
  readonly retain: boolean
  /** Which of the receiver's connections. */
  readonly connection: number
}

/** What happened to one shared group. */
interface GroupBook {
  /** Deliveries of each message, by key: who got it, at which QoS. */
  readonly delivered: Map<string, { client: string; qos: QoS; durable: boolean }[]>
  /** Turns in which a member's connection or session was lost. */
  readonly losses: number[]
}

export class Ledger {
  readonly messages = new Map<string, Published>()
  readonly generations: Generation[] = []
  readonly groups = new Map<string, GroupBook>()
  deliveries = 0
  /** The engine refuses some: what was refused and is sent again comes after what was not. */
  refusing = false
  /** There are several nodes: what a client sent through two of them, and does not send again, may cross. */
  scattered = false
  /** Processes were killed: a member whose session died with one cannot finish what it was lent. */
  killed = false

  group(name: string): GroupBook {
    let book = this.groups.get(name)
    if (book === undefined) {
      book = { delivered: new Map(), losses: [] }
      this.groups.set(name, book)
    }
    return book
  }

  /** A process is gone, and with it every connection, whether its client noticed before or not. */
  ended(turn: number): void {
    this.killed = true
    for (const { losses } of this.groups.values()) losses.push(turn)
  }

  begin(client: string, durable: boolean): Generation {
    const generation = new Generation(client, durable)
    this.generations.push(generation)
    return generation
  }

  /** The session is over, or about to be: nothing is owed to it any more. */
  end(generation: Generation | null, turn: number): void {
    if (generation === null || generation.over) return
    generation.over = true
    this.lost(generation, turn)
  }

  /** Its connection was lost, or given up. */
  lost(generation: Generation | null, turn: number): void {
    for (const { group } of generation?.wishes ?? []) {
      if (group !== null) this.group(group).losses.push(turn)
    }
  }

  /** The client's application got a message. */
  received(generation: Generation, got: Received, turn: number): void {
    this.deliveries++
    const key = got.payload.split(' ', 1)[0] as string
    if (key === '' || key.startsWith('will:')) return
    const message = this.messages.get(key)
    if (message === undefined)
      throw new Violation(`${generation.client} got ${key}: nobody sent it`)
    const who = `${generation.client} got ${key} on ${got.topic} at QoS ${got.qos}`
    if (message.topic !== got.topic) throw new Violation(`${who}, sent to ${message.topic}`)
    if (!/^\S+ x*$/.test(got.payload)) throw new Violation(`${who}, changed: ${got.payload}`)
    if (message.refused && message.attempts === 1) throw new Violation(`${who}, which was refused`)
    this.#checkWanted(generation, message, got, who)
    generation.seen.add(key)
    if (got.retain) return
    const times = (generation.delivered.get(key) ?? 0) + 1
    generation.delivered.set(key, times)
    const owed = generation.wishes.filter((w) => w.requested <= turn && matches(w.plain, got.topic))
    const shared = owed.find((w) => w.group !== null)
    if (shared !== undefined) this.#sharedDelivery(shared.group as string, generation, message, got)
    if (got.qos === 2 && !message.doubted)
      generation.exactly.set(key, (generation.exactly.get(key) ?? 0) + 1)
    if ((generation.exactly.get(key) ?? 0) > 1 || (times > 1 && message.qos === 0)) {
      throw new Violation(`${who} for the ${times}. time`)
    }
    // What was missed at QoS 0, by expiry, by a short tail or before subscribing, and is sent again by its publisher comes late, and may.
    const since = Math.max(...owed.map((w) => w.confirmed || Number.POSITIVE_INFINITY))
    const late =
      message.attempts > 1 &&
      (this.refusing ||
        !generation.durable ||
        message.expires ||
        got.qos === 0 ||
        owed.some((w) => w.leastQos === 0) ||
        message.sent <= since)
    const crossing = this.scattered && message.abandoned
    // Passed over at QoS 0 under a change of the subscription that was lost with its node, before SUBACK: it comes yet.
    const regained = this.scattered && owed.some((w) => w.leastQos === 0 && w.mostQos > 0)
    if (shared === undefined && !late && !crossing && !regained)
      this.#checkOrder(generation, message, got, times, who)
  }

  #checkWanted(g: Generation, message: Published, got: Received, who: string): void {
    const fits = g.wishes.filter(
      (w) => matches(w.plain, got.topic) && (w.ended === 0 || w.ended > message.sent || got.retain),
    )
    if (fits.length === 0) throw new Violation(`${who}, which no subscription matches`)
    if (fits.every((w) => w.noLocal) && message.publisher === g.client) {
      throw new Violation(`${who}, its own message in spite of No Local`)
    }
    const most = Math.max(...fits.map((w) => w.mostQos))
    if (got.qos > Math.min(most, message.qos)) throw new Violation(`${who}, above what is granted`)
  }

  #checkOrder(g: Generation, m: Published, got: Received, times: number, who: string): void {
    // At QoS 0 nothing says which of two ways between nodes is the shorter.
    const way = this.scattered && m.qos === 0 ? ` ${m.connection} ${got.connection}` : ''
    const line = `${m.publisher} ${m.topic} ${m.qos} ${got.qos}${way}`
    const highest = g.highest.get(line) ?? 0
    if (times === 1 && m.number < highest) throw new Violation(`${who} after number ${highest}`)
    g.highest.set(line, Math.max(highest, m.number))
  }

  #sharedDelivery(name: string, g: Generation, m: Published, got: Received): void {
    const book = this.group(name)
    const before = book.delivered.get(m.key) ?? []
    before.push({ client: g.client, qos: got.qos, durable: g.durable })
    book.delivered.set(m.key, before)
    if (before.length === 1) return
    const all = before.map((d) => `${d.client} at QoS ${d.qos}`).join(', ')
    const lost = book.losses.some((turn) => turn >= m.sent)
    const earlier = before.slice(0, -1)
    // What a member of QoS 2 forgot with the process is not known to have arrived.
    const forgotten = this.killed && earlier.some(({ durable }) => !durable)
    if (forgotten || m.doubted) return
    // After a crash a member's own record has what the group's has, too: at QoS 1 it may come from both.
    const again =
      this.killed && got.qos === 1 && earlier.some((d) => d.client === g.client && d.qos === 1)
    const allowed = lost && (again || earlier.every(({ qos }) => qos === 1))
    // A publisher that sends again what it got no answer for is not the group's fault.
    if (!allowed && m.attempts === 1) {
      throw new Violation(`${m.key} went to more than one member of ${name}: ${all}`)
    }
    if (before.filter((d) => d.qos === 2).length > 1) {
      throw new Violation(`${m.key} of QoS 2 went to more than one member of ${name}: ${all}`)
    }
  }

  /** Everything acknowledged reached everybody it was for. Once all is quiet. */
  checkDelivered(only: (g: Generation) => boolean): void {
    for (const m of this.messages.values()) {
      if (m.acked === 0 || m.qos === 0 || m.refused || m.expires) continue
      for (const g of this.generations) {
        if (g.over || g.doubtful || g.seen.has(m.key) || !only(g)) continue
        const owed = g.wishes.find((w) => w.group === null && isOwed(w, m, g.client))
        if (owed === undefined) continue
        throw new Violation(
          `${g.client} never got ${m.key} on ${m.topic} (QoS ${m.qos}, retain ${m.retain}), acknowledged in turn ${m.acked}, for ${owed.filter}`,
        )
      }
      this.#checkGroups(m, only)
    }
  }

  #checkGroups(m: Published, only: (g: Generation) => boolean): void {
    for (const [name, book] of this.groups) {
      if (book.delivered.has(m.key)) continue
      const waits = this.generations.some(
        (g) =>
          !g.over &&
          !g.doubtful &&
          only(g) &&
          g.wishes.some((w) => w.group === name && isOwed(w, m, g.client)),
      )
      // QoS 2 sticks to the member it went to, and ends with it. [MQTT-4.8.2-5]
      const excused = m.qos === 2 && this.generations.some((g) => g.over && mayHave(g, name, m))
      if (waits && !excused) throw new Violation(`no member of ${name} ever got ${m.key}`)
    }
  }
}

/** Whether it may have been given to that member, which the broker knew to be there. */
function mayHave(g: Generation, group: string, m: Published): boolean {
  const until = g.wire?.partedAt ?? 0
  return g.wishes.some((w) => w.group === group) && (until === 0 || until >= m.sentAt)
}

function isOwed(w: Wish, m: Published, client: string): boolean {
  return (
    w.confirmed > 0 &&
    w.confirmed < m.sent &&
    w.endAsked === 0 &&
    w.leastQos > 0 &&
    !(w.everNoLocal && m.publisher === client) &&
    matches(w.plain, m.topic)
  )
}
