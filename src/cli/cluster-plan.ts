// What a cluster on this machine is made of: which programs, on which ports, with which arguments
// and files. Pure but for the address of our own files; running it is cluster-part.ts.

import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { OutsideProgram } from './outside-program.ts'

export type Kind = 'NATS' | 'broker' | 'HAProxy'

/** One process to be. */
export interface PlannedPart {
  readonly name: string
  readonly kind: Kind
  /** Where whoever uses it connects. */
  readonly port: number
  /** Every port it opens, that one included. */
  readonly ports: readonly number[]
  readonly command: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  /** Answers 200 when it is of use. */
  readonly health: string
  /** Files to be there before it starts: path and text. */
  readonly files: readonly (readonly [file: string, text: string])[]
}

export interface Wish {
  /** Absolute path of the folder for stores, logs and configurations. */
  readonly folder: string
  /** The first of the ports. */
  readonly port: number
  /** 1 to 9 */
  readonly brokers: number
  /** Whether this machine has an IPv6 loopback. */
  readonly ipv6: boolean
  readonly nats: OutsideProgram
  /** Null for none: then clients have the brokers' addresses only. */
  readonly haproxy: OutsideProgram | null
}

/** Ports are counted from the first one. */
export const PORTS = { broker: 1, balancerHealth: 10, nats: 11, route: 21, monitor: 31, end: 40 }
export const NATS_SERVERS = 3

const HOST = '127.0.0.1'
/** Bytes of backlog: enough to try things out, and three servers share one disk. */
const LOG_BYTES = '1GiB'
const MAIN = path.join(import.meta.dirname, `main${path.extname(import.meta.filename)}`)
const HAPROXY_CONFIGURATION = fileURLToPath(new URL('../../deploy/haproxy.cfg', import.meta.url))

/** In the order in which they start; they are stopped the other way round. */
export function planCluster(wish: Wish): PlannedPart[] {
  const { haproxy } = wish
  const count = (n: number): number[] => Array.from({ length: n }, (_, i) => i)
  return [
    ...count(NATS_SERVERS).map((n) => natsPart(wish, n)),
    ...count(wish.brokers).map((n) => brokerPart(wish, n)),
    ...(haproxy === null ? [] : [balancerPart(wish, haproxy)]),
  ]
}

function natsPart({ folder, port, nats }: Wish, n: number): PlannedPart {
  const name = `nats-${n + 1}`
  const store = path.join(folder, name)
  const file = path.join(folder, `${name}.conf`)
  const [client, route, monitor] = [PORTS.nats, PORTS.route, PORTS.monitor].map((p) => port + p + n)
  const routes = Array.from(
    { length: NATS_SERVERS },
    (_, each) => `nats://${HOST}:${port + PORTS.route + each}`,
  )
  const lines = [
    `server_name: ${name}`,
    `listen: ${HOST}:${client}`,
    `http: ${HOST}:${monitor}`,
    // What is acknowledged is on the disk, as it has to be where power cuts are more than a game.
    `jetstream { store_dir: ${JSON.stringify(store)}, sync_interval: always, max_file_store: 8GB }`,
    // Packets of MQTT may have 4 MiB unless --limit-packet says otherwise.
    'max_payload: 8MB',
    `cluster { name: partyline, listen: ${HOST}:${route}, routes: [${routes.join(', ')}] }`,
  ]
  return {
    name,
    kind: 'NATS',
    port: client!,
    ports: [client!, route!, monitor!],
    command: nats.path,
    args: ['-c', file],
    env: nats.env,
    health: `http://${HOST}:${monitor}/healthz`,
    files: [[file, `${lines.join('\n')}\n`]],
  }
}

function brokerPart({ port: first }: Wish, n: number): PlannedPart {
  const name = `broker-${n + 1}`
  const port = first + PORTS.broker + n
  const each = (scheme: string, from: number): string =>
    Array.from({ length: NATS_SERVERS }, (_, i) => `${scheme}://${HOST}:${first + from + i}`).join()
  return {
    name,
    kind: 'broker',
    port,
    ports: [port],
    command: process.execPath,
    args: [
      ...process.execArgv,
      ...[MAIN, 'serve', String(port), '--nats-name', name],
      ...['--engine', each('nats', PORTS.nats), '--nats-monitor', each('http', PORTS.monitor)],
      ...['--trust-proxy', HOST, '--log-bytes', LOG_BYTES, '--log-format', 'pretty'],
    ],
    env: {},
    health: `http://${HOST}:${port}/readyz`,
    files: [],
  }
}

function balancerPart(wish: Wish, haproxy: OutsideProgram): PlannedPart {
  const { port, brokers, ipv6 } = wish
  const health = port + PORTS.balancerHealth
  const servers = Array.from({ length: brokers }, (_, n) => [
    `LB_BROKER_${n + 1}`,
    `${HOST}:${port + PORTS.broker + n}`,
  ])
  return {
    name: 'haproxy',
    kind: 'HAProxy',
    port,
    ports: [port, health],
    command: haproxy.path,
    args: ['-f', HAPROXY_CONFIGURATION],
    env: {
      ...haproxy.env,
      ...Object.fromEntries(servers),
      LB_BIND: ipv6 ? `${HOST}:${port},[::1]:${port}` : `${HOST}:${port}`,
      LB_HEALTH: `${HOST}:${health}`,
      LB_MAXCONN: '400',
    },
    health: `http://${HOST}:${health}/health`,
    files: [],
  }
}
