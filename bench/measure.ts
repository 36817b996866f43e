// Carries out the workloads: all contenders of one workload are started fresh, warmed up once, and then take turns, one
// run each per round, so that whatever else the machine does hits all of them alike.
import { rmSync } from 'node:fs'
import type { Contender, Ready } from './contenders.ts'
import { type Generator, type LoadReport, runLoad, startLoad } from './generator.ts'
import { pause, residentBytes, type Server } from './processes.ts'
import { fullFolder, measureReplay, measureStart, syncRate, whileAway } from './stored.ts'
import type { LoadOptions, Workload } from './workloads.ts'

export interface Sizes {
  readonly rounds: number
  /** Rounds of rows of which one takes a minute: idle connections, replays, starts. */
  readonly longRounds: number
  /** Seconds that publishers send in one run, and before the first one to warm up. */
  readonly seconds: number
  readonly warmUp: number
  /** Beyond that, for workloads that send at a rate. */
  readonly pacedWarmUp: number
  readonly latencySeconds: number
  readonly idleConnections: number
  /** Seconds between the last connection made and the look at the memory. */
  readonly idleWait: number
  /** How much is in the folders of the rows about what is stored. */
  readonly stored: {
    readonly messages: number
    readonly retained: number
    readonly sessions: number
  }
}

export interface Entrant {
  readonly contender: Contender
  readonly ready: Ready
}

/** One contender, one round. A run that could not be measured has `error` and no metrics. */
export interface Sample {
  readonly workload: string
  readonly contender: string
  readonly round: number
  /**
   * rate: messages delivered a second; cpu: the broker's processor time for each of them, nanoseconds; kept: rate as a share of the undisturbed rate; p50, p99, p999: microseconds;
   * bytes: resident bytes per connection; seconds: time to make the connections; syncs: of the disk, a second;
   * stopped, killed: seconds to start after either.
   */
  readonly metrics: Readonly<Record<string, number>>
  /** The generator used more processor time than the broker, so the broker may be capable of more. */
  readonly generatorBound: boolean
  /** What went wrong with messages, in words; empty when everything arrived once and in order. */
  readonly faults: string
  readonly error?: string
  readonly report?: LoadReport
}

type Say = (line: string) => void

/** Which of the entrants can do the workload. */
export function takePart(workload: Workload, entrants: readonly Entrant[]): Entrant[] {
  return entrants.filter(({ contender }) => contender.protocol(workload) !== undefined)
}

export async function measure(
  workload: Workload,
  entrants: readonly Entrant[],
  generator: Generator,
  sizes: Sizes,
  say: Say,
): Promise<Sample[]> {
  const able = takePart(workload, entrants)
  if (workload.kind === 'replay' || workload.kind === 'start') {
    return measureFolders(workload, able, sizes, say)
  }
  if (workload.kind === 'idle') return measureIdle(workload, able, generator, sizes, say)
  const servers = new Map<Entrant, Server>()
  const samples: Sample[] = []
  try {
    await Promise.all(able.map(async (one) => servers.set(one, await one.ready.start(workload))))
    for (const one of able) await warmUp(workload, one, servers.get(one)!, generator, sizes)
    for (let round = 1; round <= sizes.rounds; round++) {
      for (const one of turns(able, round)) {
        const sample = await guarded(workload, one, round, () =>
          runOnce(workload, one, servers.get(one)!, generator, sizes),
        )
        samples.push(sample)
        say(line(sample, sizes.rounds))
      }
    }
  } finally {
    await Promise.all([...servers.values()].map((server) => server.stop()))
  }
  return samples
}

/** Each round begins with another contender: nobody always runs behind the same one. */
function turns(able: readonly Entrant[], round: number): Entrant[] {
  const first = (round - 1) % Math.max(1, able.length)
  return [...able.slice(first), ...able.slice(0, first)]
}

export type Figures = Pick<Sample, 'metrics' | 'generatorBound' | 'faults' | 'report'>

