// The last words of a connection: what DISCONNECT means for the session, and what a client is
// told when it is turned away or sent away.

import type { Parting } from '../../core/connecting.ts'
import type { Goodbye } from '../../core/link.ts'
import { connack } from './encode.ts'
import { type Disconnect, PacketError, Reason, type Version } from './packets.ts'

/** What DISCONNECT says when core closes a link. */
export const GOODBYES: Readonly<Record<Goodbye, Reason>> = {
  'session-taken-over': Reason.sessionTakenOver,
  'session-ended': Reason.administrativeAction,
  'server-shutting-down': Reason.serverShuttingDown,
  'use-another-server': Reason.useAnotherServer,
  'access-revoked': Reason.notAuthorized,
  'engine-lost': Reason.serverBusy, // "Server unavailable" exists in CONNACK alone.
}

/**
 * How the session is left after a client's DISCONNECT; `granted` is the expiry it has, `longest` the longest it may
 * have, both in seconds. Throws PacketError when the client asks for what CONNECT ruled out.
 */
export function partingOf(packet: Disconnect, granted: number, longest: number): Parting {
  const { reason, sessionExpiry } = packet
  if (sessionExpiry !== null && sessionExpiry > 0 && granted === 0) {
    throw new PacketError(
      Reason.protocolError,
      'DISCONNECT cannot make a session outlive its connection when CONNECT did not',
    )
  }
  const will = reason === Reason.success ? 'discard' : 'publish'
  return sessionExpiry === null ? { will } : { will, expiry: Math.min(sessionExpiry, longest) }
}

/**
 * The answer to a first packet that breaks the rules; null for none. Only an unsupported version has one in every
 * version; MQTT 5 may hear the rest.
 */
export function badConnectAnswer(
  { reason, message }: PacketError,
  version: Version,
): Buffer | null {
  if (reason !== Reason.unsupportedProtocolVersion && version < 5) return null
  return connack({ sessionPresent: false, reason, reasonString: message }, version)
}
