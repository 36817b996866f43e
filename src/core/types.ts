// The whole data model on one page: what a message, a subscription and a session's
// stored state are. Small interfaces that core needs of others stand beside them.

import type { Topic } from './topics.ts'

/** Quality of service: at most once, at least once, exactly once. */
export type QoS = 0 | 1 | 2

/**
 * A place in the log: record sequence × 1 024 + index within the record. Total order on one
 * log, never used twice, holes are normal. 0 comes before every message.
 */
export type Pos = number

/** Messages one record may hold; also the stride between the positions of two records. */
export const RECORD_MESSAGES_MAX = 1024
/** Bytes of payload and properties after which a record is closed; one larger message is a record alone. */
export const RECORD_BYTES_MAX = 256 * 1024

/** No bytes; shared, so that the common empty case costs nothing. */
export const NO_BYTES: Buffer = Buffer.alloc(0)

/** One published message, as every door and every engine understands it. */
export interface Message {
  readonly topic: Topic
  /** May be a slice of a network read: whoever keeps it past the turn owns the choice to copy. */
  payload: Buffer
  /**
   * Properties that travel with the message, encoded as MQTT 5 encodes them on a PUBLISH, in their
   * original order, without the length and without topic alias, message expiry interval and
   * subscription identifiers. Empty for most messages.
   */
  properties: Buffer
  readonly qos: QoS
  readonly retain: boolean
  /** Engine time at which it was accepted, in milliseconds. */
  readonly at: number
  /** Engine time after which delivery must not start, in milliseconds; Infinity when it never expires. */
  readonly expires: number
  /** Client identifier of the publisher, for No Local; empty when nobody's. */
  readonly publisher: string
}

/** What a subscriber asked for; one per session and filter. */
export interface SubscriptionOptions {
  readonly qos: QoS
  /** Subscription identifier, 1 … 268 435 455; 0 when none was given. */
  readonly identifier: number
  readonly noLocal: boolean
  readonly retainAsPublished: boolean
}

/** The message to publish should its session's link die without saying goodbye. */
export interface Will {
  readonly topic: string
  readonly payload: Buffer
  /** As `Message.properties`. */
  readonly properties: Buffer
  readonly qos: QoS
  readonly retain: boolean
  /** Seconds between the loss of the link and publication; 0 … 4 294 967 295. */
  readonly delay: number
  /** Message expiry interval in seconds; Infinity when none. */
  readonly expiry: number
}

/** The part of a session that changes seldom: saved when it changes, before SUBACK or CONNACK. */
export interface SessionProfile {
  /** Seconds the session outlives its link; Infinity never ends. */
  readonly expiry: number
  readonly subscriptions: readonly StoredSubscription[]
  readonly will: Will | null
  /** Name the client proved at CONNECT; empty when anonymous. Its will is published in this name. */
  readonly user: string
}

/** A subscription at rest. `from` is the tail when it was made: only later messages are owed. */
export interface StoredSubscription extends SubscriptionOptions {
  readonly filter: string
  readonly from: Pos
}

/** State of one unacknowledged outgoing message. */
export const SendState = {
  /** Acknowledged out of turn: finished, but an older one is not. */
  done: 0,
  /** QoS 1 PUBLISH sent, PUBACK outstanding. */
  published: 1,
  /** QoS 2 PUBLISH sent, PUBREC outstanding. */
  transmitted: 2,
  /** QoS 2 PUBREL sent, PUBCOMP outstanding. */
  released: 3,
} as const
export type SendState = (typeof SendState)[keyof typeof SendState]

/** Consecutive packet identifiers in one state, one message each, in the order they were sent. */
export interface SendRun {
  readonly packetId: number
  readonly positions: readonly Pos[]
  readonly state: SendState
  /** Set when these are retained messages sent at subscribe: their topics, parallel to positions. */
  readonly retained?: readonly string[]
  /**
   * Where nodes share the log: in a group's record the node that may give these messages to its members, nobody's yet
   * when absent; in a session's, the group by `name/filter` that does not know yet that this session has them.
   */
  readonly with?: string
}

/** The part of a session that changes with traffic. */
export interface SessionFlow {
  /** Every message owed at or before it is finished or in `sending`. */
  readonly cursor: Pos
  readonly sending: readonly SendRun[]
  /** Packet identifiers of QoS 2 messages received and not yet released by the publisher. */
  readonly receiving: readonly number[]
  /** Engine time at which the link was lost, in milliseconds; 0 while connected. */
  readonly awaySince: number
  /** Identity of the log the positions belong to; positions of another log mean nothing. */
  readonly log: string
}

/** A session at rest, as an engine hands it back. */
export interface StoredSession {
  readonly id: string
  readonly epoch: number
  readonly profile: SessionProfile
  readonly flow: SessionFlow
}
