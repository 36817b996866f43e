// What is kept costs about what the limits count: a few bytes that outlive a turn must not keep the memory they were
// read into, nor what lived beside them for that turn.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, it } from 'vitest'
import { openRole } from '../support/line-client.ts'
import { enter, startServer, type TestServer, until } from '../support/server.ts'

const MESSAGES = 3_000
/** Of buffers, for a message of a few bytes: generous, and far below a slab of a pool. */
const BYTES_EACH = 700

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** Bytes of buffers that are still in use after a turn or two. */
async function buffersInUse(): Promise<number> {
  for (let i = 0; i < 3; i++) {
    await new Promise((resolve) => setTimeout(resolve, 20))
    collectGarbage()
  }
  return process.memoryUsage().arrayBuffers
}

type Publish = (server: TestServer) => Promise<void>

const PINGS = Buffer.from('c000'.repeat(20), 'hex')

/** One at a time, each in a read of its own, of which it is a small part. */
function byMqtt(websocket: string | undefined, retain: boolean): Publish {
  return async (server) => {
    const door = websocket === undefined ? {} : { websocket }
    const { client } = await enter(server, { clientId: 'small' }, { version: 5, ...door })
    for (let i = 0; i < MESSAGES; i++) {
      const topic = retain ? `kept/${i}` : 'kept'
      const publish = { topic, payload: `${i}`, qos: 1 as const, retain, dup: false, messageId: 1 }
      client.sends(client.encode({ cmd: 'publish', ...publish }), PINGS)
      await client.finds('puback')
      client.takes()
    }
    client.drop()
  }
}

const rows: [string, Publish][] = [
  ['messages over TCP', byMqtt(undefined, false)],
  ['messages over WebSocket', byMqtt('/mqtt', false)],
  ['retained messages over TCP', byMqtt(undefined, true)],
  [
    'messages on lines',
    async (server) => {
      const line = await openRole(server, 'PUBLISHER kept')
      for (let i = 0; i < MESSAGES; i++) {
        line.says(`${i}`)
        if (i % 10 === 0) await new Promise((resolve) => setImmediate(resolve))
      }
      line.end()
      await line.hearsThat('OK goodbye')
    },
  ],
]

it.for(rows)('small %s keep little', { timeout: 30_000 }, async ([, publish]) => {
  const server = await startServer()
  const before = await buffersInUse()
  await publish(server)
  await until(() => server.broker.counters.connectionsOpen === 0)
  expect(server.broker.counters.messagesIn).toBe(MESSAGES)
  const each = ((await buffersInUse()) - before) / MESSAGES
  expect(each).toBeLessThan(BYTES_EACH)
  await server.stop()
})
