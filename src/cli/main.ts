#!/usr/bin/env node
// The command `partyline`: finds out which command is meant and hands over. Nothing else.

import { Command } from 'commander'
import { VERSION } from '../server/version.ts'
import { clientCommand } from './client.ts'
import { dataCommand } from './data.ts'
import { passwdCommand } from './passwd.ts'
import { serveCommand } from './serve.ts'

const program = new Command('partyline')
  .description('Publish/subscribe for netcat, MQTT, WebSocket and HTTP, on one port.')
  .showHelpAfterError('(--help says what can be given)')

for (const command of [serveCommand(), clientCommand(), passwdCommand(), dataCommand()]) {
  program.addCommand(command)
}
for (const command of [
  program,
  ...program.commands,
  ...program.commands.flatMap((c) => c.commands),
]) {
  command.version(VERSION, '-V, --version', 'say which version this is')
}

await program.parseAsync()
