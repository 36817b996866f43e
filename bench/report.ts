// Writes what was measured for people: the table on the terminal, bench/RESULTS.md and the charts beside it.
import type { Verdict } from './goals.ts'
import type { Sizes } from './measure.ts'
import { type Chart, drawChart, short } from './plot.ts'
import { reasons, UNKNOWN } from './reasons.ts'
import type { RatioInterval } from './statistics.ts'
import type { Row } from './summary.ts'
import type { Workload } from './workloads.ts'

export interface Participant {
  readonly name: string
  readonly version: string
  readonly settings: string
}

export interface Absentee {
  readonly name: string
  readonly reason: string
}

export interface Facts {
  readonly date: string
  readonly machine: string
  readonly command: string
  readonly generator: string
  readonly rounds: number
  readonly seconds: number
  readonly idleConnections: number
  readonly idleWait: number
  readonly stored: Sizes['stored']
  readonly participants: readonly Participant[]
  readonly absentees: readonly Absentee[]
  /** The protocol of a participant in a workload, or undefined when it cannot do it. */
  readonly protocol: (name: string, workload: Workload) => string | undefined
}

const METRIC_TITLES: Readonly<Record<string, string>> = {
  rate: '',
  cpu: '',
  kept: ', share of the undisturbed rate',
  p50: ', p50',
  p99: ', p99',
  p999: ', p99.9',
  bytes: ', bytes each',
  seconds: ', time to make them',
  syncs: ', syncs a second of the disk itself',
  stopped: ', after an orderly stop',
  killed: ', after kill -9',
}

const FORMATS: Readonly<Record<string, (value: number) => string>> = {
  rate: short,
  cpu: nanoseconds,
  kept: (value) => `${Math.round(value * 100)} %`,
  p50: microseconds,
  p99: microseconds,
  p999: microseconds,
  bytes: (value) => `${(value / 1000).toFixed(1)} KB`,
  seconds: (value) => `${value.toFixed(2)} s`,
  syncs: short,
  stopped: (value) => `${value.toFixed(2)} s`,
  killed: (value) => `${value.toFixed(2)} s`,
}

function nanoseconds(value: number): string {
  if (value < 1000) return `${Math.round(value)} ns`
  return `${(value / 1000).toFixed(value < 10_000 ? 1 : 0)} µs`
}

function microseconds(value: number): string {
  return value < 10_000 ? `${Math.round(value)} µs` : `${(value / 1000).toFixed(1)} ms`
}

const rowTitle = (row: Row) => row.workload.title + METRIC_TITLES[row.metric]
const formatted = (row: Row, value: number) => FORMATS[row.metric]!(value)

function cell(row: Row, name: string, facts: Facts): string {
  const value = row.medians.get(name)
  if (value === undefined) {
    // The disk is measured once, beside the server that waits for it.
    const absent = facts.protocol(name, row.workload) === undefined || row.metric === 'syncs'
    return absent ? '–' : 'failed'
  }
  const trouble = row.troubles.has(name) ? ' †' : ''
  const bound = row.generatorBound.has(name) && row.workload.kind === 'throughput' ? ' ᵍ' : ''
  return formatted(row, value) + bound + trouble
}

function ratioCell(ratio: RatioInterval | undefined): string {
  if (!ratio) return '–'
  const digits = ratio.ratio < 10 ? 2 : 1
  const range =
    ratio.rounds > 1 ? ` (${ratio.low.toFixed(digits)}–${ratio.high.toFixed(digits)})` : ''
  return ratio.ratio.toFixed(digits) + range
}

const isCpu = (row: Row) => row.metric === 'cpu'

function figureTable(rows: readonly Row[], facts: Facts, ours: string): string[] {
  const names = facts.participants.map((one) => one.name)
  const head = ['workload', ...names, `${ours} / best peer`, `${ours} / floor`]
  return table(
    head,
    rows.map((row) => [
      rowTitle(row),
      ...names.map((name) => {
        const words = cell(row, name, facts)
        return name === row.bestPeer ? `*${words}*` : words
      }),
      ratioCell(row.ratio),
      ratioCell(row.floor),
    ]),
  )
}

function table(head: readonly string[], body: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...body.map(line)]
}

