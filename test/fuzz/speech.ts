// What strangers say at each door: mostly sensible beginnings, so that they get in, then anything from the packet
// table, protocols of other doors, and damage. Everything is decided by the chance given.
import type { Chance } from '../../sim/chance.ts'
import { bytesOf } from '../mqtt/packets.row.ts'
import { PACKETS } from '../mqtt/packets.table.ts'
import { flag, frame, props, rawConnect, text, u8, u16, u32 } from '../support/bytes.ts'
import { mutated, noise } from './mutate.ts'

export const DOORS = ['mqtt', 'websocket', 'http', 'line', 'proxy', 'tls', 'noise'] as const
export type Door = (typeof DOORS)[number]

type Version = 3 | 4 | 5

/** Nobody but strangers publishes below it. */
const TOPICS = ['fuzz', 'fuzz/a', 'fuzz/a/b', 'fuzz//', '$SYS/x', '/', 'fuzz/ü', 'fuzz/a b']
const FILTERS = [
  ...TOPICS,
  '#',
  '+',
  'fuzz/#',
  '+/+',
  '$share/g/fuzz/#',
  '$share/h/#',
  'a/#/b',
  '+a',
]

const TABLE = new Map<Version, readonly Buffer[]>(
  ([3, 4, 5] as const).map((version) => [
    version,
    PACKETS.filter((row) => row.version === version).map(bytesOf),
  ]),
)

/** The bytes of one conversation, as if nothing ever answered. */
export function speech(door: Door, chance: Chance): Buffer {
  switch (door) {
    case 'mqtt':
      return mqtt(chance)
    case 'websocket':
      return webSocket(chance)
    case 'http':
      return perhaps(http(chance), chance, 0.3)
    case 'line':
      return lines(chance)
    case 'proxy':
      return Buffer.concat([
        perhaps(proxyHeader(chance), chance, 0.5),
        speech(inner(chance), chance),
      ])
    case 'tls':
      return mutated(clientHello(chance), chance)
    case 'noise':
      return noise(chance, 2_000)
  }
}

/** A door one can stand at behind a proxy or inside TLS. */
export function inner(chance: Chance): Door {
  return chance.pick(['mqtt', 'websocket', 'http', 'line', 'noise'])
}

function perhaps(bytes: Buffer, chance: Chance, probability: number): Buffer {
  return chance.is(probability) ? mutated(bytes, chance) : bytes
}

// ---- MQTT ------------------------------------------------------------------------------------

function mqtt(chance: Chance): Buffer {
  const version = chance.pick([3, 4, 5] as const)
  const packets = [perhaps(connect(chance, version), chance, 0.1)]
  const damage = chance.pick([0, 0.05, 0.5])
  for (let i = chance.between(0, 30); i > 0; i--) {
    const packet = chance.is(0.2) ? chance.pick(TABLE.get(version) ?? []) : said(chance, version)
    packets.push(perhaps(packet, chance, damage))
  }
  return Buffer.concat(packets)
}

function connect(chance: Chance, version: Version): Buffer {
  const withWill = chance.is(0.3)
  const flags =
    (chance.is(0.5) ? flag.clean : 0) |
    (withWill ? flag.will | chance.pick([0, flag.willQos1, flag.willQos2]) : 0) |
    (withWill && chance.is(0.3) ? flag.willRetain : 0)
  const ours = [
    u8(0x11),
    u32(chance.pick([0, 1, 30, 0xffffffff])),
    u8(0x21),
    u16(chance.between(1, 9)),
  ]
  const sized = chance.is(0.3) ? [u8(0x27), u32(chance.between(1, 500)), u8(0x22), u16(3)] : []
  return rawConnect({
    version,
    flags,
    keepalive: chance.pick([0, 1, 60]),
    properties: props(...ours, ...sized),
    payload: [
      // Few names, so that they take one another over and find sessions again.
      text(chance.is(0.1) ? '' : `fuzz-${chance.between(0, 40)}`),
      ...(withWill
        ? [...(version === 5 ? [willProperties(chance)] : []), text('fuzz/will'), text('x')]
        : []),
    ],
  })
}

