// Deliberate faults, in the broker and in its disk engine, each of which the simulation must find: what
// it cannot find, it does not protect.

import { expect, it } from 'vitest'
import { huntAll } from '../../sim/mutants.ts'

it('no deliberate fault gets past the simulation', { timeout: 400_000 }, async () => {
  expect(await huntAll((line) => console.log(line))).toEqual([])
})
