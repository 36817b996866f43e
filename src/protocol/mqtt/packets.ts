// The packets of MQTT as values: what the decoder yields for a server and what the encoder
// takes. PUBLISH is absent on purpose: it never becomes an object on the hot path (publish.ts).

import type { QoS, Will } from '../../core/types.ts'

/** Protocol level on the wire: 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0. */
export type Version = 3 | 4 | 5

/** First byte of a packet, upper four bits. */
export const PacketType = {
  connect: 1,
  connack: 2,
  publish: 3,
  puback: 4,
  pubrec: 5,
  pubrel: 6,
  pubcomp: 7,
  subscribe: 8,
  suback: 9,
  unsubscribe: 10,
  unsuback: 11,
  pingreq: 12,
  pingresp: 13,
  disconnect: 14,
  auth: 15,
} as const

/** Reason codes of MQTT 5; older versions get what `connackCode` and friends make of them. */
export const Reason = {
  success: 0x00,
  grantedQos1: 0x01,
  grantedQos2: 0x02,
  disconnectWithWill: 0x04,
  noMatchingSubscribers: 0x10,
  noSubscriptionExisted: 0x11,
  continueAuthentication: 0x18,
  reauthenticate: 0x19,
  unspecified: 0x80,
  malformedPacket: 0x81,
  protocolError: 0x82,
  implementationSpecific: 0x83,
  unsupportedProtocolVersion: 0x84,
  clientIdentifierNotValid: 0x85,
  badUserNameOrPassword: 0x86,
  notAuthorized: 0x87,
  serverUnavailable: 0x88,
  serverBusy: 0x89,
  banned: 0x8a,
  serverShuttingDown: 0x8b,
  badAuthenticationMethod: 0x8c,
  keepAliveTimeout: 0x8d,
  sessionTakenOver: 0x8e,
  topicFilterInvalid: 0x8f,
  topicNameInvalid: 0x90,
  packetIdentifierInUse: 0x91,
  packetIdentifierNotFound: 0x92,
  receiveMaximumExceeded: 0x93,
  topicAliasInvalid: 0x94,
  packetTooLarge: 0x95,
  messageRateTooHigh: 0x96,
  quotaExceeded: 0x97,
  administrativeAction: 0x98,
  payloadFormatInvalid: 0x99,
  retainNotSupported: 0x9a,
  qosNotSupported: 0x9b,
  useAnotherServer: 0x9c,
  serverMoved: 0x9d,
  sharedSubscriptionsNotSupported: 0x9e,
  connectionRateExceeded: 0x9f,
  maximumConnectTime: 0xa0,
  subscriptionIdentifiersNotSupported: 0xa1,
  wildcardSubscriptionsNotSupported: 0xa2,
} as const
export type Reason = (typeof Reason)[keyof typeof Reason]

/** A packet that breaks the rules. The link answers with the reason where the version has a way to, and closes. */
export class PacketError extends Error {
  readonly reason: Reason
  constructor(reason: Reason, message: string) {
    super(message)
    this.name = 'PacketError'
    this.reason = reason
  }
}

/** Name and value, in the order they came. */
export type UserProperty = readonly [name: string, value: string]

export interface Connect {
  readonly type: 'connect'
  readonly version: Version
  readonly clientId: string
  readonly cleanStart: boolean
  /** Seconds; 0 means no keep alive. */
  readonly keepAlive: number
  readonly username: string | null
  readonly password: Buffer | null
  readonly will: Will | null
  /** Seconds; 0xFFFFFFFF is Infinity; null when absent (v5) — before v5 it follows from clean session. */
  readonly sessionExpiry: number | null
  /** 1 … 65 535; 65 535 when absent. Whether it was given is told by `receiveMaximumGiven`. */
  readonly receiveMaximum: number
  readonly receiveMaximumGiven: boolean
  /** Bytes; Infinity when absent. */
  readonly maximumPacketSize: number
  readonly topicAliasMaximum: number
  readonly requestResponseInformation: boolean
  readonly requestProblemInformation: boolean
  readonly authenticationMethod: string | null
  readonly authenticationData: Buffer | null
  readonly userProperties: readonly UserProperty[]
}

export interface Subscribe {
  readonly type: 'subscribe'
  readonly packetId: number
  /** 0 when absent. */
  readonly identifier: number
  readonly filters: readonly SubscribeFilter[]
}

export interface SubscribeFilter {
  readonly filter: string
  readonly qos: QoS
  readonly noLocal: boolean
  readonly retainAsPublished: boolean
  /** 0 always, 1 only if the subscription is new, 2 never. */
  readonly retainHandling: 0 | 1 | 2
}

export interface Unsubscribe {
  readonly type: 'unsubscribe'
  readonly packetId: number
  readonly filters: readonly string[]
}

/** PUBACK, PUBREC, PUBREL and PUBCOMP have one shape. */
export interface Ack {
  readonly type: 'puback' | 'pubrec' | 'pubrel' | 'pubcomp'
  readonly packetId: number
  readonly reason: number
}

export interface Disconnect {
  readonly type: 'disconnect'
  readonly reason: number
  /** Seconds; null when absent. */
  readonly sessionExpiry: number | null
}

export interface Auth {
  readonly type: 'auth'
  readonly reason: number
  readonly method: string | null
  readonly data: Buffer | null
}

export interface PingRequest {
  readonly type: 'pingreq'
}

/** What a client may send to a server, PUBLISH apart. */
export type ClientPacket = Connect | Subscribe | Unsubscribe | Ack | Disconnect | Auth | PingRequest

export interface Connack {
  readonly sessionPresent: boolean
  readonly reason: Reason
  /** The rest is for MQTT 5 alone; null or absent is left out. */
  readonly sessionExpiry?: number
  readonly receiveMaximum?: number
  readonly maximumPacketSize?: number
  readonly assignedClientId?: string
  readonly topicAliasMaximum?: number
  readonly reasonString?: string
  readonly serverKeepAlive?: number
  readonly authenticationMethod?: string
}
