// The statements that no test of a server can judge, each with its reason: duties of the client alone, and
// what no byte on the wire can show.
import type { Version } from './case.ts'

const client = 'a duty of the client alone'
const unspeakable = 'its length has two bytes, so no wire can carry more than 65 535'
const noBridge = 'concerns servers that open connections to other servers'
const noAuthentication =
  'concerns servers that accept an authentication method; without one, no AUTH is ever sent'

/** By protocol version and identifier: one line of reason. */
export const untestable: Record<Version, Record<string, string>> = {
  4: {
    'MQTT-2.3.1-2': `${client}: which identifier a client takes`,
    'MQTT-2.3.1-3': `${client}: which identifier a client repeats`,
    'MQTT-3.1.2-23': `${client}: sending in time`,
    'MQTT-3.14.4-1': `${client}: closing after DISCONNECT`,
    'MQTT-3.14.4-2': `${client}: silence after DISCONNECT`,
    'MQTT-4.5.0-2': `${client}: acknowledging what it receives`,
    'MQTT-4.7.3-3': unspeakable,
    'MQTT-7.0.0-1': noBridge,
    'MQTT-7.1.2-1': `${client}: its transport`,
  },
  5: {
    'MQTT-3.1.2-22': `${client}: sending PINGREQ`,
    'MQTT-3.1.2-23': `${client}: obeying Server Keep Alive`,
    'MQTT-3.1.2-33': `${client}: silence until CONNACK when it authenticates`,
    'MQTT-3.2.2-4': `${client}: closing when it lacks the session`,
    'MQTT-3.2.2-5': `${client}: discarding its session state`,
    'MQTT-3.2.2-11': `${client}: obeying Maximum QoS`,
    'MQTT-3.2.2-14': `${client}: obeying Retain Available`,
    'MQTT-3.2.2-18': `${client}: no alias where the server announces none`,
    'MQTT-3.2.2-21': `${client}: obeying Server Keep Alive`,
    'MQTT-3.3.2-10': `${client}: accepting the server's aliases`,
    'MQTT-3.3.4-8': `${client}: what it may not delay`,
    'MQTT-3.15.2-2': noAuthentication,
    'MQTT-4.5.0-2': `${client}: acknowledging what it receives`,
    'MQTT-4.6.0-1': `${client}: the order in which it sends again`,
    'MQTT-4.6.0-2': `${client}: the order of its PUBACKs`,
    'MQTT-4.6.0-3': `${client}: the order of its PUBRECs`,
    'MQTT-4.6.0-4': `${client}: the order of its PUBRELs`,
    'MQTT-4.7.3-3': unspeakable,
    'MQTT-4.12.0-2': noAuthentication,
    'MQTT-4.12.0-3': `${client}: the reason code of its AUTH`,
    'MQTT-4.12.1-1': `${client}: the method it authenticates again with`,
    'MQTT-6.0.0-3': `${client}: offering the subprotocol`,
    'MQTT-7.0.0-1': noBridge,
    'MQTT-7.1.2-1': `${client}: its transport`,
  },
}
