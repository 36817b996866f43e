#!/usr/bin/env node
// The command `partyline`: finds out which command is meant and hands over. Nothing else.

import { Command } from 'commander'
import { VERSION } from '../server/version.ts'
import { clientCommand } from './client.ts'
import { clusterCommand } from './cluster.ts'
import { dataCommand } from './data.ts'
import { passwdCommand } from './passwd.ts'
import { serveCommand } from './serve.ts'

const program = new Command('partyline')
  .description('Publish/subscribe for netcat, MQTT, WebSocket and HTTP, on one port.')
  .addHelpText(
    'after',
    `
Start here:
  $ partyline serve                                   and in two more terminals:
  $ partyline client localhost 5000 SUBSCRIBER SPORTS
  $ partyline client localhost 5000 PUBLISHER SPORTS

Each command tells more: partyline serve --help`,
  )

const commands = [serveCommand(), clientCommand(), passwdCommand(), dataCommand(), clusterCommand()]
for (const command of commands) program.addCommand(command)
for (const command of [
  program,
  ...program.commands,
  ...program.commands.flatMap((c) => c.commands),
]) {
  command.version(VERSION, '-V, --version', 'say which version this is')
  command.helpOption('-h, --help', 'show this')
  command.configureOutput({
    outputError: (text, write) => write(faultOf(text, fullName(command))),
  })
}

function fullName(command: Command): string {
  return command.parent === null ? command.name() : `${fullName(command.parent)} ${command.name()}`
}

/** The parser's errors in the form of our own: one line that names the command and says where to look. */
function faultOf(text: string, name: string): string {
  const parsed =
    /^error: (?:option .* is invalid\. )?(.*?)\s*(?:\(Did you mean (.*)\?\))?\s*$/s.exec(text)
  if (parsed === null) return text
  const meant = parsed[2] === undefined ? '' : ` (did you mean ${parsed[2]}?)`
  return `${name}: ${parsed[1]}${meant}; \`${name} --help\` says what can be given\n`
}

await program.parseAsync()