function willProperties(chance: Chance): Buffer {
  return chance.is(0.5) ? props() : props(u8(0x18), u32(chance.between(0, 2)))
}

/** A packet as a client might send it, with identifiers that may or may not mean something. */
function said(chance: Chance, version: Version): Buffer {
  const id = u16(chance.between(1, 20))
  const none = version === 5 ? props() : Buffer.alloc(0)
  const options = version === 5 ? chance.between(0, 0x2f) : chance.between(0, 2)
  switch (chance.between(0, 6)) {
    case 0:
      return frame(0x82, id, none, text(chance.pick(FILTERS)), u8(options))
    case 1:
      return frame(0xa2, id, none, text(chance.pick(FILTERS)))
    case 2:
      return frame(chance.pick([0x40, 0x50, 0x62, 0x70]), id)
    case 3:
      return frame(chance.pick([0xc0, 0xc0, 0xc0, 0xe0]))
    default:
      return publish(chance, version, id)
  }
}

function publish(chance: Chance, version: Version, id: Buffer): Buffer {
  const qos = chance.between(0, 2)
  const retain = chance.is(0.2) ? 1 : 0
  const alias = chance.is(0.2) ? [u8(0x23), u16(chance.between(1, 70))] : []
  const expiry = chance.is(0.2) ? [u8(0x02), u32(chance.between(0, 3))] : []
  return frame(
    0x30 | (qos << 1) | retain,
    text(alias.length > 0 && chance.is(0.3) ? '' : topic(chance)),
    qos > 0 ? id : Buffer.alloc(0),
    version === 5 ? props(...alias, ...expiry) : Buffer.alloc(0),
    Buffer.alloc(chance.pick([0, 1, 10, 300, 20_000]), 'x'),
  )
}

function topic(chance: Chance): string {
  return chance.is(0.3) ? `fuzz/${chance.between(0, 100_000)}` : chance.pick(TOPICS)
}

// ---- HTTP and WebSocket ----------------------------------------------------------------------

function http(chance: Chance): Buffer {
  const method = chance.pick(['GET', 'POST', 'HEAD', 'PUT', 'OPTIONS', 'DELETE', 'CONNECT', 'get'])
  const path = chance.pick([
    '/',
    '/healthz',
    '/readyz',
    '/metrics',
    '/topics/fuzz',
    '/topics/%ff',
    '*',
    '//',
  ])
  const body = noise(chance, 300)
  const length = chance.is(0.8) ? body.length : chance.between(0, 1_000_000)
  const headers = [
    `Host: ${chance.pick(['localhost', '127.0.0.1', 'example.org', ''])}`,
    chance.pick([`Content-Length: ${length}`, 'Transfer-Encoding: chunked', 'X: y']),
    chance.pick([
      'Origin: https://evil.example',
      'Expect: 100-continue',
      'Connection: close',
      'A: b',
    ]),
  ]
  const query = chance.pick(['', '?qos=1', '?qos=3&retain=1', '?%'])
  return Buffer.concat([
    Buffer.from(`${method} ${path}${query} HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n`),
    body,
  ])
}

function webSocket(chance: Chance): Buffer {
  const hello = [
    `GET /${chance.pick(['', 'mqtt', 'x?y'])} HTTP/1.1`,
    'Host: localhost',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    `Sec-WebSocket-Protocol: ${chance.pick(['mqtt', 'mqtt', 'mqtt', 'mqttv3.1', 'chat'])}`,
  ]
  const said = mqtt(chance)
  const damage = chance.pick([0, 0.2])
  const frames: Buffer[] = []
  const most = chance.pick([20, 500, 100_000])
  for (let at = 0; at < said.length; ) {
    const end = at + chance.between(1, most)
    frames.push(perhaps(masked(said.subarray(at, end), chance), chance, damage))
    at = end
  }
  return Buffer.concat([
    perhaps(Buffer.from(`${hello.join('\r\n')}\r\n\r\n`), chance, 0.1),
    ...frames,
  ])
}

