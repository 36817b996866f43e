// The data folder round the database file: whose it is, which format it has, whether it was
// left in order. All of it is answered before the database is opened, because opening a
// damaged one can end the process (docs/durability.md).

import fs from 'node:fs'
import path from 'node:path'
import { fileFault } from './file-fault.ts'

/** The format this version writes, and the first version of Partyline that reads it. */
export const FORMAT = 1
const FORMAT_NEEDS = '0.1.0'

export const DATABASE_FILE = 'data.mdb'
const FORMAT_FILE = 'format'
const CLEAN_FILE = 'clean'
const LOCK_FILE = 'server.lock'

/** Where a meta page keeps what, in bytes from its magic number. */
const META_MAGIC = 0xbeefc0de
const META_PAGE_SIZE = 24
const META_LAST_PAGE = 120
const META_TRANSACTION = 128
const META_SEARCH_BYTES = 64

interface LockNote {
  readonly pid: number
  /** Tells one process from a later one with the same id; empty where the system does not say. */
  readonly started: string
}

export class DataFolder {
  readonly directory: string
  #locked = false

  constructor(directory: string) {
    this.directory = path.resolve(directory)
  }

  /** Makes the folder when it is not there. Throws when it holds a newer format. */
  prepare(): void {
    try {
      makeFolder(this.directory)
      fs.accessSync(this.directory, fs.constants.W_OK)
    } catch (error) {
      throw new Error(
        `${this.directory} cannot be written as a data folder: ${fileFault(error)}; choose another with --data`,
        { cause: error },
      )
    }
    if (!fs.existsSync(this.#file(FORMAT_FILE))) {
      if (this.exists()) {
        throw new Error(
          `${this.directory} holds a ${DATABASE_FILE} but no ${FORMAT_FILE} file: it is not a Partyline data folder; choose another with --data`,
        )
      }
      this.markFormat()
    }
    this.checkFormat()
  }

  /** Throws when the folder is not one of ours or needs a newer Partyline. */
  checkFormat(): void {
    let text: string
    try {
      text = fs.readFileSync(this.#file(FORMAT_FILE), 'utf8')
    } catch (error) {
      throw new Error(`${this.directory} is not a Partyline data folder: ${this.#without(error)}`, {
        cause: error,
      })
    }
    const match = /^(\d+) needs (Partyline \S+)/.exec(text)
    if (!match) throw new Error(`${this.#file(FORMAT_FILE)} does not say which format this is`)
    if (Number(match[1]) > FORMAT) {
      throw new Error(
        `${this.directory} has data format ${match[1]}, this Partyline knows ${FORMAT}: run ${match[2]} or later on it`,
      )
    }
  }

  /** Throws when there is nothing here that could be looked at or copied. */
  checkStored(): void {
    this.checkFormat()
    if (this.exists()) return
    throw new Error(`${this.directory} holds no database: nothing was stored in it yet`)
  }

  /** Whether a database was ever made here. */
  exists(): boolean {
    return fs.existsSync(this.#file(DATABASE_FILE))
  }

  /** Takes the folder for this process. Throws when a living process has it; `otherwise` is another way out. */
  lock(otherwise = ''): void {
    const note: LockNote = { pid: process.pid, started: startOf(process.pid) }
    const file = this.#file(LOCK_FILE)
    for (let tries = 0; ; tries++) {
      try {
        fs.writeFileSync(file, JSON.stringify(note), { flag: 'wx', mode: 0o600 })
        this.#locked = true
        return
      } catch (error) {
        if (!isErrno(error, 'EEXIST')) {
          throw new Error(`${this.directory} cannot be locked: ${fileFault(error)}`, {
            cause: error,
          })
        }
      }
      const holder = readNote(file)
      if ((holder && isAlive(holder)) || tries > 3) {
        throw new Error(
          `${this.directory} is in use by process ${holder?.pid ?? 'unknown'}: stop that server first${otherwise}`,
        )
      }
      fs.rmSync(file, { force: true })
    }
  }

  unlock(): void {
    if (!this.#locked) return
    this.#locked = false
    fs.rmSync(this.#file(LOCK_FILE), { force: true })
  }

  /** The process that has the folder, or null. */
  holder(): number | null {
    const note = readNote(this.#file(LOCK_FILE))
    return note && isAlive(note) ? note.pid : null
  }

  /**
   * Whether the last process closed the folder in order and nobody touched the database since, or
   * nothing was ever written to it.
   */
  wasClean(): boolean {
    if (!this.exists()) return true
    try {
      return fs.readFileSync(this.#file(CLEAN_FILE), 'utf8') === this.#state()
    } catch {
      return false
    }
  }

  /** Before the first write: from now on only a scan can tell that the folder is sound. */
  markOpen(): void {
    fs.rmSync(this.#file(CLEAN_FILE), { force: true })
    this.sync()
  }

  markClean(): void {
    this.#write(CLEAN_FILE, this.#state())
  }

  /** Writes the format file of this version. */
  markFormat(): void {
    this.#write(FORMAT_FILE, `${FORMAT} needs Partyline ${FORMAT_NEEDS} or later\n`)
  }

  /** Puts another database file in the place of this folder's, in one step. */
  replaceDatabase(file: string): void {
    fs.renameSync(file, this.#file(DATABASE_FILE))
    this.forgetReaders()
    this.sync()
  }

  /** Removes the table of readers, which LMDB makes anew. Nobody may have the folder open. */
  forgetReaders(): void {
    fs.rmSync(this.#file('lock.mdb'), { force: true })
  }

  /** Makes the contents of the database file safe from a power loss. */
  syncDatabase(): void {
    syncPath(this.#file(DATABASE_FILE))
    this.sync()
  }

  /** Makes names in the folder, and its own name, safe from a power loss. */
  sync(): void {
    syncPath(this.directory)
    syncPath(path.dirname(this.directory))
  }

  /** Why the database file cannot be whole, judged by its size alone, or null. */
  sizeFault(): string | null {
    const descriptor = fs.openSync(this.#file(DATABASE_FILE), 'r')
    try {
      const size = fs.fstatSync(descriptor).size
      if (size === 0) return null
      const pageSize = readMeta(descriptor, 0)?.pageSize ?? 4096
      const metas = [readMeta(descriptor, 0), readMeta(descriptor, pageSize)]
      const newest = metas
        .filter((meta) => meta !== null)
        .sort((a, b) => b.transaction - a.transaction)[0]
      if (!newest) return 'both of its meta pages are damaged'
      if (metas.includes(null)) return 'one of its two meta pages is damaged'
      const needed = (newest.lastPage + 1) * newest.pageSize
      return size < needed ? `${needed - size} bytes are missing at its end` : null
    } finally {
      fs.closeSync(descriptor)
    }
  }

  /** Bytes the database file occupies. */
  size(): number {
    return this.exists() ? fs.statSync(this.#file(DATABASE_FILE)).size : 0
  }

  /** Size and time of the database file: what a copy cut short or an edit changes. */
  #state(): string {
    const { size, mtimeMs } = fs.statSync(this.#file(DATABASE_FILE))
    return `${size} bytes, written at ${new Date(mtimeMs).toISOString()}\n`
  }

  #file(name: string): string {
    return path.join(this.directory, name)
  }

  /** Why there is no format file. */
  #without(error: unknown): string {
    if (isErrno(error, 'ENOTDIR')) return 'it is a file'
    if (!isErrno(error, 'ENOENT')) return `its ${FORMAT_FILE} file: ${fileFault(error)}`
    return isFolder(this.directory) ? `it has no ${FORMAT_FILE} file` : 'there is no such folder'
  }

  #write(name: string, text: string): void {
    const descriptor = fs.openSync(this.#file(name), 'w', 0o600)
    fs.writeSync(descriptor, text)
    fs.fsyncSync(descriptor)
    fs.closeSync(descriptor)
    this.sync()
  }
}

/** Makes the folder and those it stands in, for this user alone. Throws the system's error. */
export function makeFolder(directory: string): void {
  // Not `recursive`: that never ends where a folder that is there says it is not, as /proc does.
  if (isFolder(directory)) return
  const parent = path.dirname(directory)
  if (parent !== directory) makeFolder(parent)
  try {
    fs.mkdirSync(directory, { mode: 0o700 })
  } catch (error) {
    if (!isErrno(error, 'EEXIST') || !isFolder(directory)) throw error
  }
}

function isFolder(directory: string): boolean {
  return fs.statSync(directory, { throwIfNoEntry: false })?.isDirectory() === true
}

interface Meta {
  readonly pageSize: number
  readonly lastPage: number
  readonly transaction: number
}

function readMeta(descriptor: number, at: number): Meta | null {
  const page = Buffer.alloc(META_SEARCH_BYTES + META_TRANSACTION + 8)
  fs.readSync(descriptor, page, 0, page.length, at)
  for (let offset = 0; offset < META_SEARCH_BYTES; offset += 4) {
    if (page.readUInt32LE(offset) !== META_MAGIC) continue
    const pageSize = page.readUInt32LE(offset + META_PAGE_SIZE)
    if (pageSize < 256 || pageSize > 65_536) return null
    return {
      pageSize,
      lastPage: Number(page.readBigUInt64LE(offset + META_LAST_PAGE)),
      transaction: Number(page.readBigUInt64LE(offset + META_TRANSACTION)),
    }
  }
  return null
}

function readNote(file: string): LockNote | null {
  try {
    const note: unknown = JSON.parse(fs.readFileSync(file, 'utf8'))
    if (typeof note !== 'object' || note === null || !('pid' in note)) return null
    if (typeof note.pid !== 'number') return null
    return { pid: note.pid, started: 'started' in note ? String(note.started) : '' }
  } catch {
    // Gone meanwhile, or its writer died within the write: nobody's either way.
    return null
  }
}

function isAlive(note: LockNote): boolean {
  try {
    process.kill(note.pid, 0)
  } catch (error) {
    // EPERM says that somebody else's process has the number: it lives.
    if (!isErrno(error, 'EPERM')) return false
  }
  return note.started === '' || note.started === startOf(note.pid)
}

/** Boot and clock tick the process was started in, where the system tells it. */
function startOf(pid: number): string {
  try {
    const boot = fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The command stands in brackets and may hold spaces; the start is field 22 of the line.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    // Dead, and only not yet noticed by a parent that may never look, as in some containers.
    if (fields[0] === 'Z' || fields[0] === 'X') return 'dead'
    return `${boot}/${fields[19]}`
  } catch {
    return ''
  }
}

function syncPath(name: string): void {
  // Windows cannot open a folder for this; its metadata is journaled.
  if (process.platform === 'win32') return
  const descriptor = fs.openSync(name, 'r')
  try {
    fs.fsyncSync(descriptor)
  } finally {
    fs.closeSync(descriptor)
  }
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
