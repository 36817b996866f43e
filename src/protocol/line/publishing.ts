// The publishing half of a line connection: hands messages to the broker and keeps answers in order.
// An `OK` is given only when every message before it is stored.

import type { Broker } from '../../core/broker.ts'
import type { EngineFault } from '../../core/engine.ts'
import type { Publisher } from '../../core/intake.ts'
import type { Link } from '../../core/link.ts'
import { MessageRun } from '../../core/run.ts'
import type { Session } from '../../core/session.ts'
import type { Topic } from '../../core/topics.ts'
import { type Message, NO_BYTES } from '../../core/types.ts'
import * as answers from './answers.ts'
import { shownName } from './display.ts'

const WHY: Readonly<Record<EngineFault, string>> = {
  full: 'the log is full; send it again later',
  'too-large': 'it is too large; send less at once',
  down: 'the server cannot reach its log; send it again in a moment',
  fenced: 'another server has taken over; connect again',
  failed: 'the log has failed; tell who runs this server',
}

/** Topics of one publisher: each line is a message to all of them. */
const TOPICS_MAX = 64

export interface PublishingEvents {
  /** A line to send now. */
  say(line: string): void
  /** There was no room for more messages, and now there is. */
  roomAgain(): void
}

interface Answer {
  /** The message that must be stored first. */
  readonly after: number
  /** The topic of that very message, when the answer is about it. */
  readonly topic: string | null
  /** Null when there is only something to do. */
  readonly line: string | null
  readonly done: (() => void) | null
}

export class Publishing implements Publisher {
  intakeBytes = 0
  readonly #broker: Broker
  readonly #link: Link
  readonly #events: PublishingEvents
  #given = 0
  #stored = 0
  /** Answers that wait, oldest first. */
  #answers: Answer[] = []
  /** Messages refused and not told yet. */
  #refused = 0
  #why: EngineFault = 'failed'

  constructor(broker: Broker, link: Link, events: PublishingEvents) {
    this.#broker = broker
    this.#link = link
    this.#events = events
  }

  /** The topics if that session may publish to all of them; null, having answered why, if not. */
  topics(names: readonly string[], session: Session): Topic[] | null {
    if (names.length > TOPICS_MAX) {
      this.answer(answers.tooManyTopics(TOPICS_MAX))
      return null
    }
    const topics: Topic[] = []
    for (const name of names) {
      const topic = this.#topic(name, session)
      if (topic === null) return null
      topics.push(topic)
    }
    return topics
  }

  #topic(name: string, { access }: Session): Topic | null {
    const broker = this.#broker
    const topic = broker.topics.named(name)
    if (topic === null) {
      const bytes = Buffer.from(name)
      const fault = broker.topics.fault(bytes, 0, bytes.length)
      this.answer(answers.badTopic(name, fault ?? 'it is not valid'))
      return null
    }
    if (broker.mayPublish(topic, access)) return topic
    broker.counters.publishesDenied++
    broker.activity.refused(this.#link, `publishing to ${name}`)
    this.answer(answers.mayNotPublish(name))
    return null
  }

  /** Gives each payload to each topic. Ask `room` before the next ones. */
  publish(topics: readonly Topic[], payloads: readonly Buffer[], publisher: string): void {
    const { counters, intake, activity, engine } = this.#broker
    const at = engine.now()
    const messages: Message[] = []
    for (const payload of payloads) {
      for (const topic of topics) messages.push(this.#message(topic, payload, at, publisher))
      counters.bytesIn += payload.length * topics.length
    }
    counters.messagesIn += messages.length
    activity.published(this.#link, new MessageRun(messages, publisher))
    for (const message of messages) intake.add(this, message, ++this.#given, null)
  }

  #message(topic: Topic, payload: Buffer, at: number, publisher: string): Message {
    return {
      topic: topic.evicted ? (this.#broker.topics.named(topic.name) ?? topic) : topic,
      payload,
      properties: NO_BYTES,
      qos: 1,
      retain: false,
      at,
      expires: Number.POSITIVE_INFINITY,
      publisher,
    }
  }

  /** Whether more may be published now; if not, `roomAgain` is told. */
  room(): boolean {
    return this.#broker.intake.room(this)
  }

  /** Says the line once everything published before it is stored. */
  answer(line: string): void {
    this.#answers.push({ after: this.#given, topic: null, line, done: null })
    this.#sayDue()
  }

  /** Calls once everything published so far is stored and every answer so far given. */
  whenDone(done: () => void): void {
    this.#answers.push({ after: this.#given, topic: null, line: null, done })
    this.#sayDue()
  }

  /** Says whether the message published last was stored. */
  answerFor(topic: string): void {
    const line = `OK published to ${shownName(topic)}`
    this.#answers.push({ after: this.#given, topic, line, done: null })
  }

  stored(token: number, fault: EngineFault | null): void {
    this.#stored = token
    if (fault !== null) {
      this.#broker.counters.refusedFull += fault === 'full' ? 1 : 0
      this.#refuse(token, fault)
    }
    this.#sayDue()
  }

  roomAgain(): void {
    this.#events.roomAgain()
  }

  /** The connection is gone. */
  forget(): void {
    this.#answers = []
    this.#broker.intake.forget(this)
  }

  #refuse(token: number, fault: EngineFault): void {
    // Whatever waits for an earlier message was said when that was stored: ours is among the first.
    const index = this.#answers.findIndex((a) => a.after > token || a.topic !== null)
    const answer = this.#answers[index]
    if (answer?.after === token && answer.topic !== null) {
      const name = shownName(answer.topic)
      const line = `ERR the message to ${name} was not stored: ${WHY[fault]}`
      this.#answers[index] = { ...answer, line }
      return
    }
    // A publisher's lines fail by the hundred: they are told together.
    if (this.#refused++ === 0) this.#broker.runtime.atTurnEnd(() => this.#sayRefused())
    this.#why = fault
  }

  #sayRefused(): void {
    if (this.#refused === 0) return
    const what = this.#refused === 1 ? 'a message was' : `${this.#refused} messages were`
    this.#refused = 0
    this.#events.say(`ERR ${what} not stored: ${WHY[this.#why]}`)
  }

  #sayDue(): void {
    let due = 0
    for (; due < this.#answers.length; due++) {
      const answer = this.#answers[due] as Answer
      if (answer.after > this.#stored) break
      this.#sayRefused()
      if (answer.line !== null) this.#events.say(answer.line)
      answer.done?.()
    }
    if (due > 0) this.#answers.splice(0, due)
  }
}
