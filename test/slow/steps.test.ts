// The three steps of the task, run as a newcomer types them: server and clients as processes, each
// with a terminal of its own, once through pipes and once on pseudo-terminals, and with netcat.

import { type ChildProcessByStdio, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { freePort } from '../support/free-ports.ts'
import { describeWith, skipSuite } from '../support/programs.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
/** Milliseconds until a test says what it still waits for. */
const PATIENCE = 15_000

let commands: string
beforeAll(() => {
  execFileSync(process.execPath, [path.join(root, 'scripts', 'setup.mjs')])
  commands = mkdtempSync(path.join(tmpdir(), 'partyline-steps-'))
  const main = path.join(root, 'dist', 'cli', 'main.js')
  const partyline = path.join(commands, 'partyline')
  writeFileSync(partyline, `#!/bin/sh\nexec '${process.execPath}' '${main}' "$@"\n`)
  chmodSync(partyline, 0o755)
})
afterAll(() => rmSync(commands, { recursive: true, force: true }))

/** Where the server of one test keeps what it stores. */
let data: string
beforeEach(() => {
  data = mkdtempSync(path.join(commands, 'data-'))
})

const open: Screen[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((screen) => screen.kill()))
})

/** A terminal with one command running in it, and everything it shows. */
class Screen {
  text = ''
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>
  readonly #ended: Promise<number | null>
  /** Where the command's own process id stands: on a pseudo-terminal the child is `script`. */
  readonly #pid: string
  #wake: () => void = () => {}

