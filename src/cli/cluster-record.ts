// cluster.json in the folder of a cluster: which processes belong to it, so that another terminal
// can look at them and stop them, also when the one that started them is gone.

import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'

export interface RecordedPart {
  readonly name: string
  readonly port: number
  readonly health: string
  /** Null while it does not run. */
  readonly pid: number | null
  /** By which its process is told from another that was given the same id later. */
  readonly args: readonly string[]
}

export interface ClusterRecord {
  /** The process of `cluster up`. */
  readonly pid: number
  readonly args: readonly string[]
  /** In the order in which they were started. */
  readonly parts: readonly RecordedPart[]
}

const FILE = 'cluster.json'

/** Null when no cluster was started in the folder, or it was stopped. @throws Error for people. */
export function readRecord(folder: string): ClusterRecord | null {
  const file = path.join(folder, FILE)
  if (!existsSync(file)) return null
  let record: unknown
  try {
    record = JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    throw unusable(file, (error as Error).message, { cause: error })
  }
  const fault = recordFault(record)
  if (fault !== null) throw unusable(file, fault)
  return record as ClusterRecord
}

function unusable(file: string, why: string, options?: ErrorOptions): Error {
  return new Error(
    `${file} does not say which processes belong to a cluster (${why}); ` +
      'end those that still run, as `ps` shows them, and delete it',
    options,
  )
}

/** What is wrong with the record, which somebody may have edited: it says who is sent signals. */
function recordFault(record: unknown): string | null {
  const { pid, args, parts } = Object(record) as Partial<Record<keyof ClusterRecord, unknown>>
  if (!isId(pid) || !tells(args)) return 'it wants "pid", a process id, and "args", texts'
  if (!Array.isArray(parts)) return 'it wants "parts", a list'
  const wrong = parts.findIndex((part: unknown) => !isPart(part))
  if (wrong < 0) return null
  return `number ${wrong + 1} of its "parts" wants "name", "port", "health", "pid" and "args"`
}

function isPart(part: unknown): boolean {
  const given = Object(part) as Partial<Record<keyof RecordedPart, unknown>>
  const { name, port, health, pid, args } = given
  const isNamed = typeof name === 'string' && typeof port === 'number' && typeof health === 'string'
  return isNamed && (pid === null || isId(pid)) && tells(args)
}

function isId(pid: unknown): boolean {
  return Number.isInteger(pid) && (pid as number) > 0
}

/** With nothing to tell it by, any process would be the one that is meant. */
function tells(args: unknown): boolean {
  return Array.isArray(args) && args.length > 0 && args.every((arg) => typeof arg === 'string')
}

export function writeRecord(folder: string, record: ClusterRecord): void {
  const draft = path.join(folder, `${FILE}.new`)
  writeFileSync(draft, `${JSON.stringify(record, null, 2)}\n`)
  renameSync(draft, path.join(folder, FILE))
}

export function removeRecord(folder: string): void {
  rmSync(path.join(folder, FILE), { force: true })
}

/** Whether the process is there and is the one that was recorded. */
export function isRunning({ pid, args }: Pick<RecordedPart, 'pid' | 'args'>): boolean {
  if (pid === null) return false
  try {
    process.kill(pid, 0)
  } catch (error) {
    // Somebody else's process is none of ours.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false
  }
  const command = commandOf(pid)
  return command !== null && args.every((arg) => command.includes(arg))
}

/** The command line of a process; null when it has none any more, as one that has ended and waits for its parent. */
function commandOf(pid: number): string | null {
  try {
    const command = existsSync('/proc/self/cmdline')
      ? readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
      : execFileSync('ps', ['-ww', '-o', 'command=', '-p', String(pid)], { encoding: 'utf8' })
    return command.trim() === '' ? null : command
  } catch {
    return null
  }
}
