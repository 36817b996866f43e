// `partyline cluster`: a whole cluster on this machine for trying it out, with one command to start
// it and one to stop it. What runs where people depend on it is in deploy/.

import { existsSync } from 'node:fs'
import path from 'node:path'
import { Command } from 'commander'
import { type ClusterPart, isHealthy } from './cluster-part.ts'
import { PORTS } from './cluster-plan.ts'
import { isRunning, readRecord } from './cluster-record.ts'
import { Cluster } from './cluster-run.ts'
import { stopCluster } from './cluster-stop.ts'

const FOLDER = './partyline-cluster'
const PORT = 5000
const BROKERS = 3
const BROKERS_MAX = 9

const EXAMPLES = `
Examples:
  $ partyline cluster up                three NATS servers, three brokers and HAProxy where it is installed
  $ partyline cluster up --port 6000    on other ports
  $ partyline cluster status            from another terminal: what runs and is well
  $ partyline cluster down              the same as Ctrl-C where it was started

docs/cluster.md shows what to try, and how to run one for good.`

interface UpFlags {
  readonly port: string
  readonly brokers: string
}

export function clusterCommand(): Command {
  const cluster = new Command('cluster')
    .description('a cluster on this machine, to try out: up, status, down')
    .addHelpText('after', EXAMPLES)
  const add = (name: string, description: string): Command =>
    cluster
      .command(name)
      .description(description)
      .argument('[dir]', 'folder for stores, logs and configurations', FOLDER)
  add('up', 'start it and stay; Ctrl-C stops it')
    .option('--port <port>', 'the first of its ports', String(PORT))
    .option('--brokers <n>', `how many brokers, 1 to ${BROKERS_MAX}`, String(BROKERS))
    .action(acting((directory: string, flags: UpFlags) => up(path.resolve(directory), flags)))
  add('status', 'say what runs and is well; exit code 1 when not all of it').action(
    acting(async (directory: string) => {
      if (!(await status(path.resolve(directory)))) process.exitCode = 1
    }),
  )
  add('down', 'stop it').action(acting((directory: string) => down(path.resolve(directory))))
  return cluster
}

function acting<Flags>(action: (directory: string, flags: Flags) => Promise<void>) {
  return async (directory: string, flags: Flags, command: Command): Promise<void> => {
    try {
      await action(directory, flags)
    } catch (error) {
      command.error(`partyline cluster: ${(error as Error).message}`)
    }
  }
}

async function up(folder: string, flags: UpFlags): Promise<void> {
  const port = numberOf('--port', flags.port, 1, 65_535 - PORTS.end)
  const brokers = numberOf('--brokers', flags.brokers, 1, BROKERS_MAX)
  const cluster = new Cluster({ folder, port, brokers }, say)
  let leaving = false
  const leave = (): void => {
    // A terminal signals the whole group and npm passes it on: the second one is the same wish.
    if (leaving) return
    leaving = true
    say('stopping')
    void cluster.stop().then(() => {
      say(`stopped; what was stored stays in ${shown(folder)} for the next time`)
      process.exit()
    })
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, leave)
  // Who closes the terminal reads nothing more; what runs is stopped all the same.
  for (const out of [process.stdout, process.stderr]) out.on('error', () => {})
  await cluster.start()
  if (!leaving) print(introduction(cluster.parts, folder))
}

async function status(folder: string): Promise<boolean> {
  const record = readRecord(folder)
  if (record === null) {
    print(`no cluster runs in ${shown(folder)}; start one with: npx partyline cluster up`)
    return false
  }
  const states = await Promise.all(
    record.parts.map(async (part) => {
      if (!isRunning(part)) return 'does not run'
      return (await isHealthy(part.health)) ? 'is well' : 'runs and is not ready'
    }),
  )
  for (const [n, { name, port, pid }] of record.parts.entries()) {
    print(row(name, port, pid, states[n] ?? ''))
  }
  return states.every((state) => state === 'is well')
}

async function down(folder: string): Promise<void> {
  const record = readRecord(folder)
  if (record === null) {
    print(`no cluster runs in ${shown(folder)}`)
    return
  }
  const left = await stopCluster(folder, record)
  const alone =
    left.length > 0 ? ` (${left.join(', ')} had outlived the process of cluster up)` : ''
  print(`stopped${alone}; what was stored stays in ${shown(folder)}`)
}

/** What a newcomer reads when everything runs. */
function introduction(parts: readonly ClusterPart[], folder: string): string {
  const brokers = parts.filter(({ plan }) => plan.kind === 'broker').map(({ plan }) => plan.port)
  const balancer = parts.find(({ plan }) => plan.kind === 'HAProxy')
  const [one, other = one] = brokers
  const anywhere =
    balancer === undefined
      ? `localhost:${one},localhost:${other}`
      : `localhost ${balancer.plan.port}`
  return [
    'A cluster runs on this machine. The NATS servers keep everything, each a copy; clients may connect to any broker.',
    '',
    ...parts.map(({ plan, pid }) => row(plan.name, plan.port, pid, WHAT[plan.kind])),
    '',
    `Logs are in ${shown(path.join(folder, 'logs'))}.`,
    '',
    'Try it, in two more terminals, each at another broker:',
    `  $ npx partyline client localhost ${one} SUBSCRIBER SPORTS`,
    `  $ npx partyline client localhost ${other} PUBLISHER SPORTS`,
    'and type a line into the second one.',
    '',
    'Then kill a broker or a NATS server, with kill -9 and a process from above, and see that this one misses nothing:',
    `  $ npx partyline client ${anywhere} --reconnect SUBSCRIBER SPORTS AS bob`,
    '',
    'Ctrl-C stops everything, and so does from another terminal: npx partyline cluster down',
  ].join('\n')
}

const WHAT = {
  NATS: 'NATS JetStream',
  broker: 'Partyline',
  HAProxy: 'HAProxy: one address for all brokers',
} as const

function row(name: string, port: number, pid: number | null, rest: string): string {
  return `  ${name.padEnd(9)} port ${port}  process ${String(pid ?? '–').padEnd(7)} ${rest}`
}

function numberOf(flag: string, text: string, min: number, max: number): number {
  const value = /^\d{1,6}$/.test(text) ? Number(text) : Number.NaN
  if (value >= min && value <= max) return value
  throw new Error(`${flag} is a number from ${min} to ${max}, not ${JSON.stringify(text)}`)
}

/** A path as one would type it from here. */
function shown(folder: string): string {
  const relative = path.relative(process.cwd(), folder)
  return relative.startsWith('..') || !existsSync(folder) ? folder : `./${relative}`
}

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

function say(line: string): void {
  print(`partyline: ${line}`)
}
