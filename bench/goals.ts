// The goals of the project's speed, judged on one run. Each says what was wanted, what was measured and whether it was
// met; what was not measured is said to be so and is never counted as met.
import type { Sample } from './measure.ts'
import { median } from './statistics.ts'
import { type Roles, type Row, ratioOf } from './summary.ts'

export interface Verdict {
  readonly goal: string
  readonly measured: string
  /** undefined: not measured in this run. */
  readonly met?: boolean
  /** Names of the workloads that missed it. */
  readonly missed?: readonly string[]
}

const NOT_MEASURED = 'not measured in this run'
const times = (x: number) => `${x.toFixed(2)} ×`
const percent = (x: number) => `${Math.round(x * 100)} %`

/** Judges all goals, in the order in which they are stated. */
export function judge(rows: readonly Row[], samples: readonly Sample[], roles: Roles): Verdict[] {
  return [
    medianOverPeers(rows),
    behindNone(rows, roles),
    againstRedisAt16KiB(samples, roles),
    againstFloor(rows, roles),
    acknowledged(rows, samples, roles),
    ...latencies(rows, roles),
    isolation(rows, roles),
    ...idle(rows, roles),
    ...neighbours(rows, roles),
    ...stored(rows, samples, roles),
  ]
}

const ofGroup = (rows: readonly Row[], group: string) =>
  rows.filter((row) => row.workload.group === group && row.metric === 'rate')

/** The 16 KiB row has a goal of its own, because there only the copying of bytes counts. */
const ordinary = (row: Row) => row.workload.name !== '1to1-16KiB'

function medianOverPeers(rows: readonly Row[]): Verdict {
  const goal = 'QoS 0: at least twice the best peer in the median workload'
  const ratios = ofGroup(rows, 'QoS 0').flatMap((row) => (row.ratio ? [row.ratio.ratio] : []))
  if (ratios.length === 0) return { goal, measured: NOT_MEASURED }
  const middle = median(ratios)
  return { goal, measured: `${times(middle)} over ${ratios.length} workloads`, met: middle >= 2 }
}

function behindNone(rows: readonly Row[], roles: Roles): Verdict {
  const goal = 'QoS 0: behind the best peer in no workload (the interval lies below 0.95)'
  const judged = ofGroup(rows, 'QoS 0').filter((row) => row.ratio && ordinary(row))
  if (judged.length === 0) return { goal, measured: NOT_MEASURED }
  const behind = judged.filter((row) => row.ratio!.high < 0.95)
  const measured = listed(behind, 'behind in none', roles)
  return { goal, measured, met: behind.length === 0, missed: namesOf(behind) }
}

const namesOf = (rows: readonly Row[]) => rows.map((row) => row.workload.name)

/** Said of a figure that may be the generator's and not ours. */
const bound = (row: Row, { ours }: Roles) =>
  row.generatorBound.has(ours) ? ' (generator-bound)' : ''

const listed = (rows: readonly Row[], none: string, roles: Roles) =>
  rows.length === 0
    ? none
    : rows
        .map((row) => `${row.workload.name} ${times(row.ratio!.ratio)}${bound(row, roles)}`)
        .join(', ')

function againstRedisAt16KiB(samples: readonly Sample[], { ours }: Roles): Verdict {
  const goal = '16 KiB: at least 0.8 of Redis'
  const own = samples.filter((sample) => sample.workload === '1to1-16KiB')
  const ratio = ratioOf(own, 'rate', ours, 'Redis')
  if (!ratio) return { goal, measured: NOT_MEASURED }
  const missed = ratio.ratio >= 0.8 ? [] : ['1to1-16KiB']
  return { goal, measured: times(ratio.ratio), met: missed.length === 0, missed }
}

function againstFloor(rows: readonly Row[], roles: Roles): Verdict {
  const goal = 'QoS 0: at least 60 % of the floor'
  const judged = ofGroup(rows, 'QoS 0').filter((row) => row.floor)
  if (judged.length === 0) return { goal, measured: NOT_MEASURED }
  const below = judged.filter((row) => row.floor!.ratio < 0.6)
  const words = below
    .map((row) => `${row.workload.name} ${percent(row.floor!.ratio)}${bound(row, roles)}`)
    .join(', ')
  const measured = words || `in all ${judged.length} rows`
  return { goal, measured, met: below.length === 0, missed: namesOf(below) }
}

function acknowledged(rows: readonly Row[], samples: readonly Sample[], roles: Roles): Verdict {
  const goal = 'QoS 1 and 2: at least three times Mosquitto and twice the best peer'
  const judged = ofGroup(rows, 'QoS 1 and 2').filter((row) => row.ratio)
  if (judged.length === 0) return { goal, measured: NOT_MEASURED }
  const missed = judged.filter((row) => {
    const own = samples.filter((sample) => sample.workload === row.workload.name)
    const mosquitto = ratioOf(own, 'rate', roles.ours, 'Mosquitto')
    return row.ratio!.ratio < 2 || (mosquitto !== undefined && mosquitto.ratio < 3)
  })
  const measured = listed(missed, `in all ${judged.length} rows`, roles)
  return { goal, measured, met: missed.length === 0, missed: namesOf(missed) }
}

const LATENCY_LIMITS: Record<string, number> = { p50: 1.1, p99: 1.25 }

