// `npm run sim -- [--seeds N] [--seed S [--trace]]`, and `npm run sim:disk` with the same: runs seeds 1 … N, or replays one.
// Says what a failing seed broke and how to see it again; exit status 1 then.

import { parseArgs } from 'node:util'
import { Violation } from './ledger.ts'
import { type Outcome, World } from './world.ts'

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    seed: { type: 'string' },
    /** The disk engine over a simulated disk, in every seed. */
    disk: { type: 'boolean', default: false },
    from: { type: 'string', default: '1' },
    /** Print every packet. */
    trace: { type: 'boolean', default: false },
    /** Failing seeds to look for before giving up. */
    failures: { type: 'string', default: '5' },
  },
})

async function one(seed: number): Promise<Outcome | Error> {
  try {
    const world = new World(seed, values.disk ? 'disk' : 'any')
    if (values.trace) {
      console.log(JSON.stringify(world.plan))
      world.watch.onTrace = (line) => console.log(line)
    }
    return await world.run()
  } catch (error) {
    return error as Error
  }
}

const began = performance.now()
const total = { turns: 0, deliveries: 0, acknowledged: 0, kills: 0, stops: 0 }
const disk = new Map<string, number>()
const first = Number(values.seed ?? values.from)
const count = values.seed === undefined ? Number(values.seeds) : 1
let failed = 0
process.on('unhandledRejection', (error) => {
  console.error('unhandled rejection', error)
  process.exit(1)
})
let ran = 0
for (let seed = first; seed < first + count && failed < Number(values.failures); seed++) {
  const outcome = await one(seed)
  ran++
  if (outcome instanceof Error) {
    failed++
    console.log(
      `seed ${seed}: ${outcome.message}   (npm run ${values.disk ? 'sim:disk' : 'sim'} -- --seed ${seed})`,
    )
    if (values.seed !== undefined || !(outcome instanceof Violation)) console.log(outcome.stack)
    continue
  }
  total.turns += outcome.turns
  total.deliveries += outcome.deliveries
  total.acknowledged += outcome.acknowledged
  total.kills += outcome.kills
  total.stops += outcome.stops
  for (const [what, count] of Object.entries(outcome.disk)) {
    disk.set(what, (disk.get(what) ?? 0) + count)
  }
}
const seconds = (performance.now() - began) / 1000
console.log(
  `${ran} seeds, ${failed} failed, ${total.turns} turns, ${total.deliveries} deliveries, ` +
    `${total.acknowledged} acknowledged, ${total.kills} kills, ${total.stops} orderly ends, ${seconds.toFixed(1)} s`,
)
if (values.disk) console.log([...disk].map(([what, count]) => `${count} ${what}`).join(', '))
process.exitCode = failed > 0 ? 1 : 0
