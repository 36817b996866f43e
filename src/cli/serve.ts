// `partyline serve`: reads the settings, starts the server, says where it listens, and ends it in
// order when the process is told to go. The server itself is in src/server/.

import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { Command } from 'commander'
import { Terminal } from '../server/activity.ts'
import { settingsFromShell, unknownVariables } from '../server/config.ts'
import { type Log, openLog } from '../server/log.ts'
import { NodeRuntime } from '../server/node-runtime.ts'
import type { Settings } from '../server/options.ts'
import { Server } from '../server/server.ts'
import { addServerOptions, givenFlags, keptByNpm } from './options.ts'

/** Milliseconds after which the process ends even if a client does not let go. */
const END_MS = 4_500

const EXAMPLES = `
Every flag is also a variable: --limit-packet is PARTYLINE_LIMIT_PACKET. docs/configuration.md lists them.

Examples:
  $ partyline serve                                   port 5000, this machine only
  $ partyline serve 5000 1883
  $ partyline serve --host 0.0.0.0 --users users.txt  everybody who is in the file`

export function serveCommand(): Command {
  const command = new Command('serve')
    .alias('server')
    .description('run a server: netcat, MQTT, WebSocket and HTTP on every port')
    .addHelpText('after', EXAMPLES)
  return addServerOptions(command).action(async (ports: string[]) => {
    try {
      refuseKeptByNpm()
      await serve(settingsFromShell(givenFlags(command, ports), process.env))
    } catch (error) {
      command.error(`partyline serve: ${(error as Error).message}`)
    }
  })
}

/** Whoever wrote `npm start --users=FILE` wants users; a server without them would be a trap. */
function refuseKeptByNpm(): void {
  const [flag] = keptByNpm(process.env)
  if (flag === undefined) return
  throw new Error(
    `npm took --${flag} for an option of its own; write two dashes before it: npm start -- --${flag} …`,
  )
}

async function serve(settings: Settings): Promise<void> {
  const log = openLog(settings)
  const { logger } = log
  const terminal = new Terminal(logger, new NodeRuntime())
  const server = new Server({
    settings,
    activity: terminal,
    notes: {
      info: (sentence) => logger.info(sentence),
      warn: (sentence) => logger.warn(sentence),
      error: (sentence) => logger.error(sentence),
    },
    failed: (why) => end(1, `cannot go on: ${why}`),
  })
  let ending = false
  const end = (status: number, why: string): void => {
    // A terminal signals the whole group and npm passes it on: the second one is the same wish.
    if (ending) return
    ending = true
    logger[status === 0 ? 'info' : 'error'](why)
    const finish = (): void => {
      terminal.close()
      log.flush()
      process.exit(status)
    }
    setTimeout(finish, END_MS)
    server.stop().then(finish, (error: unknown) => {
      status = 1
      logger.error({ err: error }, 'the server did not stop in order')
      finish()
    })
  }
  // Who presses Ctrl-C wants an end now; SIGTERM is what supervisors send, who can wait.
  process.on('SIGINT', () => end(0, 'SIGINT: saying goodbye to everybody'))
  process.once('SIGTERM', () => {
    const goodbye = (): void => end(0, 'SIGTERM: saying goodbye to everybody')
    process.on('SIGTERM', () => {})
    if (settings.drain === 0) return goodbye()
    server.drain(settings.drain * 1000)
    logger.info(`SIGTERM: draining for ${settings.drain} s, /readyz says so`)
    setTimeout(goodbye, settings.drain * 1000)
  })
  process.on('uncaughtException', (error) => dieOf(error, log))
  await server.start()
  // With nothing to read again, SIGHUP says what it always did: the terminal is gone.
  const reloads = settings.users !== '' || settings.tlsCert !== ''
  process.on('SIGHUP', () =>
    reloads ? reload(server, log) : end(0, 'SIGHUP: the terminal is gone'),
  )
  for (const name of unknownVariables(process.env)) {
    logger.warn(`the variable ${name} means nothing; docs/configuration.md lists those that do`)
  }
  announce(server.addresses, settings, log)
}

function reload(server: Server, { logger }: Log): void {
  server.reload().catch((error: unknown) => {
    logger.error(`nothing was changed: ${(error as Error).message}`)
  })
}

/** A fault of ours: said once, whole, and fatal, because what it left behind is unknown. */
function dieOf(error: unknown, log: Log): void {
  log.logger.fatal({ err: error }, 'an unexpected error; this is a fault in Partyline')
  log.flush()
  process.exit(1)
}

/** Addresses at which `localhost` finds the server. */
const LOCAL: ReadonlySet<string> = new Set(['127.0.0.1', '::1', '0.0.0.0', '::'])

function announce(
  addresses: readonly AddressInfo[],
  settings: Settings,
  { logger, pretty }: Log,
): void {
  const names = addresses.map(({ address, port }) =>
    address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`,
  )
  const { address = '', port } = addresses[0] ?? {}
  const host = LOCAL.has(address) ? 'localhost' : address
  const data = settings.engine === 'disk' ? { data: path.resolve(settings.data) } : {}
  const sentence =
    `listening on ${names.join(', ')}${data.data === undefined ? '' : `, data in ${data.data}`}; ` +
    `next, in another terminal: npx partyline client ${host} ${port} SUBSCRIBER`
  logger.info({ event: 'listening', addresses: names, ...data }, sentence)
  // Programs read the log; who started it and looks on wants to know, too.
  if (!pretty) process.stderr.write(`partyline: ${sentence}\n`)
}
