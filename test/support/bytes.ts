// Literal MQTT bytes for tests: builders that check nothing, so that they can also build what the standard
// forbids, and a splitter of received bytes into frames. Independent of the codec under test.

/** A string (encoded as UTF-8) or the literal bytes to put where a string belongs. */
export type Text = string | Buffer

export function u8(...values: number[]): Buffer {
  return Buffer.from(values)
}

export function u16(value: number): Buffer {
  return Buffer.from([(value >> 8) & 0xff, value & 0xff])
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** A variable byte integer; `width` forces more bytes than needed, which the standard forbids. */
export function varint(value: number, width = 1): Buffer {
  const bytes: number[] = []
  let rest = value
  do {
    const low = rest % 128
    rest = Math.floor(rest / 128)
    bytes.push(rest > 0 || bytes.length + 1 < width ? low | 0x80 : low)
  } while (rest > 0 || bytes.length < width)
  return Buffer.from(bytes)
}

/** Length-prefixed text or binary data. */
export function text(value: Text): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([u16(bytes.length), bytes])
}

/** A whole packet: its first byte, then the length of what follows, then what follows. */
export function frame(first: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  return Buffer.concat([u8(first), varint(body.length), body])
}

/** The property block of MQTT 5: its length, then the properties as given. */
export function props(...properties: Buffer[]): Buffer {
  const body = Buffer.concat(properties)
  return Buffer.concat([varint(body.length), body])
}

/** Parts of a CONNECT; every one may be something the standard forbids. */
export interface RawConnect {
  version?: 3 | 4 | 5
  name?: Text
  level?: number
  flags?: number
  keepalive?: number
  /** Literal property block; MQTT 5 alone has one. Default: empty. */
  properties?: Buffer
  /** Everything after the variable header, in order, already length-prefixed. */
  payload?: Buffer[]
}

/** Connect flags by their places in the byte. */
export const flag = {
  reserved: 0x01,
  clean: 0x02,
  will: 0x04,
  willQos1: 0x08,
  willQos2: 0x10,
  willRetain: 0x20,
  password: 0x40,
  username: 0x80,
} as const

export function rawConnect(connect: RawConnect): Buffer {
  const version = connect.version ?? 4
  return frame(
    0x10,
    text(connect.name ?? (version === 3 ? 'MQIsdp' : 'MQTT')),
    u8(connect.level ?? version, connect.flags ?? flag.clean),
    u16(connect.keepalive ?? 0),
    version === 5 ? (connect.properties ?? props()) : Buffer.alloc(0),
    ...(connect.payload ?? []),
  )
}

/** One received packet, whole: its bytes and where its variable header begins. */
export interface Frame {
  bytes: Buffer
  /** Offset of the first byte after the fixed header. */
  body: number
}

/** Cuts a stream of bytes into frames; feed it chunks of any size. */
export class FrameSplitter {
  #rest: Buffer = Buffer.alloc(0)
  #chunks: Buffer[] = []
  #missing = 0

  /**
   * Returns the frames that are complete now.
   * @throws Error when a length is encoded in more than four bytes, or in more bytes than it needs.
   */
  push(chunk: Buffer): Frame[] {
    // A large frame arrives in many chunks; they are joined once, when enough has come.
    if (chunk.length < this.#missing) {
      this.#chunks.push(chunk)
      this.#missing -= chunk.length
      return []
    }
    this.#rest = Buffer.concat([this.#rest, ...this.#chunks, chunk])
    this.#chunks = []
    this.#missing = 0
    const frames: Frame[] = []
    for (let next = this.#take(); next; next = this.#take()) frames.push(next)
    return frames
  }

  #take(): Frame | undefined {
    let length = 0
    for (let i = 1; i < this.#rest.length; i++) {
      if (i > 4) throw new Error('a remaining length of more than four bytes')
      const byte = this.#rest[i]!
      length += (byte & 0x7f) * 128 ** (i - 1)
      if (byte & 0x80) continue
      if (byte === 0 && i > 1) throw new Error('a remaining length in more bytes than it needs')
      const end = i + 1 + length
      if (this.#rest.length < end) {
        this.#missing = end - this.#rest.length
        return undefined
      }
      const bytes = this.#rest.subarray(0, end)
      this.#rest = this.#rest.subarray(end)
      return { bytes, body: i + 1 }
    }
    return undefined
  }
}

/** One property of a property block: its identifier and its literal value bytes, prefixes included. */
export interface Property {
  id: number
  value: Buffer
}

const propertySizes = {
  byte: [0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2a],
  two: [0x13, 0x21, 0x22, 0x23],
  four: [0x02, 0x11, 0x18, 0x27],
  text: [0x03, 0x08, 0x09, 0x12, 0x15, 0x16, 0x1a, 0x1c, 0x1f],
}

/**
 * Reads the property block that begins at `at`, in order of appearance.
 * @throws Error when a property is unknown, cut short or its length is not minimally encoded.
 */
export function readProperties(bytes: Buffer, at: number): { list: Property[]; end: number } {
  const length = readVarint(bytes, at)
  const end = length.end + length.value
  if (end > bytes.length) throw new Error('a property length beyond the end of the packet')
  const list: Property[] = []
  let i = length.end
  while (i < end) {
    const id = bytes[i]!
    const stop = i + 1 + propertySize(bytes, id, i + 1)
    if (stop > end) throw new Error(`property 0x${id.toString(16)} is cut short`)
    list.push({ id, value: bytes.subarray(i + 1, stop) })
    i = stop
  }
  return { list, end }
}

function propertySize(bytes: Buffer, id: number, at: number): number {
  if (propertySizes.byte.includes(id)) return 1
  if (propertySizes.two.includes(id)) return 2
  if (propertySizes.four.includes(id)) return 4
  if (propertySizes.text.includes(id)) return 2 + bytes.readUInt16BE(at)
  if (id === 0x0b) return readVarint(bytes, at).end - at
  if (id !== 0x26) throw new Error(`an unknown property 0x${id.toString(16)}`)
  const key = 2 + bytes.readUInt16BE(at)
  return key + 2 + bytes.readUInt16BE(at + key)
}

/** @throws Error when the integer is cut short, too long or not minimally encoded [MQTT-1.5.5-1]. */
export function readVarint(bytes: Buffer, at: number): { value: number; end: number } {
  let value = 0
  for (let i = 0; i < 4; i++) {
    const byte = bytes[at + i]
    if (byte === undefined) throw new Error('a variable byte integer is cut short')
    value += (byte & 0x7f) * 128 ** i
    if (byte & 0x80) continue
    if (byte === 0 && i > 0) throw new Error('a variable byte integer in more bytes than it needs')
    return { value, end: at + i + 1 }
  }
  throw new Error('a variable byte integer of more than four bytes')
}
