// A node of a cluster as a process of its own, for tests that kill it.
// `node --import tsx cluster-node.ts NAME nats://…`; prints `listening PORT`, ends at SIGTERM in order.

import { SILENT } from '../../src/core/activity.ts'
import { settingsFromCode } from '../../src/server/config.ts'
import { Server } from '../../src/server/server.ts'

const [, , natsName, engine] = process.argv
if (natsName === undefined || engine === undefined) throw new Error('wants NAME nats://…')

const say = (sentence: string): void => {
  process.stderr.write(`${sentence}\n`)
}
const server = new Server({
  settings: settingsFromCode({
    ports: [0],
    hosts: ['127.0.0.1'],
    engine,
    natsName,
    sysInterval: 0,
    allowAnonymous: true,
  }),
  notes: { info: () => {}, warn: say, error: say },
  activity: SILENT,
  failed: (why) => {
    say(why)
    process.exit(1)
  },
})
process.on('SIGTERM', () => {
  void server.stop().then(() => process.exit(0))
})
await server.start()
process.stdout.write(`listening ${server.addresses[0]?.port}\n`)
