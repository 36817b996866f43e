// Turns the table of options into commander's: flags, help by groups, and back into the
// values that config.ts checks. Nothing is validated here.

import { type Command, Option as Flag, InvalidArgumentError } from 'commander'
import { amount } from '../server/config.ts'
import { OPTIONS, type Option } from '../server/options.ts'

/** Adds the ports and every flag of the server to a command. */
export function addServerOptions(command: Command): Command {
  for (const option of OPTIONS) {
    if (option.flag === null) {
      command.argument(
        `[${option.placeholder}...]`,
        `${option.doc} (default: ${defaultOf(option)})`,
      )
    } else {
      command.addOption(flagOf(option))
    }
  }
  return command.addOption(portFlag())
}

/** Adds the flags that say how the NATS servers of a cluster are reached and what is made on them. */
export function addClusterOptions(command: Command): Command {
  for (const option of OPTIONS) {
    const isOfServer = option.key === 'natsName' || option.key === 'natsMonitor'
    const reach = option.group === 'Cluster' && !isOfServer
    if (reach || option.key === 'logBytes') command.addOption(flagOf(option))
  }
  return command
}

/** What was given, by name of flag, as `settingsFromShell` wants it. */
export function givenFlags(
  command: Command,
  ports: readonly string[],
): Readonly<Record<string, unknown>> {
  const given: Record<string, unknown> = {}
  for (const flag of command.options) given[flag.name()] = command.opts()[flag.attributeName()]
  return { ...given, port: ports }
}

/**
 * Flags that npm took for its own because the two dashes before them were forgotten, as in
 * `npm start --users=FILE`; npm hands them on as variables.
 */
export function keptByNpm(env: Readonly<Record<string, string | undefined>>): string[] {
  if (env.npm_lifecycle_event !== 'start') return []
  return OPTIONS.flatMap(({ flag }) =>
    flag !== null && `npm_config_${flag.replaceAll('-', '_')}` in env ? [flag] : [],
  )
}

function flagOf(option: Option): Flag {
  const value = option.kind === 'yes' ? '' : ` <${option.placeholder}>`
  const flag = new Flag(`--${option.flag}${value}`, descriptionOf(option))
  flag.helpGroup(`${option.group}:`)
  if (option.many) {
    flag.argParser((text: string, before: readonly string[] | undefined) => [
      ...(before ?? []),
      text,
    ])
  }
  return flag
}

/** Many look for it; the ports are the command's arguments. */
function portFlag(): Flag {
  return new Flag('--port <port>').hideHelp().argParser((port) => {
    throw new InvalidArgumentError(`a port needs no flag: partyline serve ${port}`)
  })
}

function descriptionOf(option: Option): string {
  const choices = option.kind === 'choice' ? `: ${option.choices.join(', ')}` : ''
  const text = defaultOf(option)
  return `${option.doc}${choices}${text === '' ? '' : ` (default: ${text})`}`
}

function defaultOf(option: Option): string {
  const value = option.default
  if (typeof value === 'number') return amount(option, value)
  return typeof value === 'boolean' ? '' : String(value)
}
