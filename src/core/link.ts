// What core needs of whoever speaks a protocol to a client: to pass runs on, to send one
// message, to say goodbye. Links implement it; sessions hold one while their client is there.

import type { Peer } from './activity.ts'
import type { Delivery } from './audience.ts'
import type { Run } from './run.ts'
import type { Message, QoS } from './types.ts'

/** Why core closes a link. */
export type Goodbye =
  | 'session-taken-over'
  | 'session-ended'
  | 'server-shutting-down'
  /** This node goes, others stay. */
  | 'use-another-server'
  | 'access-revoked'
  | 'engine-lost'

/** One message on its way to one client. One object per link, reused: read it before returning. */
export interface Sending {
  message: Message
  qos: QoS
  retain: boolean
  identifiers: readonly number[] | null
  /** 0 for QoS 0. */
  packetId: number
  /** Whether it was sent before. [MQTT-3.3.1-3] */
  duplicate: boolean
}

export interface Link extends Peer {
  /** More is queued than a reader should owe: QoS 0 is dropped, QoS 1 and 2 wait in the log. */
  readonly congested: boolean
  /** QoS 1 and 2 messages it takes before it has acknowledged the first; 1 … 65 535. */
  readonly receiveMaximum: number
  /** A QoS 0 run for this session. Drops and counts when congested; never blocks, never throws. */
  pass(run: Run, delivery: Delivery): void
  /** Returns false, having sent nothing, when the message exceeds what the client accepts. */
  send(sending: Sending): boolean
  /** QoS 2, second half: the message of this packet identifier may be released. */
  release(packetId: number): void
  close(goodbye: Goodbye, why: string): void
}
