// `npm run fuzz -- [--seconds N] [--seed S]`: the fuzz test for as long as one likes; ends with 1 when something
// was found, and says the seed.
import { parseArgs } from 'node:util'
import { fuzz } from './fuzz.ts'

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '60' }, seed: { type: 'string' } },
})
const seconds = Number(values.seconds)
const seed = Number(values.seed ?? Date.now() % 1_000_000)
if (!(seconds > 0 && Number.isInteger(seed) && seed >= 0)) {
  console.error('usage: npm run fuzz -- [--seconds N] [--seed S], both numbers')
  process.exit(2)
}

const mib = (bytes: number): string => `${(bytes / 1024 / 1024).toFixed(1)} MiB`

console.log(`fuzzing for ${seconds} s with seed ${seed}`)
const { byDoor, faults, memory, ...report } = await fuzz({ seed, seconds })
const doors = Object.entries(byDoor).map(([door, count]) => `${door} ${count}`)
console.log(`${report.conversations} conversations (${doors.join(', ')}), ${mib(report.bytes)}`)
console.log(
  `${report.protocolErrors} of them broke a protocol; the others exchanged ${report.exchanged} messages`,
)
console.log(`memory ${memory.map(mib).join(' → ')}, resident ${mib(report.rss)}`)
for (const fault of faults) console.error(`FAULT: ${fault}`)
console.log(
  faults.length === 0 ? 'nothing lost, nothing crashed, memory flat' : `again: --seed ${seed}`,
)
process.exitCode = faults.length === 0 ? 0 : 1
