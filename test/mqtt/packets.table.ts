// Our own packets, valid and invalid, for every rule of the codec one row at least; PACKETS is all
// rows there are. The tests decode, encode, split and cut whatever stands here.

import {
  ack,
  auth,
  connack,
  disconnect,
  pingresp,
  suback,
  unsuback,
} from '../../src/protocol/mqtt/encode.ts'
import { CONNECT_ROWS } from './packets.connect.table.ts'
import { MOCHI_ROWS } from './packets.mochi.table.ts'
import { type PacketRow, p, refused, subscribe } from './packets.row.ts'

const bytes = (hex: string): Buffer => Buffer.from(hex, 'hex')

const SUBSCRIBE: readonly PacketRow[] = [
  {
    name: 'subscribe again in 3.1, with DUP',
    version: 3,
    hex: p('8a', '0001 "a" 01'),
    packet: subscribe(1, 0, [{ filter: 'a', qos: 1 }]),
  },
  {
    name: 'subscribe with an empty filter',
    version: 4,
    hex: p('82', 'ffff "" 00'),
    packet: subscribe(65_535, 0, [{ filter: '' }]),
    why: 'core refuses it by its own code',
  },
  {
    name: 'subscribe with the greatest identifier',
    version: 5,
    hex: p('82', '0001 {0b ffffff7f} "$share/g/a" 2a'),
    packet: subscribe(1, 268_435_455, [
      { filter: '$share/g/a', qos: 2, retainAsPublished: true, retainHandling: 2 },
    ]),
  },
  refused(0x81, 4, 'subscribe empty', '82', ''),
  refused(0x81, 4, 'subscribe with DUP', '8a', '0001 "a" 01'),
  refused(0x81, 4, 'subscribe without its flag', '80', '0001 "a" 01'),
  refused(0x81, 5, 'subscribe without its flag in 5', '80', '0001 {} "a" 01'),
  refused(0x82, 4, 'subscribe to nothing', '82', '0001'),
  refused(0x82, 5, 'subscribe to nothing in 5', '82', '0001 {}'),
  refused(0x81, 5, 'subscribe without property length', '82', '0001'),
  refused(0x81, 4, 'subscribe without options', '82', '0001 "a"'),
  refused(0x81, 4, 'subscribe with half a second filter', '82', '0001 "a" 00 00'),
  refused(0x82, 5, 'subscribe by identifier 0 in 5', '82', '0000 {} "a" 00'),
  refused(0x81, 4, 'subscribe for QoS 3', '82', '0001 "a" 03'),
  refused(0x82, 5, 'subscribe for QoS 3 in 5', '82', '0001 {} "a" 03'),
  refused(0x81, 4, 'subscribe with no local in 3.1.1', '82', '0001 "a" 04'),
  refused(0x82, 5, 'subscribe with retain handling 3', '82', '0001 {} "a" 30'),
  refused(0x81, 5, 'subscribe with reserved bit 6', '82', '0001 {} "a" 40'),
  refused(0x81, 5, 'subscribe with reserved bit 7', '82', '0001 {} "a" 80'),
  {
    name: 'subscribe shared with no local',
    version: 5,
    hex: p('82', '0001 {} "$share/g/a" 04'),
    reason: 0x82,
    why: '[MQTT-3.8.3-4]',
  },
  refused(0x82, 5, 'subscribe with identifier property 0', '82', '0001 {0b 00} "a" 00'),
  refused(0x82, 5, 'subscribe with two identifiers', '82', '0001 {0b 01 0b 02} "a" 00'),
  refused(0x81, 5, 'subscribe with an overlong identifier', '82', '0001 {0b 8100} "a" 00'),
  refused(0x81, 5, 'subscribe with an unfinished identifier', '82', '0001 {0b 81} "a" 00'),
  refused(0x81, 5, 'subscribe with a reason string', '82', '0001 {1f "x"} "a" 00'),
  refused(0x81, 4, 'subscribe with an ill-formed filter', '82', '0001 0003 eda080 00'),
  refused(0x81, 5, 'subscribe with U+0000 in the filter', '82', '0001 {} 0001 00 00'),
]

