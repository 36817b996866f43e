// Everything a run needs: three NATS servers, three brokers that reach them through relays of ours, and
// two HAProxy in front. All of it on loopback, all of it real.

import { BrokerProcess } from '../../support/broker-process.ts'
import { freePorts } from '../../support/free-ports.ts'
import { HaproxyProcess } from '../../support/haproxy-process.ts'
import { NatsCluster } from '../../support/nats.ts'
import type { Program } from '../../support/programs.ts'
import type { Address } from '../../support/raw-client.ts'
import { Owners } from './owners.ts'
import { Relay } from './relay.ts'

const BROKERS = 3
const BALANCERS = 2

export interface Node {
  readonly broker: BrokerProcess
  readonly relay: Relay
}

export class Cluster {
  readonly owners: Owners
  readonly nats: NatsCluster
  readonly nodes: readonly Node[]
  readonly balancers: readonly HaproxyProcess[]

  private constructor(
    owners: Owners,
    nats: NatsCluster,
    nodes: readonly Node[],
    balancers: readonly HaproxyProcess[],
  ) {
    this.owners = owners
    this.nats = nats
    this.nodes = nodes
    this.balancers = balancers
  }

  /** Resolves when clients may come. */
  static async start(
    programs: Record<'nats-server' | 'haproxy', Program>,
    random: () => number,
  ): Promise<Cluster> {
    const nats = await NatsCluster.start(programs['nats-server'], 3)
    const owners = new Owners()
    const ports = await freePorts(BROKERS + 2 * BALANCERS)
    const nodes: Node[] = []
    for (let n = 0; n < BROKERS; n++) {
      const taken = owners.taken.bind(owners)
      const relay = await Relay.open({ servers: nats.addresses, taken, random })
      const args = ['--engine', relay.engine, '--nats-name', `n${n + 1}`]
      const broker = new BrokerProcess(ports[n]!, [
        ...args,
        ...['--trust-proxy', '127.0.0.1', '--log-level', 'warn', '--sys-interval', '0'],
      ])
      nodes.push({ broker, relay })
    }
    const brokers = nodes.map(({ broker }) => broker.address)
    const balancers = Array.from({ length: BALANCERS }, (_, n) => {
      const [port, health] = ports.slice(BROKERS + 2 * n)
      return new HaproxyProcess(programs.haproxy, port!, health!, brokers)
    })
    const cluster = new Cluster(owners, nats, nodes, balancers)
    try {
      // The first makes the streams.
      for (const { broker } of nodes) await broker.start()
      await Promise.all(balancers.map((balancer) => balancer.start()))
    } catch (error) {
      await cluster.remove()
      throw error
    }
    return cluster
  }

  /** Where clients dial: through both HAProxy. */
  get front(): Address[] {
    return this.balancers.map(({ address }) => address)
  }

  /** What the brokers logged last, for whoever looks for a reason. */
  get log(): string {
    return this.nodes.map(({ broker }) => broker.log.slice(-3_000)).join('\n---\n')
  }

  async remove(): Promise<void> {
    await Promise.all(this.balancers.map((balancer) => balancer.kill()))
    await Promise.all(this.nodes.map(({ broker }) => broker.kill()))
    await Promise.all(this.nodes.map(({ relay }) => relay.close()))
    await this.nats.remove()
  }
}
