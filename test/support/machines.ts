// Machines on one network, each a network namespace of Linux: with an address, a cable that can be pulled, and
// programs that see nothing else. Nothing of it touches the network of the machine the test runs on.

import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import type { Program } from './programs.ts'

/** Why there can be no such network here, or null. */
export function whyNoMachines(): string | null {
  if (process.platform !== 'linux') return 'network namespaces are Linux only'
  if (process.getuid?.() !== 0) return 'only root makes network namespaces; run it with sudo'
  const trial = `partyline-${randomBytes(4).toString('hex')}`
  const { status, stderr, error } = spawnSync('ip', ['netns', 'add', trial], { encoding: 'utf8' })
  if (error) return 'there is no `ip`; install iproute2'
  if (status !== 0) return `this machine makes no network namespaces: ${stderr.trim()}`
  ip('netns', 'delete', trial)
  return null
}

export class Machines {
  readonly #prefix = `partyline-${randomBytes(4).toString('hex')}`
  readonly #names: string[] = []
  readonly #children = new Set<ChildProcess>()

  constructor() {
    this.#namespace('switch')
    this.#ip('switch', 'link', 'add', 'bridge', 'type', 'bridge')
    this.#ip('switch', 'link', 'set', 'bridge', 'up')
  }

  /** A machine on the network, whose interface is eth0. */
  add(name: string, address: string): void {
    this.#namespace(name)
    const plug = ['link', 'add', name, 'type', 'veth', 'peer', 'name', 'eth0']
    this.#ip('switch', ...plug, 'netns', this.#nameOf(name))
    this.#ip('switch', 'link', 'set', name, 'master', 'bridge')
    this.plug(name)
    this.#ip(name, 'address', 'add', `${address}/24`, 'dev', 'eth0')
    this.#ip(name, 'link', 'set', 'eth0', 'up')
    this.#ip(name, 'link', 'set', 'lo', 'up')
  }

  plug(name: string): void {
    this.#ip('switch', 'link', 'set', name, 'up')
  }

  unplug(name: string): void {
    this.#ip('switch', 'link', 'set', name, 'down')
  }

  /** Whether the machine's interface has that address now. */
  has(name: string, address: string): boolean {
    return this.#ip(name, 'address', 'show', 'dev', 'eth0').includes(` ${address}/`)
  }

  /** Starts a program there; it is killed with the network at the latest. */
  start(name: string, { path, env }: Program, args: readonly string[]): ChildProcess {
    const child = spawn('ip', ['netns', 'exec', this.#nameOf(name), path, ...args], {
      env: { ...process.env, ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    this.#children.add(child)
    child.on('close', () => this.#children.delete(child))
    return child
  }

  async remove(): Promise<void> {
    const ended = [...this.#children].map(
      (child) => new Promise<void>((done) => child.on('close', () => done())),
    )
    for (const child of this.#children) child.kill('SIGKILL')
    for (const name of this.#names) {
      // What its programs started, such as a check of keepalived's, must not outlive it.
      for (const pid of ip('netns', 'pids', this.#nameOf(name)).split('\n').filter(Boolean)) {
        spawnSync('kill', ['-9', pid])
      }
    }
    await Promise.all(ended)
    for (const name of this.#names) ip('netns', 'delete', this.#nameOf(name))
  }

  #namespace(name: string): void {
    ip('netns', 'add', this.#nameOf(name))
    this.#names.push(name)
  }

  #nameOf(name: string): string {
    return `${this.#prefix}-${name}`
  }

  #ip(name: string, ...words: string[]): string {
    return ip('-netns', this.#nameOf(name), ...words)
  }
}

function ip(...words: string[]): string {
  return execFileSync('ip', words, { encoding: 'utf8' })
}
