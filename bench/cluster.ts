// `npm run bench:cluster`: the cluster on one machine, nodes of ours over three NATS servers that sync always. Prints as
// it goes, and writes bench/CLUSTER.md and bench/cluster.json. Options: --rounds N, --seconds S, --only a,b, --out FOLDER.
import { mkdirSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { Field } from './cluster-field.ts'
import { type ClusterPage, clusterPage, type Measured, shown } from './cluster-report.ts'
import { CLUSTER_ROWS, type ClusterRow, type Run } from './cluster-rows.ts'
import { prepareGenerator } from './generator.ts'
import { cache, endTogether, killAll, root } from './processes.ts'
import { median } from './statistics.ts'

const argv = process.argv.slice(2)
const { values } = parseArgs({
  args: argv,
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '2' },
    only: { type: 'string' },
    out: { type: 'string' },
  },
})

function chosen(): readonly ClusterRow[] {
  const names = values.only?.split(',')
  if (names === undefined) return CLUSTER_ROWS
  const strange = names.find((name) => !CLUSTER_ROWS.some((row) => row.name === name))
  if (strange !== undefined) {
    throw new Error(
      `no row is called ${strange}; there are ${CLUSTER_ROWS.map(({ name }) => name).join(', ')}`,
    )
  }
  return CLUSTER_ROWS.filter(({ name }) => names.includes(name))
}

function measured({ name, title, unit }: ClusterRow, runs: readonly Run[]): Measured {
  const figures: Record<string, { median: number; rounds: number[] }> = {}
  for (const figure of Object.keys(runs[0]?.figures ?? {})) {
    const rounds = runs.map((run) => run.figures[figure] ?? 0)
    figures[figure] = { median: median(rounds), rounds }
  }
  const faults = runs.flatMap((run) => (run.faults === undefined ? [] : [run.faults]))
  return { name, title, unit, figures, faults }
}

async function main(): Promise<void> {
  const rows = chosen()
  const rounds = Math.max(1, Math.ceil(Number(values.rounds)))
  const tools = { generator: prepareGenerator(), seconds: Number(values.seconds) }
  const field = await Field.start()
  const results: Measured[] = []
  try {
    for (const row of rows) {
      await field.size(row.nodes)
      const runs: Run[] = []
      for (let n = 0; n < (row.rounds ?? rounds); n++) runs.push(await row.run(field, tools))
      const result = measured(row, runs)
      results.push(result)
      process.stdout.write(`${shown(result)}\n`)
    }
  } finally {
    await field.stop()
  }
  const page: ClusterPage = {
    command: ['npm run bench:cluster', ...(argv.length > 0 ? ['--', ...argv] : [])].join(' '),
    date: new Date().toISOString().slice(0, 10),
    machine: `${os.cpus().length} × ${os.cpus()[0]?.model ?? 'unknown'}, ${process.platform}`,
    node: process.versions.node,
    rounds,
    results,
  }
  const usual = values.only === undefined ? path.join(root, 'bench') : cache
  const out = values.out === undefined ? usual : path.resolve(values.out)
  mkdirSync(out, { recursive: true })
  writeFileSync(path.join(out, 'cluster.json'), `${JSON.stringify(page, null, 2)}\n`)
  writeFileSync(path.join(out, 'CLUSTER.md'), clusterPage(page))
  process.stdout.write(`written to ${path.join(out, 'CLUSTER.md')}\n`)
}

endTogether()

try {
  await main()
} catch (error) {
  killAll()
  process.stderr.write(`bench: ${(error as Error).message}\n`)
  process.exit(1)
}
