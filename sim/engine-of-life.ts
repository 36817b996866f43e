// The engine that one life of the process runs, and what is below it and outlives it.

import type { Engine } from '../src/core/engine.ts'
import type { Topic } from '../src/core/topics.ts'
import { DiskEngine } from '../src/engine/disk.ts'
import { MemoryEngine } from '../src/engine/memory.ts'
import type { Chance } from './chance.ts'
import type { Clock, SimRuntime } from './clock.ts'
import { type Disk, SimEngine } from './engine.ts'
import type { Plan } from './plan.ts'
import { type Medium, SimPlace } from './storage.ts'

export interface EngineOfLife {
  readonly engine: Engine
  /** What is below the engine; null when nothing outlives the process. */
  readonly storage: { calm: boolean; crash(): void } | null
}

export interface Surroundings {
  readonly runtime: SimRuntime
  readonly clock: Clock
  readonly chance: Chance
  readonly disk: Disk
  readonly medium: Medium
  /** Finds the topic of a stored name. */
  readonly topicOf: (name: string) => Topic
  /** Right before or right after something becomes durable the process may be killed. */
  readonly moment: () => void
}

export function engineOf(plan: Plan, around: Surroundings): EngineOfLife {
  const { runtime, clock, chance, topicOf } = around
  if (plan.engine === 'memory') {
    const { memoryLogBytes = 1e9 } = plan.limits
    return { engine: new MemoryEngine(runtime, { memoryLogBytes }), storage: null }
  }
  if (plan.engine === 'simulated') {
    const engine = new SimEngine(around.disk, clock, runtime, chance, plan.engineFaults)
    engine.topicOf = topicOf
    return { engine, storage: engine }
  }
  const place = new SimPlace(around.medium, clock, runtime, chance, plan.storage)
  place.onMoment = around.moment
  const engine = new DiskEngine({
    directory: place,
    runtime,
    resolve: (bytes, start, length) => topicOf(bytes.toString('utf8', start, start + length)),
    logBytes: plan.storage.cap,
    reserveBytes: plan.storage.reserve,
    reserveSequences: plan.storage.block,
  })
  return { engine, storage: place }
}
