// `partyline client`: a terminal that speaks the line protocol. Here its arguments and its place in
// the process; what it does is in conversation.ts.

import { Command } from 'commander'
import { Conversation } from './conversation.ts'
import { dialTcp, readServers, type Server } from './servers.ts'

const EXAMPLES = `
Examples:
  $ partyline client localhost 5000                       type to the server, or HELP
  $ partyline client localhost 5000 SUBSCRIBER SPORTS NEWS
  $ partyline client localhost 5000 PUBLISHER SPORTS
  $ partyline client localhost 5000 SUBSCRIBER 'SPORTS/#' AS bob
  $ echo goal | partyline client localhost 5000 PUBLISHER SPORTS
  $ partyline client one:5000,two:5000 --reconnect SUBSCRIBER SPORTS

Exit status:
  0 after terminate, end of input or a reader that went away · 1 no server, lost connection, or
  (with input from a pipe) something was answered with ERR · 130 after Ctrl-C`

interface Flags {
  readonly reconnect?: boolean
  readonly user?: string
}

export function clientCommand(): Command {
  return new Command('client')
    .description('a terminal for the line protocol: publish, subscribe, or just talk to the server')
    .usage('[options] <host> [port] [PUBLISHER|SUBSCRIBER] [topic ...]')
    .argument(
      '<host...>',
      'the server (several as host:port,host:port), its port, a role and its topics',
    )
    .option('--reconnect', 'when the server goes away, connect again and take the role up again')
    .option('--user <name>', 'log in; the password is taken from PARTYLINE_PASSWORD')
    .addHelpText('after', EXAMPLES)
    .action(async (words: string[], flags: Flags, command: Command) => {
      try {
        await run(readServers(words), flags)
      } catch (error) {
        command.error(`partyline client: ${(error as Error).message}`)
      }
    })
}

async function run(
  { servers, rest }: { servers: Server[]; rest: string[] },
  flags: Flags,
): Promise<void> {
  const opening = [...loginLine(flags), ...roleLine(rest)]
  const conversation = new Conversation(
    { servers, opening, reconnect: flags.reconnect === true },
    {
      input: process.stdin,
      output: process.stdout,
      notice: (text) => process.stderr.write(`partyline: ${text}\n`),
      dial: dialTcp,
      after: (ms, call) => {
        const timer = setTimeout(call, ms)
        return () => clearTimeout(timer)
      },
      interactive: process.stdin.isTTY === true,
    },
  )
  let status: number | null = null
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    process.once(signal, () => {
      status = code
      conversation.leave()
    })
  }
  const ending = await conversation.run()
  // Not process.exit at once: what was written last may still be on its way into a pipe.
  process.exitCode = status ?? ending
  process.stdin.destroy()
  setTimeout(() => process.exit(), 500).unref()
}

function roleLine(words: readonly string[]): string[] {
  const [role] = words
  if (role === undefined) return []
  if (!/^(publisher|subscriber)$/i.test(role)) {
    throw new Error(`${JSON.stringify(role)} is no role; type PUBLISHER, SUBSCRIBER or nothing`)
  }
  const bad = words.find((word) => /\s/.test(word) || word === '')
  if (bad === undefined) return [words.join(' ')]
  throw new Error(
    `${JSON.stringify(bad)} has spaces, which the line protocol cannot say; use + or #`,
  )
}

function loginLine({ user }: Flags): string[] {
  if (user === undefined) return []
  const password = process.env.PARTYLINE_PASSWORD
  if (password === undefined) throw new Error('--user wants the password in PARTYLINE_PASSWORD')
  if (/\s/.test(user + password)) {
    throw new Error('names and passwords with spaces cannot be said in the line protocol')
  }
  return [`LOGIN ${user} ${password}`]
}
