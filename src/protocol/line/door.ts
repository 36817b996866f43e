// What all line connections of one server share: the broker, who is here, and the line of the message
// that is being delivered, made once however many receive it.

import type { AccessClass } from '../../core/access.ts'
import type { Broker } from '../../core/broker.ts'
import type { Run } from '../../core/run.ts'
import { hasWildcard } from '../../core/topic.ts'
import type { Message } from '../../core/types.ts'
import type { Wire } from '../../net/wire.ts'
import { overlong } from './answers.ts'
import { shownName, shownNumber, shownPayload } from './display.ts'
import { LineLink } from './link.ts'

const LF = Buffer.from('\n')
/** Names that one answer to TOPICS holds at most, and sessions looked at for it. */
const TOPICS_MAX = 1000
const SESSIONS_MAX = 10_000
/** Connections that one answer to WHO lists. */
const WHO_MAX = 100
/** Milliseconds for which a list of topics is good: making it costs more than asking for it. */
const TOPICS_AGE_MS = 1000

/** Lines ready to be sent, and the payload bytes in them. */
export interface Lines {
  readonly bytes: Buffer
  readonly payload: number
}

export class LineDoor {
  readonly broker: Broker
  /** Every open line connection. */
  readonly links = new Set<LineLink>()
  #message: Message | null = null
  #run: Run | null = null
  #made: Lines = { bytes: LF, payload: 0 }
  #prefixTopic = ''
  #prefix: Buffer = LF
  #topics: readonly string[] = []
  #topicsAt = Number.NEGATIVE_INFINITY

  constructor(broker: Broker) {
    this.broker = broker
  }

  /** A link for a wire whose first bytes have turned out to be a line. */
  accept(wire: Wire): LineLink {
    const link = new LineLink(wire, this)
    this.links.add(link)
    return link
  }

  /** Says goodbye to those whom core does not know, because they have no role. */
  close(why: string): void {
    for (const link of [...this.links]) link.close('server-shutting-down', why)
  }

  /** The line of one message. */
  line(message: Message): Lines {
    if (this.#message !== message) {
      this.#remember()
      this.#message = message
      this.#made = { bytes: Buffer.concat(this.#parts(message)), payload: message.payload.length }
    }
    return this.#made
  }

  /** The lines of a run. */
  lines(run: Run): Lines {
    if (this.#run !== run) {
      this.#remember()
      this.#run = run
      const parts: Buffer[] = []
      let payload = 0
      for (const message of run.messages()) {
        parts.push(...this.#parts(message))
        payload += message.payload.length
      }
      this.#made = { bytes: Buffer.concat(parts), payload }
    }
    return this.#made
  }

  #parts({ topic, payload }: Message): [Buffer, Buffer, Buffer] {
    if (this.#prefixTopic !== topic.name) {
      this.#prefixTopic = topic.name
      this.#prefix = Buffer.from(`[${shownName(topic.name)}] `)
    }
    return [this.#prefix, shownPayload(payload), LF]
  }

  /** What is remembered is forgotten with the turn, so that it keeps no memory of others alive. */
  #remember(): void {
    if (this.#message === null && this.#run === null) {
      this.broker.runtime.atTurnEnd(() => {
        this.#message = null
        this.#run = null
        this.#made = { bytes: LF, payload: 0 }
      })
    }
    this.#message = null
    this.#run = null
  }

  /** The answer to a line over the limit, which is counted. */
  overlong(): string {
    this.broker.counters.limitsReached++
    return overlong(this.broker.limits.lineBytes)
  }

  /** The answer to TOPICS for somebody with those rights. */
  listTopics(access: AccessClass): string {
    const names = this.#names().filter((name) => access.maySubscribe(name))
    const items = names.map((name) => `- ${shownName(name)}`)
    return [...items, `OK ${counted(names.length, 'topic')}`].join('\n')
  }

  /** The answer to WHO. */
  listLinks(asking: LineLink): string {
    const items: string[] = []
    for (const link of this.links) {
      if (items.length === WHO_MAX) break
      items.push(`- ${shownName(link.label)}${link === asking ? ' (you)' : ''}`)
    }
    const here = this.links.size
    const all = this.broker.counters.connectionsOpen
    const more = all > here ? `, ${counted(all, 'connection')} in all` : ''
    return [...items, `OK ${counted(here, 'line connection')}${more}`].join('\n')
  }

  /** Topics in use: published to since the start, or subscribed to by name. At most a second old. */
  #names(): readonly string[] {
    const now = this.broker.runtime.now()
    if (now - this.#topicsAt < TOPICS_AGE_MS && now >= this.#topicsAt) return this.#topics
    const names = new Set<string>()
    const add = (name: string): void => {
      if (names.size < TOPICS_MAX && !name.startsWith('$') && !hasWildcard(name)) names.add(name)
    }
    let left = SESSIONS_MAX
    for (const session of this.broker.sessions.all()) {
      if (left-- === 0 || names.size === TOPICS_MAX) break
      for (const { filter } of session.subscriptions()) add(filter)
    }
    this.broker.topics.forEach((topic) => {
      add(topic.name)
    })
    this.#topics = [...names].sort()
    this.#topicsAt = now
    return this.#topics
  }
}

function counted(n: number, what: string): string {
  return `${shownNumber(n)} ${what}${n === 1 ? '' : 's'}`
}
