// Judges every packet a server sends, whatever the test is about: flags, identifiers, text, reason codes and
// properties that the standard forbids are found here, so no test has to think of them.
import { type Frame, type Property, readProperties } from './bytes.ts'

/** What the standard lets a server send: reserved flags by packet type, PUBLISH (3) apart. */
const flags: Record<number, number> = {
  2: 0,
  4: 0,
  5: 0,
  6: 2,
  7: 0,
  9: 0,
  11: 0,
  13: 0,
  14: 0,
  15: 0,
}

/** Reason codes a server may use in MQTT 5, by packet type; tables 3-1, 3-4 to 3-10 and in 3.7 to 3.15. */
export const reasonCodes: Record<number, readonly number[]> = {
  2: [
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97,
    0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f,
  ],
  4: [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
  5: [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
  6: [0x00, 0x92],
  7: [0x00, 0x92],
  9: [0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2],
  11: [0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91],
  14: [
    0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96,
    0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
  ],
  15: [0x00, 0x18, 0x19],
}

/** Properties a server may put into each packet of MQTT 5, table 2-4. */
const allowed: Record<number, readonly number[]> = {
  2: [
    0x11, 0x12, 0x13, 0x15, 0x16, 0x1a, 0x1c, 0x1f, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29,
    0x2a,
  ],
  3: [0x01, 0x02, 0x03, 0x08, 0x09, 0x0b, 0x23, 0x26],
  4: [0x1f, 0x26],
  5: [0x1f, 0x26],
  6: [0x1f, 0x26],
  7: [0x1f, 0x26],
  9: [0x1f, 0x26],
  11: [0x1f, 0x26],
  // Session Expiry Interval is missing: a server must not send it [MQTT-3.14.2-2].
  14: [0x1c, 0x1f, 0x26],
  15: [0x15, 0x16, 0x1f, 0x26],
}

const textual = [0x03, 0x08, 0x12, 0x15, 0x1a, 0x1c, 0x1f, 0x26]
const repeatable = [0x0b, 0x26]

/** The property block of a received MQTT 5 packet; empty when the packet ends before it. */
export function propertiesOf(frame: Frame): Property[] {
  const at = propertyOffset(frame)
  return at >= frame.bytes.length ? [] : readProperties(frame.bytes, at).list
}

/**
 * Checks one packet from a server to a client of this protocol version.
 * @throws Error naming what the standard forbids.
 */
export function inspect(frame: Frame, version: 3 | 4 | 5): void {
  const type = frame.bytes[0]! >> 4
  const size = frame.bytes.length - frame.body
  if (type === 3) {
    inspectPublish(frame, version)
    return
  }
  if (!(type in flags)) throw new Error(`packet type ${type}, which a server never sends`)
  if ((frame.bytes[0]! & 0x0f) !== flags[type])
    throw new Error(`reserved flags of packet type ${type} set to ${frame.bytes[0]! & 0x0f}`)
  if (type >= 4 && type <= 11 && frame.bytes.readUInt16BE(frame.body) === 0)
    throw new Error(`packet identifier 0 in packet type ${type}`)
  if (type === 2 && frame.bytes[frame.body]! > 1) throw new Error('reserved CONNACK flags set')
  if (type === 13 && size !== 0) throw new Error('a PINGRESP with a body')
  if (version === 5) inspectReason(frame, type, size)
  else inspectOld(frame, type, size)
}

function inspectOld(frame: Frame, type: number, size: number): void {
  if (type >= 14) throw new Error(`packet type ${type}, which a 3.1.1 server never sends`)
  const codes = frame.bytes.subarray(frame.body + (type === 9 ? 2 : 1))
  if (type === 2 && (size !== 2 || codes[0]! > 5)) throw new Error('a CONNACK that is not 3.1.1')
  if (type === 9 && codes.some((code) => code > 2 && code !== 0x80))
    throw new Error('a reserved SUBACK return code')
  if (type >= 4 && type <= 7 && size !== 2) throw new Error('an acknowledgement not of 2 bytes')
  if (type === 11 && size !== 2) throw new Error('an UNSUBACK not of 2 bytes')
}

function inspectReason(frame: Frame, type: number, size: number): void {
  if (type === 13) return
  const list = propertiesOf(frame)
  inspectProperties(list, type)
  for (const code of reasonsOf(frame, type, size))
    if (!reasonCodes[type]!.includes(code))
      throw new Error(`reason code 0x${code.toString(16)} in packet type ${type}`)
}

function reasonsOf(frame: Frame, type: number, size: number): Buffer {
  const { bytes, body } = frame
  if (type === 9 || type === 11) return bytes.subarray(readProperties(bytes, body + 2).end)
  const at = type === 2 ? 1 : type <= 7 ? 2 : 0
  return size > at ? bytes.subarray(body + at, body + at + 1) : Buffer.alloc(0)
}

function propertyOffset(frame: Frame): number {
  const type = frame.bytes[0]! >> 4
  if (type === 3) {
    const topic = 2 + frame.bytes.readUInt16BE(frame.body)
    return frame.body + topic + (frame.bytes[0]! & 0x06 ? 2 : 0)
  }
  if (type === 2 || type === 9 || type === 11) return frame.body + 2
  return frame.body + (type <= 7 ? 3 : 1)
}

function inspectProperties(list: Property[], type: number): void {
  const seen = new Set<number>()
  for (const { id, value } of list) {
    const name = `property 0x${id.toString(16)}`
    if (!allowed[type]!.includes(id)) throw new Error(`${name} in packet type ${type}`)
    if (seen.has(id) && !repeatable.includes(id)) throw new Error(`${name} twice`)
    seen.add(id)
    if (textual.includes(id)) inspectText(value.subarray(2, 2 + value.readUInt16BE(0)), name)
    if (id === 0x23 && value.readUInt16BE(0) === 0) throw new Error('topic alias 0')
    if (id === 0x21 && value.readUInt16BE(0) === 0) throw new Error('receive maximum 0')
    if (id === 0x24 && value[0]! > 1) throw new Error('a maximum QoS other than 0 or 1')
  }
}

function inspectPublish(frame: Frame, version: 3 | 4 | 5): void {
  const first = frame.bytes[0]!
  const qos = (first >> 1) & 3
  if (qos === 3) throw new Error('a PUBLISH with both QoS bits set')
  if (qos === 0 && first & 8) throw new Error('DUP on a QoS 0 PUBLISH')
  const length = frame.bytes.readUInt16BE(frame.body)
  const at = frame.body + 2
  const topic = frame.bytes.subarray(at, at + length)
  inspectText(topic, 'topic name')
  if (/[+#]/.test(topic.toString())) throw new Error('a wildcard in a topic name')
  if (qos > 0 && frame.bytes.readUInt16BE(at + length) === 0)
    throw new Error('packet identifier 0 in a PUBLISH')
  if (version === 5) inspectProperties(propertiesOf(frame), 3)
  const aliased = version === 5 && propertiesOf(frame).some(({ id }) => id === 0x23)
  if (length === 0 && !aliased) throw new Error('an empty topic name without a topic alias')
}

function inspectText(bytes: Buffer, what: string): void {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  try {
    if (!decoder.decode(bytes).includes('\0')) return
  } catch {
    throw new Error(`ill-formed UTF-8 in ${what}`)
  }
  throw new Error(`U+0000 in ${what}`)
}