function latencies(rows: readonly Row[], { ours }: Roles): Verdict[] {
  return Object.entries(LATENCY_LIMITS).map(([metric, factor]) => {
    const goal = `latency: ${metric} at most ${factor} × the best peer's, or 0.2 ms more`
    const judged = rows.filter((row) => row.workload.kind === 'latency' && row.metric === metric)
    const ready = judged.filter((row) => row.bestPeer && row.medians.has(ours))
    if (ready.length === 0) return { goal, measured: NOT_MEASURED }
    const figures = ready.map((row) => {
      const mine = row.medians.get(ours)!
      const theirs = row.medians.get(row.bestPeer!)!
      const met = mine <= Math.max(theirs * factor, theirs + 200)
      const words = `${row.workload.name} ${Math.round(mine)} µs, best peer ${Math.round(theirs)} µs`
      return { name: row.workload.name, met, words }
    })
    const measured = figures.map((one) => one.words).join('; ')
    const missed = figures.filter((one) => !one.met).map((one) => one.name)
    return { goal, measured, met: missed.length === 0, missed }
  })
}

function isolation(rows: readonly Row[], { ours }: Roles): Verdict {
  const goal = 'a pair at 100 a second beside a publisher at full speed: p99 under 20 ms'
  const row = rows.find((one) => one.workload.kind === 'isolation' && one.metric === 'p99')
  const p99 = row?.medians.get(ours)
  if (p99 === undefined) return { goal, measured: NOT_MEASURED }
  return { goal, measured: `${(p99 / 1000).toFixed(1)} ms`, met: p99 < 20_000 }
}

function idle(rows: readonly Row[], { ours }: Roles): Verdict[] {
  const figure = (metric: string) =>
    rows.find((row) => row.workload.kind === 'idle' && row.metric === metric)?.medians.get(ours)
  const bytes = figure('bytes')
  const seconds = figure('seconds')
  const memory = 'at most 8 KB resident per idle connection with one subscription'
  const making = 'the idle connections are made in under 10 s'
  return [
    bytes === undefined
      ? { goal: memory, measured: NOT_MEASURED }
      : { goal: memory, measured: `${(bytes / 1000).toFixed(1)} KB`, met: bytes <= 8000 },
    seconds === undefined
      ? { goal: making, measured: NOT_MEASURED }
      : { goal: making, measured: `${seconds.toFixed(1)} s`, met: seconds < 10 },
  ]
}

function neighbours(rows: readonly Row[], { ours }: Roles): Verdict[] {
  const subjects: [string, string][] = [
    ['churn', 'subscribing and unsubscribing costs the others less than 20 %'],
    ['not-reading', 'subscribers that never read cost the others less than 20 %'],
  ]
  return subjects.map(([name, goal]) => {
    const row = rows.find((one) => one.workload.name === name && one.metric === 'kept')
    const kept = row?.medians.get(ours)
    if (kept === undefined) return { goal, measured: NOT_MEASURED }
    return { goal, measured: `${percent(kept)} of the rate is left`, met: kept > 0.8 }
  })
}

/** What is acknowledged after a sync, beside a peer that syncs nothing. */
function stored(rows: readonly Row[], samples: readonly Sample[], roles: Roles): Verdict[] {
  const { oursOnDisk } = roles
  const figure = (name: string, metric: string) =>
    rows.find((one) => one.workload.name === name && one.metric === metric)?.medians.get(oursOnDisk)
  const judged = (
    name: string,
    goal: string,
    value: number | undefined,
    words: string,
    met: boolean,
  ): Verdict =>
    value === undefined
      ? { goal, measured: NOT_MEASURED }
      : { goal, measured: words, met, missed: met ? [] : [name] }
  const toMosquitto = (name: string): Verdict => {
    const own = samples.filter((sample) => sample.workload === name)
    const ratio = ratioOf(own, 'rate', oursOnDisk, 'Mosquitto')?.ratio
    const goal = `${name}: synced, at least three times Mosquitto, which syncs nothing`
    return judged(name, goal, ratio, times(ratio ?? 0), (ratio ?? 0) >= 3)
  }
  const one = figure('stored-w1', 'rate') ?? 0
  const syncs = figure('stored-w1', 'syncs')
  const kept = figure('away-1000', 'kept')
  const replays = ['replay-1', 'replay-400'].map((name): Verdict => {
    const rate = figure(name, 'rate')
    const goal = `${name}: at least 300 000 messages a second from disk, with acknowledgements`
    return judged(name, goal, rate, `${Math.round(rate ?? 0)} a second`, (rate ?? 0) >= 300_000)
  })
  return [
    toMosquitto('stored-w256'),
    toMosquitto('stored-w1000'),
    judged(
      'stored-w1',
      'one stored message at a time: no slower than a third of what the disk can sync',
      syncs,
      `${Math.round(one)} beside ${Math.round(syncs ?? 0)} a second`,
      one * 3 >= (syncs ?? 0),
    ),
    judged(
      'away-1000',
      '1 000 sessions away cost a publisher less than 20 % more than one',
      kept,
      `${percent(kept ?? 0)} of the rate is left`,
      (kept ?? 0) > 0.8,
    ),
    ...replays,
  ]
}
