// Two machines with HAProxy and keepalived, configured as deploy/ says, share one address. Whatever happens to the
// one that has it, a client that knows only the address goes on, and it does not move back without need.

import type { ChildProcess } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Machines, whyNoMachines } from '../support/machines.ts'
import { until } from '../support/nats-nodes.ts'
import { describeWith, skipSuite } from '../support/programs.ts'

const SHARED = '10.0.0.4'
const ADDRESSES = { one: '10.0.0.5', two: '10.0.0.6' } as const
type Name = keyof typeof ADDRESSES
const NAMES = ['one', 'two'] as const satisfies readonly Name[]
const other = (name: Name): Name => (name === 'one' ? 'two' : 'one')

const deploy = (name: string): string =>
  fileURLToPath(new URL(`../../deploy/${name}`, import.meta.url))
const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const node = { path: process.execPath, env: {} }
/** Milliseconds within which happens what takes 5 seconds, or 25 where nobody says a word, on a machine that is not busy. */
const PATIENCE = 60_000

const TITLE = 'one address for two HAProxy'
const whyNot =
  whyNoMachines() ??
  (fs.existsSync('/usr/bin/curl') ? null : 'there is no /usr/bin/curl; install curl')

if (whyNot !== null) skipSuite(TITLE, whyNot)
else {
  describeWith(['haproxy', 'keepalived'], TITLE, (programs) => {
    let machines: Machines
    let folder: string
    const balancers = new Map<Name, ChildProcess>()
    const keepers = new Map<Name, Screen>()

    beforeAll(async () => {
      folder = fs.mkdtempSync(path.join(os.tmpdir(), 'partyline-vrrp-'))
      machines = new Machines()
      machines.add('broker', '10.0.0.1')
      machines.add('client', '10.0.0.9')
      for (const name of NAMES) machines.add(name, ADDRESSES[name])
      const trust = ['--trust-proxy', Object.values(ADDRESSES).join(',')]
      const open = ['--host', '10.0.0.1', '--engine', 'memory', '--allow-anonymous']
      const broker = machines.start('broker', node, [main, 'serve', '5000', ...open, ...trust])
      await new Screen(broker).shows('listening on')
      for (const name of NAMES) {
        balance(name)
        keepAddress(name)
        await keepers.get(name)!.shows(/VRRP_Script.haproxy. succeeded/)
        await until('the first one has the address', () => machines.has('one', SHARED), PATIENCE)
      }
    })

    afterAll(async () => {
      await machines?.remove()
      fs.rmSync(folder, { recursive: true, force: true })
    })

    test(
      'a client with nothing but the address outlives whoever has it',
      async () => {
        const bob = client('SUBSCRIBER', 'SPORTS', 'AS', 'bob')
        const alice = client('PUBLISHER', 'SPORTS')
        const heard = async (text: string, connections: number): Promise<void> => {
          await alice.shows(/OK you publish/, connections)
          alice.types(text)
          await bob.shows(`[SPORTS] ${text}`)
        }
        await bob.shows('OK you receive SPORTS')
        await heard('all is well', 1)

        balancers.get('one')!.kill('SIGKILL')
        await bob.shows(/OK welcome back/, 1)
        expect(holders()).toEqual(['two'])
        await heard('a HAProxy was killed', 2)

        balance('one')
        await keepers.get('one')!.shows(/VRRP_Script.haproxy. succeeded/, 2)
        // That nothing happens takes time to see: with ranks that differ it would have, within three seconds.
        const seen = performance.now() + 4_000
        await until('nothing happened', () => performance.now() > seen)
        expect(holders()).toEqual(['two'])
        await heard('who comes back waits', 2)

        machines.unplug('two')
        // Bob says nothing: it is TCP that asks for him after 15 seconds, and is told that nobody knows him.
        await bob.shows(/OK welcome back/, 2)
        expect(machines.has('one', SHARED)).toBe(true)
        await heard('a cable was pulled', 3)
        expect(bob.count(/^\[SPORTS\]/)).toBe(4)
      },
      4 * PATIENCE,
    )

    const holders = (): Name[] => NAMES.filter((name) => machines.has(name, SHARED))

    function client(...role: string[]): Screen {
      const args = [main, 'client', SHARED, '5000', '--reconnect', ...role]
      return new Screen(machines.start('client', node, args))
    }

    function balance(name: Name): void {
      const env = { ...programs.haproxy.env, LB_BROKER_1: '10.0.0.1:5000', LB_MAXCONN: '1000' }
      const haproxy = { path: programs.haproxy.path, env }
      balancers.set(name, machines.start(name, haproxy, ['-db', '-f', deploy('haproxy.cfg')]))
    }

    function keepAddress(name: Name): void {
      const mine = path.join(folder, name)
      const text = fs
        .readFileSync(deploy('keepalived.conf'), 'utf8')
        .replace(/unicast_src_ip .*/, `unicast_src_ip ${ADDRESSES[name]}`)
        .replace(/(unicast_peer \{\s+)\S+/, `$1${ADDRESSES[other(name)]}`)
      fs.writeFileSync(mine, text, { mode: 0o644 })
      const files = [`--use-file=${mine}`, `--pid=${mine}.pid`, `--vrrp_pid=${mine}.vrrp.pid`]
      const args = ['--dont-fork', '--log-console', ...files]
      keepers.set(name, new Screen(machines.start(name, programs.keepalived, args)))
    }
  })
}

/** What a program printed, and what is typed into it. */
class Screen {
  #text = ''
  readonly #child: ChildProcess

  constructor(child: ChildProcess) {
    this.#child = child
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#text += text
      })
    }
  }

  types(line: string): void {
    this.#child.stdin!.write(`${line}\n`)
  }

  count(pattern: RegExp): number {
    return this.#text.split('\n').filter((line) => pattern.test(line)).length
  }

  /** Waits until so many lines are like that. */
  async shows(what: string | RegExp, times = 1): Promise<void> {
    const found = (): boolean =>
      typeof what === 'string' ? this.#text.includes(what) : this.count(what) >= times
    await until(String(what), found, PATIENCE).catch((error: unknown) => {
      throw new Error(`the screen shows only\n${this.#text}`, { cause: error })
    })
  }
}
