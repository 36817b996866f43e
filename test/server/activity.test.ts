// The server's terminal: each activity a sentence, strangers' text harmless, counts when it is too fast.

import { describe, expect, it } from 'vitest'
import type { Peer, ShownRun } from '../../src/core/activity.ts'
import type { Runtime } from '../../src/core/runtime.ts'
import { Terminal } from '../../src/server/activity.ts'
import { createLogger, prettyLine } from '../../src/server/log.ts'
import type { Settings } from '../../src/server/options.ts'

const ann: Peer = { peer: '127.0.0.1:50001', door: 'tcp/line', clientId: '' }
const bob: Peer = { peer: '127.0.0.1:50002', door: 'tcp/mqtt', clientId: 'bob' }

/** A clock that moves when told to. */
class Clock implements Runtime {
  #calls: { at: number; call: () => void }[] = []
  #now = 0
  now = () => this.#now
  random = () => 0.5
  atTurnEnd(): void {
    throw new Error('not used here')
  }
  nextTurn(): void {
    throw new Error('not used here')
  }
  after(ms: number, call: () => void) {
    const entry = { at: this.#now + ms, call }
    this.#calls.push(entry)
    return {
      cancel: () => {
        this.#calls = this.#calls.filter((e) => e !== entry)
      },
    }
  }
  get waiting(): number {
    return this.#calls.length
  }
  pass(ms: number): void {
    this.#now += ms
    const due = this.#calls.filter((e) => e.at <= this.#now)
    this.#calls = this.#calls.filter((e) => e.at > this.#now)
    for (const { call } of due) call()
  }
}

function run(topic: string, ...texts: (string | Buffer)[]): ShownRun {
  return {
    count: texts.length,
    messages: () => texts.map((t) => ({ topic: { name: topic }, payload: Buffer.from(t) })),
  }
}

function watch(level: Settings['logLevel'] = 'info') {
  const json: string[] = []
  const clock = new Clock()
  const terminal = new Terminal(createLogger(level, { write: (line) => json.push(line) }), clock)
  return {
    terminal,
    clock,
    /** What the screen shows since the last look, without the time of day. */
    screen: () => json.splice(0).map((l) => prettyLine(l, false).replace(/^\d\d:\d\d:\d\d /, '')),
    fields: () => json.splice(0).map((l) => JSON.parse(l) as Record<string, unknown>),
  }
}

describe("the server's terminal", () => {
  it('shows every activity', () => {
    const { terminal, screen } = watch()
    terminal.connected(ann)
    terminal.role(ann, 'publisher', ['SPORTS', 'NEWS'])
    terminal.role(bob, 'subscriber', ['SPORTS/#'])
    terminal.subscribed(bob, ['NEWS'])
    terminal.published(ann, run('SPORTS', 'goal', 'own goal'))
    terminal.said(ann, 'hello there')
    terminal.unsubscribed(bob, ['NEWS'])
    terminal.goodbye(ann)
    terminal.lost(bob, 'connection reset')
    terminal.refused(bob, 'password is wrong')
    expect(screen()).toEqual([
      '127.0.0.1:50001 connected (tcp/line)\n',
      '127.0.0.1:50001 is a publisher: publishes to SPORTS, NEWS\n',
      '127.0.0.1:50002 (bob) is a subscriber: subscribes to SPORTS/#\n',
      '127.0.0.1:50002 (bob) subscribed to NEWS\n',
      '127.0.0.1:50001 published [SPORTS] goal\n',
      '127.0.0.1:50001 published [SPORTS] own goal\n',
      '127.0.0.1:50001 says: hello there\n',
      '127.0.0.1:50002 (bob) unsubscribed from NEWS\n',
      '127.0.0.1:50001 said goodbye\n',
      '127.0.0.1:50002 (bob) lost: connection reset\n',
      '127.0.0.1:50002 (bob) refused: password is wrong\n',
    ])
  })

  it('gives programs the same in fields', () => {
    const { terminal, fields } = watch()
    terminal.published(bob, run('SPORTS', 'goal'))
    terminal.said(ann, 'hello')
    expect(fields()).toEqual([
      expect.objectContaining({
        level: 'info',
        event: 'published',
        peer: '127.0.0.1:50002',
        door: 'tcp/mqtt',
        client: 'bob',
        topic: 'SPORTS',
        text: 'goal',
        bytes: 4,
        msg: '127.0.0.1:50002 (bob) published [SPORTS] goal',
      }),
      expect.objectContaining({ event: 'said', text: 'hello' }),
    ])
  })

  it('escapes whatever strangers chose: text, topics, names, reasons', () => {
    const { terminal, screen } = watch()
    const evil = '\x1b[2J\r\n12:00:00 you won\u202e'
    const mallory: Peer = { peer: '[::1]:1', door: 'ws/mqtt', clientId: evil }
    terminal.connected(mallory)
    terminal.role(mallory, 'publisher', [evil])
    terminal.subscribed(mallory, [evil])
    terminal.unsubscribed(mallory, [evil])
    terminal.published(mallory, run(evil, evil, Buffer.from([0xff, 0x07])))
    terminal.said(mallory, evil)
    terminal.lost(mallory, evil)
    terminal.refused(mallory, evil)
    const lines = screen()
    expect(lines).toHaveLength(9)
    for (const line of lines) expect(line.slice(0, -1)).not.toMatch(/[\p{Cc}\u202e]/u)
    expect(lines[5]).toContain('\\xff\\x07')
  })

  it('cuts long payloads and says how long they are', () => {
    const { terminal, screen } = watch()
    terminal.published(ann, run('t', 'x'.repeat(10_000)))
    expect(screen()).toEqual([`127.0.0.1:50001 published [t] ${'x'.repeat(400)}… (10000 bytes)\n`])
  })

  it('counts when it is too fast, shows a sample meanwhile, and everything again when it calms down', () => {
    const { terminal, clock, screen } = watch()
    terminal.published(ann, run('t', ...Array.from({ length: 50 }, (_, i) => `m${i}`)))
    for (let i = 0; i < 1000; i++) terminal.published(ann, run('t', 'a', 'b'))
    const first = screen()
    expect(first).toHaveLength(20)
    expect(first[19]).toContain('m19')
    clock.pass(1000)
    expect(screen()).toEqual(['… and in the same second, too fast to show: 2,030 published\n'])

    for (let i = 0; i < 100; i++) terminal.published(ann, run('t', 'again'))
    expect(screen()).toHaveLength(1)
    clock.pass(1000)
    expect(screen()).toEqual(['… and in the same second, too fast to show: 99 published\n'])

    clock.pass(1000)
    expect(clock.waiting).toBe(0)
    terminal.published(ann, run('t', 'one', 'two'))
    expect(screen()).toHaveLength(2)
  })

  it('counts storms of other things too, without hiding messages', () => {
    const { terminal, clock, screen } = watch()
    for (let i = 0; i < 300; i++) terminal.connected(ann)
    for (let i = 0; i < 200; i++) terminal.lost(ann, 'connection reset')
    terminal.published(ann, run('t', 'seen'))
    expect(screen()).toHaveLength(21)
    clock.pass(1000)
    expect(screen()).toEqual([
      '… and in the same second, too fast to show: 280 connected, 200 lost\n',
    ])
  })

  it('does not ask for messages it will not show', () => {
    const { terminal } = watch()
    terminal.published(ann, run('t', ...Array.from({ length: 20 }, () => 'x')))
    const unread: ShownRun = {
      count: 7,
      messages: () => {
        throw new Error('asked')
      },
    }
    expect(() => terminal.published(ann, unread)).not.toThrow()
    const quiet = watch('warn')
    expect(() => quiet.terminal.published(ann, unread)).not.toThrow()
    quiet.terminal.connected(ann)
    expect(quiet.screen()).toEqual([])
    expect(quiet.clock.waiting).toBe(0)
  })

  it('tells the rest at the end', () => {
    const { terminal, screen, clock } = watch()
    terminal.published(ann, run('t', ...Array.from({ length: 25 }, () => 'x')))
    screen()
    terminal.close()
    expect(screen()).toEqual(['… and in the same second, too fast to show: 5 published\n'])
    expect(clock.waiting).toBe(0)
  })
})

describe('a log line for eyes', () => {
  it('marks what needs attention and keeps to its line', () => {
    const line = (level: string, msg: string, err?: object) =>
      prettyLine(JSON.stringify({ level, time: '2026-01-01T12:00:00Z', msg, err }), false).slice(9)
    expect(line('info', 'listening on 127.0.0.1:5000')).toBe('listening on 127.0.0.1:5000\n')
    expect(line('warn', 'disk is slow')).toBe('warning: disk is slow\n')
    expect(line('error', 'two\nlines\x07')).toBe('error: two\\nlines\\x07\n')
    expect(line('fatal', 'bad', { stack: 'Error: x\x1b\n    at y' })).toBe(
      'error: bad\n  Error: x\\x1b\n      at y\n',
    )
  })
})
