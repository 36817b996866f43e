// `npm run sim:cluster -- [--seeds N] [--seed S [--trace]]`: runs seeds 1 … N over several nodes, or replays
// one. Says what a failing seed broke and how to see it again; exit status 1 then.

import { parseArgs } from 'node:util'
import { Cluster, type ClusterOutcome, type Fault } from './cluster.ts'
import { Violation } from './ledger.ts'

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '300' },
    seed: { type: 'string' },
    from: { type: 'string', default: '1' },
    /** Print every packet. */
    trace: { type: 'boolean', default: false },
    /** Failing seeds to look for before giving up. */
    failures: { type: 'string', default: '5' },
  },
})

async function one(seed: number): Promise<ClusterOutcome | Error> {
  try {
    const cluster = new Cluster(seed)
    if (values.trace) {
      console.log(JSON.stringify(cluster.plan))
      cluster.watch.onTrace = (line) => console.log(line)
    }
    return await cluster.run()
  } catch (error) {
    return error as Error
  }
}

const began = performance.now()
const first = Number(values.seed ?? values.from)
const count = values.seed === undefined ? Number(values.seeds) : 1
const total = { turns: 0, deliveries: 0, acknowledged: 0, wills: 0 }
const faults = { kill: 0, pause: 0, cut: 0, outage: 0, stop: 0 }
let failed = 0
let ran = 0
process.on('unhandledRejection', (error) => {
  console.error('unhandled rejection', error)
  process.exit(1)
})
for (let seed = first; seed < first + count && failed < Number(values.failures); seed++) {
  const outcome = await one(seed)
  ran++
  if (outcome instanceof Error) {
    failed++
    console.log(`seed ${seed}: ${outcome.message}   (npm run sim:cluster -- --seed ${seed})`)
    if (values.seed !== undefined || !(outcome instanceof Violation)) console.log(outcome.stack)
    continue
  }
  total.turns += outcome.turns
  total.deliveries += outcome.deliveries
  total.acknowledged += outcome.acknowledged
  total.wills += outcome.wills
  for (const kind of Object.keys(faults) as Fault[]) faults[kind] += outcome.faults[kind]
}
const seconds = (performance.now() - began) / 1000
console.log(
  `${ran} seeds, ${failed} failed, ${total.turns} turns, ${total.deliveries} deliveries, ` +
    `${total.acknowledged} acknowledged, ${total.wills} wills, ${faults.kill} kills, ${faults.pause} pauses, ` +
    `${faults.cut} cuts, ${faults.outage} outages, ${faults.stop} orderly ends, ${seconds.toFixed(1)} s`,
)
process.exitCode = failed > 0 ? 1 : 0
