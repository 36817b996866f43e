// The one table of everything that can be configured. Flags, environment variables, defaults, ranges,
// `--help`, docs/configuration.md and docs/limits.md all come from here; config.ts reads values by it.

import type { Counters } from '../core/counters.ts'
import type { Limits } from '../core/limits.ts'
import { LIMIT_OPTIONS } from './limit-options.ts'
import { NATS_OPTIONS, type NatsSettings } from './nats-options.ts'
import { option } from './option.ts'

/** Engines that have a name; a cluster goes by the addresses of its NATS servers. */
export const ENGINES = ['memory', 'disk', 'nats://HOST:PORT,…'] as const
/** What an engine is called among people who choose one. */
export type EngineKind = 'memory' | 'disk' | 'cluster'
export const LOG_FULL = ['evict', 'reject'] as const
export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'silent'] as const
export const LOG_FORMATS = ['auto', 'pretty', 'json'] as const

/** What the server runs by, complete and checked. */
export interface Settings extends NatsSettings {
  /** TCP ports, each of which speaks everything; 0 takes a free one. */
  readonly ports: readonly number[]
  /** Addresses to listen on; none means loopback, IPv4 and, where there is one, IPv6. */
  readonly hosts: readonly string[]
  /** `memory`, `disk`, or addresses of NATS servers with commas between them. */
  readonly engine: string
  /** The folder of the disk engine. */
  readonly data: string
  /** Bytes the log may occupy, on each server of a cluster; 0 for 10 GiB or half the free disk, whichever is less. */
  readonly logBytes: number
  /** Who pays when that is reached. */
  readonly logFull: (typeof LOG_FULL)[number]
  /** Path of the users file; empty when there is none. */
  readonly users: string
  readonly allowAnonymous: boolean
  readonly allowOrigins: readonly string[]
  readonly allowHosts: readonly string[]
  /** Addresses and networks whose PROXY headers are believed. */
  readonly trustProxy: readonly string[]
  /** Paths of the certificate and its key, both PEM; both empty where TLS is not spoken. */
  readonly tlsCert: string
  readonly tlsKey: string
  /** Seconds between being told to go and saying goodbye, for load balancers to look elsewhere. */
  readonly drain: number
  readonly denySubscribe: readonly string[]
  /** Seconds between two rounds of `$SYS` topics; 0 for none. */
  readonly sysInterval: number
  readonly logLevel: (typeof LOG_LEVELS)[number]
  readonly logFormat: (typeof LOG_FORMATS)[number]
  readonly limits: Limits
}

export type OptionKey = Exclude<keyof Settings, 'limits'> | `limits.${keyof Limits}`
/** `yes` is a flag without a value; `text` is anything but nothing. */
export type OptionKind =
  | 'port'
  | 'count'
  | 'bytes'
  | 'seconds'
  | 'text'
  | 'choice'
  | 'engine'
  | 'yes'
export type OptionValue = string | number | boolean | readonly string[] | readonly number[]
export type OptionGroup = 'Listening' | 'Who may' | 'Storage' | 'Cluster' | 'Log' | 'Limits'

export interface Option {
  /** Name in `Settings`, and in the options of an embedded broker. */
  readonly key: OptionKey
  /** Name of the flag without its dashes; null for the ports, which are the command's arguments. */
  readonly flag: string | null
  readonly env: string
  readonly kind: OptionKind
  /** May be given several times, and as a list with commas. */
  readonly many: boolean
  /** What stands for the value in `--help`. */
  readonly placeholder: string
  readonly default: OptionValue
  /** Both included. */
  readonly min: number
  readonly max: number
  readonly choices: readonly string[]
  readonly group: OptionGroup
  /** One sentence, without a full stop. */
  readonly doc: string
  /** What counts that this limit was reached; null when reaching it costs nobody anything. */
  readonly counter: keyof Counters | null
  /** Those it means something with. */
  readonly engines: readonly EngineKind[]
}

const TIB = 1024 ** 4

