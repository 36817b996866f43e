// Makes the engine that the settings name: memory, a folder on the disk, or a cluster over NATS.

import type { Engine } from '../core/engine.ts'
import { DiskEngine } from '../engine/disk.ts'
import { MemoryEngine } from '../engine/memory.ts'
import { NatsEngine } from '../engine/nats/engine.ts'
import type { NatsOptions } from '../engine/nats/options.ts'
import type { ResolveTopic } from '../engine/record.ts'
import type { NodeRuntime } from './node-runtime.ts'
import type { Settings } from './options.ts'

export interface StorageParts {
  readonly settings: Settings
  readonly runtime: NodeRuntime
  /** Topics of stored messages. */
  readonly resolve: ResolveTopic
  /** Told what an operator should know. */
  readonly notify: (sentence: string) => void
}

/** @throws Error for people, when settings name something that cannot be. */
export function engineOf({ settings, runtime, resolve, notify }: StorageParts): Engine {
  const { engine, logBytes } = settings
  if (engine === 'memory') return new MemoryEngine(runtime, settings.limits)
  const log = logBytes > 0 ? { logBytes } : {}
  if (engine === 'disk') {
    return new DiskEngine({ directory: settings.data, runtime, resolve, notify, ...log })
  }
  return new NatsEngine({ ...natsOptions(settings), runtime, resolve, notify, ...log })
}

export type Reach = Omit<NatsOptions, 'runtime' | 'resolve' | 'notify' | 'logBytes'>

/** How the NATS servers that the settings name are reached, and what is made on them. */
export function natsOptions(settings: Settings): Reach {
  const { engine, natsName, natsPrefix, natsMonitor, replicas } = settings
  const given = {
    user: settings.natsUser,
    password: settings.natsPassword,
    token: settings.natsToken,
    credentialsFile: settings.natsCreds,
    nkeyFile: settings.natsNkey,
  }
  const tls = { caFile: settings.natsCa, certFile: settings.natsCert, keyFile: settings.natsKey }
  const secure = present(tls)
  return {
    servers: engine.split(','),
    name: natsName,
    prefix: natsPrefix,
    monitor: natsMonitor,
    ...(replicas > 0 ? { replicas } : {}),
    ...present(given),
    ...(Object.keys(secure).length > 0 ? { tls: secure } : {}),
  }
}

function present<Key extends string>(given: Record<Key, string>): Partial<Record<Key, string>> {
  const kept = Object.entries(given).filter(([, value]) => value !== '')
  return Object.fromEntries(kept) as Partial<Record<Key, string>>
}
