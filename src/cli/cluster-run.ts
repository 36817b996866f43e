// A cluster on this machine, from `cluster up` until it is stopped: parts in their order, the record
// of them, and what is said to whoever looks on.

import { accessSync, constants } from 'node:fs'
import { createServer } from 'node:net'
import { networkInterfaces } from 'node:os'
import path from 'node:path'
import { fileFault } from '../engine/file-fault.ts'
import { makeFolder } from '../engine/folder.ts'
import { ClusterPart } from './cluster-part.ts'
import { type Kind, type PlannedPart, PORTS, planCluster } from './cluster-plan.ts'
import { isRunning, readRecord, removeRecord, writeRecord } from './cluster-record.ts'
import { stopRecorded } from './cluster-stop.ts'
import { findProgram } from './outside-program.ts'

export interface ClusterWish {
  /** Absolute path. */
  readonly folder: string
  readonly port: number
  readonly brokers: number
}

/** How `up` is recognised among processes. */
const OWN_ARGS = ['cluster', 'up']
/** Those first that need the others. */
const STOPPING: readonly Kind[] = ['HAProxy', 'broker', 'NATS']

export class Cluster {
  readonly #wish: ClusterWish
  readonly #say: (line: string) => void
  readonly #parts: ClusterPart[] = []
  #stopped: Promise<void> | null = null

  constructor(wish: ClusterWish, say: (line: string) => void) {
    this.#wish = wish
    this.#say = say
  }

  get parts(): readonly ClusterPart[] {
    return this.#parts
  }

  /** Resolves when all of it is of use, or `stop` was called. Rejects with an Error for people; nothing runs then. */
  async start(): Promise<void> {
    const { folder } = this.#wish
    const logs = path.join(folder, 'logs')
    prepareFolder(folder, logs)
    await this.#clearAway()
    const plan = await this.#plan()
    await refuseTaken(plan)
    for (const part of plan) {
      const events = { say: this.#say, changed: () => this.#record() }
      this.#parts.push(new ClusterPart(part, logs, events))
    }
    try {
      for (const kind of ['NATS', 'broker'] as const) await this.#startAll(kind)
      await this.#startBalancer()
    } catch (error) {
      await this.stop()
      throw error
    }
  }

  /** Ends everything. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop()
    return this.#stopped
  }

  async #stop(): Promise<void> {
    for (const kind of STOPPING) {
      await Promise.all(this.#of(kind).map((part) => part.stop()))
    }
    removeRecord(this.#wish.folder)
  }

  async #startAll(kind: Kind): Promise<void> {
    if (this.#stopped !== null) return
    const parts = this.#of(kind)
    if (parts.length === 0) return
    this.#say(`starting ${parts.map(({ plan }) => plan.name).join(', ')}`)
    for (const part of parts) part.start()
    try {
      await Promise.all(parts.map((part) => part.ready()))
    } catch (error) {
      // What ends because it was told to is no failure.
      if (this.#stopped === null) throw error
    }
  }

  /** Brokers are of use without it. */
  async #startBalancer(): Promise<void> {
    try {
      await this.#startAll('HAProxy')
    } catch (error) {
      this.#say(`no common address for all brokers: ${(error as Error).message}`)
      const [balancer] = this.#of('HAProxy')
      await balancer?.stop()
      this.#parts.splice(0, this.#parts.length, ...this.#parts.filter((part) => part !== balancer))
      this.#record()
    }
  }

  #of(kind: Kind): ClusterPart[] {
    return this.#parts.filter(({ plan }) => plan.kind === kind)
  }

  #record(): void {
    const parts = this.#parts.map(({ plan, pid }) => {
      const { name, port, health, command, args } = plan
      return { name, port, health, pid, args: [path.basename(command), ...args] }
    })
    writeRecord(this.#wish.folder, { pid: process.pid, args: OWN_ARGS, parts })
  }

  async #clearAway(): Promise<void> {
    const { folder } = this.#wish
    const record = readRecord(folder)
    if (record === null) return
    if (isRunning(record)) {
      throw new Error(
        `a cluster runs in ${folder} already (process ${record.pid}); ` +
          '`partyline cluster status` shows it, `partyline cluster down` stops it',
      )
    }
    const stopped = await stopRecorded(folder, record)
    if (stopped.length > 0)
      this.#say(`stopped what was left of an earlier one: ${stopped.join(', ')}`)
  }

  async #plan(): Promise<PlannedPart[]> {
    const nats = await findProgram('nats-server')
    if ('missing' in nats) throw new Error(nats.missing)
    const haproxy = await findProgram('haproxy')
    if ('missing' in haproxy) this.#say(`no common address for all brokers: ${haproxy.missing}`)
    const addresses = Object.values(networkInterfaces()).flat()
    return planCluster({
      ...this.#wish,
      ipv6: addresses.some((each) => each?.address === '::1'),
      nats,
      haproxy: 'missing' in haproxy ? null : haproxy,
    })
  }
}

/** @throws Error for people. */
function prepareFolder(folder: string, logs: string): void {
  try {
    makeFolder(logs)
    accessSync(folder, constants.W_OK)
  } catch (error) {
    throw new Error(
      `${folder} cannot be written as the folder of a cluster: ${fileFault(error)}; name another, as in ` +
        '`partyline cluster up ./elsewhere`',
      { cause: error },
    )
  }
}

/** @throws Error for people that names the first port somebody else has. */
async function refuseTaken(plan: readonly PlannedPart[]): Promise<void> {
  for (const { name, ports } of plan) {
    for (const port of ports) {
      const fault = await listeningFault(port)
      if (fault === null) continue
      throw new Error(
        `${name} cannot have port ${port} (${fault}); shift all ports with --port, as in ` +
          `\`partyline cluster up --port 6000\`, which takes 6000 to ${6000 + PORTS.end}`,
      )
    }
  }
}

function listeningFault(port: number): Promise<string | null> {
  const probe = createServer()
  return new Promise((resolve) => {
    probe.once('error', ({ code, message }: NodeJS.ErrnoException) =>
      resolve(code === 'EADDRINUSE' ? 'it is in use' : (code ?? message)),
    )
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(null)))
  })
}
