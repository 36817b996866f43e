// How many connections the operating system lets this process have. Node says nothing when
// descriptors run out, so the bound is known before the first connection comes.

import { readFileSync } from 'node:fs'

/** Descriptors kept free for files, the engine and the cluster. */
const RESERVE = 256

/** The soft limit of open files; Infinity where there is none or it cannot be read. */
export function descriptorLimit(): number {
  return fromProc() ?? fromReport() ?? Number.POSITIVE_INFINITY
}

/**
 * Connections to allow: what was configured, as far as descriptors reach.
 * @throws Error when the descriptor limit leaves no room at all.
 */
export function connectionBound(configured: number, descriptors: number): number {
  if (descriptors <= RESERVE) {
    throw new Error(
      `the limit of ${descriptors} open files leaves no room for connections; raise it above ${2 * RESERVE}: ulimit -n 4096`,
    )
  }
  return Math.min(configured, descriptors - RESERVE)
}

function fromProc(): number | null {
  try {
    const line = /^Max open files\s+(\d+|unlimited)/m.exec(
      readFileSync('/proc/self/limits', 'latin1'),
    )
    return line === null ? null : numberOf(line[1])
  } catch {
    return null
  }
}

/** Windows has no such limit and macOS no /proc; the report knows it on macOS. */
function fromReport(): number | null {
  if (process.platform === 'win32') return null
  const report = process.report.getReport() as {
    userLimits?: { open_files?: { soft?: number | string } }
  }
  const soft = report.userLimits?.open_files?.soft
  return soft === undefined ? null : numberOf(String(soft))
}

function numberOf(text: string | undefined): number {
  return text === undefined || text === 'unlimited' ? Number.POSITIVE_INFINITY : Number(text)
}
