// What one run of several nodes is like: how many nodes and clients, how bad their wires and the way to the
// servers are, which faults happen.

import type { SharedFaults } from '../test/support/shared-log.ts'
import { Chance } from './chance.ts'
import type { ClientPlan } from './client.ts'
import type { WireFaults } from './wire.ts'

/** Tells the chance of upgrades from the other ones of a seed. */
const UPGRADES = 0x5f3759df

export interface ClusterPlan {
  readonly nodes: number
  readonly faults: SharedFaults
  readonly wireFaults: WireFaults
  readonly clients: readonly ClientPlan[]
  /** Members of shared groups. */
  readonly workers: readonly ClientPlan[]
  readonly pace: number
  readonly unrest: number
  readonly kills: boolean
  readonly pauses: boolean
  readonly cuts: boolean
  readonly outages: boolean
  /** Nodes end in order, and their successors start: one, or all of them in turn. */
  readonly upgrades: boolean
  readonly tailBytes: number
}

export function drawCluster(seed: number, chance: Chance): ClusterPlan {
  return {
    nodes: chance.pick([2, 3, 3]),
    faults: { delayMs: chance.pick([1, 5, 60]), lost: chance.pick([0, 0.02, 0.2]) },
    wireFaults: { delay: chance.pick([0, 3, 40]), split: 0.1, spoil: true, congestion: 1_000_000 },
    clients: clients(chance, 'c', chance.between(2, 4)),
    workers: chance.is(0.5) ? clients(chance, 'w', chance.between(2, 3)) : [],
    pace: chance.pick([300, 1_500, 4_000]),
    unrest: chance.pick([0.03, 0.1, 0.25]),
    kills: chance.is(0.5),
    pauses: chance.is(0.4),
    cuts: chance.is(0.4),
    outages: chance.is(0.3),
    // Drawn apart: a seed without them is what it was before there were any.
    upgrades: new Chance(seed ^ UPGRADES).is(0.4),
    tailBytes: chance.pick([600, 1_000_000]),
  }
}

function clients(chance: Chance, kind: string, count: number): ClientPlan[] {
  return Array.from({ length: count }, (_, i): ClientPlan => {
    const version = chance.pick([4, 5] as const)
    const lasting = version === 4 ? 30 * 24 * 3600 : chance.pick([20, 1_000_000, 1_000_000])
    return {
      id: `${kind}${i}`,
      version,
      expiry: chance.is(0.8) ? lasting : 0,
      receiveMaximum: version === 5 ? chance.pick([0, 1, 20]) : 0,
      keepAlive: 0,
      ackMs: chance.pick([0, 5, 100]),
      aliases: 0,
    }
  })
}

/** Sees every will; it only ever moves because its node did. */
export const WATCHER: ClientPlan = {
  id: 'watcher',
  version: 5,
  expiry: 1_000_000,
  receiveMaximum: 0,
  keepAlive: 0,
  ackMs: 0,
  aliases: 0,
}
