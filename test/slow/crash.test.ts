// `kill -9` ten times under load: nothing acknowledged is lost, nothing of QoS 2 doubled, order kept. And
// the judge itself: a recorded run with one message removed, doubled or swapped must fail.

import { beforeAll, describe, expect, test } from 'vitest'
import { type History, judge, type Received } from './crash/history.ts'
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

  test.each([
    ['one removed', (keys: string[]) => keys.filter((key) => key !== keys[1000])],
    ['one doubled', (keys: string[]) => [...keys, keys.find((key) => qosOf(key) === 2)!]],
    ['two swapped', swapOneLane],
    ['one invented', (keys: string[]) => [...keys, 'p0:99999999']],
  ])('is judged guilty for %s', (_what, harm) => {
    const { history } = outcome
    const [everything, ...others] = history.received as [Received, ...Received[]]
    const harmed: History = {
      ...history,
      received: [{ ...everything, keys: harm(everything.keys) }, ...others],
    }
    expect(judge(history)).toEqual([])
    expect(judge(harmed)).toHaveLength(1)
  })

  test('is judged guilty for a lost retained message', () => {
    const { history } = outcome
    const [topic] = history.retained.keys()
    const retained = new Map(history.retained)
    retained.delete(topic!)
    expect(judge({ ...history, retained })).toHaveLength(1)
  })

  function qosOf(key: string): number | undefined {
    return outcome.history.sent.get(key)?.qos
  }

  /** Exchanges two neighbours of one publisher, topic and QoS that arrived once. */
  function swapOneLane(keys: string[]): string[] {
    const lane = (key: string) => {
      const { publisher, topic, qos } = outcome.history.sent.get(key)!
      return `${publisher} ${topic} ${qos}`
    }
    const counts = new Map<string, number>()
    for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1)
    const once = keys.filter((key) => counts.get(key) === 1)
    const first = once[500]!
    const second = once.slice(501).find((key) => lane(key) === lane(first))!
    return keys.map((key) => (key === first ? second : key === second ? first : key))
  }
})
