// HAProxy with the configuration of deploy/, as a process for tests that kill it.

import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Program } from './programs.ts'
import type { Address } from './raw-client.ts'

const configuration = fileURLToPath(new URL('../../deploy/haproxy.cfg', import.meta.url))

export class HaproxyProcess {
  readonly address: Address
  readonly #program: Program
  readonly #health: number
  readonly #brokers: readonly Address[]
  #child: ChildProcess | null = null
  #exited: Promise<void> = Promise.resolve()
  #said = ''

  /** Listens on `port`, says on `health` how it is. */
  constructor(
    program: Program,
    port: number,
    health: number,
    brokers: readonly Address[],
    host = '127.0.0.1',
  ) {
    this.address = { host, port }
    this.#program = program
    this.#health = health
    this.#brokers = brokers
  }

  /** Resolves when it has a broker to send clients to. */
  async start(): Promise<void> {
    const brokers = this.#brokers.map(({ host, port }, n) => [
      `LB_BROKER_${n + 1}`,
      `${host}:${port}`,
    ])
    const child = spawn(this.#program.path, ['-f', configuration], {
      env: {
        ...process.env,
        ...this.#program.env,
        LB_BIND: `${this.address.host}:${this.address.port}`,
        LB_HEALTH: `127.0.0.1:${this.#health}`,
        LB_MAXCONN: '1000',
        ...Object.fromEntries(brokers),
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    for (const out of [child.stdout!, child.stderr!]) {
      out.setEncoding('utf8').on('data', (text: string) => {
        this.#said = (this.#said + text).slice(-5_000)
      })
    }
    this.#child = child
    this.#exited = new Promise((resolve) => {
      child.on('close', () => {
        if (this.#child === child) this.#child = null
        resolve()
      })
    })
    while (!(await this.#isHealthy())) {
      if (this.#child === null) throw new Error(`HAProxy ended: ${this.#said}`)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }

  /** Ends it at once, and every connection through it. */
  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL')
    await this.#exited
  }

  /** Whether it sends new clients to its n-th broker. */
  async sendsTo(broker: number): Promise<boolean> {
    const text = await (await fetch(`http://127.0.0.1:${this.#health}/metrics`)).text()
    const state = `haproxy_server_status{proxy="brokers",server="broker${broker}",state="UP"}`
    return text.includes(`${state} 1`)
  }

  async #isHealthy(): Promise<boolean> {
    try {
      return (await fetch(`http://127.0.0.1:${this.#health}/health`)).ok
    } catch {
      return false
    }
  }
}
