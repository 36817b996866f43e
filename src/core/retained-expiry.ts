// Retained messages that expire are removed, from memory and from the engine: nobody would be
// sent them, but they would count against the limits for ever. [MQTT-3.3.2-5]

import type { Broker } from './broker.ts'
import { Deadlines } from './deadlines.ts'

/** Milliseconds by which one may stay too long. */
const GRANULARITY_MS = 10_000

export class RetainedExpiry {
  readonly #broker: Broker
  /** Names of topics. */
  readonly #due: Deadlines<string>

  constructor(broker: Broker) {
    this.#broker = broker
    this.#due = new Deadlines(broker.runtime, GRANULARITY_MS, (name) => this.#expire(name))
    broker.retained.onExpiring = (name, expires) => this.#due.set(name, expires)
  }

  /** Topics whose retained message expires some time. */
  get size(): number {
    return this.#due.size
  }

  stop(): void {
    this.#due.stop()
  }

  #expire(name: string): void {
    const { retained, engine } = this.#broker
    const pos = retained.expire(name, engine.now())
    if (pos === null) return
    // Where nodes share the store, another may have put a newer one behind the same position.
    if (!engine.durable || engine.node !== null) return
    engine.retain([{ topic: name, message: null, pos }]).catch((error: unknown) => {
      this.#broker.report('expired retained message not removed', `${name}: ${String(error)}`)
    })
  }
}
