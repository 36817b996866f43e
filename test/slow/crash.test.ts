// `kill -9` ten times under load: nothing acknowledged is lost, nothing of QoS 2 doubled, order kept. And
// the judge itself: a recorded run with one message removed, doubled or swapped must fail.

import { beforeAll, describe, expect, test } from 'vitest'
import { HARMS, harmed } from './crash/harm.ts'
import { judge } from './crash/history.ts'
import { crashRun, type Outcome } from './crash/run.ts'

describe('a server that is killed', () => {
  let outcome: Outcome

  beforeAll(async () => {
    outcome = await crashRun({
      seed: 20_261_123,
      kills: 10,
      acknowledged: 55_000,
      publishers: 6,
      window: 200,
      say: () => {},
    })
  }, 300_000)

  test('breaks no promise', () => {
    expect(outcome.faults).toEqual([])
  })

  test('was killed often enough, and in the middle of enough, to prove it', () => {
    expect(outcome.kills).toBeGreaterThanOrEqual(10)
    expect(outcome.acknowledged).toBeGreaterThanOrEqual(50_000)
    expect(outcome.acknowledgedQos2 / outcome.acknowledged).toBeGreaterThan(0.3)
    expect(outcome.inFlightAtKills).toBeGreaterThanOrEqual(1_000)
  })

  test.each(HARMS)('is judged guilty for %s', (_what, harm) => {
    const { history } = outcome
    expect(judge(history)).toEqual([])
    expect(judge(harmed(history, harm))).toHaveLength(1)
  })

  test('is judged guilty for a QoS 2 message that two of a group received', () => {
    const { history } = outcome
    const [member, other] = history.received.filter(({ group }) => group !== '')
    const key = member!.keys.find((one) => history.sent.get(one)?.qos === 2)!
    const guilty = { ...other!, keys: [...other!.keys, key] }
    const received = history.received.map((one) => (one === other ? guilty : one))
    expect(judge({ ...history, received })).toHaveLength(1)
  })

  test('is judged guilty for a lost retained message', () => {
    const { history } = outcome
    const [topic] = history.retained.keys()
    const retained = new Map(history.retained)
    retained.delete(topic!)
    expect(judge({ ...history, retained })).toHaveLength(1)
  })
})
