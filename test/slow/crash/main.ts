// `npm run crash [seed] [kills] [acknowledged]`: the long run, 100 kills and 5 million messages unless
// told otherwise. Exit code 1 when a promise was broken or the run saw too little to prove anything.

import { commandWords } from '../../support/command-words.ts'
import { crashRun } from './run.ts'

const { numbers } = commandWords('npm run crash -- [seed] [kills] [acknowledged], all numbers', 3)
const [seed = Date.now() % 100_000, kills = 100, acknowledged = 5_000_000] = numbers
console.log(`seed ${seed}`)
const outcome = await crashRun({
  seed,
  kills,
  acknowledged,
  publishers: 8,
  window: 400,
  say: (line) => console.log(line),
})
console.log(
  `${outcome.kills} kills, ${outcome.acknowledged} acknowledged, ${outcome.acknowledgedQos2} of them QoS 2, ` +
    `${outcome.inFlightAtKills} under way at kills`,
)
for (const fault of outcome.faults) console.error(`crash: ${fault}`)
const enough = outcome.acknowledged >= acknowledged && outcome.inFlightAtKills >= 1_000
if (!enough) console.error('crash: the run saw too little to prove anything')
process.exitCode = outcome.faults.length > 0 || !enough ? 1 : 0