/** A frame of a client; now and then of a kind or with bits that nobody expects. */
function masked(payload: Buffer, chance: Chance): Buffer {
  const first = chance.is(0.9) ? 0x82 : chance.between(0, 255)
  const { length } = payload
  const size =
    length < 126 ? u8(0x80 | length) : Buffer.concat([u8(0xfe), u16(Math.min(length, 65_535))])
  const key = noise(chance, 1).readUInt8()
  const mask = u8(key, key ^ 1, key ^ 2, key ^ 3)
  const hidden = Buffer.from(payload.subarray(0, 65_535))
  for (let i = 0; i < hidden.length; i++)
    hidden[i] = (hidden[i] as number) ^ (mask[i & 3] as number)
  return Buffer.concat([u8(first), size, mask, hidden])
}

// ---- Lines -----------------------------------------------------------------------------------

function lines(chance: Chance): Buffer {
  const said: Buffer[] = []
  for (let i = chance.between(1, 30); i > 0; i--) {
    const line = Buffer.from(line1(chance))
    said.push(perhaps(line, chance, 0.2), Buffer.from(chance.pick(['\n', '\n', '\r\n', ''])))
  }
  return Buffer.concat(said)
}

function line1(chance: Chance): string {
  const words = [
    'PUBLISHER fuzz/lines',
    'publisher',
    `SUBSCRIBER ${chance.pick(FILTERS)}`,
    `SUBSCRIBER # AS stranger${chance.between(0, 9)}`,
    `SUB ${chance.pick(FILTERS)} ${chance.pick(FILTERS)}`,
    `UNSUB ${chance.pick(FILTERS)}`,
    `PUB ${topic(chance)} text`,
    '/pub fuzz/slash text',
    '//double',
    'WHO',
    'TOPICS',
    'HELP',
    'LOGIN ann secret',
    'FORGET',
    'terminate',
    '',
    'x'.repeat(chance.pick([10, 5_000, 70_000])),
  ]
  return chance.pick(words)
}

// ---- Before the door -------------------------------------------------------------------------

const PROXY_V2 = Buffer.from([
  0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a,
])

function proxyHeader(chance: Chance): Buffer {
  if (chance.is(0.5)) {
    const address = chance.pick(['10.0.0.1', '::1', '999.1.1.1', 'x'])
    const family = chance.pick(['TCP4', 'TCP6', 'UNKNOWN', 'UDP4'])
    return Buffer.from(`PROXY ${family} ${address} 127.0.0.1 ${chance.between(0, 70_000)} 5000\r\n`)
  }
  const body = chance.is(0.7)
    ? Buffer.from([10, 0, 0, 1, 127, 0, 0, 1, 1, 2, 3, 4])
    : noise(chance, 300)
  const kind = u8(chance.pick([0x20, 0x21, 0x22, 0x31]), chance.pick([0x00, 0x11, 0x21, 0x31]))
  return Buffer.concat([PROXY_V2, kind, u16(body.length), body])
}

/** The beginning of a TLS handshake, with nonsense for keys. */
function clientHello(chance: Chance): Buffer {
  const hello = Buffer.concat([
    u8(0x03, 0x03),
    Buffer.alloc(32, chance.between(0, 255)),
    u8(0),
    u16(4),
    u8(0x13, 0x01, 0xc0, 0x2f),
    u8(1, 0),
    u16(0),
  ])
  const message = Buffer.concat([u8(1, 0), u16(hello.length), hello])
  return Buffer.concat([u8(0x16, 0x03, 0x01), u16(message.length), message])
}
