// What all MQTT links of one server share: the broker, the clock that watches keep alives, and
// what is announced to clients. Makes a link for each wire.

import type { Broker } from '../../core/broker.ts'
import { Deadlines } from '../../core/deadlines.ts'
import type { Wire } from '../../net/wire.ts'
import { MqttLink } from './link.ts'

/** Milliseconds by which a keep alive may be noticed late; the standard allows half of it anyway. */
const KEEP_ALIVE_GRANULARITY_MS = 500

export class MqttDoor {
  readonly broker: Broker
  readonly keepAlives: Deadlines<MqttLink>
  /** Links that have not sent CONNECT yet, and links not read because their publishes find no room. */
  readonly timeouts: Deadlines<MqttLink>

  constructor(broker: Broker) {
    this.broker = broker
    const { runtime } = broker
    this.keepAlives = new Deadlines(runtime, KEEP_ALIVE_GRANULARITY_MS, (link) =>
      link.keepAliveDue(),
    )
    this.timeouts = new Deadlines(runtime, KEEP_ALIVE_GRANULARITY_MS, (link) => link.timeoutDue())
  }

  /** A link for a wire on which MQTT is spoken. It becomes the wire's reader. */
  open(wire: Wire): MqttLink {
    const link = new MqttLink(this, wire)
    wire.attach(link)
    return link
  }

  /** Nothing is watched any more. */
  stop(): void {
    this.keepAlives.stop()
    this.timeouts.stop()
  }
}
