// The field types that packets are made of, read from untrusted bytes: two byte integers, text and
// binary data. Positions in, positions out: nothing is allocated but what the packet keeps.

import { isMqttText } from '../../core/utf8.ts'
import { PacketError, Reason } from './packets.ts'

/** A packet that cannot be parsed; `what` completes the sentence for people. */
export function malformed(what: string): PacketError {
  return new PacketError(Reason.malformedPacket, what)
}

/** A packet that can be parsed and says what the protocol does not allow. */
export function protocolError(what: string): PacketError {
  return new PacketError(Reason.protocolError, what)
}

/** The byte at `at`. Throws a malformed PacketError when the packet has ended; `what` names the field. */
export function readByte(bytes: Buffer, at: number, end: number, what: string): number {
  if (at >= end) throw endsBefore(what)
  return bytes[at]!
}

/** The two byte integer at `at`. Throws as `readByte`. */
export function readU16(bytes: Buffer, at: number, end: number, what: string): number {
  if (at + 2 > end) throw endsBefore(what)
  return (bytes[at]! << 8) | bytes[at + 1]!
}

/** The four byte integer at `at`. Throws as `readByte`. */
export function readU32(bytes: Buffer, at: number, end: number, what: string): number {
  if (at + 4 > end) throw endsBefore(what)
  return bytes[at]! * 0x1000000 + ((bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!)
}

/**
 * Where the length-prefixed binary data at `at` ends; its content is `[at + 2, returned)`.
 * Throws a malformed PacketError when it does not fit before `end`.
 */
export function dataEnd(bytes: Buffer, at: number, end: number, what: string): number {
  const to = at + 2 + readU16(bytes, at, end, what)
  if (to > end) throw malformed(`The ${what} is longer than the packet.`)
  return to
}

/**
 * Where the length-prefixed text at `at` ends; its content is `[at + 2, returned)`. Throws a
 * malformed PacketError when it does not fit or is not well-formed [MQTT-1.5.4-1, MQTT-1.5.4-2].
 */
export function textEnd(bytes: Buffer, at: number, end: number, what: string): number {
  const to = dataEnd(bytes, at, end, what)
  if (!isMqttText(bytes, at + 2, to)) {
    throw malformed(`The ${what} is not well-formed UTF-8 without the null character.`)
  }
  return to
}

/** Content of the text at `at` whose end `textEnd` has found. A byte order mark stays [MQTT-1.5.4-3]. */
export function textAt(bytes: Buffer, at: number, to: number): string {
  return bytes.toString('utf8', at + 2, to)
}

/** The non-zero packet identifier at `at` [MQTT-2.2.1-3]. Throws malformed or protocol error. */
export function readPacketId(bytes: Buffer, at: number, end: number): number {
  const packetId = readU16(bytes, at, end, 'packet identifier')
  if (packetId === 0) throw protocolError('The packet identifier is 0; it has to be 1 … 65 535.')
  return packetId
}

function endsBefore(what: string): PacketError {
  return malformed(`The packet ends before its ${what}.`)
}
