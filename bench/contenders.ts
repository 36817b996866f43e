// Who takes part: our own server, its peers, and the floor. For each: how to get it, how to start it at its best, what
// it is allowed to keep in memory or on disk, and in which protocol it does a workload, if it can.
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { compile } from './generator.ts'
import { type Command, cache, freePort, root, type Server, startServer } from './processes.ts'
import { dataFolder } from './stored.ts'
import type { Feature, Workload } from './workloads.ts'

/** Beyond the command itself: what our server is started with so that it, too, runs at its best. */
export const partylineFlags: readonly string[] = ['--engine', 'memory']

const AEDES = 'aedes@1.2.0'
const WS = 'ws@8.23.0'

export interface Contender {
  readonly name: string
  readonly role: 'ours' | 'peer' | 'floor'
  /** Persistence and buffers, in words for the report. */
  readonly settings: string
  /** Finds or fetches it. Answers with its version, or with one sentence why it is missing. */
  prepare(): Ready | Missing
  /** The generator's protocol for this workload, or undefined when it cannot take part. */
  protocol(workload: Workload): string | undefined
}

export interface Ready {
  readonly version: string
  /** Starts it as suits this workload best. */
  start(workload: Workload): Promise<Server>
  /** Starts it on a folder that it left behind, where it can keep one. */
  startIn?(folder: string): Promise<Server>
}

export interface Missing {
  readonly missing: string
}

const MQTT_FEATURES: readonly Feature[] = ['shared', 'mqtt5', 'qos', 'retain', 'websocket', 'mixed']

const offers = (features: readonly Feature[], workload: Workload) =>
  workload.needs.every((feature) => features.includes(feature))

function mqtt(features: readonly Feature[], line: boolean) {
  return (workload: Workload) => {
    if (!offers(features, workload)) return undefined
    if (workload.protocol === 'line') return line ? 'line' : undefined
    return workload.protocol ?? 'mqtt4'
  }
}

// NATS and Redis speak text, so in the row of the line protocol they take part in their own.
const native = (protocol: string, features: readonly Feature[]) => (workload: Workload) =>
  offers(features, workload) ? protocol : undefined

/**
 * Mosquitto and Aedes make a write per packet. Where only throughput at QoS 0 counts, they are faster when the kernel
 * joins those (Nagle's algorithm); everywhere else that costs them up to 40 ms a message.
 */
const withoutNagle = ({ kind, load }: Workload) =>
  kind !== 'throughput' || load.qos !== undefined || load.echo === true

async function start(
  name: string,
  command: (port: number, websocketPort: number) => Command,
): Promise<Server> {
  const port = await freePort()
  const websocketPort = await freePort()
  return startServer(name, command(port, websocketPort), { port, websocketPort })
}

/** Writes bench/peers/<name>.conf with its ports and Nagle filled in and returns the file. */
function configuration(
  name: string,
  port: number,
  websocketPort: number,
  workload: Workload,
): string {
  const template = readFileSync(path.join(root, 'bench', 'peers', `${name}.conf`), 'utf8')
  const folder = path.join(cache, 'peers')
  mkdirSync(folder, { recursive: true })
  const file = path.join(folder, `${name}-${port}.conf`)
  const text = template
    .replaceAll('{port}', String(port))
    .replaceAll('{websocket}', String(websocketPort))
    .replaceAll('{nodelay}', String(withoutNagle(workload)))
  writeFileSync(file, text)
  return file
}

export interface Program {
  readonly path: string
  readonly env?: Readonly<Record<string, string>>
}

