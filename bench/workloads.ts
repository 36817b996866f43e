// What is measured: one entry a workload, in the order of the report. A workload says what publishers and
// subscribers do; which protocol a contender does it in is decided in contenders.ts.

/** Options of the load generator by their long names; `true` stands for a flag. */
export type LoadOptions = Readonly<Record<string, number | string | true>>

/** What a broker must offer to take part. */
export type Feature =
  | 'shared'
  | 'mqtt5'
  | 'qos'
  | 'retain'
  | 'websocket'
  | 'mixed'
  /** Keeps messages for sessions that are away. */
  | 'stored'
  /** Keeps them on disk, and can be started anew on the same folder. */
  | 'disk'

export interface Workload {
  readonly name: string
  readonly title: string
  /** throughput: messages delivered a second. The other kinds are described in measure.ts. */
  readonly kind: 'throughput' | 'latency' | 'isolation' | 'idle' | 'replay' | 'start'
  /** Rows that are judged together in the goals. */
  readonly group: 'QoS 0' | 'QoS 1 and 2' | 'doors' | 'neighbours' | 'latency' | 'idle' | 'stored'
  readonly load: LoadOptions
  readonly needs: readonly Feature[]
  /** The protocol of our own server and of MQTT peers; the default is MQTT 3.1.1. */
  readonly protocol?: 'mqtt5' | 'line'
  /** Whether the floor, which only copies, can do it. */
  readonly floor: boolean
  /** Part of `--quick`. */
  readonly quick: boolean
  /** Run directly before, in the same round: the same load without the disturbance that this row adds. */
  readonly undisturbed?: LoadOptions
  /** Sessions that are away and owed every message at QoS 1, except in the undisturbed run, where it is one. */
  readonly away?: number
  /** Shows the disk's own rate of syncs beside ours. */
  readonly besideSyncs?: true
}

type Details = Partial<Omit<Workload, 'name' | 'title' | 'load'>>

function workload(name: string, title: string, load: LoadOptions, details: Details = {}): Workload {
  const usual = {
    kind: 'throughput',
    group: 'QoS 0',
    needs: [],
    floor: false,
    quick: false,
  } as const
  return { name, title, load, ...usual, ...details }
}

const many = { publishers: 10, subscribers: 10 }
const tenReaders = { publishers: 1, subscribers: 10 }
const nineteenReaders = { publishers: 1, subscribers: 19 }
const qos = { group: 'QoS 1 and 2', needs: ['qos'] } as const
const stored = { group: 'stored', needs: ['qos', 'stored'], away: 1 } as const
const onDisk = { group: 'stored', needs: ['qos', 'disk'] } as const
const latency = { kind: 'latency', group: 'latency', floor: true } as const