export const OPTIONS: readonly Option[] = [
  option({
    key: 'ports',
    kind: 'port',
    many: true,
    placeholder: 'port',
    max: 65_535,
    default: [5000],
    group: 'Listening',
    doc: 'TCP ports to listen on; each speaks everything, 0 takes a free one',
  }),
  option({
    key: 'hosts',
    flag: 'host',
    many: true,
    placeholder: 'ADDRESS',
    default: [],
    group: 'Listening',
    doc: 'addresses to listen on; without it only this machine can connect (127.0.0.1 and ::1)',
  }),
  option({
    key: 'allowOrigins',
    flag: 'allow-origin',
    many: true,
    placeholder: 'ORIGIN',
    default: [],
    group: 'Listening',
    doc: 'web pages that may connect, such as https://example.org, besides the one served here',
  }),
  option({
    key: 'allowHosts',
    flag: 'allow-host',
    many: true,
    placeholder: 'NAME',
    default: [],
    group: 'Listening',
    doc: 'names this server may be called by over HTTP and WebSocket, besides addresses and localhost',
  }),
  option({
    key: 'trustProxy',
    flag: 'trust-proxy',
    many: true,
    placeholder: 'NETWORK',
    default: [],
    group: 'Listening',
    doc: 'load balancers whose PROXY headers say who is calling, such as 10.0.0.7 or 10.0.0.0/8',
  }),
  option({
    key: 'tlsCert',
    flag: 'tls-cert',
    placeholder: 'FILE',
    default: '',
    group: 'Listening',
    doc: 'certificate (PEM) to speak TLS with, on the same ports; read again on SIGHUP',
  }),
  option({
    key: 'tlsKey',
    flag: 'tls-key',
    placeholder: 'FILE',
    default: '',
    group: 'Listening',
    doc: 'private key (PEM) of the certificate',
  }),
  option({
    key: 'drain',
    flag: 'drain',
    kind: 'seconds',
    placeholder: 'TIME',
    max: 3600,
    default: 0,
    group: 'Listening',
    doc: 'after SIGTERM, time in which everything goes on but /readyz says 503, so that load balancers look elsewhere; a node of several sends its clients away in the second half of it',
  }),
  option({
    key: 'users',
    flag: 'users',
    placeholder: 'FILE',
    default: '',
    group: 'Who may',
    doc: 'file of names, passwords and topic rules, made with partyline passwd; read again on SIGHUP',
  }),
  option({
    key: 'allowAnonymous',
    flag: 'allow-anonymous',
    kind: 'yes',
    default: false,
    group: 'Who may',
    doc: 'lets in who gives no name, also from other machines',
  }),
  option({
    key: 'denySubscribe',
    flag: 'deny-subscribe',
    many: true,
    placeholder: 'FILTER',
    default: [],
    group: 'Who may',
    doc: 'filters nobody may subscribe to, nor to any part of them',
  }),
  option({
    key: 'engine',
    flag: 'engine',
    kind: 'engine',
    placeholder: 'NAME',
    choices: ENGINES,
    default: 'disk',
    group: 'Storage',
    doc: 'what keeps sessions, retained messages and what clients away are owed; in code memory, unless data is given',
  }),
  option({
    key: 'data',
    flag: 'data',
    placeholder: 'DIR',
    default: './partyline-data',
    group: 'Storage',
    engines: ['disk'],
    doc: 'folder of the disk engine; made when it is not there, and for one server at a time',
  }),
  option({
    key: 'logBytes',
    flag: 'log-bytes',
    kind: 'bytes',
    placeholder: 'SIZE',
    default: 0,
    max: TIB,
    group: 'Storage',
    engines: ['disk', 'cluster'],
    doc: 'what disk engine and cluster keep for clients that are away; 0 is 10GiB or half the free disk, whichever is less',
  }),
  ...NATS_OPTIONS,
  option({
    key: 'logFull',
    flag: 'log-full',
    kind: 'choice',
    choices: LOG_FULL,
    default: 'evict',
    group: 'Storage',
    doc: 'what happens when that is full: evict takes the oldest messages from clients that are behind, reject refuses new ones',
  }),
  option({
    key: 'logLevel',
    flag: 'log-level',
    kind: 'choice',
    placeholder: 'LEVEL',
    choices: LOG_LEVELS,
    default: 'info',
    group: 'Log',
    doc: 'how much is shown; info includes what clients do, warn only what needs attention',
  }),
  option({
    key: 'logFormat',
    flag: 'log-format',
    kind: 'choice',
    placeholder: 'FORMAT',
    choices: LOG_FORMATS,
    default: 'auto',
    group: 'Log',
    doc: 'pretty for eyes, json for programs; auto is pretty on a terminal',
  }),
  option({
    key: 'sysInterval',
    flag: 'sys-interval',
    kind: 'seconds',
    placeholder: 'TIME',
    max: 24 * 3600,
    default: 10,
    group: 'Log',
    doc: 'time between two rounds of the $SYS topics; 0 for none',
  }),
  ...LIMIT_OPTIONS,
]
