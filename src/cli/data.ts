// `partyline data`: what is in a data folder, is it sound, how big is it, who holds it back; and
// copies of it. Looks, but never writes to a folder a server runs on.

import { Command } from 'commander'
import { DataFolder } from '../engine/folder.ts'
import { backUp, compact } from '../engine/maintenance.ts'
import type { Inspection } from '../engine/scan.ts'
import { type ScanResult, scanInChild } from '../engine/scan-process.ts'
import { copyCommand } from './data-copy.ts'

const EXAMPLES = `
Examples:
  $ partyline data inspect ./partyline-data            what is in there, and who holds the log back
  $ partyline data check ./partyline-data              reads and verifies every stored value
  $ partyline data backup ./partyline-data ./copy      a whole copy, also while the server runs
  $ partyline data compact ./partyline-data            smaller, without damaged values; stop the server first
  $ partyline data copy ./partyline-data nats://a:4222 into a cluster; stop the server first

To restore, stop the server and start it with --data on the copy. docs/durability.md tells what is stored when.`

const ID_SHOWN = 80

export function dataCommand(): Command {
  const data = new Command('data')
    .description('look after a data folder: inspect, check, compact, backup, copy into a cluster')
    .addHelpText('after', EXAMPLES)
  const add = (
    name: string,
    description: string,
    action: (directory: string) => Promise<readonly string[]>,
  ) =>
    data
      .command(name)
      .description(description)
      .argument('<dir>', 'the data folder')
      .action((directory: string, _flags: unknown, command: Command) =>
        report(command, () => action(directory)),
      )
  add('inspect', 'say what is stored, how big it is and who holds the log back', inspect)
  add('check', 'read and verify everything; exit code 1 when something is damaged', check)
  add('compact', 'write the folder anew, without free pages and damaged values', compacted)
  data
    .command('backup')
    .description('copy the folder, also while a server runs on it, and verify the copy')
    .argument('<dir>', 'the data folder')
    .argument('<copy>', 'a new or empty folder')
    .action((directory: string, copy: string, _flags: unknown, command: Command) =>
      report(command, () => backup(directory, copy)),
    )
  return data.addCommand(copyCommand(report))
}

/** Lines for `partyline data inspect`. @throws Error for people. */
export async function inspect(directory: string): Promise<string[]> {
  const folder = new DataFolder(directory)
  const found = readable(directory, await look(folder))
  const holder = folder.holder()
  return [
    `folder     ${folder.directory}${holder ? `, in use by process ${holder}` : ''}`,
    `log        ${found.log}`,
    `stored     ${count(found.messages, 'message')} in ${count(found.records, 'record')}${period(found)}`,
    `sessions   ${found.sessions}`,
    `retained   ${count(found.retained, 'message')}`,
    `file       ${bytes(found.sizes.file)}, of which ${bytes(found.sizes.live)} in use and ${bytes(found.sizes.log)} the log`,
    `sound      ${found.damaged === 0 ? 'yes' : `no: ${count(found.damaged, 'damaged value')}, see partyline data check`}`,
    ...holdingBack(found),
  ]
}

/** Lines for `partyline data check`. @throws Error for people when anything is damaged. */
export async function check(directory: string): Promise<string[]> {
  const found = readable(directory, await look(new DataFolder(directory)))
  if (found.damaged > 0) {
    const more = found.damaged - found.damage.length
    throw new Error(
      [
        `${directory} has ${count(found.damaged, 'damaged value')}:`,
        ...found.damage.map((line) => `  ${line}`),
        ...(more > 0 ? [`  and ${more} more`] : []),
        'put back a copy made with `partyline data backup`, or leave the damaged values out with `partyline data compact`',
      ].join('\n'),
    )
  }
  const { messages, sessions, retained } = found
  return [
    `${directory} is sound: ${count(messages, 'message')}, ${count(sessions, 'session')}, ${retained} retained`,
  ]
}

/** Lines for `partyline data backup`. @throws Error for people. */
export async function backup(directory: string, copy: string): Promise<string[]> {
  const found = readable(copy, await backUp(directory, copy))
  if (found.damaged > 0) {
    throw new Error(
      `the copy in ${copy} holds ${count(found.damaged, 'damaged value')}, as ${directory} does: see partyline data check`,
    )
  }
  const { messages, sessions, retained, sizes } = found
  return [
    `copied to ${copy} and verified: ${count(messages, 'message')}, ${count(sessions, 'session')}, ${retained} retained, ${bytes(sizes.file)}`,
  ]
}

async function compacted(directory: string): Promise<string[]> {
  const { before, after, dropped } = await compact(directory)
  const without = dropped > 0 ? `, without ${count(dropped, 'damaged value')}` : ''
  return [`${directory}: ${bytes(before)} before, ${bytes(after)} now${without}`]
}

function look(folder: DataFolder): Promise<ScanResult> {
  folder.checkStored()
  return scanInChild(folder)
}

function readable(directory: string, result: ScanResult): Inspection {
  if ('found' in result) return result.found
  throw new Error(
    `${directory} is damaged: ${result.unreadable}; put back a copy made with \`partyline data backup\``,
  )
}

function holdingBack(found: Inspection): string[] {
  if (found.behind.length === 0) return []
  return [
    'furthest behind:',
    ...found.behind.map(({ id, cursor, awaySince }) => {
      const away = awaySince > 0 ? `away since ${time(awaySince)}` : 'connected'
      return `  position ${cursor}  ${away}  ${JSON.stringify(shortened(id))}`
    }),
  ]
}

function period(found: Inspection): string {
  return found.records === 0 ? '' : `, accepted from ${time(found.oldest)} to ${time(found.newest)}`
}

/** An identifier may have 65 535 bytes; its beginning tells enough. */
function shortened(id: string): string {
  return id.length <= ID_SHOWN ? id : `${id.slice(0, ID_SHOWN)}…`
}

function time(ms: number): string {
  return new Date(ms).toISOString()
}

function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`
}

function bytes(n: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let unit = 0
  let value = n
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`
}

async function report(command: Command, action: () => Promise<readonly string[]>): Promise<void> {
  try {
    for (const line of await action()) process.stdout.write(`${line}\n`)
  } catch (error) {
    command.error(`partyline data: ${(error as Error).message}`)
  }
}