/** The table for the terminal: the same cells, padded. */
export function terminalTable(rows: readonly Row[], facts: Facts, ours: string): string {
  const figures = rows.filter((row) => !isCpu(row))
  const lines = figureTable(figures, facts, ours).filter((_, index) => index !== 1)
  const cells = lines.map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((one) => one.trim()),
  )
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)))
  return cells
    .map((row) =>
      row
        .map((one, column) => one.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** One line a goal; a missed one is in bold, so that it cannot be overlooked. */
function goalTable(verdicts: readonly Verdict[]): string[] {
  return table(
    ['goal', 'measured', 'met'],
    verdicts.map(({ goal, measured, met }) =>
      met === false
        ? [`**${goal}**`, `**${measured}**`, '**no**']
        : [goal, measured, met ? 'yes' : '–'],
    ),
  )
}

/** What is known about each workload that missed a goal. */
function reasonList(verdicts: readonly Verdict[]): string[] {
  const names = new Set(
    verdicts.flatMap(({ met, missed }) => (met === false ? (missed ?? []) : [])),
  )
  const lines = [...names].map((name) => `- \`${name}\`: ${reasons[name] ?? UNKNOWN}`)
  return lines.length === 0 ? [] : ['', 'Why, and what would reach it:', '', ...lines]
}

function troubleList(rows: readonly Row[]): string[] {
  const lines = new Set<string>()
  for (const row of rows) {
    for (const [name, words] of row.troubles) lines.add(`- ${row.workload.name}, ${name}: ${words}`)
  }
  return lines.size === 0 ? [] : ['', '† Not all went well:', '', ...lines]
}

function protocolTable(workloads: readonly Workload[], facts: Facts): string[] {
  const names = facts.participants.map((one) => one.name)
  return table(
    ['workload', 'name', ...names],
    workloads.map((workload) => [
      workload.title,
      `\`${workload.name}\``,
      ...names.map((name) => facts.protocol(name, workload) ?? '–'),
    ]),
  )
}

/** All of bench/RESULTS.md. */
export function resultsPage(
  rows: readonly Row[],
  verdicts: readonly Verdict[],
  facts: Facts,
  ours: string,
  charts: readonly string[],
): string {
  const workloads = [...new Set(rows.map((row) => row.workload))]
  return [
    '# Benchmark results',
    '',
    `Made by \`${facts.command}\` on ${facts.date}; do not edit. How to read and repeat it: [docs/performance.md](../docs/performance.md).`,
    'The figures of every round are in [results.json](results.json).',
    '',
    `Machine: ${facts.machine}. ${facts.rounds} rounds, contenders in turn within each, ${facts.seconds} s a run. ${facts.generator}`,
    '',
    ...table(
      ['contender', 'version', 'persistence and buffers'],
      facts.participants.map((one) => [one.name, one.version, one.settings]),
    ),
    '',
    ...facts.absentees.map((one) => `Missing: ${one.name} (${one.reason}).`),
    '',
    ...charts.map((file) => `![${file}](${file})\n`),
    '## Goals',
    '',
    ...goalTable(verdicts),
    ...reasonList(verdicts),
    '',
    '## Figures',
    '',
    'Medians over all rounds. Throughput is messages delivered a second, payload 64 bytes where nothing else is said; the best',
    'peer is in italics. The ratios are geometric means of the ratios of each round, with their 95 % interval; for',
    'latency, memory and time a smaller ratio is better.',
    'ᵍ generator-bound: the load generator used more processor time than the broker, which may be capable of more.',
    `Stored rows: a subscriber that is there takes 1 024 messages at once; a replay is of ${facts.stored.messages} messages by one session, of`,
    `a fortieth of them by each of 400; the start is with ${facts.stored.retained} retained messages and ${facts.stored.sessions} sessions.`,
    `Idle: ${facts.idleConnections} connections, ${facts.idleWait} s after the last was made.`,
    '',
    ...figureTable(
      rows.filter((row) => !isCpu(row)),
      facts,
      ours,
    ),
    ...troubleList(rows),
    '',
    '## Processor time of the broker for each delivered message',
    '',
    'User and system time of all its threads in the same runs. It says what the broker itself costs, however busy the generator or',
    'the machine was; a smaller ratio is better.',
    '',
    ...figureTable(
      rows.filter((row) => isCpu(row) && row.medians.size > 0),
      facts,
      ours,
    ),
    '',
    '## Who can do what, and in which protocol',
    '',
    'mqtt4 is MQTT 3.1.1. Core NATS and Redis pub/sub have no acknowledged delivery and no retained messages, so those rows',
    'are between MQTT brokers. In the row of the line protocol the peers that speak text use their own.',
    '',
    ...protocolTable(workloads, facts),
    '',
  ].join('\n')
}

const CHARTS = [
  {
    file: 'throughput.svg',
    title: 'Messages delivered a second, QoS 0',
    pick: (row: Row) => row.workload.group === 'QoS 0' && row.metric === 'rate',
    only: ['1to1', '1to50', '10to10-wildcard', '1to10-1KiB', 'retained', '1to5000'],
  },
  {
    file: 'acknowledged.svg',
    title: 'Messages delivered and acknowledged a second, QoS 1 and 2',
    pick: (row: Row) => row.workload.group === 'QoS 1 and 2' && row.metric === 'rate',
    only: ['qos1-w1', 'qos1-w20', 'qos1-w1000', 'qos1-50to1', 'qos2'],
  },
  {
    file: 'latency.svg',
    title: 'Latency, 99 of 100 messages are faster',
    pick: (row: Row) => row.workload.kind === 'latency' && row.metric === 'p99',
    only: ['latency-1k', 'latency-10k', 'latency-100k'],
  },
] as const

/** The charts by file name; one without any row is left out. */
export function drawCharts(rows: readonly Row[], facts: Facts, ours: string): Map<string, string> {
  const drawn = new Map<string, string>()
  for (const { file, title, pick, only } of CHARTS) {
    const picked = rows.filter(
      (row) => pick(row) && only.some((name) => name === row.workload.name) && row.medians.size > 0,
    )
    if (picked.length === 0) continue
    const chart: Chart = {
      title,
      subtitle: `${facts.rounds === 1 ? 'one round' : `medians of ${facts.rounds} rounds`} on ${facts.machine}; bars of one group share a scale`,
      groups: picked.map((row) => ({
        label: row.workload.title,
        bars: facts.participants
          .filter((one) => facts.protocol(one.name, row.workload) !== undefined)
          .map((one) => ({ name: one.name, value: row.medians.get(one.name) })),
      })),
      format: FORMATS[picked[0]!.metric]!,
      ours,
      scalePerGroup: true,
    }
    drawn.set(file, drawChart(chart))
  }
  return drawn
}
