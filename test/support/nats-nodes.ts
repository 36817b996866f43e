// Nodes of a cluster as tests see them: an engine each, with everything it said.

import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest'
import type { LogRecord, RetainedMessage } from '../../src/core/engine.ts'
import { NatsEngine } from '../../src/engine/nats/engine.ts'
import type { NatsOptions } from '../../src/engine/nats/options.ts'
import { Listener, payloads, resolveTopic } from '../engine/contract.ts'
import { NatsCluster } from './nats.ts'
import type { Program } from './programs.ts'

const runtime = { now: () => Date.now(), random: () => Math.random() }

export class Node extends Listener {
  readonly engine: NatsEngine
  readonly kicks: string[] = []
  readonly casts: string[] = []
  readonly nodes: string[] = []
  readonly notes: string[] = []
  lapses = 0
  proofs = 0
  /** What this node does when another takes one of its sessions. */
  onKick: (id: string) => Promise<void> = async () => {}

  constructor(options: Partial<NatsOptions> & Pick<NatsOptions, 'servers'>) {
    super()
    this.engine = new NatsEngine({
      runtime,
      resolve: resolveTopic,
      notify: (note) => this.notes.push(note),
      ...options,
    })
  }

  override async kick(id?: string): Promise<void> {
    this.kicks.push(id!)
    await this.onKick(id!)
  }

  override cast(from?: string, bytes?: Buffer): void {
    this.casts.push(`${from} ${bytes}`)
  }

  node(id: string, up: boolean): void {
    this.nodes.push(`${id} ${up ? 'up' : 'down'}`)
  }

  lapsed(): void {
    this.lapses++
  }

  proved(): void {
    this.proofs++
  }

  /** Payloads heard, in order. */
  get heard(): string[] {
    return payloads(this.records)
  }

  get positions(): number[] {
    return this.records.flatMap(({ first, messages }: LogRecord) =>
      messages.map((_, i) => first + i),
    )
  }

  /** The retained message of a topic, as the changes told add up. */
  retainedOf(topic: string): string | null {
    let newest: RetainedMessage | null = null
    for (const change of this.changes) {
      if (change.topic === topic && change.pos >= (newest?.pos ?? 0)) newest = change
    }
    return newest?.message?.payload.toString() ?? null
  }
}

export interface NodesOfTests {
  readonly cluster: NatsCluster
  /** How streams and subjects of this test begin. */
  readonly prefix: string
  readonly start: (name: string, options?: Partial<NatsOptions>) => Promise<Node>
  /** Ends one before the test does. */
  ends(node: Node): Promise<void>
}

/** So many NATS servers for the tests of a `describe`; each test begins with all of them and nothing stored. */
export function nodesForTests(program: Program, servers: number): NodesOfTests {
  let cluster: NatsCluster
  let tests = 0
  const nodes = new Set<Node>()
  beforeAll(async () => {
    cluster = await NatsCluster.start(program, servers)
  })
  afterAll(() => cluster?.remove())
  beforeEach(() => {
    tests++
  })
  afterEach(async () => {
    for (const server of cluster.servers) {
      server.resume()
      if (!server.running) server.start()
    }
    await cluster.ready()
    await Promise.all([...nodes].map((node) => node.engine.close()))
    nodes.clear()
    await cluster.clear()
  })
  return {
    get cluster() {
      return cluster
    },
    get prefix() {
      return `n${tests}`
    },
    start: async (name, options = {}) => {
      const node = new Node({ servers: cluster.addresses, name, prefix: `n${tests}`, ...options })
      await node.engine.open(node)
      nodes.add(node)
      return node
    },
    ends: async (node) => {
      nodes.delete(node)
      await node.engine.close()
    },
  }
}

/** Waits until it holds; fails with what was not so. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  ms = 30_000,
): Promise<void> {
  const end = performance.now() + ms
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`not within ${ms} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
