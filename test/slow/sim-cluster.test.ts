// The simulation of several nodes in small; `npm run sim:cluster` runs more.

import { expect, it } from 'vitest'
import { Cluster, type Fault } from '../../sim/cluster.ts'

const SEEDS = 24

it(`several nodes keep every promise in ${SEEDS} seeds`, { timeout: 120_000 }, async () => {
  const total = { acknowledged: 0, deliveries: 0, wills: 0 }
  const faults = { kill: 0, pause: 0, cut: 0, outage: 0, stop: 0 }
  for (let seed = 1; seed <= SEEDS; seed++) {
    const outcome = await new Cluster(seed).run().catch((error: unknown) => {
      throw new Error(`seed ${seed} (npm run sim:cluster -- --seed ${seed} --trace)`, {
        cause: error,
      })
    })
    total.acknowledged += outcome.acknowledged
    total.deliveries += outcome.deliveries
    total.wills += outcome.wills
    for (const fault of Object.keys(faults) as Fault[]) faults[fault] += outcome.faults[fault]
  }
  // A simulation in which nothing happens would keep every promise, too.
  expect(total.acknowledged).toBeGreaterThan(4_000)
  expect(total.deliveries).toBeGreaterThan(10_000)
  expect(total.wills).toBeGreaterThan(50)
  expect(faults.kill).toBeGreaterThan(10)
  expect(faults.pause).toBeGreaterThan(10)
  expect(faults.cut).toBeGreaterThan(10)
  expect(faults.outage).toBeGreaterThan(1)
  expect(faults.stop).toBeGreaterThan(3)
})

it('replays a seed of several nodes to the last turn', async () => {
  expect(await new Cluster(7).run()).toEqual(await new Cluster(7).run())
})
