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
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as ClusterRecord
  } catch (error) {
    throw new Error(
      `${file} cannot be read (${(error as Error).message}); end the processes it is about and delete it`,
      { cause: error },
    )
  }
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
