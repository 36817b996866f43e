// The protocols of the JavaScript load generator: what clients write, and how what they read is taken apart. The same
// bytes as bench/load/protocol.c writes, without its speed: it stands in where that cannot be compiled.

export type ProtocolName = 'mqtt4' | 'mqtt5' | 'nats' | 'redis' | 'line'

/** What a client learns from the bytes it received. */
export interface Listener {
  greeted(): void
  subscribed(): void
  message(payload: Buffer, retained: boolean): void
  acknowledged(): void
  reply(bytes: Buffer): void
  refused(reason: string): void
}

export interface Settings {
  readonly size: number
  readonly qos: number
  readonly base: number
  readonly wildcard: boolean
  readonly shared: boolean
  readonly retain: boolean
  readonly properties: boolean
}

/** Number of bytes at the start of every payload that hold time, sequence number and publisher. */
export const HEADER = 24

const userProperties = Buffer.from(
  '\x26\0\x04unit\0\x07celsius\x26\0\x04site\0\x07north-7',
  'latin1',
)

export const isMqtt = (protocol: ProtocolName) => protocol === 'mqtt4' || protocol === 'mqtt5'

export function topicName(protocol: ProtocolName, settings: Settings, topic: number): string {
  const number = settings.base + topic
  return protocol === 'nats' ? `bench.t${number}.x` : `bench/t${number}/x`
}

function filterName(protocol: ProtocolName, settings: Settings, topic: number): string {
  if (!settings.wildcard) return topicName(protocol, settings, topic)
  const wild: Partial<Record<ProtocolName, string>> = { nats: 'bench.*.x', redis: 'bench/*/x' }
  return wild[protocol] ?? 'bench/+/x'
}

/** 48 bits as eight printable characters, as put48 in load.h. */
export function put48(to: Buffer, at: number, value: number): void {
  let rest = value
  for (let i = 0; i < 8; i++) {
    to[at + i] = 0x30 + (rest % 64)
    rest = Math.floor(rest / 64)
  }
}

export function get48(from: Buffer, at: number): number {
  let value = 0
  for (let i = 7; i >= 0; i--) value = value * 64 + (from[at + i]! - 0x30)
  return value
}

function lengthBytes(length: number): number[] {
  const bytes: number[] = []
  let rest = length
  do {
    const low = rest % 128
    rest = Math.floor(rest / 128)
    bytes.push(rest > 0 ? low | 128 : low)
  } while (rest > 0)
  return bytes
}

function packet(first: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  return Buffer.concat([Buffer.from([first, ...lengthBytes(body.length)]), body])
}

const text16 = (words: string) => {
  const bytes = Buffer.from(words)
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes])
}

/** The first thing a client says, or undefined where it may subscribe or publish at once. */
export function greeting(
  protocol: ProtocolName,
  settings: Settings,
  publisher: boolean,
  id: string,
  topic: number,
): string | Buffer | undefined {
  if (protocol === 'nats') {
    return 'CONNECT {"verbose":false,"pedantic":false,"echo":false,"protocol":1}\r\nPING\r\n'
  }
  if (protocol === 'redis') return publisher ? 'PING\r\n' : undefined
  if (protocol === 'line') {
    return publisher ? `PUBLISHER ${topicName('line', settings, topic)}\n` : undefined
  }
  const version = protocol === 'mqtt5' ? 5 : 4
  const head = Buffer.from([0, 4, 0x4d, 0x51, 0x54, 0x54, version, 2, 0, 0])
  return packet(0x10, head, Buffer.alloc(version === 5 ? 1 : 0), text16(id))
}

export function subscription(protocol: ProtocolName, settings: Settings, topic: number) {
  const filter = filterName(protocol, settings, topic)
  if (protocol === 'nats') return `SUB ${filter} ${settings.shared ? 'workers ' : ''}1\r\nPING\r\n`
  if (protocol === 'redis') return `${settings.wildcard ? 'P' : ''}SUBSCRIBE ${filter}\r\n`
  if (protocol === 'line') return `SUBSCRIBER ${filter}\n`
  const identifier = settings.properties && protocol === 'mqtt5'
  return mqttSubscription(
    protocol,
    settings.shared ? `$share/workers/${filter}` : filter,
    settings.qos,
    identifier,
  )
}

