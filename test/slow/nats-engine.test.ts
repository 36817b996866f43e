// The NATS engine on real servers: the contract of all engines, several nodes on one cluster, and
// what happens when records are lost on their way or servers die.

import { afterAll, beforeAll } from 'vitest'
import { NatsEngine } from '../../src/engine/nats/engine.ts'
import { describeEngine, resolveTopic } from '../engine/contract.ts'
import { NatsCluster } from '../support/nats.ts'
import { describeWith } from '../support/programs.ts'

describeWith(['nats-server'], 'nats', (programs) => {
  for (const count of [1, 3]) {
    let cluster: NatsCluster
    let made = 0
    beforeAll(async () => {
      cluster = await NatsCluster.start(programs['nats-server'], count)
    })
    afterAll(() => cluster.remove())

    describeEngine(`nats, ${count} server${count === 1 ? '' : 's'},`, {
      shared: true,
      make: (runtime, cap) =>
        new NatsEngine({
          servers: cluster.addresses,
          runtime,
          resolve: resolveTopic,
          prefix: `mq${count}-${made}`,
          ...(cap === undefined ? {} : { logBytes: cap }),
        }),
      clear: () => {
        made++
        return cluster.clear()
      },
    })
  }
})