async function guarded(
  workload: Workload,
  { contender }: Entrant,
  round: number,
  run: () => Promise<Figures>,
): Promise<Sample> {
  const who = { workload: workload.name, contender: contender.name, round }
  try {
    return { ...who, ...(await run()) }
  } catch (error) {
    const nothing = { metrics: {}, generatorBound: false, faults: '' }
    return { ...who, ...nothing, error: (error as Error).message }
  }
}

function options(
  workload: Workload,
  load: LoadOptions,
  one: Entrant,
  server: Server,
  more: LoadOptions,
): LoadOptions {
  const port = load.websocket ? server.websocketPort : server.port
  const protocol = one.contender.protocol(workload)!
  return { port, pid: server.pid, protocol, ...load, ...more }
}

async function warmUp(
  workload: Workload,
  one: Entrant,
  server: Server,
  generator: Generator,
  sizes: Sizes,
): Promise<void> {
  const { rate, ...load } = workload.load
  const run = (paced: LoadOptions, seconds: number) =>
    runLoad(generator, options(workload, paced, one, server, { seconds }))
  try {
    await run(load, sizes.warmUp)
    // A turn with one message takes other ways than one with hundreds, and compilers need some thousand of them.
    if (rate !== undefined) await run({ ...load, rate }, sizes.pacedWarmUp)
  } catch {
    // What goes wrong here goes wrong in the first round too, and is reported there.
  }
}

async function runOnce(
  workload: Workload,
  one: Entrant,
  server: Server,
  generator: Generator,
  sizes: Sizes,
): Promise<Figures> {
  if (workload.kind === 'isolation') return besideFlood(workload, one, server, generator, sizes)
  const seconds = workload.kind === 'latency' ? sizes.latencySeconds : sizes.seconds
  const run = (load: LoadOptions) =>
    runLoad(generator, options(workload, load, one, server, { seconds }))
  const { undisturbed, away } = workload
  const among = (count: number, load: LoadOptions) =>
    away === undefined ? run(load) : whileAway(server, count, () => run(load))
  const before = undisturbed && (await among(1, undisturbed))
  const report = await among(away ?? 0, workload.load)
  if (workload.kind === 'latency') return figures(report, latencies(report), false)
  const metrics = {
    rate: report.per_second,
    ...(report.broker_cpu > 0 && { cpu: (report.broker_cpu * 1e9) / report.received }),
    ...(before && { kept: kept(report, before) }),
    ...(workload.besideSyncs && one.ready.startIn && { syncs: syncRate() }),
  }
  return figures(report, metrics, report.generator_cpu > report.broker_cpu)
}

const kept = (report: LoadReport, before: LoadReport) => report.per_second / before.per_second

function figures(
  report: LoadReport,
  metrics: Readonly<Record<string, number>>,
  generatorBound: boolean,
): Figures {
  return { metrics, generatorBound, faults: faults(report), report }
}

function latencies(report: LoadReport): Record<string, number> {
  const latency = report.latency_us
  if (!latency) throw new Error('no message arrived, so there is no latency')
  return { p50: latency.p50, p99: latency.p99, p999: latency.p999 }
}

function faults(report: LoadReport): string {
  const counted: [number, string][] = [
    [report.lost, 'lost'],
    [report.disordered, 'out of order or twice'],
    [report.stray, 'to the wrong subscriber'],
    [report.malformed, 'malformed'],
    [report.retained_expected - report.retained, 'retained messages missing'],
    [report.stale, 'retained messages stale'],
  ]
  const words = counted.filter(([n]) => n > 0).map(([n, what]) => `${n} ${what}`)
  return words.join(', ')
}

const FLOOD_LEAD_MS = 200

/** A second pair of clients beside a publisher and a subscriber at full speed, which a generator of its own drives. */
async function besideFlood(
  workload: Workload,
  one: Entrant,
  server: Server,
  generator: Generator,
  sizes: Sizes,
): Promise<Figures> {
  const floodLoad = { topics: 1 }
  const flood = startLoad(
    generator,
    options(workload, floodLoad, one, server, { seconds: sizes.latencySeconds + 30 }),
  )
  try {
    await pause(FLOOD_LEAD_MS)
    // The pair has a topic of its own: publisher and subscriber 1 of two topics, of which 0 is the flood's.
    const pair = { ...workload.load, base: 1, seconds: sizes.latencySeconds }
    const report = await runLoad(generator, options(workload, pair, one, server, {}))
    return figures(report, latencies(report), false)
  } finally {
    flood.child.kill('SIGTERM')
    await flood.output.catch(() => '')
  }
}

