// The server under attack, in a process of its own, so that a crash is a crash and its memory its own. Started by
// fuzz.ts, which talks to it through the channel of a forked process; it has every door and bounds that are
// reached soon, so that what is kept for strangers cannot look like a leak.
import { fileURLToPath } from 'node:url'
import { SILENT } from '../../src/core/activity.ts'
import { settingsFromCode } from '../../src/server/config.ts'
import { Server } from '../../src/server/server.ts'

/** What it answers to each message: where it listens (once, first), and how it is. */
export type HostAnswer =
  | { readonly port: number }
  | {
      /** Bytes after a collection of garbage: heap and buffers, and resident. */
      readonly used: number
      readonly rss: number
      readonly connectionsOpen: number
      readonly protocolErrors: number
      readonly messagesIn: number
      /** What it wrote for its operator as an error. */
      readonly errors: readonly string[]
    }

const certificate = (name: string): string =>
  fileURLToPath(new URL(`../server/certificates/${name}`, import.meta.url))

const KIB = 1024
const errors: string[] = []
const server = new Server({
  settings: settingsFromCode({
    ports: [0],
    hosts: ['127.0.0.1'],
    sysInterval: 1,
    trustProxy: ['127.0.0.1'],
    tlsCert: certificate('first.cert.pem'),
    tlsKey: certificate('first.key.pem'),
    limits: {
      packetBytes: 256 * KIB,
      topicsRemembered: 4096,
      subscriptionsPerSession: 20,
      sessions: 500,
      groups: 20,
      retainedMessages: 500,
      retainedBytes: 1024 * KIB,
      queueBytes: 512 * KIB,
      tailBytes: 4096 * KIB,
      memoryLogBytes: 8192 * KIB,
      connectTimeout: 1,
      stallTimeout: 1,
      sessionExpiryMaximum: 2,
    },
  }),
  notes: { info: () => {}, warn: () => {}, error: (sentence) => errors.push(sentence) },
  activity: SILENT,
  failed: (why) => errors.push(why),
})

function answer(what: HostAnswer): void {
  process.send?.(what)
}

process.on('message', () => {
  globalThis.gc?.()
  const { heapUsed, external, rss } = process.memoryUsage()
  const { connectionsOpen, protocolErrors, messagesIn } = server.broker.counters
  answer({ used: heapUsed + external, rss, connectionsOpen, protocolErrors, messagesIn, errors })
})
process.on('disconnect', () => void server.stop())

await server.start()
answer({ port: server.addresses[0]?.port ?? 0 })
