// Where a disk engine keeps what it stores: one folder, held by one process, looked through when it
// was not left in order.

import { DataFolder } from './folder.ts'
import { scanBeforeOpening } from './scan-process.ts'
import { type FreeSpace, freeSpaceOf } from './space.ts'
import { Store } from './store.ts'

export interface Place {
  /** Its name, for people. */
  readonly directory: string
  /** Takes it for this process and opens what is stored. Throws an Error for people; then it is not taken. */
  open(notify: (message: string) => void): Promise<Store>
  /** Gives it up, once the store is closed. `clean` when everything was written. */
  leave(clean: boolean): void
  freeSpace(): Promise<FreeSpace>
}

export class FolderPlace implements Place {
  readonly #folder: DataFolder

  constructor(directory: string) {
    this.#folder = new DataFolder(directory)
  }

  get directory(): string {
    return this.#folder.directory
  }

  async open(notify: (message: string) => void): Promise<Store> {
    const folder = this.#folder
    folder.prepare()
    folder.lock(', or give this one its own folder with --data')
    try {
      if (!folder.wasClean()) await scanBeforeOpening(folder, notify)
      folder.markOpen()
      const store = Store.open(folder.directory)
      folder.sync()
      return store
    } catch (error) {
      folder.unlock()
      throw error
    }
  }

  leave(clean: boolean): void {
    if (clean) this.#folder.markClean()
    this.#folder.unlock()
  }

  freeSpace(): Promise<FreeSpace> {
    return freeSpaceOf(this.directory)
  }
}
