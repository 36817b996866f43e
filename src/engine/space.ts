// How much may still be written: free space of the file system, free pages inside the database
// file, less a reserve that keeps LMDB from ever meeting a full disk in the middle of a commit.

import fs from 'node:fs/promises'
import type { Runtime } from '../core/runtime.ts'
import type { Sizes } from './store.ts'

const MIB = 1024 * 1024
const GIB = 1024 * MIB

/** How old an answer may be while we write, and while we refuse, in milliseconds. */
const FRESH_MS = 1000
const REFUSING_MS = 250

export interface FreeSpace {
  /** Bytes this process may still use. */
  readonly free: number
  /** Bytes of the whole file system. */
  readonly size: number
}

/** Asks the file system that holds the folder. */
export async function freeSpaceOf(directory: string): Promise<FreeSpace> {
  const { bavail, blocks, bsize } = await fs.statfs(directory)
  return { free: bavail * bsize, size: blocks * bsize }
}

/**
 * What stays free unless told otherwise: 5 % of the disk, on small disks 10 % up to 256 MiB, and
 * never more than 1 GiB. A commit writes the pages it changes anew before old ones become free.
 */
export function defaultReserve(size: number): number {
  return Math.min(GIB, Math.max(size * 0.05, Math.min(256 * MIB, size * 0.1)))
}

export class DiskSpace {
  readonly #runtime: Pick<Runtime, 'now'>
  readonly #ask: () => Promise<FreeSpace>
  readonly #sizes: () => Sizes
  readonly #reserve: number | undefined
  #room = Number.POSITIVE_INFINITY
  #written = 0
  #asked = 0
  #asking = false

  /** `reserve` in bytes; undefined takes the default for the disk. */
  constructor(
    runtime: Pick<Runtime, 'now'>,
    ask: () => Promise<FreeSpace>,
    sizes: () => Sizes,
    reserve: number | undefined,
  ) {
    this.#runtime = runtime
    this.#ask = ask
    this.#sizes = sizes
    this.#reserve = reserve
  }

  /** Whether so many more bytes may be written. Asks anew in the background when its answer is old. */
  hasRoomFor(bytes: number): boolean {
    const room = this.#room - this.#written - bytes
    const age = this.#runtime.now() - this.#asked
    if (room < 0 ? age >= REFUSING_MS : age >= FRESH_MS || this.#written > this.#room / 4) {
      void this.refresh()
    }
    return room >= 0
  }

  /** Notes bytes on their way to the disk. */
  wrote(bytes: number): void {
    this.#written += bytes
  }

  async refresh(): Promise<void> {
    if (this.#asking) return
    this.#asking = true
    try {
      const written = this.#written
      const { free, size } = await this.#ask()
      const { live, file } = this.#sizes()
      this.#room = free + Math.max(0, file - live) - (this.#reserve ?? defaultReserve(size))
      this.#written -= written
    } catch {
      // A file system that cannot tell: the commit itself will say when it is full.
      this.#room = Number.POSITIVE_INFINITY
    } finally {
      this.#asked = this.#runtime.now()
      this.#asking = false
    }
  }
}
