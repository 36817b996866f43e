// `npm run chaos [seed] [rounds] [acknowledged] [--groups] [--only=WORD] [--first=N]`: the long run, every fault
// three times unless told otherwise. Exit code 1 when a promise was broken or the run saw too little to prove
// anything; --only and --first are for looking into one fault.

import { commandWords } from '../../support/command-words.ts'
import { type ProgramName, program, whyMissing } from '../../support/programs.ts'
import { generator } from '../crash/run.ts'
import { FAULTS, type Fault, UPGRADE } from './faults.ts'
import { table } from './report.ts'
import { chaosRun } from './run.ts'

const { numbers, options } = commandWords(
  'npm run chaos -- [seed] [rounds] [acknowledged] [--groups] [--only=WORD] [--first=N]',
  3,
  /^--(groups|only=.+|first=\d+)$/,
)
const groups = options.includes('--groups')
const only = option('only')
const first = Number(option('first') ?? Number.POSITIVE_INFINITY)
const [seed = Date.now() % 100_000, rounds = 3, acknowledged = 200_000] = numbers

const all = [...FAULTS, ...UPGRADE]
const chosen = only === undefined ? all : all.filter(({ name }) => name.includes(only))
if (chosen.length === 0) {
  throw new Error(`no fault is called ${only}; there are ${all.map(({ name }) => name).join(', ')}`)
}
console.log(`seed ${seed}, groups ${groups ? 'on' : 'off'}`)
const outcome = await chaosRun({
  programs: { 'nats-server': found('nats-server'), haproxy: found('haproxy') },
  seed,
  faults: inAnyOrder(chosen, rounds, generator(seed + 1)).slice(0, first),
  long: true,
  groups,
  rate: 1_500,
  acknowledged,
  say: (line) => console.log(line),
})
console.log(table(outcome.costs))
console.log(
  `${outcome.acknowledged} acknowledged, ${outcome.acknowledgedQos2} of them QoS 2; sessions changed nodes ` +
    `${outcome.moves} times, ${outcome.records} records of them watched; ${outcome.wills.length} wills`,
)
for (const fault of outcome.faults) console.error(`chaos: ${fault}`)
if (outcome.faults.length > 0) console.error(outcome.log)
const rare = chosen.filter(({ name }) => seen(name) < rounds).map(({ name }) => name)
const watched = outcome.records > 100 && outcome.moves > 0
const enough = outcome.acknowledged >= acknowledged && rare.length === 0 && watched
if (!enough) console.error(`chaos: the run saw too little to prove anything (${rare.join(', ')})`)
process.exitCode = outcome.faults.length > 0 || !enough ? 1 : 0

function option(name: string): string | undefined {
  return options.find((word) => word.startsWith(`--${name}=`))?.split('=')[1]
}

function seen(name: string): number {
  return outcome.costs.filter(({ fault }) => fault === name).length
}

function found(name: ProgramName) {
  const answer = program(name)
  if (answer === null) throw new Error(whyMissing(name))
  return answer
}

/** Every fault so many times; each round in another order. */
function inAnyOrder(faults: readonly Fault[], times: number, random: () => number): Fault[] {
  const order: Fault[] = []
  for (let round = 0; round < times; round++) {
    const left = [...faults]
    while (left.length > 0) order.push(...left.splice(Math.floor(random() * left.length), 1))
  }
  return order
}
