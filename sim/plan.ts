// What one run is like: how many clients of which kind, how bad wires and engine are, how tight
// the limits. Drawn from the seed, so that thousands of seeds meet thousands of circumstances.

import type { Limits } from '../src/core/limits.ts'
import type { Chance } from './chance.ts'
import type { ClientPlan } from './client.ts'
import type { EngineFaults } from './engine.ts'
import { SOUND, type StorageFaults } from './storage.ts'
import type { WireFaults } from './wire.ts'

export interface Plan {
  /**
   * The memory engine of the product, one that is slow, fails, and survives a kill, or the product's disk engine
   * over a simulated disk.
   */
  readonly engine: 'memory' | 'simulated' | 'disk'
  readonly engineFaults: EngineFaults
  readonly storage: StorageFaults
  /** Whether what is asked may be refused, or fail. */
  readonly trouble: boolean
  readonly wireFaults: WireFaults
  readonly limits: Partial<Limits>
  readonly clients: readonly ClientPlan[]
  readonly workers: readonly ClientPlan[]
  /** Things each client does. */
  readonly acts: number
  /** Milliseconds between two of them, at most. */
  readonly pace: number
  /** How often a client's wire is cut, or the client leaves, instead of doing something. */
  readonly unrest: number
  /** How often the process is killed, each time somebody does something. */
  readonly kill: number
  /** How often it is asked to end in order, likewise. */
  readonly stop: number
  /** How often a reader stops reading for a while. */
  readonly stall: number
  /** Longest payload. */
  readonly padding: number
  /** Longest the clients are idle at once now and then, milliseconds. */
  readonly pause: number
}

export function draw(chance: Chance): Plan {
  const engine = chance.is(0.15) ? 'memory' : 'simulated'
  const durable = engine === 'simulated' && chance.is(0.75)
  const congestion = chance.pick([400, 2_000, 1_000_000])
  const wireFaults: WireFaults = {
    delay: chance.pick([0, 3, 40]),
    split: chance.pick([0, 0.1, 0.5]),
    spoil: true,
    congestion,
  }
  const failing = chance.is(0.2)
  const tight = chance.is(0.1)
  const engineFaults: EngineFaults = {
    durable,
    commitMs: chance.pick([0, 2, 20, 60]),
    slow: chance.pick([0, 0, 0.002, 0.02]),
    refuse: failing ? 0.05 : 0,
    fail: failing ? chance.pick([0, 0.02]) : 0,
    cap: tight ? chance.between(2_000, 8_000) : Number.POSITIVE_INFINITY,
  }
  return {
    engine,
    engineFaults,
    storage: SOUND,
    trouble: failing,
    wireFaults,
    limits: limits(chance, congestion, tight),
    clients: clients(chance, 'c', chance.between(2, 5)),
    workers: chance.is(0.5) ? clients(chance, 'w', chance.between(1, 3)) : [],
    acts: 24,
    pace: chance.pick([2, 30, 200]),
    unrest: chance.pick([0.02, 0.1, 0.25]),
    // A refusal may be forgotten with the process: then nobody can say whether the message was taken.
    kill: durable && !failing ? chance.pick([0, 0, 0.01, 0.03]) : 0,
    stop: 0,
    stall: chance.pick([0, 0, 0.08]),
    padding: chance.pick([4, 60, 400]),
    pause: chance.pick([0, 0, 9_000]),
  }
}

/** The same with the disk engine of the product, over a disk on which everything goes wrong. */
export function drawDisk(chance: Chance): Plan {
  const plan = draw(chance)
  const full = chance.pick([0, 0, 0.005, 0.03])
  const unreadable = chance.pick([0, 0, 0.05])
  const { cap } = plan.engineFaults
  const tight = cap < Number.POSITIVE_INFINITY
  const storage: StorageFaults = {
    syncMs: chance.pick([0, 2, 20, 60]),
    slow: chance.pick([0, 0, 0.002, 0.02]),
    full,
    broken: chance.pick([0, 0, 0.003, 0.01]),
    unreadable,
    torn: chance.pick([0, 0.3, 0.6]),
    kill: chance.pick([0, 0.003, 0.02]),
    cap,
    reserve: chance.pick([0, 2_000]),
    // When positions run out before more are reserved, publishers are refused.
    block: full > 0 || tight ? chance.pick([4, 1_024]) : chance.pick([256, 1_024]),
  }
  return {
    ...plan,
    engine: 'disk',
    engineFaults: { durable: true, commitMs: 0, slow: 0, refuse: 0, fail: 0, cap },
    storage,
    trouble: full > 0 || unreadable > 0,
    kill: chance.pick([0, 0.01, 0.03]),
    stop: chance.pick([0, 0, 0.01]),
  }
}

function limits(chance: Chance, congestion: number, tight: boolean): Partial<Limits> {
  return {
    queueBytes: congestion,
    tailBytes: chance.pick([600, 5_000, 1_000_000]),
    receiveMaximum: chance.pick([1, 4, 1_024]),
    sendWindow: chance.pick([1, 3, 1_024]),
    intakeBytesPerLink: chance.pick([100, 2_000, 1_000_000]),
    intakeBytes: chance.pick([500, 1_000_000]),
    topicsRemembered: chance.pick([2, 6, 1_000_000]),
    topicAliasesOut: chance.pick([0, 2, 64]),
    ...(tight ? { memoryLogBytes: 6_000 } : {}),
  }
}

function clients(chance: Chance, kind: string, count: number): ClientPlan[] {
  return Array.from({ length: count }, (_, i): ClientPlan => {
    const version = chance.pick([4, 5] as const)
    // Before MQTT 5 a session that is not clean stays; the default limit is thirty days.
    const lasting = version === 4 ? 30 * 24 * 3600 : chance.pick([1, 8, 1_000_000])
    return {
      id: `${kind}${i}`,
      version,
      expiry: chance.is(0.7) ? lasting : 0,
      receiveMaximum: version === 5 ? chance.pick([0, 1, 3, 20]) : 0,
      keepAlive: chance.pick([0, 2, 10]),
      ackMs: chance.pick([0, 5, 100]),
      aliases: version === 5 ? chance.pick([0, 1, 10]) : 0,
    }
  })
}
