// What the cluster benchmark runs on: three NATS servers that sync always, and as many nodes of
// ours as a row asks for, all on loopback of one machine.
import { existsSync } from 'node:fs'
import path from 'node:path'
import { NatsCluster } from '../test/support/nats.ts'
import { findProgram } from './contenders.ts'
import { cpuSeconds, freePort, root, type Server, startServer } from './processes.ts'

export class Field {
  readonly nats: NatsCluster
  readonly nodes: Server[] = []
  #started = 0

  private constructor(nats: NatsCluster) {
    this.nats = nats
  }

  /** Throws an Error for people when something is missing. */
  static async start(): Promise<Field> {
    if (!existsSync(path.join(root, 'dist', 'cli', 'main.js'))) {
      throw new Error('dist/cli/main.js is not there; run npm run build')
    }
    const program = findProgram(['nats-server'])
    if (program === undefined) {
      throw new Error('there is no nats-server; node scripts/programs.mjs nats-server fetches one')
    }
    return new Field(await NatsCluster.start({ env: {}, ...program }, 3))
  }

  get engine(): string {
    return this.nats.addresses.map((address) => `nats://${address}`).join(',')
  }

  /** Starts or stops nodes until there are so many. */
  async size(count: number): Promise<void> {
    while (this.nodes.length > count) await this.nodes.pop()?.stop()
    while (this.nodes.length < count) this.nodes.push(await this.#node())
  }

  /** Ends a node at once and puts another in its place. */
  async replace(index: number): Promise<void> {
    const [node] = this.nodes.splice(index, 1, await this.#node())
    await node?.stop()
  }

  /** Processor time so far, in seconds: of each node, and of the NATS servers together. */
  cpu(): { readonly nodes: number[]; readonly nats: number } {
    return {
      nodes: this.nodes.map(({ pid }) => cpuSeconds(pid) ?? 0),
      nats: this.nats.servers.reduce((sum, { pid }) => sum + (cpuSeconds(pid) ?? 0), 0),
    }
  }

  async stop(): Promise<void> {
    await this.size(0)
    await this.nats.remove()
  }

  async #node(): Promise<Server> {
    const port = await freePort()
    const main = path.join(root, 'dist', 'cli', 'main.js')
    const monitors = this.nats.servers.flatMap(({ monitor }) => ['--nats-monitor', monitor])
    const args = [main, 'serve', String(port), '--engine', this.engine, ...monitors]
    const name = `cluster-${++this.#started}`
    return startServer(
      name,
      { file: process.execPath, args: [...args, '--log-level', 'warn'] },
      { port, websocketPort: port },
    )
  }
}