/** Rows in which a server is started on what another left behind. */
async function measureFolders(
  workload: Workload,
  able: readonly Entrant[],
  sizes: Sizes,
  say: Say,
): Promise<Sample[]> {
  const samples: Sample[] = []
  const folder = workload.kind === 'start' ? await fullFolder(sizes) : ''
  try {
    for (let round = 1; round <= sizes.longRounds; round++) {
      for (const one of able) {
        const { startIn } = one.ready
        if (startIn === undefined) continue
        const sample = await guarded(workload, one, round, () =>
          workload.kind === 'start'
            ? measureStart(folder, startIn)
            : measureReplay(workload, startIn, sizes),
        )
        samples.push(sample)
        say(line(sample, sizes.longRounds))
      }
    }
  } finally {
    if (folder !== '') rmSync(folder, { recursive: true })
  }
  return samples
}

/** All contenders hold their connections at the same time, each made while nobody else was busy. */
async function measureIdle(
  workload: Workload,
  able: readonly Entrant[],
  generator: Generator,
  sizes: Sizes,
  say: Say,
): Promise<Sample[]> {
  const samples: Sample[] = []
  for (let round = 1; round <= sizes.longRounds; round++) {
    const held: Held[] = []
    try {
      for (const one of able) held.push(await holdConnections(workload, one, generator, sizes))
      await pause(sizes.idleWait * 1000)
      for (const one of held) {
        const sample = await guarded(workload, one.entrant, round, () => one.look())
        samples.push(sample)
        say(line(sample, sizes.longRounds))
      }
    } finally {
      await Promise.all(held.map((one) => one.end()))
    }
  }
  return samples
}

interface Held {
  readonly entrant: Entrant
  look(): Promise<Figures>
  end(): Promise<void>
}

async function holdConnections(
  workload: Workload,
  entrant: Entrant,
  generator: Generator,
  sizes: Sizes,
): Promise<Held> {
  const server = await entrant.ready.start(workload)
  const before = residentBytes(server.pid)
  const n = sizes.idleConnections
  const count = { subscribers: n, topics: n }
  const run = startLoad(generator, options(workload, workload.load, entrant, server, count))
  const ready: unknown = JSON.parse((await run.firstLine) || '{"error":"the generator ended"}')
  const look = async (): Promise<Figures> => {
    const after = residentBytes(server.pid)
    const { seconds, error } = connectSeconds(ready)
    if (error !== undefined) throw new Error(error)
    run.child.stdin!.end()
    const last = (await run.output).trim().split('\n').at(-1) ?? ''
    if (!last.includes('"done"')) throw new Error(`connections were lost: ${last}`)
    if (before === undefined || after === undefined) throw new Error('memory needs Linux (/proc)')
    return {
      metrics: { bytes: (after - before) / n, seconds },
      generatorBound: false,
      faults: '',
    }
  }
  const end = async () => {
    run.child.kill('SIGKILL')
    await run.output.catch(() => '')
    await server.stop()
  }
  return { entrant, look, end }
}

function connectSeconds(ready: unknown): { seconds: number; error?: string } {
  if (typeof ready !== 'object' || ready === null) return { seconds: 0, error: 'no report' }
  if ('error' in ready) return { seconds: 0, error: String(ready.error) }
  return { seconds: 'connect_seconds' in ready ? Number(ready.connect_seconds) : 0 }
}

function line(sample: Sample, rounds: number): string {
  const figures = Object.entries(sample.metrics)
    .map(([name, value]) => `${name} ${value < 10 ? value.toFixed(2) : Math.round(value)}`)
    .join(', ')
  const notes = [sample.error, sample.faults, sample.generatorBound && 'generator-bound']
  const said = [figures, ...notes].filter(Boolean).join('; ')
  return `${sample.workload} ${sample.round}/${rounds} ${sample.contender}: ${said}`
}