  constructor(command: string, tty: boolean) {
    this.#pid = path.join(commands, `pid-${open.length}`)
    const told = `echo $$ > '${this.#pid}'; exec ${command}`
    const env = {
      ...process.env,
      PATH: `${commands}:${process.env.PATH}`,
      TERM: 'xterm',
      PARTYLINE_DATA: data,
    }
    const [file, args] = tty ? ['script', ['-qfec', told, '/dev/null']] : ['sh', ['-c', told]]
    // A process group of its own, so that the whole of it can be ended.
    this.#child = spawn(file, args, { env, detached: true, stdio: ['pipe', 'pipe', 'pipe'] })
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.text += text
        this.#wake()
      })
    }
    this.#child.stdin.on('error', () => {}) // It may have ended before we typed.
    this.#ended = once(this.#child, 'close').then(([code]) => code as number | null)
    open.push(this)
  }

  types(line: string): void {
    this.#child.stdin.write(`${line}\n`)
  }

  /** Waits until the screen shows the text so many times. */
  async shows(text: string, times = 1): Promise<void> {
    const late = delay(PATIENCE, true, { ref: false })
    const over = Promise.race([this.#ended.then(() => true), late])
    for (let last = false; this.#count(text) < times; ) {
      if (last) throw new Error(`waited for ${times} × "${text}"; the screen shows:\n${this.text}`)
      const changed = new Promise<boolean>((resolve) => {
        this.#wake = () => resolve(false)
      })
      last = await Promise.race([changed, over])
    }
  }

  #count(text: string): number {
    return this.text.split(text).length - 1
  }

  /** Waits until the command has ended by itself; its exit status. */
  async ends(): Promise<number | null> {
    const late = delay(PATIENCE, 'late' as const, { ref: false })
    const status = await Promise.race([this.#ended, late])
    if (status === 'late') throw new Error(`it does not end; the screen shows:\n${this.text}`)
    return status
  }

  /** As Ctrl-C or a service manager would; on a pseudo-terminal the key itself is typed. */
  interrupt(signal: NodeJS.Signals, tty: boolean): void {
    if (tty && signal === 'SIGINT') this.#child.stdin.write('\x03')
    else process.kill(Number(readFileSync(this.#pid, 'utf8')), signal)
  }

  async kill(): Promise<void> {
    try {
      process.kill(-(this.#child.pid as number), 'SIGKILL')
    } catch {
      // The whole group has ended already.
    }
    await this.#ended
  }
}

/** `partyline serve 5000`, on a port that is free. */
async function serve(tty: boolean): Promise<{ server: Screen; port: number }> {
  const port = await freePort()
  const server = new Screen(`partyline serve ${port}`, tty)
  await server.shows(`listening on 127.0.0.1:${port}`)
  return { server, port }
}

function steps(tty: boolean): void {
  const run = (command: string) => new Screen(command, tty)

  it('1: what a client types shows on the server; terminate ends the client alone', async () => {
    const { server, port } = await serve(tty)
    const client = run(`partyline client localhost ${port}`)
    await server.shows('connected (tcp/line)')
    client.types('hello from the first client')
    await server.shows('hello from the first client')
    await client.shows("received and shown on the server's terminal")
    client.types('terminate')
    expect(await client.ends()).toBe(0)
    await server.shows('said goodbye')
    const next = run(`partyline client localhost ${port}`)
    next.types('and the second')
    await server.shows('and the second')
  })

  it('2: publishers reach every subscriber and no publisher; the server shows it all', async () => {
    const { server, port } = await serve(tty)
    const client = (role: string) => run(`partyline client localhost ${port} ${role}`)
    const subscribers = [client('SUBSCRIBER'), client('SUBSCRIBER')]
    const publishers = [client('PUBLISHER'), client('PUBLISHER')]
    for (const one of subscribers) await one.shows('OK you receive general')
    for (const one of publishers) await one.shows('OK you publish to general')
    await server.shows('is a subscriber: subscribes to general', 2)
    await server.shows('is a publisher: publishes to general', 2)
    publishers[0]?.types('who won?')
    for (const one of subscribers) await one.shows('[general] who won?')
    publishers[1]?.types('help me')
    for (const one of subscribers) await one.shows('[general] help me')
    await server.shows('published [general] who won?')
    await server.shows('published [general] help me')
    for (const one of publishers) expect(one.text).not.toContain('[general]')
    subscribers[0]?.types('UNSUB general')
    await server.shows('unsubscribed from general')
    publishers[0]?.types('terminate')
    expect(await publishers[0]?.ends()).toBe(0)
    await server.shows('said goodbye')
    await publishers[1]?.kill()
    await server.shows('lost: the other side is gone')
  })

  it('3: only the subscribers of a topic receive it', async () => {
    const { server, port } = await serve(tty)
    const client = (words: string) => run(`partyline client localhost ${port} ${words}`)
    const sports = client('SUBSCRIBER SPORTS')
    const news = client('SUBSCRIBER NEWS')
    const all = client("SUBSCRIBER 'SPORTS/#' NEWS")
    const ann = client('PUBLISHER SPORTS')
    const both = client('PUBLISHER NEWS SPORTS/football')
    for (const one of [sports, news, all]) await one.shows('OK you receive')
    for (const one of [ann, both]) await one.shows('OK you publish to')
    ann.types('goal')
    for (const one of [sports, all]) await one.shows('[SPORTS] goal')
    both.types('rain stops play')
    await news.shows('[NEWS] rain stops play')
    await all.shows('[NEWS] rain stops play')
    await all.shows('[SPORTS/football] rain stops play')
    ann.types('final whistle')
    await sports.shows('[SPORTS] final whistle')
    expect(news.text).not.toContain('[SPORTS')
    expect(sports.text).not.toContain('rain')
    await server.shows('published [SPORTS] goal')
    await server.shows('published [SPORTS/football] rain stops play')
  })

  it.each(['SIGINT', 'SIGTERM'] as const)('%s ends the server in order', async (signal) => {
    const { server, port } = await serve(tty)
    const client = run(`partyline client localhost ${port} SUBSCRIBER`)
    await client.shows('OK you receive')
    const began = performance.now()
    server.interrupt(signal, tty)
    expect(await server.ends()).toBe(0)
    expect(performance.now() - began).toBeLessThan(5_000)
    await client.shows('the server is going down')
    await client.shows(`the server at localhost:${port} closed the connection`)
    expect(await client.ends()).toBe(1)
  })

  it('strangers cannot drive a terminal', async () => {
    const { server, port } = await serve(tty)
    const bob = run(`partyline client localhost ${port} SUBSCRIBER`)
    await bob.shows('OK you receive')
    const evil = run(
      `sh -c "printf 'PUBLISHER\\nx\\033[2J\\007y\\n' | partyline client localhost ${port}"`,
    )
    expect(await evil.ends()).toBe(0)
    await bob.shows('[general] x\\x1b[2J\\x07y')
    await server.shows('x\\')
    for (const { text } of [bob, server]) expect(text).not.toContain('\x07y')
  })
}

if (process.platform === 'win32') {
  skipSuite('the steps, piped', 'Windows has no sh; type them by hand')
} else {
  describe('the steps, piped', () => steps(false))

  const title = 'the steps, on a pseudo-terminal'
  if (process.platform === 'linux' && existsSync('/usr/bin/script')) {
    describe(title, () => steps(true))
  } else {
    skipSuite(title, 'it needs the script command of Linux; type them by hand')
  }

  describe('a port that is in use', () => {
    it('is one sentence with a command that works, and status 1', async () => {
      const { port } = await serve(false)
      const second = new Screen(`partyline serve ${port}`, false)
      expect(await second.ends()).toBe(1)
      expect(second.text).toMatch(
        new RegExp(`^partyline serve: port ${port} .*in use.*: npx partyline serve \\d+\n$`),
      )
    })
  })

  describe('a server as started by default', () => {
    it('says where its data is, and keeps it for one server at a time', async () => {
      const { server, port } = await serve(false)
      await server.shows(`data in ${data}`)
      const second = new Screen(`partyline serve ${await freePort()}`, false)
      expect(await second.ends()).toBe(1)
      expect(second.text).toMatch(/^partyline serve: .* is in use by process \d+: .* --data\n$/)
      const ann = `partyline client localhost ${port} SUBSCRIBER SPORTS AS ann`
      const first = new Screen(ann, false)
      await first.shows('OK you receive SPORTS as ann')
      await first.kill()
      await server.kill()
      const again = new Screen(`partyline serve ${port}`, false)
      await again.shows('listening on')
      await new Screen(ann, false).shows('OK welcome back, ann')
    })
  })

  describe('a client without a server', () => {
    it('says so, with the command that starts one, and status 1', async () => {
      const port = await freePort()
      const client = new Screen(`partyline client localhost ${port}`, false)
      expect(await client.ends()).toBe(1)
      expect(client.text).toMatch(/no server at localhost:\d+ .*npx partyline serve \d+\n$/)
    })
  })

  describeWith(['nc'], 'the steps with netcat', ({ nc }) => {
    beforeAll(() => symlinkSync(nc.path, path.join(commands, 'nc')))

    it.each([false, true])('work as with our client (pseudo-terminal: %s)', async (tty) => {
      if (tty && process.platform !== 'linux') return
      const { server, port } = await serve(tty)
      const run = (command: string) => new Screen(command, tty)
      const one = run(`nc localhost ${port}`)
      one.types('hello by netcat')
      await server.shows('hello by netcat')
      one.types('terminate')
      await one.shows('OK goodbye')
      const sports = run(`nc localhost ${port}`)
      sports.types('SUBSCRIBER SPORTS')
      const news = run(`nc localhost ${port}`)
      news.types('SUBSCRIBER NEWS')
      for (const each of [sports, news]) await each.shows('OK you receive')
      const ann = run(`nc localhost ${port}`)
      ann.types('PUBLISHER SPORTS')
      await ann.shows('OK you publish to SPORTS')
      ann.types('pub quiz tonight')
      await sports.shows('[SPORTS] pub quiz tonight')
      const piped = run(`sh -c "printf 'PUBLISHER SPORTS\\ngoal\\n' | nc -N localhost ${port}"`)
      await piped.shows('OK goodbye')
      expect(piped.text).toContain('OK you publish to SPORTS')
      expect(await piped.ends()).toBe(0)
      await sports.shows('[SPORTS] goal')
      expect(news.text).not.toContain('[SPORTS]')
      expect(ann.text).not.toContain('[SPORTS]')
    })
  })
}