const UNSUBSCRIBE: readonly PacketRow[] = [
  {
    name: 'unsubscribe again in 3.1, with DUP',
    version: 3,
    hex: p('aa', '0001 "a"'),
    packet: { type: 'unsubscribe', packetId: 1, filters: ['a'] },
  },
  {
    name: 'unsubscribe from an empty filter',
    version: 5,
    hex: p('a2', '0001 {} "" "#"'),
    packet: { type: 'unsubscribe', packetId: 1, filters: ['', '#'] },
  },
  refused(0x81, 5, 'unsubscribe empty', 'a2', ''),
  refused(0x81, 5, 'unsubscribe without its flag', 'a0', '0001 {} "a"'),
  refused(0x82, 4, 'unsubscribe from nothing', 'a2', '0001'),
  refused(0x82, 5, 'unsubscribe from nothing in 5', 'a2', '0001 {}'),
  refused(0x81, 5, 'unsubscribe without property length', 'a2', '0001'),
  refused(0x82, 5, 'unsubscribe by identifier 0', 'a2', '0000 {} "a"'),
  refused(0x81, 4, 'unsubscribe with half a filter', 'a2', '0001 "a" 00'),
  refused(0x81, 5, 'unsubscribe with a subscription identifier', 'a2', '0001 {0b 01} "a"'),
  refused(0x81, 4, 'unsubscribe with an ill-formed filter', 'a2', '0001 0001 ff'),
]

const ACK_TYPES = [
  ['puback', '40', '41'],
  ['pubrec', '50', '52'],
  ['pubrel', '62', '60'],
  ['pubcomp', '70', '78'],
] as const

const ACKS: readonly PacketRow[] = ACK_TYPES.flatMap(([type, first, wrong]): PacketRow[] => [
  {
    name: `${type} short`,
    version: 5,
    hex: p(first, '0102'),
    packet: { type, packetId: 258, reason: 0 },
    encoded: () => ack(type, 258, 0, 5),
  },
  {
    name: `${type} 3.1`,
    version: 3,
    hex: p(first, 'ffff'),
    packet: { type, packetId: 65_535, reason: 0 },
    encoded: () => ack(type, 65_535, 0, 3),
  },
  {
    name: `${type} with its reason alone`,
    version: 5,
    hex: p(first, '0001 92'),
    ...(type === 'pubrel' || type === 'pubcomp'
      ? { packet: { type, packetId: 1, reason: 0x92 } }
      : { reason: 0x82 }),
    encoded: () => ack(type, 1, 0x92, 5),
  },
  {
    name: `${type} with no properties, said so`,
    version: 5,
    hex: p(first, '0001 00 {}'),
    packet: { type, packetId: 1, reason: 0 },
  },
  {
    name: `${type} with a reason string`,
    version: 5,
    hex: p(first, '0001 00 {1f "fine" 26 "a" "b" 26 "a" "b"}'),
    packet: { type, packetId: 1, reason: 0 },
  },
  refused(0x81, 4, `${type} empty`, first, ''),
  refused(0x82, 4, `${type} by identifier 0`, first, '0000'),
  refused(0x82, 5, `${type} by identifier 0 in 5`, first, '0000 00'),
  refused(0x81, 4, `${type} with wrong flags`, wrong, '0001'),
  refused(0x81, 5, `${type} with wrong flags in 5`, wrong, '0001'),
  refused(0x81, 4, `${type} with a reason before 5`, first, '0001 00'),
  refused(0x82, 5, `${type} with a reason of nobody`, first, '0001 01'),
  refused(0x82, 5, `${type} with two reason strings`, first, '0001 00 {1f "a" 1f "a"}'),
  refused(0x81, 5, `${type} with a session expiry`, first, '0001 00 {11 00000000}'),
  refused(0x81, 5, `${type} with bytes left over`, first, '0001 00 {} 00'),
])

