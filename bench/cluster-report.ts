// The page of the cluster benchmark, made from its figures alone, so that it can be made again from cluster.json.

export interface Measured {
  readonly name: string
  readonly title: string
  readonly unit: string
  readonly figures: Readonly<Record<string, { median: number; rounds: readonly number[] }>>
  /** What went wrong in some round; such figures are not to be trusted. */
  readonly faults: readonly string[]
}

export interface ClusterPage {
  readonly command: string
  readonly date: string
  readonly machine: string
  readonly node: string
  readonly rounds: number
  readonly results: readonly Measured[]
}

const GOAL_RATE = 100_000
const GOAL_FAILOVER_MS = 2_000

const NOTES: Readonly<Record<string, string>> = {
  brokerMicroseconds: 'µs of processor in our nodes a message',
  natsMicroseconds: 'µs of processor in the three NATS servers a message',
  residentBytes: 'bytes of memory a client, 5 s later',
  brokerPerClient: 'µs of processor in the node a client',
  natsPerClient: 'µs in the three NATS servers a client',
  median: 'median',
  p99: 'p99',
}

/** One line for the terminal. */
export function shown(result: Measured): string {
  const faults = result.faults.length > 0 ? `  FAULTS: ${result.faults.join(' | ')}` : ''
  return `${result.name.padEnd(16)} ${figuresOf(result)}${faults}`
}

function figuresOf({ figures, unit }: Measured): string {
  return Object.entries(figures)
    .map(([name, { median }], n) =>
      n === 0 ? `${round(median)} ${unit}` : `${round(median)} ${NOTES[name] ?? name}`,
    )
    .join(', ')
}

/** Three digits that mean something, thousands apart. */
function round(value: number): string {
  if (value >= 1000) return Math.round(value).toLocaleString('en-US').replaceAll(',', ' ')
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3)
}

/** The Markdown page. */
export function clusterPage(page: ClusterPage): string {
  const rows = page.results.map((result) => {
    const faults = result.faults.length > 0 ? `; **faults: ${result.faults.join('; ')}**` : ''
    return `| \`${result.name}\` | ${result.title} | ${figuresOf(result)}${faults} |`
  })
  return `# The cluster, measured

\`${page.command}\` on ${page.date}: ${page.machine}, Node ${page.node}. Nodes, three NATS servers with \`sync_interval: always\`
and the load generator share that one machine, so a second node adds work and no strength; on machines of their own
it would be the other way round. Medians of ${page.rounds} rounds (five for \`failover\`); all rounds are in \`cluster.json\`.

| row | what | median |
|---|---|---|
${rows.join('\n')}

${verdicts(page).join('\n')}

\`unpacked\` is what a broker could get at most from the same servers that stored each message as a record of its own: a client of NATS
without an MQTT door, without order. Packed means that what a node accepted while the record before was under way is one record.
`
}

function verdicts(page: ClusterPage): string[] {
  const of = (name: string): number | undefined => {
    const figures = page.results.find((one) => one.name === name)?.figures ?? {}
    return Object.values(figures)[0]?.median
  }
  const rate = of('qos1-1')
  const failover = of('failover')
  const verdict = (goal: string, value: number | undefined, words: string, met: boolean) =>
    `- ${goal}: ${value === undefined ? 'not measured in this run' : `${words}, ${met ? 'met' : '**not met**'}`}`
  return [
    verdict(
      `goal: at least ${round(GOAL_RATE)} acknowledged QoS 1 messages a second, each on a majority of three synced disks`,
      rate,
      `${round(rate ?? 0)} a second`,
      (rate ?? 0) >= GOAL_RATE,
    ),
    verdict(
      'goal: from the death of a node to CONNACK with session present less than 2 s',
      failover,
      `${round(failover ?? 0)} ms for the last of 100 clients`,
      (failover ?? Number.POSITIVE_INFINITY) < GOAL_FAILOVER_MS,
    ),
  ]
}
