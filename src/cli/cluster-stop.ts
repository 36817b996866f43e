// Stops a cluster from outside, by its record: through the process that started it, or, where
// that is gone, one process after another.

import { setTimeout as pause } from 'node:timers/promises'
import { type ClusterRecord, isRunning, type RecordedPart, removeRecord } from './cluster-record.ts'

/** Milliseconds until a process that was asked to end is made to. */
const PATIENCE_MS = 8_000
/** The same for the one that waits for all others. */
const WHOLE_PATIENCE_MS = 40_000
const POLL_MS = 50

type Process = Pick<RecordedPart, 'pid' | 'args'>

/** Asks `cluster up` to stop everything; names of what had to be stopped without it. */
export async function stopCluster(folder: string, record: ClusterRecord): Promise<string[]> {
  if (isRunning(record)) await end(record, WHOLE_PATIENCE_MS)
  return stopRecorded(folder, record)
}

/** Stops what of it still runs, those first that need the others, and forgets it. Names of what ran. */
export async function stopRecorded(folder: string, record: ClusterRecord): Promise<string[]> {
  const stopped: string[] = []
  for (const part of record.parts.toReversed()) {
    if (!isRunning(part)) continue
    await end(part, PATIENCE_MS)
    stopped.push(part.name)
  }
  removeRecord(folder)
  return stopped
}

async function end(target: Process, patience: number): Promise<void> {
  const last = Date.now() + patience
  signal(target, 'SIGTERM')
  while (isRunning(target) && Date.now() < last) await pause(POLL_MS)
  if (!isRunning(target)) return
  signal(target, 'SIGKILL')
  while (isRunning(target)) await pause(POLL_MS)
}

function signal({ pid }: Process, name: 'SIGTERM' | 'SIGKILL'): void {
  try {
    if (pid !== null) process.kill(pid, name)
  } catch (error) {
    // It has ended meanwhile.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