/** Looks for a program as the tests do (and lets that fetch it), then on the PATH whatever its version. */
export function findProgram(names: readonly string[]): Program | undefined {
  const script = path.join(root, 'scripts', 'programs.mjs')
  for (const name of names) {
    if (!existsSync(script)) break
    spawnSync(process.execPath, [script, name], { stdio: 'ignore', timeout: 180_000 })
    const look = spawnSync(process.execPath, [script, '--json', name], { encoding: 'utf8' })
    if (look.status !== 0) continue
    const found: unknown = JSON.parse(look.stdout)[name]
    if (typeof found === 'object' && found !== null && 'path' in found) return found as Program
  }
  const folders = [
    ...(process.env.PATH ?? '').split(path.delimiter),
    '/usr/sbin',
    '/usr/local/sbin',
  ]
  for (const name of names) {
    const folder = folders.find((one) => existsSync(path.join(one, name)))
    if (folder) return { path: path.join(folder, name) }
  }
  return undefined
}

function versionOf(program: Program, args: readonly string[], pattern: RegExp): string {
  const env = { ...process.env, ...program.env }
  const { stdout, stderr } = spawnSync(program.path, args, { env, encoding: 'utf8' })
  return pattern.exec(`${stdout}${stderr}`)?.[1] ?? 'of unknown version'
}

interface Peer {
  readonly name: string
  readonly programs: readonly string[]
  readonly version: readonly [args: readonly string[], pattern: RegExp]
  readonly args: (file: string) => readonly string[]
}

function preparePeer(peer: Peer): Ready | Missing {
  const program = findProgram(peer.programs)
  if (!program) {
    const names = peer.programs.join(' or ')
    return { missing: `no ${names} on the PATH and none to be had; install it to measure it` }
  }
  return {
    version: versionOf(program, ...peer.version),
    start: (workload) =>
      start(peer.name, (port, websocketPort) => ({
        file: program.path,
        args: peer.args(configuration(peer.name, port, websocketPort, workload)),
        ...(program.env && { env: program.env }),
      })),
  }
}

/** As it is shipped: every acknowledgement waits for the disk. */
function preparePartylineOnDisk(): Ready | Missing {
  const ready = preparePartyline()
  if ('missing' in ready) return ready
  const main = path.join(root, 'dist', 'cli', 'main.js')
  const startIn = async (folder: string) => {
    const port = await freePort()
    const args = [main, 'serve', String(port), '--engine', 'disk', '--data', folder]
    const command = { file: process.execPath, args }
    return startServer('partyline-disk', command, { port, websocketPort: port })
  }
  const start = async () => {
    const folder = dataFolder()
    const server = await startIn(folder)
    const stop = async () => {
      await server.stop()
      rmSync(folder, { recursive: true, force: true })
    }
    return { ...server, stop }
  }
  return { version: ready.version, start, startIn }
}

function preparePartyline(): Ready | Missing {
  const main = path.join(root, 'dist', 'cli', 'main.js')
  if (!existsSync(main)) return { missing: 'dist/cli/main.js is not there; run npm run build' }
  const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))
  const args = (port: number) => [main, 'serve', String(port), ...partylineFlags]
  return {
    version: `${version} on Node ${process.versions.node}`,
    start: async () => {
      const port = await freePort()
      const command = { file: process.execPath, args: args(port) }
      return startServer('partyline', command, { port, websocketPort: port })
    },
  }
}

function prepareAedes(): Ready | Missing {
  const folder = path.join(cache, 'aedes')
  const installed = path.join(folder, 'node_modules', 'aedes', 'package.json')
  const wanted = AEDES.split('@')[1]
  const here = () => existsSync(installed) && JSON.parse(readFileSync(installed, 'utf8')).version
  if (here() !== wanted) {
    mkdirSync(folder, { recursive: true })
    writeFileSync(path.join(folder, 'package.json'), '{"private":true}\n')
    const args = ['install', '--ignore-scripts', '--no-audit', '--no-fund', AEDES, WS]
    try {
      execFileSync('npm', args, { cwd: folder, stdio: 'pipe', timeout: 180_000 })
    } catch {
      return { missing: `npm could not install ${AEDES}; connect to a registry to measure it` }
    }
  }
  const script = path.join(root, 'bench', 'peers', 'aedes.mjs')
  return {
    version: `${wanted} on Node ${process.versions.node}`,
    start: (workload) =>
      start('aedes', (port, websocketPort) => ({
        file: process.execPath,
        args: [script, folder, ...[port, websocketPort, withoutNagle(workload)].map(String)],
      })),
  }
}

