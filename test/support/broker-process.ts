// `partyline serve` as people run it, one process, for tests that kill, pause and restart it.

import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Address } from './raw-client.ts'

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
/** Characters of the log that are kept for whoever looks for a reason. */
const KEPT = 20_000

export class BrokerProcess {
  readonly address: Address
  readonly #args: readonly string[]
  #child: ChildProcess | null = null
  #exited: Promise<void> = Promise.resolve()
  /** The end of what it logged, of all its lives. */
  log = ''

  /** `args` are what follows `serve`, without the port. */
  constructor(port: number, args: readonly string[]) {
    this.address = { host: '127.0.0.1', port }
    this.#args = args
  }

  get running(): boolean {
    return this.#child !== null
  }

  /** Resolves when it listens; rejects with what it said when it ends before. */
  async start(): Promise<void> {
    const { host, port } = this.address
    const args = ['serve', String(port), '--host', host, '--log-format', 'json', ...this.#args]
    const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child = child
    this.#exited = new Promise((resolve) => {
      child.on('close', () => {
        if (this.#child === child) this.#child = null
        resolve()
      })
    })
    const listening = new Promise<void>((resolve) => {
      child.stderr!.setEncoding('utf8').on('data', (text: string) => {
        this.#keep(text)
        if (text.includes('listening on')) resolve()
      })
    })
    child.stdout!.setEncoding('utf8').on('data', (text: string) => this.#keep(text))
    const ended = this.#exited.then(() => {
      throw new Error(`the server ended before it listened: ${this.log}`)
    })
    await Promise.race([listening, ended])
    ended.catch(() => {})
  }

  /** Ends it at once. */
  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL')
    await this.#exited
  }

  /** Asks it to end in order. */
  async stop(): Promise<void> {
    this.#child?.kill('SIGTERM')
    await this.#exited
  }

  /** How many clients with sessions are connected, as it says itself. */
  async clients(): Promise<number> {
    const { host, port } = this.address
    const text = await (await fetch(`http://${host}:${port}/metrics`)).text()
    const figure = (name: string): number =>
      Number(new RegExp(`^partyline_${name} (\\d+)`, 'm').exec(text)?.[1])
    return figure('sessions') - figure('sessions_away')
  }

  pause(): void {
    this.#child?.kill('SIGSTOP')
  }

  resume(): void {
    this.#child?.kill('SIGCONT')
  }

  #keep(text: string): void {
    this.log = (this.log + text).slice(-KEPT)
  }
}
