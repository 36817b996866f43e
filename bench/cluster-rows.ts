// The rows of the cluster benchmark: what each does once. cluster.ts repeats them and takes medians.
import { headers } from '@nats-io/transport-node'
import { Connection } from '../src/engine/nats/connection.ts'
import { NodeRuntime } from '../src/server/node-runtime.ts'
import { failovers, takeovers, watchAcknowledgements } from './cluster-clients.ts'
import type { Field } from './cluster-field.ts'
import { type Generator, runLoad, startLoad } from './generator.ts'
import { pause, residentBytes } from './processes.ts'
import { median } from './statistics.ts'
import type { LoadOptions } from './workloads.ts'

/** Figures of one run by their names; what went wrong, if anything. */
export interface Run {
  readonly figures: Readonly<Record<string, number>>
  readonly faults?: string
}

export interface ClusterRow {
  readonly name: string
  readonly title: string
  /** Nodes that run. */
  readonly nodes: number
  /** What the first figure counts. */
  readonly unit: 'a second' | 'ms' | 'µs'
  readonly run: (field: Field, tools: Tools) => Promise<Run>
  /** Times it is run, when not as often as the others. */
  readonly rounds?: number
}

export interface Tools {
  readonly generator: Generator
  readonly seconds: number
}

/** 50 publishers, each with 100 messages that wait for an acknowledgement, over 1 000 topics, 64 B. */
const GOAL: LoadOptions = { publishers: 50, window: 100, spread: 1000, qos: 1, subscribers: 0 }
const PAIRS = 12
const SINGLE_BYTES = 96
const PATIENCE = 10
const CONNECTIONS = 5_000
const SETTLE_MS = 5_000

export const CLUSTER_ROWS: readonly ClusterRow[] = [
  {
    name: 'qos1-1',
    title: 'QoS 1 acknowledged, 50 publishers × 100 under way, 1 000 topics, one node',
    nodes: 1,
    unit: 'a second',
    run: (field, tools) => acknowledged(field, tools, GOAL),
  },
  {
    name: 'qos1-w1',
    title: 'QoS 1, one publisher, one message under way: each waits for quorum and sync',
    nodes: 1,
    unit: 'a second',
    run: (field, tools) => acknowledged(field, tools, { ...GOAL, publishers: 1, window: 1 }),
  },
  {
    name: 'qos1-delivered',
    title: 'the same 50 publishers, and a QoS 1 subscriber to all of it',
    nodes: 1,
    unit: 'a second',
    run: (field, tools) => acknowledged(field, tools, { ...GOAL, subscribers: 1 }),
  },
  {
    name: 'unpacked-64',
    title:
      'unpacked: one JetStream record a message, 64 under way, straight to NATS, order not kept',
    nodes: 1,
    unit: 'a second',
    run: (field, tools) => unpacked(field, tools, 64),
  },
  {
    name: 'unpacked-512',
    title: 'unpacked, 512 under way',
    nodes: 1,
    unit: 'a second',
    run: (field, tools) => unpacked(field, tools, 512),
  },
  {
    name: 'connections',
    title: `${CONNECTIONS} clients connect and subscribe, 64 at a time; each CONNECT claims its session in NATS`,
    nodes: 1,
    unit: 'a second',
    run: connections,
  },
  {
    name: 'qos0-1',
    title: `QoS 0, ${PAIRS} pairs, one node`,
    nodes: 1,
    unit: 'a second',
    run: (field, tools) => pairs(field, tools),
  },
  {
    name: 'qos1-2',
    title: 'QoS 1 acknowledged, 50 publishers shared out to two nodes',
    nodes: 2,
    unit: 'a second',
    run: (field, tools) => acknowledged(field, tools, GOAL),
  },
  {
    name: 'qos1-crossing',
    title: '50 publishers at one node, a QoS 1 subscriber to all of it at the other',
    nodes: 2,
    unit: 'a second',
    run: (field, tools) => crossing(field, tools, { ...GOAL, subscribers: 1 }),
  },
  {
    name: 'qos0-2',
    title: `QoS 0, ${PAIRS} pairs shared out to two nodes`,
    nodes: 2,
    unit: 'a second',
    run: (field, tools) => pairs(field, tools),
  },
  {
    name: 'qos0-crossing',
    title: `QoS 0, ${PAIRS} pairs, publishers at one node, subscribers at the other`,
    nodes: 2,
    unit: 'a second',
    run: (field, tools) =>
      crossing(field, tools, { publishers: PAIRS, subscribers: PAIRS, topics: PAIRS }),
  },
  {
    name: 'listener',
    title:
      'processor time of a node for a QoS 1 message that is published elsewhere and nobody here wants',
    nodes: 2,
    unit: 'µs',
    run: listener,
  },
  {
    name: 'takeover',
    title: 'a client connects to another node while its session is connected here, dial to CONNACK',
    nodes: 2,
    unit: 'ms',
    run: async (field) => timesOf(await takeovers(port(field, 0), port(field, 1), 100)),
  },
  {
    name: 'failover',
    title:
      'kill -9 of a node with 100 clients that dial the other at once: kill to the last CONNACK',
    nodes: 2,
    unit: 'ms',
    rounds: 5,
    run: failover,
  },
  {
    name: 'qos1-3',
    title: 'QoS 1 acknowledged, 50 publishers shared out to three nodes',
    nodes: 3,
    unit: 'a second',
    run: (field, tools) => acknowledged(field, tools, GOAL),
  },
  {
    name: 'qos0-3',
    title: `QoS 0, ${PAIRS} pairs shared out to three nodes`,
    nodes: 3,
    unit: 'a second',
    run: (field, tools) => pairs(field, tools),
  },
  {
    name: 'election',
    title: 'kill -9 of the NATS server that leads the log: longest time without an acknowledgement',
    nodes: 1,
    unit: 'ms',
    run: election,
  },
]

