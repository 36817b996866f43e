// `npm run bench`: measures Partyline beside its peers and the floor, prints the table, and writes bench/results.json,
// bench/RESULTS.md and the charts. Options: --quick, --only a,b, --peers a,b, --rounds N, --seconds S, --out FOLDER.
import { mkdirSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { type Contender, contenders } from './contenders.ts'
import { type Generator, prepareGenerator } from './generator.ts'
import { judge } from './goals.ts'
import { type Entrant, measure, type Sample, type Sizes } from './measure.ts'
import { endTogether, killAll, root } from './processes.ts'
import { type Absentee, drawCharts, type Facts, resultsPage, terminalTable } from './report.ts'
import { type Roles, type Row, summarize } from './summary.ts'
import { type Workload, workloads } from './workloads.ts'

const USAGE = `npm run bench -- [options]
  --quick          a few workloads, three short rounds, under two minutes
  --only a,b       these workloads; --list names them
  --peers a,b      these peers beside Partyline and the floor; "none" for no peer
  --rounds N       rounds (default 5; with --quick 3; two at most of rows that take a minute each)
  --seconds S      seconds of sending in one run (default 0.5; with --quick 0.4)
  --connections N  idle connections (default 15000)
  --large          replays of a million messages, starts with a million retained messages and 100 000
                   sessions (default: a tenth of each)
  --out FOLDER     where results.json, RESULTS.md and the charts go (default bench/; with
                   --quick, --only or --peers .cache/bench/, so that a partial run does not
                   replace the published figures)
  --list           names the workloads and the contenders`

const LARGE = { messages: 1_000_000, retained: 1_000_000, sessions: 100_000 }
/** Of rows whose figures hardly vary and of which one round takes a minute. */
const LONG_ROUNDS = 2
const USUAL = { messages: 100_000, retained: 100_000, sessions: 10_000 }

interface Choice {
  readonly sizes: Sizes
  readonly workloads: readonly Workload[]
  readonly contenders: readonly Contender[]
  readonly out: string
  readonly command: string
}

/** A mistake in the options; the message is for the user. */
class UsageError extends Error {}

function readOptions(argv: readonly string[]): Choice | 'list' | 'help' {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      peers: { type: 'string' },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      connections: { type: 'string' },
      large: { type: 'boolean', default: false },
      out: { type: 'string' },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return 'help'
  if (values.list) return 'list'
  const quick = values.quick
  const rounds = Math.ceil(positive('--rounds', values.rounds, quick ? 3 : 5))
  const seconds = positive('--seconds', values.seconds, quick ? 0.4 : 0.5)
  const partial = quick || values.only !== undefined || values.peers !== undefined
  const usualOut = partial ? path.join(root, '.cache', 'bench') : path.join(root, 'bench')
  return {
    sizes: {
      rounds,
      longRounds: Math.min(rounds, LONG_ROUNDS),
      seconds,
      warmUp: quick ? 0.3 : 0.7,
      pacedWarmUp: quick ? 2 : 6,
      latencySeconds: quick ? 0.5 : Math.max(seconds, 1),
      idleConnections: Math.ceil(positive('--connections', values.connections, 15_000)),
      idleWait: quick ? 2 : 30,
      stored: values.large ? LARGE : USUAL,
    },
    workloads: chosenWorkloads(values.only, quick),
    contenders: chosenContenders(values.peers),
    out: values.out ? path.resolve(values.out) : usualOut,
    command: ['npm run bench', ...(argv.length > 0 ? ['--', ...argv] : [])].join(' '),
  }
}

function positive(name: string, text: string | undefined, usual: number): number {
  if (text === undefined) return usual
  const value = Number(text)
  if (!(value > 0)) throw new UsageError(`${name} ${text} is not a number above zero`)
  return value
}

function chosenWorkloads(only: string | undefined, quick: boolean): readonly Workload[] {
  if (only === undefined) return quick ? workloads.filter((one) => one.quick) : workloads
  return only.split(',').map((name) => {
    const found = workloads.find((one) => one.name === name)
    if (!found) throw new UsageError(`no workload is called ${name}; --list names them`)
    return found
  })
}

function chosenContenders(peers: string | undefined): readonly Contender[] {
  if (peers === undefined) return contenders
  const names = peers === 'none' ? [] : peers.toLowerCase().split(',')
  const known = contenders.filter((one) => one.role === 'peer').map((one) => one.name)
  const strange = names.find((name) => !known.some((one) => one.toLowerCase() === name))
  if (strange) throw new UsageError(`no peer is called ${strange}; there are ${known.join(', ')}`)
  return contenders.filter((one) => one.role !== 'peer' || names.includes(one.name.toLowerCase()))
}

function list(): string {
  const width = Math.max(...workloads.map((one) => one.name.length))
  return [
    ...workloads.map((one) => `${one.quick ? '*' : ' '} ${one.name.padEnd(width)}  ${one.title}`),
    '* part of --quick',
    `contenders: ${contenders.map((one) => one.name).join(', ')}`,
  ].join('\n')
}

interface Field {
  readonly entrants: readonly Entrant[]
  readonly absentees: readonly Absentee[]
}

function gather(chosen: readonly Contender[]): Field {
  const entrants: Entrant[] = []
  const absentees: Absentee[] = []
  for (const contender of chosen) {
    const ready = contender.prepare()
    if ('missing' in ready) absentees.push({ name: contender.name, reason: ready.missing })
    else entrants.push({ contender, ready })
  }
  return { entrants, absentees }
}

function machine(): string {
  const cpus = os.cpus()
  const memory = Math.round(os.totalmem() / 2 ** 30)
  const model = cpus[0]?.model.replaceAll(/\s+/g, ' ').trim() ?? 'unknown processor'
  const version = os.release().split('.', 2).join('.')
  return `${cpus.length} × ${model}, ${memory} GiB, ${os.type()} ${version}`
}

function gatherFacts(choice: Choice, generator: Generator, field: Field): Facts {
  const byName = new Map(contenders.map((one) => [one.name, one]))
  return {
    date: new Date().toISOString().slice(0, 10),
    machine: machine(),
    command: choice.command,
    generator: generator.note
      ? `Note: ${generator.note}.`
      : 'Load from bench/load, one thread in C.',
    rounds: choice.sizes.rounds,
    seconds: choice.sizes.seconds,
    idleConnections: choice.sizes.idleConnections,
    idleWait: choice.sizes.idleWait,
    stored: choice.sizes.stored,
    participants: field.entrants.map(({ contender, ready }) => ({
      name: contender.name,
      version: ready.version,
      settings: contender.settings,
    })),
    absentees: field.absentees,
    protocol: (name, workload) => byName.get(name)?.protocol(workload),
  }
}

async function measureAll(choice: Choice, field: Field, generator: Generator): Promise<Sample[]> {
  const samples: Sample[] = []
  for (const workload of choice.workloads) {
    const say = (line: string) => console.error(line)
    try {
      samples.push(...(await measure(workload, field.entrants, generator, choice.sizes, say)))
    } catch (error) {
      console.error(`${workload.name} could not be measured: ${(error as Error).message}`)
    }
  }
  return samples
}

function write(choice: Choice, facts: Facts, samples: readonly Sample[], roles: Roles): Row[] {
  const rows = choice.workloads.flatMap((workload) => summarize(workload, samples, roles))
  const charts = drawCharts(rows, facts, roles.ours)
  const verdicts = judge(rows, samples, roles)
  const page = resultsPage(rows, verdicts, facts, roles.ours, [...charts.keys()])
  mkdirSync(choice.out, { recursive: true })
  for (const [file, svg] of charts) writeFileSync(path.join(choice.out, file), svg)
  writeFileSync(path.join(choice.out, 'RESULTS.md'), page)
  const { protocol: _function, ...plainFacts } = facts
  const raw = { facts: plainFacts, sizes: choice.sizes, samples }
  writeFileSync(path.join(choice.out, 'results.json'), `${JSON.stringify(raw, null, 1)}\n`)
  return rows
}

async function main(): Promise<void> {
  const choice = readOptions(process.argv.slice(2))
  if (typeof choice === 'string') {
    console.log(choice === 'help' ? USAGE : list())
    return
  }
  const generator = prepareGenerator()
  if (generator.note) console.error(`note: ${generator.note}`)
  const field = gather(choice.contenders)
  for (const { name, reason } of field.absentees) console.error(`missing: ${name} (${reason})`)
  const facts = gatherFacts(choice, generator, field)
  const roles: Roles = {
    ours: 'Partyline',
    oursOnDisk: 'Partyline (disk)',
    floor: contenders.find((one) => one.role === 'floor')!.name,
    peers: contenders.filter((one) => one.role === 'peer').map((one) => one.name),
  }
  const samples = await measureAll(choice, field, generator)
  const rows = write(choice, facts, samples, roles)
  console.log(`\n${terminalTable(rows, facts, roles.ours)}`)
  console.log(
    `\nwritten: ${path.relative(process.cwd(), choice.out)}/{RESULTS.md,results.json,*.svg}`,
  )
}

endTogether()

try {
  await main()
} catch (error) {
  killAll()
  const wrong =
    error instanceof UsageError ||
    (error as NodeJS.ErrnoException).code?.startsWith('ERR_PARSE_ARGS')
  console.error(wrong ? `${(error as Error).message}\n\n${USAGE}` : error)
  process.exitCode = wrong ? 2 : 1
}