const OTHERS: readonly PacketRow[] = [
  refused(0x81, 5, 'type 0', '00', ''),
  refused(0x81, 4, 'pingreq with a body', 'c0', '00'),
  refused(0x81, 4, 'pingreq with flags', 'c1', ''),
  { name: 'pingreq 5', version: 5, hex: 'c000', packet: { type: 'pingreq' } },
  {
    name: 'pingresp from a client',
    version: 5,
    hex: 'd000',
    reason: 0x82,
    encoded: () => pingresp,
  },
  refused(0x81, 4, 'disconnect with flags', 'e2', ''),
  refused(0x81, 4, 'disconnect with a body before 5', 'e0', '00'),
  {
    name: 'disconnect 5, empty',
    version: 5,
    hex: 'e000',
    packet: { type: 'disconnect', reason: 0, sessionExpiry: null },
    encoded: () => disconnect(0),
  },
  {
    name: 'disconnect with its reason alone',
    version: 5,
    hex: 'e00104',
    packet: { type: 'disconnect', reason: 4, sessionExpiry: null },
  },
  {
    name: 'disconnect that never ends the session',
    version: 5,
    hex: p('e0', '00 {11 ffffffff}'),
    packet: { type: 'disconnect', reason: 0, sessionExpiry: Infinity },
  },
  {
    name: 'disconnect that ends the session',
    version: 5,
    hex: p('e0', '00 {26 "a" "b" 11 00000000 1f ""}'),
    packet: { type: 'disconnect', reason: 0, sessionExpiry: 0 },
  },
  refused(0x82, 5, 'disconnect with two session expiries', 'e0', '00 {11 00000001 11 00000001}'),
  refused(0x82, 5, 'disconnect with a server reference', 'e0', '00 {1c "x"}'),
  refused(0x81, 5, 'disconnect with a receive maximum', 'e0', '00 {21 0001}'),
  refused(0x82, 5, 'disconnect with a reason of nobody', 'e0', '01'),
  refused(0x81, 5, 'disconnect with bytes left over', 'e0', '00 {} 00'),
  {
    name: 'disconnect for a takeover',
    version: 5,
    hex: 'e0018e',
    reason: 0x82,
    encoded: () => disconnect(0x8e),
  },
  {
    name: 'disconnect too large with its reason string',
    version: 5,
    hex: 'e0018e',
    reason: 0x82,
    encoded: () => disconnect(0x8e, 'session taken over', 20),
  },
  refused(0x81, 4, 'auth before 5', 'f0', '18 {15 "x"}'),
  refused(0x81, 5, 'auth with flags', 'f1', '18 {15 "x"}'),
  {
    name: 'auth that continues',
    version: 5,
    hex: p('f0', '18 {15 "x" 16 0002 00ff}'),
    packet: { type: 'auth', reason: 0x18, method: 'x', data: bytes('00ff') },
    encoded: () => auth(0x18, 'x', bytes('00ff')),
  },
  {
    name: 'auth again',
    version: 5,
    hex: p('f0', '19 {1f "" 15 "" 26 "" ""}'),
    packet: { type: 'auth', reason: 0x19, method: '', data: null },
  },
  {
    name: 'auth with a reason string',
    version: 5,
    hex: p('f0', '18 {15 "x" 1f "go on"}'),
    packet: { type: 'auth', reason: 0x18, method: 'x', data: null },
    encoded: () => auth(0x18, 'x', undefined, 'go on'),
  },
  {
    name: 'auth empty',
    version: 5,
    hex: 'f000',
    reason: 0x82,
    why: 'it means success, which only a server says',
  },
  refused(0x82, 5, 'auth without method', 'f0', '18 {}'),
  refused(0x82, 5, 'auth without properties', 'f0', '18'),
  refused(0x82, 5, 'auth with two methods', 'f0', '18 {15 "x" 15 "x"}'),
  refused(0x82, 5, 'auth with a reason of nobody', 'f0', '17 {15 "x"}'),
  refused(0x81, 5, 'auth with bytes left over', 'f0', '18 {15 "x"} 00'),
  {
    name: 'auth of success',
    version: 5,
    hex: p('f0', '00 {15 "x"}'),
    reason: 0x82,
    encoded: () => auth(0, 'x'),
  },
]

