// What a row of the packet table says, and the short forms its rows are written in: a packet with
// every field that matters named and the others as they are when a client says nothing.

import { NO_BYTES, type QoS, type Will } from '../../src/core/types.ts'
import type {
  ClientPacket,
  Connect,
  Subscribe,
  SubscribeFilter,
  Version,
} from '../../src/protocol/mqtt/packets.ts'

/** A PUBLISH as far as it differs from QoS 0, not retained, without properties and payload. */
export interface PublishRow {
  readonly topic: string
  readonly qos?: QoS
  readonly dup?: boolean
  readonly retain?: boolean
  readonly packetId?: number
  readonly alias?: number
  /** Seconds. */
  readonly expiry?: number
  /** Hex of what is carried on: without alias and expiry. */
  readonly properties?: string
  /** Hex. */
  readonly payload?: string
}

/** One packet. Either `packet` or `publish` is what a server reads in it, or `reason` is why it refuses. */
export interface PacketRow {
  readonly name: string
  readonly version: Version
  /** The whole packet; blanks and bars are for the eye. */
  readonly hex: string
  readonly packet?: ClientPacket
  readonly publish?: PublishRow
  /** Reason code of the PacketError when a client sends it. */
  readonly reason?: number
  /** Makes these very bytes, where a server sends this packet too. */
  readonly encoded?: () => Buffer
  /** The fixed header itself is wrong, so that there is no body to decode. */
  readonly unframed?: true
  /** The clause obeyed, where it is not plain. */
  readonly why?: string
}

/** The bytes of a row. */
export function bytesOf(row: PacketRow): Buffer {
  return Buffer.from(row.hex.replace(/[ |]/g, ''), 'hex')
}

export function connect(given: Partial<Connect>): Connect {
  return {
    type: 'connect',
    version: 4,
    clientId: '',
    cleanStart: false,
    keepAlive: 0,
    username: null,
    password: null,
    will: null,
    sessionExpiry: null,
    receiveMaximum: 65_535,
    receiveMaximumGiven: false,
    maximumPacketSize: Infinity,
    topicAliasMaximum: 0,
    requestResponseInformation: false,
    requestProblemInformation: true,
    authenticationMethod: null,
    authenticationData: null,
    userProperties: [],
    ...given,
  }
}

export function will(given: Partial<Will>): Will {
  return {
    topic: '',
    payload: NO_BYTES,
    properties: NO_BYTES,
    qos: 0,
    retain: false,
    delay: 0,
    expiry: Infinity,
    ...given,
  }
}

export function subscribe(
  packetId: number,
  identifier: number,
  filters: readonly (Partial<SubscribeFilter> & { filter: string })[],
): Subscribe {
  return {
    type: 'subscribe',
    packetId,
    identifier,
    filters: filters.map((filter) => ({
      qos: 0,
      noLocal: false,
      retainAsPublished: false,
      retainHandling: 0,
      ...filter,
    })),
  }
}

/**
 * Hex of a whole packet whose lengths are counted for you: `"zen"` is text behind its two length
 * bytes, `{…}` the properties behind theirs, all else hex. What is to be wrong is written in hex.
 */
export function p(first: string, body: string): string {
  const inner = body
    .replace(/"([^"]*)"/g, (_, text: string) => {
      const bytes = Buffer.from(text)
      return bytes.length.toString(16).padStart(4, '0') + bytes.toString('hex')
    })
    .replace(/\{([^}]*)\}/g, (_, properties: string) => {
      const hex = properties.replaceAll(' ', '')
      return length(hex.length / 2) + hex
    })
    .replace(/[ |]/g, '')
  return first + length(inner.length / 2) + inner
}

function length(size: number): string {
  if (size < 128) return size.toString(16).padStart(2, '0')
  return ((size & 127) | 128).toString(16) + length(size >> 7)
}

/** A row of a packet that a server refuses for `reason`; `first` and `body` as `p` takes them. */
export function refused(
  reason: number,
  version: Version,
  name: string,
  first: string,
  body: string,
): PacketRow {
  return { name, version, hex: p(first, body), reason }
}
