// Rows of the packet table for CONNECT, the packet with the most rules: what is read in it and why
// it is refused, in all three versions.

import { connect, type PacketRow, p, refused, will } from './packets.row.ts'

const bytes = (hex: string): Buffer => Buffer.from(hex, 'hex')

const FIELDS: readonly PacketRow[] = [
  {
    name: 'connect 3.1 with the unused flag bit set',
    version: 3,
    hex: p('10', '"MQIsdp" 03 03 0000 "a"'),
    packet: connect({ version: 3, clientId: 'a', cleanStart: true, sessionExpiry: 0 }),
  },
  {
    name: 'connect 3.1 with user name and password flags and neither',
    version: 3,
    hex: p('10', '"MQIsdp" 03 c2 0000 "a"'),
    packet: connect({ version: 3, clientId: 'a', cleanStart: true, sessionExpiry: 0 }),
    why: 'the length takes precedence over the flags in 3.1',
  },
  {
    name: 'connect 3.1 with user name and no password',
    version: 3,
    hex: p('10', '"MQIsdp" 03 c2 0000 "a" "u"'),
    packet: connect({
      version: 3,
      clientId: 'a',
      cleanStart: true,
      sessionExpiry: 0,
      username: 'u',
    }),
  },
  {
    name: 'connect with an empty client identifier',
    version: 4,
    hex: p('10', '"MQTT" 04 00 0000 ""'),
    packet: connect({ sessionExpiry: Infinity }),
    why: 'the link decides',
  },
  {
    name: 'connect with every field of 3.1.1',
    version: 4,
    hex: p('10', '"MQTT" 04 f6 ffff "a" "w/t" "bye" "u" "pw"'),
    packet: connect({
      clientId: 'a',
      cleanStart: true,
      sessionExpiry: 0,
      keepAlive: 65_535,
      username: 'u',
      password: bytes('7077'),
      will: will({ topic: 'w/t', payload: bytes('627965'), qos: 2, retain: true }),
    }),
  },
  {
    name: 'connect with a will without payload',
    version: 4,
    hex: p('10', '"MQTT" 04 06 0000 "a" "w" ""'),
    packet: connect({
      clientId: 'a',
      cleanStart: true,
      sessionExpiry: 0,
      will: will({ topic: 'w' }),
    }),
  },
  {
    name: 'connect with every will property',
    version: 5,
    hex: p(
      '10',
      '"MQTT" 05 06 0000 {} "a" {18 00000005 01 01 02 ffffffff 03 "t" 08 "r" 09 0001 00 26 "k" "v" 26 "k" "v"} "w" ""',
    ),
    packet: connect({
      version: 5,
      clientId: 'a',
      cleanStart: true,
      will: will({
        topic: 'w',
        delay: 5,
        expiry: 4_294_967_295,
        properties: bytes('01010300017408000172090001002600016b0001762600016b000176'),
      }),
    }),
  },
  {
    name: 'connect with all connect properties at their greatest',
    version: 5,
    hex: p(
      '10',
      '"MQTT" 05 00 0000 {11 ffffffff 21 ffff 27 ffffffff 22 ffff 19 00 17 00 26 "" "" 15 "" 16 ""} ""',
    ),
    packet: connect({
      version: 5,
      sessionExpiry: Infinity,
      receiveMaximumGiven: true,
      maximumPacketSize: 4_294_967_295,
      topicAliasMaximum: 65_535,
      requestProblemInformation: false,
      authenticationMethod: '',
      authenticationData: bytes(''),
      userProperties: [['', '']],
    }),
  },
  {
    name: 'connect with a password and no user name',
    version: 5,
    hex: p('10', '"MQTT" 05 40 0000 {} "a" "token"'),
    packet: connect({ version: 5, clientId: 'a', password: bytes('746f6b656e') }),
  },
  {
    name: 'connect with a four byte character and control characters',
    version: 4,
    hex: p('10', '"MQTT" 04 02 0000 0006 01 7f f48fbfbf'),
    packet: connect({
      clientId: '\u0001\u007f\u{10ffff}',
      cleanStart: true,
      sessionExpiry: 0,
    }),
  },
  refused(0x81, 4, 'connect empty', '10', ''),
  refused(0x81, 4, 'connect that is only half a length', '10', '00'),
  refused(0x81, 4, 'connect with flags', '11', '"MQTT" 04 02 0000 "a"'),
  refused(0x84, 4, 'connect of HTTP', '10', '"HTTP" 04 02 0000 "a"'),
  refused(0x84, 4, 'connect of a long name', '10', '"MQTT-SN is another" 04'),
  refused(0x84, 4, 'connect of mqtt in small letters', '10', '"mqtt" 04 02 0000 "a"'),
  refused(0x81, 4, 'connect of an ill-formed name', '10', '0004 4d5154ff 04 02 0000 "a"'),
  refused(0x84, 4, 'connect of level 0', '10', '"MQTT" 00 02 0000 "a"'),
  refused(0x84, 5, 'connect of level 6', '10', '"MQTT" 06 02 0000 {} "a"'),
  refused(0x84, 4, 'connect of level 3 by the new name', '10', '"MQTT" 03 02 0000 "a"'),
  refused(0x84, 3, 'connect of level 4 by the old name', '10', '"MQIsdp" 04 02 0000 "a"'),
  refused(0x84, 4, 'connect of a bridge, 3.1.1', '10', '"MQTT" 84 02 0000 "a"'),
  refused(0x84, 3, 'connect of a bridge, 3.1', '10', '"MQIsdp" 83 02 0000 "a"'),
  {
    name: 'connect of level 6, nothing more',
    version: 5,
    hex: p('10', '"MQTT" 06'),
    reason: 0x84,
    why: 'what follows is not ours to judge',
  },
  refused(0x81, 5, 'connect with the reserved flag', '10', '"MQTT" 05 03 0000 {} "a"'),
  refused(0x81, 4, 'connect with will QoS and no will', '10', '"MQTT" 04 0a 0000 "a"'),
  refused(0x81, 5, 'connect with will retain and no will', '10', '"MQTT" 05 22 0000 {} "a"'),
  refused(0x81, 5, 'connect with will QoS 3', '10', '"MQTT" 05 1e 0000 {} "a" {} "w" ""'),
  refused(0x81, 3, 'connect 3.1 with a password flag alone', '10', '"MQIsdp" 03 42 0000 "a" "p"'),
  refused(0x81, 4, 'connect 3.1.1 with a password alone', '10', '"MQTT" 04 42 0000 "a" "p"'),
  refused(0x81, 4, 'connect 3.1.1 without the promised user name', '10', '"MQTT" 04 82 0000 "a"'),
  refused(0x81, 4, 'connect without client identifier', '10', '"MQTT" 04 02 0000'),
  refused(0x81, 4, 'connect with bytes left over', '10', '"MQTT" 04 02 0000 "a" 00'),
  refused(
    0x81,
    5,
    'connect with a user name nobody announced',
    '10',
    '"MQTT" 05 02 0000 {} "a" "u"',
  ),
  refused(
    0x81,
    4,
    'connect with U+0000 in the client identifier',
    '10',
    '"MQTT" 04 02 0000 0003 610062',
  ),
  refused(
    0x81,
    4,
    'connect with an ill-formed will topic',
    '10',
    '"MQTT" 04 06 0000 "a" 0002 c328 ""',
  ),
  refused(0x81, 4, 'connect with an ill-formed user name', '10', '"MQTT" 04 82 0000 "a" 0001 80'),
  refused(0x81, 4, 'connect with a five byte character', '10', '"MQTT" 04 02 0000 0005 f888808080'),
  refused(0x81, 4, 'connect above the code space', '10', '"MQTT" 04 02 0000 0004 f4908080'),
  refused(0x81, 4, 'connect with an overlong slash', '10', '"MQTT" 04 02 0000 0003 e080af'),
  refused(0x81, 5, 'connect 5 without property length', '10', '"MQTT" 05 02 0000'),
  {
    name: 'connect with an overlong property length',
    version: 5,
    hex: p('10', '"MQTT" 05 02 0000 8000 "a"'),
    reason: 0x81,
    why: '[MQTT-1.5.5-1]',
  },
  refused(
    0x81,
    5,
    'connect with a property length of five bytes',
    '10',
    '"MQTT" 05 02 0000 8080808001 "a"',
  ),
]

