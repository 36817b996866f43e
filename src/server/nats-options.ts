// The rows of the table of options that say how the NATS servers of a cluster are reached and what
// is made on them. They mean something with `--engine nats://…` only.

import { option } from './option.ts'
import type { Option } from './options.ts'

/** What a cluster runs by; texts are empty where nothing was said. */
export interface NatsSettings {
  /** How this node's name begins: it is in the log and in the names of what it sends. */
  readonly natsName: string
  /** How streams and subjects begin: two clusters on the same NATS servers differ in it. */
  readonly natsPrefix: string
  /** Copies of everything; 0 for three where three servers are, else one. */
  readonly replicas: number
  /** Addresses where the servers are monitored: each is asked whether it syncs always. */
  readonly natsMonitor: readonly string[]
  readonly natsUser: string
  readonly natsPassword: string
  readonly natsToken: string
  /** Paths of a `.creds` file and of one with an nkey seed. */
  readonly natsCreds: string
  readonly natsNkey: string
  /** Paths of the authorities' certificates, and of this node's and its key, all PEM. */
  readonly natsCa: string
  readonly natsCert: string
  readonly natsKey: string
}

const OF_CLUSTER = { group: 'Cluster', engines: ['cluster'] } as const

/** An option that is a text and empty unless given. */
function text(key: keyof NatsSettings, flag: string, placeholder: string, doc: string): Option {
  return option({ key, flag, placeholder, default: '', doc, ...OF_CLUSTER })
}

export const NATS_OPTIONS: readonly Option[] = [
  option({
    key: 'natsName',
    flag: 'nats-name',
    placeholder: 'NAME',
    default: 'node',
    ...OF_CLUSTER,
    doc: 'how the name of this node begins; the rest is made at each start',
  }),
  option({
    key: 'natsPrefix',
    flag: 'nats-prefix',
    placeholder: 'NAME',
    default: 'mq',
    ...OF_CLUSTER,
    doc: 'how streams and subjects begin; clusters that share NATS servers need different ones',
  }),
  option({
    key: 'replicas',
    flag: 'replicas',
    kind: 'count',
    placeholder: 'N',
    max: 5,
    default: 0,
    ...OF_CLUSTER,
    doc: 'copies of everything when the streams are made; 0 is 3 where there are three servers, else 1',
  }),
  option({
    key: 'natsMonitor',
    flag: 'nats-monitor',
    many: true,
    placeholder: 'URL',
    default: [],
    ...OF_CLUSTER,
    doc: 'monitoring addresses of all NATS servers, such as http://a:8222, to check that each syncs always',
  }),
  text('natsUser', 'nats-user', 'NAME', 'user name towards NATS'),
  text(
    'natsPassword',
    'nats-password',
    'WORD',
    'password towards NATS; as a variable nobody sees it',
  ),
  text('natsToken', 'nats-token', 'WORD', 'token towards NATS, in place of user and password'),
  text('natsCreds', 'nats-creds', 'FILE', 'credentials towards NATS, as nsc makes them'),
  text('natsNkey', 'nats-nkey', 'FILE', 'seed of the nkey towards NATS'),
  text(
    'natsCa',
    'nats-ca',
    'FILE',
    'authorities (PEM) that sign for the NATS servers; TLS is spoken',
  ),
  text('natsCert', 'nats-cert', 'FILE', 'certificate (PEM) this node shows to the NATS servers'),
  text('natsKey', 'nats-key', 'FILE', 'key (PEM) of that certificate'),
]
