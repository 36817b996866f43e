// What happens between CONNECT and CONNACK: is the client identifier usable, is the will, who is
// it, and which session does it get.

import { randomUUID } from 'node:crypto'
import type { Refusal } from '../../core/access.ts'
import type { Broker } from '../../core/broker.ts'
import { abandoned, SessionLimitError } from '../../core/connecting.ts'
import { EngineError } from '../../core/engine.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { Session } from '../../core/session.ts'
import type { MqttLink } from './link.ts'
import { type Connack, type Connect, PacketError, Reason } from './packets.ts'

export interface Admitted {
  readonly packet: Connect
  readonly session: Session
  readonly present: boolean
  /** Everything the answer says, but session present. */
  readonly connack: Connack
  /** Seconds, as it applies. */
  readonly keepAlive: number
}

/** The largest value CONNACK may announce; without it, packets are bounded by the format alone. */
const PACKET_BYTES_MAX = 268_435_455

const REFUSALS: Readonly<Record<Refusal['refused'], Reason>> = {
  credentials: Reason.badUserNameOrPassword,
  forbidden: Reason.notAuthorized,
  banned: Reason.banned,
  busy: Reason.serverBusy,
}

/** Turns within which the end of what a client sent is read behind the rest. */
const LEAVING_TURNS = 2

/** Resolves when the session is this link's. Rejects with what `refusal` understands. */
export async function admit(
  packet: Connect,
  link: MqttLink,
  broker: Broker,
  hasLeft: () => boolean,
): Promise<Admitted> {
  const assigned = packet.clientId === ''
  checkPacket(packet, broker)
  const clientId = assigned ? `auto-${randomUUID()}` : packet.clientId
  const { username, password } = packet
  const { address, door } = link
  const answer = broker.access.connect({ clientId, username, password, address, door })
  const identity = answer instanceof Promise ? await answer : answer
  if ('refused' in identity) {
    broker.counters.authenticationsFailed++
    throw new PacketError(REFUSALS[identity.refused], identity.why)
  }
  // A node that stood still reads CONNECTs of clients that went elsewhere meanwhile: for them it must not take the
  // session from there. That they have left is read behind their CONNECT.
  if (broker.engine.node !== null) {
    await turns(broker.runtime, LEAVING_TURNS)
    if (hasLeft()) throw abandoned(clientId)
  }
  const expiry = grantedExpiry(packet, broker)
  const { session, present } = await broker.sessions.connect({
    clientId,
    cleanStart: packet.cleanStart,
    expiry,
    will: packet.will,
    user: identity.user,
    access: identity.access,
    link,
    abandoned: hasLeft,
  })
  const keepAlive = grantedKeepAlive(packet, broker)
  return {
    packet,
    session,
    present,
    keepAlive,
    connack: announcement(packet, broker, assigned ? clientId : null, expiry, keepAlive),
  }
}

async function turns(runtime: Runtime, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    await new Promise<void>((resolve) => runtime.nextTurn(resolve))
  }
}

/** Why a CONNECT was refused, as the packet says it. */
export function refusal(error: unknown): { reason: Reason; why: string } {
  if (error instanceof PacketError) return { reason: error.reason, why: error.message }
  if (error instanceof SessionLimitError)
    return { reason: Reason.quotaExceeded, why: error.message }
  const why = error instanceof Error ? error.message : String(error)
  if (error instanceof EngineError && error.fault === 'full') {
    return { reason: Reason.quotaExceeded, why }
  }
  return { reason: Reason.serverUnavailable, why }
}

function checkPacket(packet: Connect, broker: Broker): void {
  const { version, clientId, cleanStart, will } = packet
  if (packet.authenticationMethod !== null) {
    // [MQTT-4.12.0-1]
    throw new PacketError(
      Reason.badAuthenticationMethod,
      `the authentication method ${packet.authenticationMethod} is not configured here`,
    )
  }
  const mustName = version === 3 || (version === 4 && !cleanStart)
  if (clientId === '' && mustName) {
    // [3.1.1 MQTT-3.1.3-8]
    throw new PacketError(
      Reason.clientIdentifierNotValid,
      'a session that is to last needs a client identifier',
    )
  }
  if (will === null) return
  const bytes = Buffer.from(will.topic)
  const fault = broker.topics.fault(bytes, 0, bytes.length)
  if (fault !== null) throw new PacketError(Reason.topicNameInvalid, `the will: ${fault}`)
}

/** Before MQTT 5 a session that is not clean lasts as long as the server lets it. */
function grantedExpiry(packet: Connect, broker: Broker): number {
  const asked = packet.sessionExpiry ?? 0
  return Math.min(asked, broker.limits.sessionExpiryMaximum)
}

/** Only MQTT 5 can be told another keep alive than it asked for. [MQTT-3.2.2-21] */
function grantedKeepAlive(packet: Connect, broker: Broker): number {
  const longest = broker.limits.keepAliveMaximum
  if (packet.version < 5 || longest === 0) return packet.keepAlive
  return packet.keepAlive === 0 ? longest : Math.min(packet.keepAlive, longest)
}

function announcement(
  packet: Connect,
  broker: Broker,
  assignedClientId: string | null,
  expiry: number,
  keepAlive: number,
): Connack {
  const { limits } = broker
  return {
    sessionPresent: false,
    reason: Reason.success,
    ...(expiry === (packet.sessionExpiry ?? 0) ? {} : { sessionExpiry: expiry }),
    ...(limits.receiveMaximum < 65_535 ? { receiveMaximum: limits.receiveMaximum } : {}),
    ...(limits.packetBytes < PACKET_BYTES_MAX ? { maximumPacketSize: limits.packetBytes } : {}),
    ...(limits.topicAliases > 0 ? { topicAliasMaximum: limits.topicAliases } : {}),
    ...(assignedClientId === null ? {} : { assignedClientId }),
    ...(keepAlive === packet.keepAlive ? {} : { serverKeepAlive: keepAlive }),
  }
}
