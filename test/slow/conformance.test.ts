// The conformance table of Partyline as tests, one for each statement that a server can be tested for. All
// cases run at once before the first of them is asked about.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Running, startPartyline } from '../conformance/partyline.ts'
import { conformance, statements, testedIds, type Verdict } from '../conformance/suite.ts'
import { summary } from '../conformance/table.ts'

const versions = [
  { version: 4, name: 'MQTT 3.1.1', least: 95 },
  { version: 5, name: 'MQTT 5.0', least: 205 },
] as const

let running: Running | undefined
let verdicts: Verdict[] = []

beforeAll(async () => {
  running = await startPartyline()
  verdicts = await conformance(running.target)
  for (const { version } of versions) console.log(summary(version, verdicts))
})

afterAll(() => running?.stop())

describe.each(versions)('$name', ({ version, least }) => {
  const tested = testedIds(version)
  const mine = statements(version).filter((s) => tested.has(s.id))

  for (const { id, text } of mine)
    it(`${id} ${text.slice(0, 80)}`, ({ skip, task }) => {
      const { verdict, reason } = verdicts.find((v) => v.version === version && v.id === id)!
      // The statement is about something this server does not do, such as refusing a client identifier.
      if (verdict === 'not tested here') {
        Object.assign(task.meta, { skipped: `${id}: ${reason}` })
        skip(reason)
      }
      expect(reason).toBe('')
      expect(verdict).toBe('passed')
    })

  it(`passes at least ${least} statements`, () => {
    const passed = verdicts.filter((v) => v.version === version && v.verdict === 'passed')
    expect(passed.length).toBeGreaterThanOrEqual(least)
  })
})
