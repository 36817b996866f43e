// NATS servers for tests: real processes on free ports of loopback, each with a folder of its own
// that goes with it, alone or as a cluster. They can be killed, paused and started again.

import { type ChildProcess, spawn } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { connect } from '@nats-io/transport-node'
import { freePorts } from './free-ports.ts'
import type { Program } from './programs.ts'

interface Ports {
  readonly client: number
  readonly cluster: number
  readonly monitor: number
}

/** One nats-server. */
export class NatsServer {
  readonly name: string
  readonly #program: Program
  readonly #ports: Ports
  readonly #routes: readonly number[]
  readonly #folder: string
  readonly #more: readonly string[]
  readonly #sync: string
  #child: ChildProcess | null = null
  #exited: Promise<void> = Promise.resolve()
  /** What it logged. */
  output = ''

  /** `more` are further lines of its configuration, `sync` is its `sync_interval`. */
  constructor(
    program: Program,
    name: string,
    ports: Ports,
    routes: readonly number[],
    more: readonly string[],
    sync: string,
  ) {
    this.name = name
    this.#program = program
    this.#ports = ports
    this.#routes = routes
    this.#more = more
    this.#sync = sync
    this.#folder = fs.mkdtempSync(path.join(os.tmpdir(), 'partyline-nats-'))
  }

  /** `host:port` */
  get address(): string {
    return `127.0.0.1:${this.#ports.client}`
  }

  get monitor(): string {
    return `http://127.0.0.1:${this.#ports.monitor}`
  }

  get running(): boolean {
    return this.#child !== null
  }

  /** 0 while it does not run. */
  get pid(): number {
    return this.#child?.pid ?? 0
  }

  start(): void {
    const file = path.join(this.#folder, 'nats.conf')
    fs.writeFileSync(file, this.#configuration())
    const child = spawn(this.#program.path, ['-c', file], {
      env: { ...process.env, ...this.#program.env },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.output += text
    })
    this.#child = child
    this.#exited = new Promise((resolve) => {
      child.on('close', () => {
        if (this.#child === child) this.#child = null
        resolve()
      })
    })
  }

  /** Ends it at once; what it had not synced is still with the operating system. */
  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL')
    await this.#exited
  }

  pause(): void {
    this.#child?.kill('SIGSTOP')
  }

  resume(): void {
    this.#child?.kill('SIGCONT')
  }

  async remove(): Promise<void> {
    await this.kill()
    fs.rmSync(this.#folder, { recursive: true, force: true })
  }

  /** What its monitoring address says; null while it does not answer. */
  async ask<T>(what: string): Promise<T | null> {
    try {
      const answer = await fetch(`${this.monitor}${what}`, { signal: AbortSignal.timeout(1_000) })
      return answer.ok ? ((await answer.json()) as T) : null
    } catch {
      return null
    }
  }

  #configuration(): string {
    const { client, cluster, monitor } = this.#ports
    const lines = [
      ...this.#more,
      `server_name: ${this.name}`,
      `listen: 127.0.0.1:${client}`,
      `http: 127.0.0.1:${monitor}`,
      `jetstream { store_dir: "${this.#folder}", sync_interval: ${this.#sync}, max_file_store: 20GB }`,
    ]
    if (this.#routes.length > 0) {
      const routes = this.#routes.map((port) => `nats://127.0.0.1:${port}`).join(', ')
      lines.push(`cluster { name: test, listen: 127.0.0.1:${cluster}, routes: [${routes}] }`)
    }
    return `${lines.join('\n')}\n`
  }
}

/** One server, or several that replicate among each other. */
export class NatsCluster {
  readonly servers: readonly NatsServer[]

  private constructor(servers: readonly NatsServer[]) {
    this.servers = servers
  }

  /** Resolves when JetStream has its first leader. */
  static async start(
    program: Program,
    count: number,
    more: readonly string[] = [],
    sync = 'always',
  ): Promise<NatsCluster> {
    const free = await freePorts(count * 3)
    const ports = Array.from({ length: count }, (_, n) => ({
      client: free[n * 3]!,
      cluster: free[n * 3 + 1]!,
      monitor: free[n * 3 + 2]!,
    }))
    const routes = count === 1 ? [] : ports.map(({ cluster }) => cluster)
    const servers = ports.map(
      (own, n) => new NatsServer(program, `s${n + 1}`, own, routes, more, sync),
    )
    for (const server of servers) server.start()
    const cluster = new NatsCluster(servers)
    await cluster.ready()
    return cluster
  }

  get addresses(): string[] {
    return this.servers.map(({ address }) => address)
  }

  /** Waits until every running server is healthy, with its replicas caught up. */
  async ready(): Promise<void> {
    const end = performance.now() + 30_000
    for (;;) {
      const running = this.servers.filter((server) => server.running)
      const healthy = await Promise.all(running.map((server) => server.ask('/healthz')))
      if (healthy.every((answer) => answer !== null)) return
      if (performance.now() > end) {
        throw new Error(`NATS did not get ready:\n${this.servers.map((s) => s.output).join('\n')}`)
      }
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }

  /** The server with that `host:port`. */
  at(address: string): NatsServer {
    const server = this.servers.find((one) => one.address === address)
    if (!server) throw new Error(`no server at ${address}; there are ${this.addresses.join(', ')}`)
    return server
  }

  /** The server that leads a stream. */
  async leader(stream: string): Promise<NatsServer> {
    for (const server of this.servers) {
      const zone = await server.ask<Jsz>('/jsz?streams=true')
      for (const account of zone?.account_details ?? []) {
        for (const { name, cluster } of account.stream_detail ?? []) {
          const leader = this.servers.find((one) => one.name === cluster?.leader)
          if (name === stream && leader) return leader
        }
      }
    }
    throw new Error(`the stream ${stream} has no leader`)
  }

  /** Deletes every stream: what was stored is gone. */
  async clear(login: { user?: string; pass?: string } = {}): Promise<void> {
    const nc = await connect({ servers: this.addresses, ...login })
    const names = await nc.request('$JS.API.STREAM.NAMES', '', { timeout: 5_000 })
    for (const name of names.json<{ streams: string[] | null }>().streams ?? []) {
      await nc.request(`$JS.API.STREAM.DELETE.${name}`, '', { timeout: 5_000 })
    }
    await nc.close()
  }

  async remove(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.remove()))
  }
}

interface Jsz {
  readonly account_details?: readonly {
    readonly stream_detail?: readonly {
      readonly name: string
      readonly cluster?: { readonly leader?: string }
    }[]
  }[]
}

/** A way to a server that can be cut: what a node sees when its network goes. */
export class Gate {
  readonly #server: net.Server
  readonly #sockets = new Set<net.Socket>()
  #isOpen = true

  private constructor(to: string) {
    const [host, port] = to.split(':')
    this.#server = net.createServer((near) => {
      if (!this.#isOpen) return near.destroy()
      const far = net.connect(Number(port), host)
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(one)
        one.on('error', () => {})
        one.on('close', () => {
          this.#sockets.delete(one)
          other.destroy()
        })
        one.pipe(other)
      }
    })
  }

  static async open(to: string): Promise<Gate> {
    const gate = new Gate(to)
    await new Promise<void>((resolve) => gate.#server.listen(0, '127.0.0.1', resolve))
    return gate
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as net.AddressInfo).port}`
  }

  cut(): void {
    this.#isOpen = false
    for (const socket of this.#sockets) socket.destroy()
  }

  mend(): void {
    this.#isOpen = true
  }

  async close(): Promise<void> {
    this.cut()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}