const SERVER: readonly PacketRow[] = [
  {
    name: 'connack 3.1 knows no session present',
    version: 3,
    hex: '20020000',
    reason: 0x82,
    encoded: () => connack({ sessionPresent: true, reason: 0 }, 3),
  },
  {
    name: 'connack of a wrong version',
    version: 4,
    hex: '20020001',
    reason: 0x82,
    encoded: () => connack({ sessionPresent: true, reason: 0x84 }, 4),
  },
  {
    name: 'connack of an identifier refused',
    version: 4,
    hex: '20020002',
    reason: 0x82,
    encoded: () => connack({ sessionPresent: false, reason: 0x85 }, 4),
  },
  {
    name: 'connack of a busy server',
    version: 4,
    hex: '20020003',
    reason: 0x82,
    encoded: () => connack({ sessionPresent: false, reason: 0x89 }, 4),
  },
  {
    name: 'connack of a bad password',
    version: 4,
    hex: '20020004',
    reason: 0x82,
    encoded: () => connack({ sessionPresent: false, reason: 0x86 }, 4),
  },
  {
    name: 'connack of a banned client',
    version: 3,
    hex: '20020005',
    reason: 0x82,
    encoded: () => connack({ sessionPresent: false, reason: 0x8a }, 3),
  },
  {
    name: 'connack with all its properties',
    version: 5,
    hex: p('20', '01 00 {11 ffffffff 21 0400 27 00400000 12 "id" 22 000a 13 003c 15 "m" 1f "hi"}'),
    reason: 0x82,
    encoded: () =>
      connack(
        {
          sessionPresent: true,
          reason: 0,
          sessionExpiry: Infinity,
          receiveMaximum: 1024,
          maximumPacketSize: 4_194_304,
          assignedClientId: 'id',
          topicAliasMaximum: 10,
          reasonString: 'hi',
          serverKeepAlive: 60,
          authenticationMethod: 'm',
        },
        5,
      ),
  },
  {
    name: 'connack with a reason string that just fits',
    version: 5,
    hex: p('20', '00 87 {1f "no"}'),
    reason: 0x82,
    encoded: () => connack({ sessionPresent: false, reason: 0x87, reasonString: 'no' }, 5, 10),
  },
  {
    name: 'connack with a reason string too long',
    version: 5,
    hex: p('20', '00 87 {}'),
    reason: 0x82,
    encoded: () => connack({ sessionPresent: false, reason: 0x87, reasonString: 'no' }, 5, 9),
  },
  {
    name: 'suback with a reason string',
    version: 5,
    hex: p('90', '0001 {1f "no"} 02 87'),
    reason: 0x82,
    encoded: () => suback(1, [2, 0x87], 5, 'no'),
  },
  {
    name: 'suback with a reason string too long',
    version: 5,
    hex: p('90', '0001 {} 02 87'),
    reason: 0x82,
    encoded: () => suback(1, [2, 0x87], 5, 'no', 11),
  },
  {
    name: 'suback 3.1 with a failure',
    version: 3,
    hex: p('90', '0001 01 80'),
    reason: 0x82,
    encoded: () => suback(1, [1, 0x97], 3, 'no'),
  },
  {
    name: 'unsuback with a reason string',
    version: 5,
    hex: p('b0', '0001 {1f "no"} 00 11'),
    reason: 0x82,
    encoded: () => unsuback(1, [0, 0x11], 5, 'no'),
  },
  {
    name: 'unsuback 3.1',
    version: 3,
    hex: 'b0020001',
    reason: 0x82,
    encoded: () => unsuback(1, [0, 0], 3),
  },
]

const USER = '2600016b000176'

