// Starts disk-server.ts as a process and keeps what it said, for tests that kill it or trace it.

import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Address } from './raw-client.ts'

const script = fileURLToPath(new URL('./disk-server.ts', import.meta.url))

export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export class DiskProcess {
  readonly exited: Promise<Exit>
  /** Standard error so far. */
  errors = ''
  address: Address = { host: '127.0.0.1', port: 0 }
  readonly #child: ChildProcess

  private constructor(child: ChildProcess) {
    this.#child = child
    this.exited = new Promise((resolve) => {
      child.on('close', (code, signal) => resolve({ code, signal }))
    })
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.errors += text
    })
  }

  /** Resolves when it listens; rejects with what it said when it ends before. */
  static async start(folder: string, env: Record<string, string> = {}): Promise<DiskProcess> {
    const child = spawn(process.execPath, ['--import', 'tsx', script, folder], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    })
    const server = new DiskProcess(child)
    const listening = new Promise<number>((resolve, reject) => {
      child.stdout!.setEncoding('utf8').on('data', (text: string) => {
        const port = /listening (\d+)/.exec(text)?.[1]
        if (port) resolve(Number(port))
      })
      void server.exited.then(({ code, signal }) =>
        reject(new Error(`ended with ${signal ?? code} before it listened: ${server.errors}`)),
      )
    })
    server.address = { host: '127.0.0.1', port: await listening }
    return server
  }

  get pid(): number {
    return this.#child.pid!
  }

  /** Ends it at once, without a chance to write anything. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.exited
  }

  /** Asks it to end in order. */
  async stop(): Promise<Exit> {
    this.#child.kill('SIGTERM')
    return this.exited
  }
}