function prepareFloor(): Ready | Missing {
  const source = path.join(root, 'bench', 'relay.c')
  const built = process.platform === 'linux' ? compile('relay', [source]) : 'it needs Linux'
  if (typeof built === 'string') return { missing: built }
  return {
    version: statSync(source).isFile() ? 'bench/relay.c' : '',
    start: () => start('floor', (port) => ({ file: built.file, args: [String(port)] })),
  }
}

const partyline: Contender = {
  name: 'Partyline',
  role: 'ours',
  settings: `memory engine, limits as shipped (${partylineFlags.join(' ')})`,
  prepare: preparePartyline,
  protocol: mqtt(MQTT_FEATURES, true),
}

const partylineOnDisk: Contender = {
  name: 'Partyline (disk)',
  role: 'ours',
  settings:
    'as shipped: disk engine, each acknowledgement after a sync; in the rows about what is stored',
  prepare: preparePartylineOnDisk,
  protocol: (workload) => (workload.group === 'stored' ? 'mqtt4' : undefined),
}

const mosquitto: Contender = {
  name: 'Mosquitto',
  role: 'peer',
  settings:
    'no persistence; windows, queues and memory unlimited; Nagle on for QoS 0 throughput only; no log',
  prepare: () =>
    preparePeer({
      name: 'mosquitto',
      programs: ['mosquitto'],
      version: [['-h'], /mosquitto version (\S+)/],
      args: (file) => ['-c', file],
    }),
  protocol: mqtt([...MQTT_FEATURES, 'stored'], false),
}

const nats: Contender = {
  name: 'NATS',
  role: 'peer',
  settings: 'core NATS, no JetStream; 1 GB pending per client, write deadline 60 s; no log',
  prepare: () =>
    preparePeer({
      name: 'nats',
      programs: ['nats-server'],
      version: [['--version'], /v(\d\S+)/],
      args: (file) => ['-c', file],
    }),
  protocol: native('nats', ['shared', 'websocket']),
}

const redis: Contender = {
  name: 'Redis',
  role: 'peer',
  settings: 'no snapshots, no append-only file; pub/sub buffers unlimited; one thread; no log',
  prepare: () =>
    preparePeer({
      name: 'redis',
      programs: ['redis-server', 'valkey-server'],
      version: [['--version'], /((?:Redis|Valkey) server v=\S+)/i],
      args: (file) => [file],
    }),
  protocol: native('redis', []),
}

const aedes: Contender = {
  name: 'Aedes',
  role: 'peer',
  settings:
    'in-memory persistence; no drain timeout, no bound on QoS 2 flows; Nagle on for QoS 0 throughput only; no log',
  prepare: prepareAedes,
  protocol: mqtt(['qos', 'retain', 'websocket'], false),
}

const flashmq: Contender = {
  name: 'FlashMQ',
  role: 'peer',
  settings: 'no storage directory; 65 535 messages and 1 GiB pending per client; no log',
  prepare: () =>
    preparePeer({
      name: 'flashmq',
      programs: ['flashmq'],
      version: [['--version'], /(\d+\.\d+\.\d+)/],
      args: (file) => ['--config-file', file],
    }),
  protocol: mqtt(MQTT_FEATURES, false),
}

const floor: Contender = {
  name: 'floor',
  role: 'floor',
  settings: 'copies bytes, keeps what a socket does not take, without limit',
  prepare: prepareFloor,
  protocol: (workload) => (workload.floor ? (workload.protocol ?? 'mqtt4') : undefined),
}

export const contenders: readonly Contender[] = [
  partyline,
  partylineOnDisk,
  nats,
  redis,
  mosquitto,
  flashmq,
  aedes,
  floor,
]