export const workloads: readonly Workload[] = [
  workload('1to1', '1 → 1', {}, { floor: true, quick: true }),
  workload('1to50', '1 → 50', { subscribers: 50 }, { floor: true, quick: true }),
  workload('10to10', '10 → 10 on ten topics', { ...many, topics: 10 }),
  workload(
    '10to10-wildcard',
    '10 → 10 by wildcard, 1 000 topics interleaved',
    { ...many, spread: 1000 },
    { floor: true, quick: true },
  ),
  workload('1to1-1k-topics', '1 → 1 over 1 000 topics', { spread: 1000 }, { floor: true }),
  workload('1to1-100k-topics', '1 → 1 over 100 000 topics', { spread: 100_000 }, { floor: true }),
  workload('1to10', '1 → 10', tenReaders, { floor: true }),
  workload('1to10-1KiB', '1 → 10, 1 KiB', { ...tenReaders, size: 1024 }, { floor: true }),
  workload('1to1-16KiB', '1 → 1, 16 KiB', { size: 16_384 }, { floor: true, quick: true }),
  workload(
    'mixed-versions',
    '1 → 10, published in 3.1.1, received half in 3.1.1 and half in 5.0',
    { ...tenReaders, mixed: true },
    { needs: ['mixed', 'mqtt5'] },
  ),
  workload(
    'properties',
    '1 → 10 in 5.0, user properties and a subscription identifier',
    { ...tenReaders, properties: true },
    { needs: ['mqtt5'], protocol: 'mqtt5' },
  ),
  workload(
    '1000to1',
    '1 000 → 1, one message each at a time',
    { publishers: 1000, echo: true },
    { floor: true },
  ),
  workload(
    'shared',
    'shared subscription 1 → 10',
    { ...tenReaders, shared: true },
    { needs: ['shared'] },
  ),
  workload('1to5000', '1 → 5 000', { subscribers: 5000 }, { floor: true }),
  workload(
    'retained',
    'retained, 1 → 1 over 1 000 topics',
    { spread: 1000, retain: true },
    { needs: ['retain'] },
  ),
  workload('qos1-w1', 'QoS 1, 1 → 1, window 1', { qos: 1, window: 1 }, qos),
  workload('qos1-w20', 'QoS 1, 1 → 1, window 20', { qos: 1, window: 20 }, { ...qos, quick: true }),
  workload('qos1-w1000', 'QoS 1, 1 → 1, window 1 000', { qos: 1, window: 1000 }, qos),
  workload('qos1-50to1', 'QoS 1, 50 → 1, window 20', { qos: 1, window: 20, publishers: 50 }, qos),
  workload('qos2', 'QoS 2, 1 → 1, window 20', { qos: 2, window: 20 }, qos),
  workload('line', 'line protocol 1 → 10', tenReaders, { group: 'doors', protocol: 'line' }),
  workload(
    'websocket',
    'WebSocket 1 → 10',
    { ...tenReaders, websocket: true },
    { group: 'doors', needs: ['websocket'] },
  ),
  workload(
    'not-reading',
    '1 → 20, one of them never reads',
    { ...nineteenReaders, stalled: 1 },
    { group: 'neighbours', undisturbed: nineteenReaders },
  ),
  workload(
    'churn',
    '1 → 10 beside 1 000 subscribes and unsubscribes a second',
    { ...tenReaders, churners: 10, churn: 1000 },
    { group: 'neighbours', undisturbed: tenReaders },
  ),
  workload(
    'beside-a-flood',
    '1 → 1 at 100 a second beside a publisher at full speed',
    { rate: 100 },
    { kind: 'isolation', group: 'neighbours' },
  ),
  workload('latency-1k', '1 → 1 at 1 000 a second', { rate: 1000 }, latency),
  workload(
    'latency-10k',
    '1 → 1 at 10 000 a second',
    { rate: 10_000 },
    { ...latency, quick: true },
  ),
  workload('latency-100k', '1 → 1 at 100 000 a second', { rate: 100_000 }, latency),
  workload(
    'idle',
    'idle connections with one subscription each',
    { publishers: 0, hold: true },
    { kind: 'idle', group: 'idle' },
  ),
  workload(
    'stored-w1',
    'QoS 1, stored for a session that is away, 1 → 1, window 1',
    { qos: 1, window: 1 },
    { ...stored, besideSyncs: true },
  ),
  workload('stored-w20', 'the same, window 20', { qos: 1, window: 20 }, stored),
  workload('stored-w256', 'the same, window 256', { qos: 1, window: 256 }, stored),
  workload('stored-w1000', 'the same, window 1 000', { qos: 1, window: 1000 }, stored),
  workload(
    'stored-50to1',
    'QoS 1, stored for a session that is away, 50 → 1, window 20',
    { qos: 1, window: 20, publishers: 50 },
    stored,
  ),
  workload(
    'away-1000',
    'QoS 1, stored for 1 000 sessions that are away, 1 → 1, window 256',
    { qos: 1, window: 256 },
    { ...onDisk, away: 1000, undisturbed: { qos: 1, window: 256 } },
  ),
  workload(
    'replay-1',
    'replay from disk by 1 session, its window 1 024',
    {},
    { ...onDisk, kind: 'replay', away: 1 },
  ),
  workload(
    'replay-400',
    'replay from disk by 400 sessions at once, window of each 1 024',
    {},
    { ...onDisk, kind: 'replay', away: 400 },
  ),
  workload(
    'start',
    'start with retained messages and stored sessions',
    {},
    { ...onDisk, kind: 'start' },
  ),
]
