// What the server tells about itself to its subscribers: figures below `$SYS/broker/`, under the
// names that Mosquitto gave them and monitoring tools know, retained, every few seconds.

import type { Broker } from '../core/broker.ts'
import type { Timer } from '../core/runtime.ts'

export interface SysOptions {
  readonly broker: Broker
  readonly version: string
  /** Seconds between two rounds; 0 for none. */
  readonly interval: number
}

const PREFIX = '$SYS/broker/'

export class SysTopics {
  readonly #options: SysOptions
  readonly #started: number
  #timer: Timer | null = null
  #stopped = false
  /** What each topic said last: what has not changed is not published again. */
  readonly #last = new Map<string, string>()

  /** Starts at once; does nothing when the interval is 0. */
  constructor(options: SysOptions) {
    this.#options = options
    this.#started = options.broker.runtime.now()
    if (options.interval > 0) this.#round()
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
  }

  #round(): void {
    const { broker, interval } = this.#options
    for (const [name, value] of this.#figures()) this.#tell(name, value)
    if (!this.#stopped) {
      this.#timer = broker.runtime.after(interval * 1000, () => this.#round())
    }
  }

  #tell(name: string, value: string): void {
    if (this.#last.get(name) === value) return
    this.#last.set(name, value)
    const { broker } = this.#options
    const message = broker.message({
      topic: PREFIX + name,
      payload: Buffer.from(value),
      qos: 0,
      retain: true,
    })
    // Not `publish`: these are no messages of publishers, and would count themselves.
    broker.passMessages([message], '')
  }

  #figures(): [string, string][] {
    const { broker, version } = this.#options
    const { counters, sessions, router, retained, groups } = broker
    const uptime = Math.floor((broker.runtime.now() - this.#started) / 1000)
    const dropped =
      counters.droppedSlow +
      counters.droppedTooLarge +
      counters.droppedExpired +
      counters.droppedOverrun +
      counters.droppedNoMember +
      counters.messagesEvicted
    const away = sessions.away
    const figures: [string, string | number][] = [
      ['version', `partyline ${version}`],
      ['uptime', `${uptime} seconds`],
      ['clients/total', sessions.size],
      ['clients/connected', sessions.size - away],
      ['clients/disconnected', away],
      ['clients/expired', counters.sessionsExpired],
      ['clients/evicted', counters.sessionsEvicted],
      ['messages/evicted', counters.messagesEvicted],
      ['messages/received', counters.messagesIn],
      ['messages/sent', counters.messagesOut],
      ['publish/messages/received', counters.messagesIn],
      ['publish/messages/sent', counters.messagesOut],
      ['publish/messages/dropped', dropped],
      ['publish/bytes/received', counters.bytesIn],
      ['publish/bytes/sent', counters.bytesOut],
      ['bytes/received', counters.bytesIn],
      ['bytes/sent', counters.bytesOut],
      ['retained messages/count', retained.count],
      ['subscriptions/count', router.subscriptionCount],
      ['shared_subscriptions/count', groups.size],
      ['connections/socket/count', counters.connectionsOpen],
    ]
    return figures.map(([name, value]) => [name, String(value)])
  }
}