/** Properties that make a CONNECT of 5.0 wrong. */
const PROPERTIES = (
  [
    [0x81, 'an unknown property', '04 00'],
    [0x81, 'property 0', '00'],
    [0x81, 'a two byte property identifier', '9100 00000001'],
    [0x81, 'a property of PUBLISH', '01 01'],
    [0x81, 'a property of the will', '18 00000001'],
    [0x81, 'a property of CONNACK', '24 01'],
    [0x81, 'a reason string', '1f "why"'],
    [0x82, 'two session expiries', '11 00000001 11 00000001'],
    [0x82, 'two session expiries, not side by side', '11 00000001 21 0001 11 00000001'],
    [0x82, 'two receive maxima', '21 0001 21 0001'],
    [0x82, 'two maximum packet sizes', '27 00000001 27 00000001'],
    [0x82, 'two topic alias maxima', '22 0000 22 0000'],
    [0x82, 'two requests for problem information', '17 01 17 01'],
    [0x82, 'two requests for response information', '19 01 19 01'],
    [0x82, 'two authentication methods', '15 "x" 15 "x"'],
    [0x82, 'two authentication data', '15 "x" 16 "x" 16 "x"'],
    [0x82, 'receive maximum 0', '21 0000'],
    [0x82, 'maximum packet size 0', '27 00000000'],
    [0x82, 'request problem information 2', '17 02'],
    [0x82, 'request response information 255', '19 ff'],
    [0x82, 'authentication data and no method', '16 "x"'],
    [0x81, 'connect whose property is longer than the properties', '11 0000'],
    [0x81, 'connect whose user property has no value', '26 "k"'],
    [0x81, 'connect whose user property is ill-formed', '26 "k" 0001 ff'],
  ] as const
).map(([reason, what, properties]) =>
  refused(reason, 5, `connect with ${what}`, '10', `"MQTT" 05 02 0000 {${properties}} "a"`),
)

/** Properties that make its will wrong. */
const WILL_PROPERTIES = (
  [
    [0x82, 'two will delays', '18 00000001 18 00000001'],
    [0x82, 'payload format 2', '01 02'],
    [0x82, 'a wildcard in the response topic', '08 "a/#"'],
    [0x81, 'a topic alias', '23 0001'],
    [0x81, 'a subscription identifier', '0b 01'],
  ] as const
).map(([reason, what, properties]) =>
  refused(
    reason,
    5,
    `connect with ${what} in the will`,
    '10',
    `"MQTT" 05 06 0000 {} "a" {${properties}} "w" ""`,
  ),
)

export const CONNECT_ROWS: readonly PacketRow[] = [...FIELDS, ...PROPERTIES, ...WILL_PROPERTIES]
