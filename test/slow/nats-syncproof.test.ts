// That an acknowledgement of a cluster means "on the disks of a majority", seen from outside: the syncs of
// nats-servers are made to take half a second, and no PUBACK may arrive earlier unless one alone is slow.

import type { ChildProcess } from 'node:child_process'
import { afterEach, expect, test } from 'vitest'
import { NatsCluster, type NatsServer } from '../support/nats.ts'
import { describeWith } from '../support/programs.ts'
import { dial, type RawClient } from '../support/raw-client.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { injectSyncs } from '../support/strace.ts'

const DELAY_MS = 500
/** Clocks of several processes and timers: a promise this much early is on time. */
const SLACK_MS = 5
const ROUNDS = 3

describeWith(
  ['nats-server', 'strace'],
  'an acknowledgement of a cluster means on the disks of a majority',
  (programs) => {
    let nats: NatsCluster
    let server: TestServer
    let client: RawClient
    const tracers: ChildProcess[] = []

    afterEach(async () => {
      for (const tracer of tracers.splice(0)) tracer.kill('SIGKILL')
      client.drop()
      await server.stop()
      await nats.remove()
    })

    async function start(sync: string): Promise<void> {
      nats = await NatsCluster.start(programs['nats-server'], 3, [], sync)
      const engine = nats.addresses.map((address) => `nats://${address}`).join(',')
      server = await startServer({ engine })
      client = await dial(server, { deadline: 20_000 })
      client.connect({ clientId: 'ann' })
      await client.hears('connack')
      await publish(1)
    }

    /** Leader of the log first. */
    async function inOrder(): Promise<NatsServer[]> {
      const leader = await nats.leader('MQ_LOG')
      return [leader, ...nats.servers.filter((one) => one !== leader)]
    }

    async function slow(...servers: NatsServer[]): Promise<void> {
      const how = `delay_enter=${DELAY_MS * 1000}`
      for (const { pid } of servers) tracers.push(await injectSyncs(programs.strace, pid, how))
    }

    async function heal(): Promise<void> {
      for (const tracer of tracers.splice(0)) {
        const ended = new Promise((resolve) => tracer.once('close', resolve))
        tracer.kill('SIGINT')
        await ended
      }
      await nats.ready()
    }

    async function publish(qos: 1 | 2): Promise<number> {
      const began = performance.now()
      const id = client.publish('a', 'x', { qos })
      await client.hears(qos === 1 ? 'puback' : 'pubrec')
      const took = performance.now() - began
      if (qos === 2) {
        client.ack('pubrel', id)
        await client.hears('pubcomp')
      }
      return took
    }

    async function acknowledgements(): Promise<number[]> {
      const took: number[] = []
      for (let n = 0; n < ROUNDS; n++) took.push(await publish(1))
      took.push(await publish(2))
      return took
    }

    test('none arrives before the syncs of two of three; one slow disk holds nobody up', async () => {
      await start('always')
      const [leader, second, third] = (await inOrder()) as [NatsServer, NatsServer, NatsServer]
      for (const servers of [
        [leader, second, third],
        [second, third],
        [leader, second],
      ]) {
        await slow(...servers)
        for (const ms of await acknowledgements()) expect(ms).toBeGreaterThan(DELAY_MS - SLACK_MS)
        await heal()
      }
      await slow((await inOrder())[2]!)
      const took: number[] = []
      for (let n = 0; n < ROUNDS; n++) took.push(await publish(1))
      expect(Math.min(...took)).toBeLessThan(DELAY_MS / 2)
    })

    test('servers that do not sync always are found out', async () => {
      await start('2m')
      await slow(...nats.servers)
      const early = (await acknowledgements()).filter((ms) => ms < DELAY_MS - SLACK_MS)
      expect(early.length).toBeGreaterThan(1)
    })
  },
)