function port(field: Field, index: number): number {
  const node = field.nodes[index]
  if (node === undefined) throw new Error(`the row wants ${index + 1} nodes`)
  return node.port
}

/** Acknowledged messages a second through all nodes together, and what one costs. */
async function acknowledged(field: Field, tools: Tools, load: LoadOptions): Promise<Run> {
  const { nodes } = field
  const share = { ...load, publishers: Math.floor(Number(load.publishers) / nodes.length) }
  const before = field.cpu()
  const reports = await Promise.all(
    nodes.map(({ port }) => runLoad(tools.generator, usual(tools, { ...share, port }))),
  )
  const after = field.cpu()
  const acked = reports.reduce((sum, report) => sum + report.acked, 0)
  const broker = after.nodes.reduce((sum, cpu, n) => sum + cpu - before.nodes[n]!, 0)
  return {
    figures: {
      rate: reports.reduce((sum, report) => sum + report.sent_per_second, 0),
      brokerMicroseconds: (broker / acked) * 1e6,
      natsMicroseconds: ((after.nats - before.nats) / acked) * 1e6,
    },
    ...faultsOf(reports),
  }
}

/** Delivered messages a second, pairs of publisher and subscriber at the same node. */
async function pairs(field: Field, tools: Tools): Promise<Run> {
  const { nodes } = field
  const each = PAIRS / nodes.length
  const reports = await Promise.all(
    nodes.map(({ port }, n) => {
      const load = { publishers: each, subscribers: each, topics: each, base: n * each, port }
      return runLoad(tools.generator, usual(tools, load))
    }),
  )
  const rate = reports.reduce((sum, report) => sum + report.per_second, 0)
  return { figures: { rate }, ...faultsOf(reports) }
}

/** Delivered messages a second from the first node to the second. */
async function crossing(field: Field, tools: Tools, load: LoadOptions): Promise<Run> {
  const where = { port: port(field, 0), 'subscriber-port': port(field, 1) }
  const report = await runLoad(tools.generator, usual(tools, { ...load, ...where }))
  return { figures: { rate: report.per_second }, ...faultsOf([report]) }
}

async function listener(field: Field, tools: Tools): Promise<Run> {
  const before = field.cpu()
  const load = usual(tools, { ...GOAL, port: port(field, 0) })
  const report = await runLoad(tools.generator, load)
  const after = field.cpu()
  const spent = after.nodes[1]! - before.nodes[1]!
  return { figures: { cost: (spent / report.acked) * 1e6 }, ...faultsOf([report]) }
}