function mqttSubscription(
  protocol: ProtocolName,
  filter: string,
  qos: number,
  identifier: boolean,
): Buffer {
  const properties = protocol === 'mqtt4' ? [] : identifier ? [2, 0x0b, 7] : [0]
  return packet(0x82, Buffer.from([0, 1, ...properties]), text16(filter), Buffer.from([qos]))
}

/** Subscribes to (or unsubscribes from) a filter nobody publishes to. NATS answers neither. */
export function churn(protocol: ProtocolName, number: number, add: boolean): string | Buffer {
  const name = `churn${number % 10_000}`
  const wild = number % 2 === 1
  const star: Partial<Record<ProtocolName, string>> = { nats: '*', redis: '*' }
  const filter = wild ? `bench/${star[protocol] ?? '+'}/${name}` : `bench/${name}/x`
  if (protocol === 'nats') {
    const subject = filter.replaceAll('/', '.')
    return add ? `SUB ${subject} ${number + 2}\r\n` : `UNSUB ${number + 2}\r\n`
  }
  if (protocol === 'redis') return `${wild ? 'P' : ''}${add ? '' : 'UN'}SUBSCRIBE ${filter}\r\n`
  if (add) return mqttSubscription(protocol, filter, 0, false)
  const head = Buffer.from(protocol === 'mqtt5' ? [0, 1, 0] : [0, 1])
  return packet(0xa2, head, text16(filter))
}

export function publication(
  protocol: ProtocolName,
  settings: Settings,
  topic: number,
  packetId: number,
  payload: Buffer,
): Buffer {
  const name = topicName(protocol, settings, topic)
  if (protocol === 'line') return Buffer.concat([payload, Buffer.from('\n')])
  if (!isMqtt(protocol)) {
    const head =
      protocol === 'nats'
        ? `PUB ${name} ${payload.length}\r\n`
        : `*3\r\n$7\r\nPUBLISH\r\n$${name.length}\r\n${name}\r\n$${payload.length}\r\n`
    return Buffer.concat([Buffer.from(head), payload, Buffer.from('\r\n')])
  }
  const parts = [text16(name)]
  if (settings.qos > 0) parts.push(Buffer.from([packetId >> 8, packetId & 255]))
  if (protocol === 'mqtt5') {
    const properties = settings.properties ? userProperties : Buffer.alloc(0)
    parts.push(Buffer.from([properties.length]), properties)
  }
  return packet(0x30 | (settings.qos << 1) | (settings.retain ? 1 : 0), ...parts, payload)
}

/** Takes whole packets or lines from the front of `bytes`; returns how many bytes they were. */
export function parse(protocol: ProtocolName, bytes: Buffer, to: Listener): number {
  const one = isMqtt(protocol)
    ? (from: number) => parseMqtt(bytes, from, protocol === 'mqtt5', to)
    : protocol === 'nats'
      ? (from: number) => parseNats(bytes, from, to)
      : protocol === 'redis'
        ? (from: number) => parseRedis(bytes, from, to)
        : (from: number) => parseLine(bytes, from, to)
  let at = 0
  for (;;) {
    const next = one(at)
    if (next === at) return at
    at = next
  }
}

function parseMqtt(bytes: Buffer, from: number, five: boolean, to: Listener): number {
  let length = 0
  let at = from + 1
  for (let scale = 1; ; scale *= 128) {
    if (at >= bytes.length) return from
    const byte = bytes[at++]!
    length += (byte & 127) * scale
    if (byte < 128) break
  }
  const end = at + length
  if (end > bytes.length) return from
  mqttPacket(bytes[from]!, bytes.subarray(at, end), five, to)
  return end
}

