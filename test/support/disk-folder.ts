// A data folder and the disk engines a test starts on it: what a crash would leave of it, how often
// it was written to, and damage done behind an engine's back.

import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { open } from 'lmdb'
import { DiskEngine, type DiskOptions } from '../../src/engine/disk.ts'
import { Listener, ManualRuntime, resolveTopic } from '../engine/contract.ts'

export class DiskFolder {
  readonly directory = fs.mkdtempSync(path.join(os.tmpdir(), 'partyline-disk-'))
  readonly runtime = new ManualRuntime()
  /** What the engines had to say. */
  readonly notes: string[] = []
  readonly #running = new Set<DiskEngine>()

  async start(more: Partial<DiskOptions> = {}): Promise<[DiskEngine, Listener]> {
    const heard = new Listener()
    const engine = new DiskEngine({
      directory: this.directory,
      runtime: this.runtime,
      resolve: resolveTopic,
      notify: (note) => this.notes.push(note),
      ...more,
    })
    await engine.open(heard)
    this.#running.add(engine)
    return [engine, heard]
  }

  async stop(engine: DiskEngine): Promise<void> {
    this.#running.delete(engine)
    await engine.close()
  }

  /** The folder as it would be found had the machine stopped now; removed with this one. */
  crashed(): string {
    const copy = `${this.directory}-crashed`
    fs.rmSync(copy, { recursive: true, force: true })
    fs.cpSync(this.directory, copy, { recursive: true })
    // The lock names this process, which lives; after a crash it would not.
    fs.rmSync(path.join(copy, 'server.lock'))
    fs.rmSync(path.join(copy, 'lock.mdb'))
    return copy
  }

  /** Number of the newest transaction in the database file: one more for each commit. */
  transactions(): number {
    const bytes = fs.readFileSync(path.join(this.directory, 'data.mdb'))
    const numbers = [0, 4096].map((page) => Number(bytes.readBigUInt64LE(page + 24 + 128)))
    return Math.max(...numbers)
  }

  /** Flips a bit in the nth value of a table, of this folder or one in it. No engine may run there. */
  async flip(table: string, nth: number, directory = this.directory): Promise<void> {
    const encoding = { encoding: 'binary', keyEncoding: 'binary' } as const
    const root = open<Buffer, Buffer>({
      path: directory,
      noSubdir: false,
      overlappingSync: false,
      maxDbs: 8,
      ...encoding,
    })
    const db = root.openDB<Buffer, Buffer>({ name: table, ...encoding })
    const { key, value } = [...db.getRange({ start: Buffer.from([0]) })][nth]!
    value[value.length - 1]! ^= 4
    await db.put(key, value)
    await root.close()
  }

  /** Ends what runs and removes everything. */
  async remove(): Promise<void> {
    for (const engine of this.#running) await engine.close()
    this.#running.clear()
    for (const directory of [this.directory, `${this.directory}-crashed`]) {
      fs.rmSync(directory, { recursive: true, force: true })
    }
  }
}
