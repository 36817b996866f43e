// A few seconds of strangers at every door; `npm run fuzz` goes on for longer, with other seeds.
import { expect, it } from 'vitest'
import { fuzz } from '../fuzz/fuzz.ts'
import { DOORS } from '../fuzz/speech.ts'

it('nothing is lost, nothing crashes and memory stays flat while strangers shout at all doors', async () => {
  const report = await fuzz({ seed: 1, seconds: 7 })
  expect(report.faults).toEqual([])
  expect(report.conversations).toBeGreaterThan(100)
  expect(report.exchanged).toBeGreaterThan(100)
  expect(DOORS.filter((door) => report.byDoor[door] === 0)).toEqual([])
})