const PUBLISH: readonly PacketRow[] = [
  { name: 'publish with nothing', version: 5, hex: p('30', '"a" {}'), publish: { topic: 'a' } },
  {
    name: 'publish with the properties that are cut out',
    version: 5,
    hex: p('30', '"a" {23 0001 02 00000000}'),
    publish: { topic: 'a', alias: 1, expiry: 0 },
  },
  {
    name: 'publish with a cut at the front',
    version: 5,
    hex: p('30', '"a" {23 ffff 26 "k" "v"}'),
    publish: { topic: 'a', alias: 65_535, properties: USER },
  },
  {
    name: 'publish with a cut at the end',
    version: 5,
    hex: p('30', '"a" {26 "k" "v" 02 ffffffff}'),
    publish: { topic: 'a', expiry: 4_294_967_295, properties: USER },
  },
  {
    name: 'publish with a cut in the middle',
    version: 5,
    hex: p('30', '"a" {26 "k" "v" 02 00000007 01 01} 41'),
    publish: { topic: 'a', expiry: 7, properties: `${USER}0101`, payload: '41' },
  },
  {
    name: 'publish with two cuts in three pieces',
    version: 5,
    hex: p('30', '"a" {26 "k" "v" 02 00000007 01 00 23 0002 26 "k" "v"}'),
    publish: { topic: 'a', alias: 2, expiry: 7, properties: `${USER}0100${USER}` },
  },
  {
    name: 'publish with every property that is carried on',
    version: 5,
    hex: p('30', '"a" {01 01 03 "t" 08 "r/s" 09 0002 00ff 26 "k" "v"}'),
    publish: { topic: 'a', properties: `010103000174080003722f7309000200ff${USER}` },
  },
  {
    name: 'publish of QoS 2, DUP and retained, in 5',
    version: 5,
    hex: p('3d', '"a" 0102 {} 00'),
    publish: { topic: 'a', qos: 2, dup: true, retain: true, packetId: 258, payload: '00' },
  },
  {
    name: 'publish of QoS 3',
    version: 4,
    hex: p('36', '"a" 0001'),
    reason: 0x81,
    why: '[MQTT-3.3.1-4]',
  },
  refused(0x81, 5, 'publish of QoS 3 in 5', '36', '"a" 0001 {}'),
  refused(0x81, 4, 'publish without topic', '30', ''),
  refused(0x81, 5, 'publish without property length', '30', '"a"'),
  refused(0x82, 5, 'publish by identifier 0', '32', '"a" 0000 {}'),
  refused(0x81, 4, 'publish with an ill-formed topic', '30', '0002 c0af'),
  refused(0x81, 5, 'publish with U+0000 in the topic', '30', '0001 00 {}'),
  {
    name: 'publish with an empty response topic',
    version: 5,
    hex: p('30', '"a" {08 ""}'),
    reason: 0x82,
    why: '[MQTT-4.7.3-1]',
  },
  refused(0x81, 5, 'publish with properties beyond its end', '30', '"a" 05 2600'),
]

/** Properties that make a PUBLISH of 5.0 wrong. */
export const PUBLISH_PROPERTIES: readonly PacketRow[] = (
  [
    [0x94, 'alias 0', '23 0000'],
    [0x82, 'two aliases', '23 0001 23 0001'],
    [0x82, 'two expiries', '02 00000001 02 00000001'],
    [0x82, 'payload format 2', '01 02'],
    [0x82, 'two payload formats', '01 01 01 01'],
    [0x82, 'two content types', '03 "t" 03 "t"'],
    [0x82, 'two response topics', '08 "t" 08 "t"'],
    [0x82, 'two correlation data', '09 "t" 09 "t"'],
    [0x82, '# in the response topic', '08 "t/#"'],
    [0x82, '+ in the response topic', '08 "+"'],
    [0x81, 'an ill-formed content type', '03 0001 ff'],
    [0x82, 'a subscription identifier', '0b 01'],
    [0x81, 'a will delay', '18 00000001'],
    [0x81, 'an unknown property', '7f 00'],
    [0x81, 'half a property', '02 0000'],
  ] as const
).map(([reason, what, properties]) =>
  refused(reason, 5, `publish with ${what}`, '30', `"a" {${properties}}`),
)

/** Every packet there is to try. */
export const PACKETS: readonly PacketRow[] = [
  ...MOCHI_ROWS,
  ...CONNECT_ROWS,
  ...SUBSCRIBE,
  ...UNSUBSCRIBE,
  ...ACKS,
  ...OTHERS,
  ...SERVER,
  ...PUBLISH,
  ...PUBLISH_PROPERTIES,
]
