// Limits that take real seconds or a process of their own to reach: a reader at 1 MB/s, and the descriptors of the
// operating system.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, it } from 'vitest'
import { join } from '../support/mqtt-js.ts'
import { skipSuite } from '../support/programs.ts'
import { type Address, dial, type RawClient } from '../support/raw-client.ts'
import { enter, serverForTests } from '../support/server.ts'

const server = serverForTests()
const root = fileURLToPath(new URL('../..', import.meta.url))

describe('10 000 retained messages of 1 KiB and one of 2 MiB', () => {
  it.concurrent.for([0, 1] as const)(
    'all reach a reader at 1 MB/s at QoS %i',
    async (qos, { expect }) => {
      const topic = (i: number) => `kept/${qos}/${i}`
      const writer = await join(server())
      for (let i = 0; i < 10_000; i++) {
        const sent = writer.client.publishAsync(topic(i), Buffer.alloc(1024), {
          qos: 1,
          retain: true,
        })
        if (i % 500 === 0) await sent
      }
      await writer.client.publishAsync(topic(10_000), Buffer.alloc(2 * 1024 * 1024), {
        qos: 1,
        retain: true,
      })
      await writer.leave()
      const { client } = await enter(
        server(),
        { clientId: `slow-${qos}` },
        { version: 5, deadline: 60_000 },
      )
      client.sips(64)
      const start = performance.now()
      client.subscribe(`kept/${qos}/#`, { qos })
      await client.hears('suback')
      const sizes = new Map<string, number>()
      for (let i = 0; i <= 10_000; i++) {
        const { topic: name, payload } = await client.receives({ retain: true, qos })
        sizes.set(name, payload.length)
      }
      expect(sizes.size).toBe(10_001)
      expect(sizes.get(topic(10_000))).toBe(2 * 1024 * 1024)
      // It was in fact slow: 12 MB at 1 MB/s, less what the kernel holds in between.
      expect(performance.now() - start).toBeGreaterThan(5_000)
      expect(server().broker.counters.droppedSlow).toBe(0)
      client.drop()
    },
  )
})

if (process.platform === 'win32') skipSuite('the descriptor limit', 'Windows has none')
else {
  describe('the descriptor limit', () => {
    let child: ChildProcess | undefined

    afterEach(async () => {
      if (child === undefined) return
      child.kill('SIGTERM')
      await once(child, 'exit')
    })

    it('bounds connections before descriptors run out, and those that are in notice nothing', async () => {
      // 256 are kept for files: 24 are left.
      const command = 'ulimit -n 280; exec "$@"'
      const serve = [process.execPath, 'dist/cli/main.js', 'serve', '0', '--engine', 'memory']
      const flags = ['--host', '127.0.0.1', '--log-format', 'json']
      child = spawn('sh', ['-c', command, 'sh', ...serve, ...flags], { cwd: root })
      const address = await listening(child)
      const clients: RawClient[] = []
      let refused = 0
      for (let i = 0; i < 40; i++) {
        const client = await dial(address, { version: 5 })
        client.connect({ clientId: `many-${i}` })
        const answered = await client.hears('connack').catch(() => null)
        if (answered === null) refused++
        else clients.push(client)
      }
      expect([clients.length, refused]).toEqual([24, 16])
      const [first, last] = [clients[0] as RawClient, clients.at(-1) as RawClient]
      first.subscribe('x', { qos: 1 })
      await first.hears('suback')
      last.publish('x', 'unharmed', { qos: 1 })
      await last.hears('puback')
      await first.receives({ payload: 'unharmed' })
      first.drop()
      await expect
        .poll(async () => {
          const client = await dial(address, { version: 5 })
          client.connect({ clientId: 'next' })
          const welcome = await client.hears('connack').catch(() => null)
          client.drop()
          return welcome !== null
        })
        .toBe(true)
      for (const client of clients) client.drop()
    })
  })
}

function listening(child: ChildProcess): Promise<Address> {
  return new Promise((resolve, reject) => {
    let said = ''
    const hear = (piece: Buffer): void => {
      said += piece
      const found = /listening on \S*?:(\d+)/.exec(said)
      if (found) resolve({ host: '127.0.0.1', port: Number(found[1]) })
    }
    child.stdout?.on('data', hear)
    child.stderr?.on('data', hear)
    child.on('exit', () => reject(new Error(`the server did not start; it said:\n${said}`)))
  })
}
