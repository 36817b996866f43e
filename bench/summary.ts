// From samples to a table: medians per contender, the best peer, our ratio to it with its interval, and the goals.
import type { Sample } from './measure.ts'
import { median, pairedRatio, type RatioInterval } from './statistics.ts'
import type { Workload } from './workloads.ts'

/** One figure of one workload, over all contenders. */
export interface Row {
  readonly workload: Workload
  /** Which metric of the samples this row shows. */
  readonly metric: string
  readonly higherIsBetter: boolean
  /** Median per contender; a contender without one could not take part or failed. */
  readonly medians: ReadonlyMap<string, number>
  /** What went wrong, per contender, most common first. */
  readonly troubles: ReadonlyMap<string, string>
  readonly generatorBound: ReadonlySet<string>
  readonly bestPeer?: string
  /** Ours to the best peer's. */
  readonly ratio?: RatioInterval
  /** Ours to the floor's. */
  readonly floor?: RatioInterval
}

export interface Roles {
  readonly ours: string
  /** Our server in the rows about what is stored. */
  readonly oursOnDisk: string
  readonly floor: string
  readonly peers: readonly string[]
}

const METRICS: Record<Workload['kind'], readonly string[]> = {
  throughput: ['rate', 'cpu'],
  latency: ['p50', 'p99', 'p999'],
  isolation: ['p50', 'p99'],
  idle: ['bytes', 'seconds'],
  replay: ['rate'],
  start: ['stopped', 'killed'],
}

function metricsOf({ kind, undisturbed, besideSyncs }: Workload): readonly string[] {
  if (undisturbed) return ['rate', 'cpu', 'kept']
  return besideSyncs ? ['rate', 'cpu', 'syncs'] : METRICS[kind]
}

/** The rows of one workload. A row without our own figures still shows the peers'. */
export function summarize(
  workload: Workload,
  samples: readonly Sample[],
  { ours: inMemory, oursOnDisk, floor, peers }: Roles,
): Row[] {
  const ours = workload.group === 'stored' ? oursOnDisk : inMemory
  const own = samples.filter((sample) => sample.workload === workload.name)
  return metricsOf(workload).map((metric) => {
    const moreIsBetter = workload.kind === 'throughput' || workload.kind === 'replay'
    const higherIsBetter = moreIsBetter && metric !== 'cpu'
    const medians = new Map<string, number>()
    for (const name of new Set(own.map((sample) => sample.contender))) {
      const values = valuesOf(own, name, metric).map(([, value]) => value)
      if (values.length > 0) medians.set(name, median(values))
    }
    const bestPeer = best(peers, medians, higherIsBetter)
    const ratio = bestPeer && ratioOf(own, metric, ours, bestPeer)
    const toFloor = ratioOf(own, metric, ours, floor)
    return {
      workload,
      metric,
      higherIsBetter,
      medians,
      troubles: troublesOf(own),
      generatorBound: boundOf(own),
      ...(bestPeer && { bestPeer }),
      ...(ratio && { ratio }),
      ...(toFloor && { floor: toFloor }),
    }
  })
}

function valuesOf(samples: readonly Sample[], name: string, metric: string): [number, number][] {
  return samples.flatMap((sample): [number, number][] => {
    const value = sample.contender === name ? sample.metrics[metric] : undefined
    return value === undefined || !Number.isFinite(value) ? [] : [[sample.round, value]]
  })
}

function best(
  peers: readonly string[],
  medians: ReadonlyMap<string, number>,
  higherIsBetter: boolean,
): string | undefined {
  const sign = higherIsBetter ? 1 : -1
  return peers
    .filter((peer) => medians.has(peer))
    .sort((a, b) => sign * (medians.get(b)! - medians.get(a)!))[0]
}

/** The ratio of two contenders over the rounds that both finished with something above zero. */
export function ratioOf(
  samples: readonly Sample[],
  metric: string,
  ours: string,
  theirs: string,
): RatioInterval | undefined {
  const other = new Map(valuesOf(samples, theirs, metric))
  const pairs = valuesOf(samples, ours, metric).flatMap(([round, value]): [number, number][] => {
    const paired = other.get(round)
    return paired !== undefined && paired > 0 && value > 0 ? [[value, paired]] : []
  })
  if (pairs.length === 0) return undefined
  return pairedRatio(
    pairs.map(([value]) => value),
    pairs.map(([, paired]) => paired),
  )
}

function troublesOf(samples: readonly Sample[]): Map<string, string> {
  const found = new Map<string, string[]>()
  for (const { contender, error, faults } of samples) {
    const words = error ?? faults
    if (words) found.set(contender, [...(found.get(contender) ?? []), words])
  }
  return new Map(
    [...found].map(([name, words]) => {
      const rounds = words.length === 1 ? '1 round' : `${words.length} rounds`
      return [name, `${rounds}: ${words[0]}`]
    }),
  )
}

/** Generator-bound is said of a contender when it holds for more than half of its rounds. */
function boundOf(samples: readonly Sample[]): Set<string> {
  const names = new Set(samples.map((sample) => sample.contender))
  return new Set(
    [...names].filter((name) => {
      const rounds = samples.filter((sample) => sample.contender === name)
      return rounds.filter((sample) => sample.generatorBound).length * 2 > rounds.length
    }),
  )
}
