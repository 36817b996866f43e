// Starts Partyline for the conformance table, from its sources and as the program that people start, set up
// so that every conditional statement finds its condition.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { hashPassword } from '../../src/server/password.ts'
import { withPassword } from '../../src/server/users-file.ts'
import type { Target } from './case.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const user = { name: 'ann', password: 'secret' }
const refusedFilter = 'conformance/refused'
/** Core lets nobody publish below `$SYS/`. */
const refusedTopic = '$SYS/conformance'

export interface Running {
  target: Target
  /** Ends the server and removes what it was given. */
  stop: () => Promise<void>
}

/**
 * Starts Partyline on a free port of loopback and resolves when it listens.
 * @throws Error with what the program said, when it ends instead.
 */
export async function startPartyline(): Promise<Running> {
  const folder = await mkdtemp(join(tmpdir(), 'partyline-conformance-'))
  const users = join(folder, 'users')
  const hash = await hashPassword(Buffer.from(user.password))
  // One user to give a wrong password for; everybody else comes without a name.
  await writeFile(users, withPassword('anonymous\n', user.name, hash))
  const server = spawn(
    process.execPath,
    [
      ...['--import', 'tsx', 'src/cli/main.ts', 'serve', '0', '--host', '127.0.0.1'],
      ...['--users', users, '--deny-subscribe', refusedFilter],
      ...['--sys-interval', '1', '--log-format', 'json', '--data', join(folder, 'data')],
    ],
    { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] },
  )
  const stop = async (): Promise<void> => {
    if (server.exitCode === null && server.signalCode === null) {
      server.kill('SIGTERM')
      await once(server, 'exit')
    }
    await rm(folder, { recursive: true, force: true })
  }
  try {
    const port = await listening(server)
    return { target: target(port), stop }
  } catch (error) {
    await stop()
    throw error
  }
}

function target(port: number): Target {
  return {
    host: '127.0.0.1',
    port,
    websocket: '/mqtt',
    // A first byte other than 0x10 may be the beginning of a line typed by hand.
    mqttOnly: false,
    user,
    refusedTopic,
    refusedFilter,
    keepAlivePatience: 1.6,
  }
}

/** The port the program says it listens on; what it says later is read and dropped. */
function listening(server: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    let said = ''
    const hear = (piece: Buffer): void => {
      if (said.length < 64 * 1024) said += piece
      const found = /listening on \S*?:(\d+)/.exec(said)
      if (found) resolve(Number(found[1]))
    }
    server.stdout!.on('data', hear)
    server.stderr!.on('data', hear)
    server.on('exit', () => reject(new Error(`Partyline did not start; it said:\n${said}`)))
  })
}