function mqttPacket(first: number, body: Buffer, five: boolean, to: Listener): void {
  const type = first >> 4
  const code = (body.length > 2 ? body[2]! : 0) >= 0x80
  if (type === 2) {
    if (body[1] === 0) to.greeted()
    else to.refused(`the broker refused the connection with code ${body[1]}`)
  } else if (type === 3) mqttMessage(first, body, five, to)
  else if (type === 6) to.reply(Buffer.from([0x70, 2, body[0]!, body[1]!]))
  else if ((type === 4 || type === 5 || type === 7) && code) to.refused('a message was refused')
  else if (type === 5) to.reply(Buffer.from([0x62, 2, body[0]!, body[1]!]))
  else if (type === 4 || type === 7) to.acknowledged()
  else if (type === 9 && body.at(-1)! >= 0x80) to.refused('the broker refused a subscription')
  else if (type === 9 || type === 11) to.subscribed()
  else if (type === 14) to.refused(`the broker sent DISCONNECT with code ${body[0] ?? 0}`)
}

function mqttMessage(first: number, body: Buffer, five: boolean, to: Listener): void {
  const qos = (first >> 1) & 3
  let at = 2 + body.readUInt16BE(0)
  if (qos > 0) {
    to.reply(Buffer.from([qos === 1 ? 0x40 : 0x50, 2, body[at]!, body[at + 1]!]))
    at += 2
  }
  if (five) {
    const low = body[at++]!
    at += low < 128 ? low : (low & 127) + body[at++]! * 128
  }
  to.message(body.subarray(at), (first & 1) === 1)
}

function parseNats(bytes: Buffer, from: number, to: Listener): number {
  const end = bytes.indexOf('\r\n', from)
  if (end < 0) return from
  const line = bytes.toString('latin1', from, end)
  if (line.startsWith('MSG ')) {
    const start = end + 2
    const length = Number(line.slice(line.lastIndexOf(' ') + 1))
    if (bytes.length < start + length + 2) return from
    to.message(bytes.subarray(start, start + length), false)
    return start + length + 2
  }
  if (line === 'PING') to.reply(Buffer.from('PONG\r\n'))
  else if (line === 'PONG') to.subscribed()
  else if (line.startsWith('-')) to.refused(`the broker said ${line}`)
  return end + 2
}

function parseRedis(bytes: Buffer, from: number, to: Listener): number {
  const end = bytes.indexOf('\r\n', from)
  if (end < 0) return from
  const line = bytes.toString('latin1', from, end)
  if (!line.startsWith('*')) {
    if (line.startsWith(':')) to.acknowledged()
    else if (line.startsWith('-')) to.refused(`the broker said ${line}`)
    else to.greeted()
    return end + 2
  }
  const parts: Buffer[] = []
  let at = end + 2
  for (let i = Number(line.slice(1)); i > 0; i--) {
    const stop = bytes.indexOf('\r\n', at)
    if (stop < 0) return from
    const length = bytes[at] === 0x24 ? Number(bytes.toString('latin1', at + 1, stop)) : -2
    if (bytes.length < stop + 4 + length) return from
    if (length >= 0) parts.push(bytes.subarray(stop + 2, stop + 2 + length))
    at = stop + 4 + length
  }
  const kind = parts[0]?.toString('latin1')
  if (kind === 'message' || kind === 'pmessage') to.message(parts.at(-1)!, false)
  else to.subscribed()
  return at
}

function parseLine(bytes: Buffer, from: number, to: Listener): number {
  const end = bytes.indexOf(10, from)
  if (end < 0) return from
  if (bytes[from] === 0x5b) to.message(bytes.subarray(bytes.indexOf('] ', from) + 2, end), false)
  else if (bytes.toString('latin1', from, from + 3) === 'ERR')
    to.refused(bytes.toString('latin1', from, end))
  else to.subscribed()
  return end + 1
}
