// The simulation in small: some hundred seeds, and the same seed twice. `npm run sim` runs more.

import { describe, expect, it } from 'vitest'
import { World } from '../../sim/world.ts'

const SEEDS = 120
const DISK_SEEDS = 80
/** A retained QoS 0 message that came back after it was removed, where few topics are remembered. */
const MENDED = [30_758]

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
    expect(total.acknowledged).toBeGreaterThan(2_500)
    expect(total.deliveries).toBeGreaterThan(2_500)
    expect(total.kills).toBeGreaterThan(15)
  })

  it(`keeps every promise over ${DISK_SEEDS} bad disks`, { timeout: 60_000 }, async () => {
    const total = { acknowledged: 0, kills: 0, stops: 0, torn: 0, full: 0, broken: 0 }
    const seeds = Array.from({ length: DISK_SEEDS }, (_, i) => i + 1)
    for (const seed of [...seeds, ...MENDED]) {
      const outcome = await new World(seed, 'disk').run().catch((error: unknown) => {
        throw new Error(`seed ${seed} (npm run sim:disk -- --seed ${seed} --trace)`, {
          cause: error,
        })
      })
      total.acknowledged += outcome.acknowledged
      total.kills += outcome.kills
      total.stops += outcome.stops
      total.torn += outcome.disk.torn
      total.full += outcome.disk.full
      total.broken += outcome.disk.broken
    }
    expect(total.acknowledged).toBeGreaterThan(1_500)
    expect(total.kills).toBeGreaterThan(50)
    expect(total.stops).toBeGreaterThan(5)
    expect(total.torn).toBeGreaterThan(0)
    expect(total.full).toBeGreaterThan(25)
    expect(total.broken).toBeGreaterThan(2)
  })

  it('replays a seed to the last turn', async () => {
    const once = await new World(7).run()
    const again = await new World(7).run()
    expect(again).toEqual(once)
  })
})
