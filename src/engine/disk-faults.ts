// What a commit that failed means to those who wait for it: a full disk may have room again, and
// after anything else nobody knows what the disk holds.

import { EngineError } from '../core/engine.ts'
import type { FreeSpace } from './space.ts'
import { CommitError } from './store.ts'

/** EIO: what LMDB reports when a write came back short, which a full disk does too. */
const EIO = 5
/** Free bytes below which an EIO is taken for a write that found no room. */
const SHORT_WRITE_BYTES = 1024 * 1024

/** Whether a commit failed for want of room. */
export async function isFull(error: unknown, ask: () => Promise<FreeSpace>): Promise<boolean> {
  if (!(error instanceof CommitError)) return false
  if (/no space|quota|MDB_MAP_FULL/i.test(error.message)) return true
  if (error.code !== EIO) return false
  // A short write leaves no space behind; a failed sync leaves as much as there was.
  const { free } = await ask().catch(() => ({ free: Number.POSITIVE_INFINITY }))
  return free < SHORT_WRITE_BYTES
}

export function diskFull(directory: string, cause?: unknown): EngineError {
  const degree = cause === undefined ? 'nearly full' : 'full'
  return new EngineError('full', `the disk under ${directory} is ${degree}`, { cause })
}

/** The final refusal. */
export function diskFailed(cause?: unknown): EngineError {
  const why = cause instanceof Error ? ` (${cause.message})` : ''
  return new EngineError(
    'failed',
    `the disk did not take what was written${why}: nothing is acknowledged any more; check the disk, then start again`,
    { cause },
  )
}