async function connections(field: Field, tools: Tools): Promise<Run> {
  // One that has done nothing yet: its memory is its clients'.
  await field.replace(0)
  const node = field.nodes[0]!
  const cpu = field.cpu()
  const before = residentBytes(node.pid) ?? 0
  const load = {
    port: node.port,
    subscribers: CONNECTIONS,
    topics: CONNECTIONS,
    hold: true,
  } as const
  const held = startLoad(tools.generator, load)
  const ready = JSON.parse(await held.firstLine) as { connect_seconds?: number; error?: string }
  if (ready.connect_seconds === undefined) throw new Error(ready.error ?? 'no client connected')
  const after = field.cpu()
  await pause(SETTLE_MS)
  const bytes = ((residentBytes(node.pid) ?? 0) - before) / CONNECTIONS
  held.child.stdin?.end()
  await held.output
  const perClient = (spent: number): number => (spent / CONNECTIONS) * 1e6
  return {
    figures: {
      rate: CONNECTIONS / ready.connect_seconds,
      residentBytes: bytes,
      brokerPerClient: perClient(after.nodes[0]! - cpu.nodes[0]!),
      natsPerClient: perClient(after.nats - cpu.nats),
    },
  }
}

async function failover(field: Field): Promise<Run> {
  const doomed = field.nodes[0]!
  const kill = (): void => void process.kill(doomed.pid, 'SIGKILL')
  const times = await failovers(doomed.port, port(field, 1), 100, kill)
  await field.replace(0)
  return { figures: { last: Math.max(...times), median: median(times) } }
}

async function election(field: Field): Promise<Run> {
  const watch = await watchAcknowledgements(port(field, 0))
  await pause(1_000)
  const leader = await field.nats.leader('MQ_LOG')
  await leader.kill()
  await pause(12_000)
  const { longest, acknowledged } = await watch.stop()
  leader.start()
  await field.nats.ready()
  return {
    figures: { longest },
    ...(acknowledged < 1_000 ? { faults: `only ${acknowledged} acknowledged` } : {}),
  }
}

/** What a broker could store at most that gave each message a record of its own. */
async function unpacked(field: Field, tools: Tools, underWay: number): Promise<Run> {
  const runtime = new NodeRuntime()
  const options = { servers: field.nats.addresses, runtime, resolve: () => null }
  const { nc } = await Connection.open(options, 'bench')
  const config = { name: 'UNPACKED', subjects: ['unpacked.*'], storage: 'file', num_replicas: 3 }
  await nc.request('$JS.API.STREAM.CREATE.UNPACKED', JSON.stringify(config), { timeout: 10_000 })
  const bytes = Buffer.alloc(SINGLE_BYTES, 'm')
  let stored = 0
  let number = 0
  const begun = performance.now()
  const end = begun + tools.seconds * 1000
  const worker = async (): Promise<void> => {
    while (performance.now() < end) {
      const hdrs = headers()
      hdrs.set('Nats-Msg-Id', `m${++number}`)
      const answer = await nc.request('unpacked.m', bytes, { timeout: 10_000, headers: hdrs })
      if (!answer.string().includes('"seq"')) throw new Error(answer.string())
      stored++
    }
  }
  await Promise.all(Array.from({ length: underWay }, worker))
  const rate = stored / ((performance.now() - begun) / 1000)
  await nc.request('$JS.API.STREAM.DELETE.UNPACKED', '', { timeout: 10_000 })
  await nc.close()
  return { figures: { rate } }
}

function usual({ seconds }: Tools, load: LoadOptions): LoadOptions {
  return { size: 64, seconds, patience: PATIENCE, ...load }
}

function timesOf(times: readonly number[]): Run {
  const sorted = [...times].sort((a, b) => a - b)
  const high = sorted[Math.floor(sorted.length * 0.99)] ?? 0
  return { figures: { median: median(times), p99: high } }
}

function faultsOf(reports: readonly { ok: boolean; lost: number; disordered: number }[]): {
  faults?: string
} {
  const wrong = reports.filter(({ ok }) => !ok)
  if (wrong.length === 0) return {}
  return {
    faults: wrong
      .map(({ lost, disordered }) => `${lost} lost, ${disordered} disordered`)
      .join('; '),
  }
}
