// The simulation in small: some hundred seeds, and the same seed twice. `npm run sim` runs more.

import { describe, expect, it } from 'vitest'
import { World } from '../sim/world.ts'

const SEEDS = 200

describe('the simulation', () => {
  it(`keeps every promise in ${SEEDS} seeds`, { timeout: 60_000 }, async () => {
    const total = { acknowledged: 0, deliveries: 0, kills: 0 }
    for (let seed = 1; seed <= SEEDS; seed++) {
      const outcome = await new World(seed).run().catch((error: unknown) => {
        throw new Error(`seed ${seed} (npm run sim -- --seed ${seed} --trace)`, { cause: error })
      })
      total.acknowledged += outcome.acknowledged
      total.deliveries += outcome.deliveries
      total.kills += outcome.kills
    }
    // A simulation in which nothing happens would keep every promise, too.
    expect(total.acknowledged).toBeGreaterThan(4_000)
    expect(total.deliveries).toBeGreaterThan(4_000)
    expect(total.kills).toBeGreaterThan(20)
  })

  it('replays a seed to the last turn', async () => {
    const once = await new World(7).run()
    const again = await new World(7).run()
    expect(again).toEqual(once)
  })
})
