// The server's terminal: every activity as one sentence, and as fields for programs. When more happens
// than eyes can follow it shows a sample and counts the rest, once a second.

import type { Activity, Peer, ShownMessage, ShownRun } from '../core/activity.ts'
import type { Runtime, Timer } from '../core/runtime.ts'
import { shownBytes, shownName, shownNumber } from '../protocol/line/display.ts'
import type { Logger } from './log.ts'

/** Sentences a second that eyes can follow, of messages and of everything else. */
const READABLE = 20
/** Sentences a second while it is too fast, so that one sees what it is about. */
const SAMPLE = 1
const WINDOW_MS = 1000
/** Bytes of a payload that are shown. */
const TEXT_MAX = 400

type Event = Exclude<keyof Activity, 'published'>

/** Counts of one window that were not shown, in words. */
const COUNTED: Readonly<Record<Event, string>> = {
  connected: 'connected',
  role: 'chose a role',
  subscribed: 'subscribed',
  unsubscribed: 'unsubscribed',
  said: 'said something',
  goodbye: 'said goodbye',
  lost: 'lost',
  refused: 'refused',
}

export class Terminal implements Activity {
  readonly #log: Logger
  readonly #runtime: Runtime
  #timer: Timer | null = null
  /** Sentences still to be shown in this window. */
  #messagesLeft = READABLE
  #eventsLeft = READABLE
  #messagesHidden = 0
  readonly #eventsHidden = new Map<Event, number>()

  constructor(log: Logger, runtime: Runtime) {
    this.#log = log
    this.#runtime = runtime
  }

  connected(who: Peer): void {
    this.#tell('connected', who, `connected (${who.door})`)
  }

  role(who: Peer, role: 'publisher' | 'subscriber', topics: readonly string[]): void {
    const does = role === 'publisher' ? 'publishes to' : 'subscribes to'
    this.#tell('role', who, `is a ${role}: ${does} ${listed(topics)}`, {
      role,
      topics: topics.map(shownName),
    })
  }

  subscribed(who: Peer, filters: readonly string[]): void {
    const topics = filters.map(shownName)
    this.#tell('subscribed', who, `subscribed to ${listed(filters)}`, { topics })
  }

  unsubscribed(who: Peer, filters: readonly string[]): void {
    const topics = filters.map(shownName)
    this.#tell('unsubscribed', who, `unsubscribed from ${listed(filters)}`, { topics })
  }

  said(who: Peer, line: string): void {
    const text = shownText(Buffer.from(line))
    this.#tell('said', who, `says: ${text}`, { text })
  }

  goodbye(who: Peer): void {
    this.#tell('goodbye', who, 'said goodbye')
  }

  lost(who: Peer, why: string): void {
    this.#tell('lost', who, `lost: ${shownName(why)}`, { why: shownName(why) })
  }

  refused(who: Peer, what: string): void {
    this.#tell('refused', who, `refused: ${shownName(what)}`, { what: shownName(what) })
  }

  /** On the hot path: while it is too fast for eyes this is two comparisons and an addition. */
  published(who: Peer, run: ShownRun): void {
    if (this.#messagesLeft > 0) this.#show(who, run)
    else this.#messagesHidden += run.count
  }

  /** Tells what was counted and not told yet. */
  close(): void {
    this.#timer?.cancel()
    this.#timer = null
    this.#tellHidden()
  }

  #show(who: Peer, run: ShownRun): void {
    if (!this.#log.isLevelEnabled('info')) return
    this.#open()
    let shownNow = 0
    for (const message of run.messages()) {
      if (this.#messagesLeft === 0) break
      this.#messagesLeft--
      shownNow++
      this.#tellMessage(who, message)
    }
    this.#messagesHidden += run.count - shownNow
  }

  #tellMessage(who: Peer, { topic, payload }: ShownMessage): void {
    const text = shownText(payload)
    const name = shownName(topic.name)
    this.#log.info(
      { event: 'published', ...fieldsOf(who), topic: name, text, bytes: payload.length },
      `${nameOf(who)} published [${name}] ${text}`,
    )
  }

  #tell(event: Event, who: Peer, sentence: string, fields: object = {}): void {
    if (!this.#log.isLevelEnabled('info')) return
    this.#open()
    if (this.#eventsLeft === 0) {
      this.#eventsHidden.set(event, (this.#eventsHidden.get(event) ?? 0) + 1)
      return
    }
    this.#eventsLeft--
    this.#log.info({ event, ...fieldsOf(who), ...fields }, `${nameOf(who)} ${sentence}`)
  }

  /** A window begins with the first thing that happens, so that a quiet server has no timer. */
  #open(): void {
    this.#timer ??= this.#runtime.after(WINDOW_MS, () => {
      this.#timer = null
      const wasTooFast = this.#messagesLeft === 0 && this.#messagesHidden > 0
      this.#messagesLeft = wasTooFast ? SAMPLE : READABLE
      this.#eventsLeft = this.#eventsHidden.size > 0 ? SAMPLE : READABLE
      // One more window after one that was too fast, to find out whether it still is.
      if (this.#tellHidden()) this.#open()
    })
  }

  #tellHidden(): boolean {
    const messages = this.#messagesHidden
    const events = Object.fromEntries(this.#eventsHidden)
    const told = messages > 0 || this.#eventsHidden.size > 0
    const parts = Object.entries(events).map(
      ([event, n]) => `${shownNumber(n)} ${COUNTED[event as Event]}`,
    )
    if (messages > 0) parts.unshift(`${shownNumber(messages)} published`)
    this.#messagesHidden = 0
    this.#eventsHidden.clear()
    if (told) {
      this.#log.info(
        { event: 'counted', published: messages, ...events },
        `… and in the same second, too fast to show: ${parts.join(', ')}`,
      )
    }
    return told
  }
}

function fieldsOf(who: Peer): object {
  const client = who.clientId === '' ? {} : { client: shownName(who.clientId) }
  return { peer: who.peer, door: who.door, ...client }
}

function nameOf(who: Peer): string {
  return who.clientId === '' ? who.peer : `${who.peer} (${shownName(who.clientId)})`
}

function listed(topics: readonly string[]): string {
  return topics.length === 0 ? 'nothing' : topics.map(shownName).join(', ')
}

function shownText(payload: Buffer): string {
  if (payload.length <= TEXT_MAX) return shownBytes(payload)
  // The cut may split a character; what is left of it is shown as bytes.
  return `${shownBytes(payload.subarray(0, TEXT_MAX))}… (${payload.length} bytes)`
}
