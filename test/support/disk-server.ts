// A server on the disk engine as a process of its own, for tests that kill it, trace it or starve it.
// `node --import tsx disk-server.ts FOLDER [PORT]`; prints `listening PORT`, ends at SIGTERM in order,
// and with exit code 1 and one line when it cannot start or the disk fails for good.
//
// In the environment: LOG_BYTES caps the log; with SAY_LOST it says why connections ended; with UNSYNCED nothing waits for the disk, which is the
// fault that test/slow/syncproof.test.ts must notice.

import { type Peer, SILENT } from '../../src/core/activity.ts'
import { Store } from '../../src/engine/store.ts'
import { settingsFromCode } from '../../src/server/config.ts'
import { Server } from '../../src/server/server.ts'

const [, , folder, port = '0'] = process.argv
if (folder === undefined) throw new Error('disk-server needs a folder')

if (process.env.UNSYNCED) {
  const { commit } = Store.prototype
  Store.prototype.commit = async function (this: Store, changes) {
    void commit.call(this, changes).catch(() => {})
  }
}

function lost({ clientId, peer }: Peer, why: string): void {
  process.stderr.write(`${clientId} at ${peer} lost: ${why}\n`)
}

function fail(why: string): never {
  process.stderr.write(`partyline: ${why}\n`)
  process.exit(1)
}

const server = new Server({
  settings: settingsFromCode({
    ports: [Number(port)],
    hosts: ['127.0.0.1'],
    engine: 'disk',
    data: folder,
    logBytes: Number(process.env.LOG_BYTES ?? 0),
    sysInterval: 0,
    allowAnonymous: true,
  }),
  notes: { info: () => {}, warn: (note) => process.stderr.write(`${note}\n`), error: () => {} },
  activity: process.env.SAY_LOST ? { ...SILENT, lost } : SILENT,
  failed: (why) => fail(why),
})
process.on('SIGTERM', () => {
  void server.stop().then(() => process.exit(0))
})
try {
  await server.start()
} catch (error) {
  fail((error as Error).message)
}
process.stdout.write(`listening ${server.addresses[0]?.port}\n`)
