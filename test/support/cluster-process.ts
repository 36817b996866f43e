// Starts cluster-node.ts as a process and keeps what it said.

import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Address } from './raw-client.ts'

const script = fileURLToPath(new URL('./cluster-node.ts', import.meta.url))

export class ClusterProcess {
  readonly address: Address
  readonly #child: ChildProcess
  readonly #exited: Promise<void>

  private constructor(child: ChildProcess, exited: Promise<void>, port: number) {
    this.#child = child
    this.#exited = exited
    this.address = { host: '127.0.0.1', port }
  }

  /** Resolves when it listens; rejects with what it said when it ends before. */
  static async start(name: string, engine: string): Promise<ClusterProcess> {
    const child = spawn(process.execPath, ['--import', 'tsx', script, name, engine], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let errors = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errors += text
    })
    const exited = new Promise<void>((resolve) => {
      child.on('close', () => resolve())
    })
    const port = await new Promise<number>((resolve, reject) => {
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        const found = /listening (\d+)/.exec(text)?.[1]
        if (found) resolve(Number(found))
      })
      void exited.then(() => reject(new Error(`${name} ended before it listened: ${errors}`)))
    })
    return new ClusterProcess(child, exited, port)
  }

  /** Stands still, while the system goes on accepting connections for it. */
  pause(): void {
    this.#child.kill('SIGSTOP')
  }

  resume(): void {
    this.#child.kill('SIGCONT')
  }

  /** Ends it at once. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#exited
  }

  /** Ends it in order. */
  async stop(): Promise<void> {
    this.#child.kill('SIGTERM')
    await this.#exited
  }
}
