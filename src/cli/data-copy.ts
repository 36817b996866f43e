// `partyline data copy`: from one server with a folder to a cluster, in one step that can be
// repeated. Says what it does, what was copied and what was not.

import { Command } from 'commander'
import { type Copied, copyFolder, type Part } from '../engine/nats/folder-copy.ts'
import { settingsFromShell } from '../server/config.ts'
import { NodeRuntime } from '../server/node-runtime.ts'
import { natsOptions } from '../server/storage.ts'
import { addClusterOptions, givenFlags } from './options.ts'

/** Milliseconds between two lines of progress of one part. */
const PROGRESS_MS = 2_000

const HELP = `
Stop the server first. The folder is only read. The streams on the servers must be empty: two sets of data cannot be merged.
No server starts on them before the copy is whole; one that was interrupted is made again from the beginning by the same command.
Flags may be given as variables, as for partyline serve.

Example:
  $ partyline data copy ./partyline-data nats://10.0.0.1:4222,nats://10.0.0.2:4222,nats://10.0.0.3:4222`

/** `report` prints the lines or the fault. */
export function copyCommand(
  report: (command: Command, action: () => Promise<readonly string[]>) => Promise<void>,
): Command {
  const command = new Command('copy')
    .description('copy the folder into a cluster: messages, sessions, retained messages')
    .argument('<dir>', 'the data folder')
    .argument('<servers>', 'addresses of NATS servers: nats://HOST:PORT,…')
    .addHelpText('after', HELP)
  return addClusterOptions(command).action((directory: string, servers: string) =>
    report(command, () => copy(directory, servers, givenFlags(command, []), say)),
  )
}

/** Lines for the end; `tell` gets those in between. @throws Error for people. */
export async function copy(
  directory: string,
  servers: string,
  flags: Readonly<Record<string, unknown>>,
  tell: (line: string) => void,
): Promise<string[]> {
  if (!/^(nats|tls):/.test(servers)) {
    throw new Error(`a folder is copied to NATS servers, nats://HOST:PORT,…, not to "${servers}"`)
  }
  const settings = settingsFromShell({ ...flags, engine: servers }, process.env)
  const { logBytes } = settings
  const options = {
    ...natsOptions(settings),
    ...(logBytes > 0 ? { logBytes } : {}),
    runtime: new NodeRuntime(),
  }
  const told = new Map<Part, number>()
  const copied = await copyFolder(directory, options, {
    progress(part, done, all) {
      const now = performance.now()
      if (done < all && now - (told.get(part) ?? now - PROGRESS_MS) < PROGRESS_MS) return
      told.set(part, now)
      tell(`${part}: ${done} of ${all}`)
    },
    notify: tell,
  })
  return summary(directory, settings.engine, copied)
}

function summary(directory: string, engine: string, copied: Copied): string[] {
  const { messages, sessions, groups, retained, lost } = copied
  const lines = [
    `copied and counted on the servers: messages ${messages}, sessions ${sessions}, shared groups ${groups}, retained messages ${retained}`,
  ]
  if (lost > 0) {
    lines.push(
      `sessions whose place in the log the folder had lost: ${lost}; they begin at the oldest message, as they would have there`,
    )
  }
  lines.push(
    'not copied: users, certificates and options, which belong to the servers and not to the folder',
    `next: partyline serve --engine ${engine}, with the same --nats options; keep ${directory} until you have seen that all is there`,
  )
  return lines
}

function say(line: string): void {
  process.stderr.write(`${line}\n`)
}
