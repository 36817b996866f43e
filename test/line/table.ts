// A server of the line protocol and people who speak it, in memory: `c.says('SUBSCRIBER SPORTS')`,
// `await c.hears('[SPORTS] goal')`. Everything between the wire and the engine is the real thing.

import { expect } from 'vitest'
import type { Access } from '../../src/core/access.ts'
import type { Peer, ShownRun } from '../../src/core/activity.ts'
import { SILENT } from '../../src/core/activity.ts'
import { Broker } from '../../src/core/broker.ts'
import type { Engine } from '../../src/core/engine.ts'
import type { Limits } from '../../src/core/limits.ts'
import { MemoryEngine } from '../../src/engine/memory.ts'
import { LineSplitter } from '../../src/protocol/line/codec.ts'
import { LineDoor } from '../../src/protocol/line/door.ts'
import { ManualRuntime } from '../support/manual-runtime.ts'
import { type PairWire, wirePair } from '../support/pair.ts'

export interface TableOptions {
  readonly limits?: Partial<Limits>
  readonly access?: Access
  readonly engine?: (runtime: ManualRuntime) => Engine
}

export class Table {
  readonly runtime = new ManualRuntime()
  readonly broker: Broker
  readonly door: LineDoor
  /** What the server's terminal is told, a line each. */
  readonly terminal: string[] = []

  static async open(options: TableOptions = {}): Promise<Table> {
    const table = new Table(options)
    await table.broker.open()
    return table
  }

  private constructor({ limits, access, engine }: TableOptions) {
    const { runtime, terminal } = this
    this.broker = new Broker({
      engine: engine?.(runtime) ?? new MemoryEngine(runtime),
      runtime,
      ...(limits && { limits }),
      ...(access && { access }),
      activity: {
        ...SILENT,
        role: (_, role, topics) => terminal.push(`${role} ${topics.join(' ')}`),
        subscribed: (_, filters) => terminal.push(`subscribed ${filters.join(' ')}`),
        unsubscribed: (_, filters) => terminal.push(`unsubscribed ${filters.join(' ')}`),
        said: (_, line) => terminal.push(`said ${line}`),
        goodbye: (who: Peer) => terminal.push(`goodbye ${who.clientId}`.trim()),
        lost: (_, why) => terminal.push(`lost ${why}`),
        refused: (_, what) => terminal.push(`refused ${what}`),
        published: (_, run: ShownRun) => {
          for (const { topic, payload } of run.messages()) {
            terminal.push(`published [${topic.name}] ${payload}`)
          }
        },
      },
    })
    this.door = new LineDoor(this.broker)
  }

  /** Somebody connects; each of the lines is typed at once. */
  caller(...lines: string[]): Caller {
    const [near, far] = wirePair({
      runtime: this.runtime,
      congestion: this.broker.limits.queueBytes,
    })
    near.attach(this.door.accept(near))
    const caller = new Caller(this.runtime, far)
    caller.says(...lines)
    return caller
  }

  /** Somebody connects and types a line; the answer has been read. */
  async called(line: string): Promise<Caller> {
    const caller = this.caller(line)
    await caller.hearsOk()
    return caller
  }

  settle(): Promise<void> {
    return this.runtime.settle()
  }
}

export class Caller {
  readonly wire: PairWire
  readonly #runtime: ManualRuntime
  readonly #splitter = new LineSplitter(64 * 1024 * 1024)
  #heard: string[] = []
  #hungUp = false
  ended = false
  closed = false

  constructor(runtime: ManualRuntime, wire: PairWire) {
    this.#runtime = runtime
    this.wire = wire
    wire.attach({
      read: (chunk) => {
        this.#heard.push(...this.#splitter.split(chunk).map((line) => line.toString()))
      },
      ended: () => {
        this.ended = true
        wire.end()
      },
      closed: () => {
        this.closed = true
      },
      drained: () => {},
    })
  }

  says(...lines: string[]): void {
    for (const line of lines) this.sends(`${line}\n`)
  }

  sends(bytes: string | Buffer): void {
    const all = Buffer.from(bytes)
    this.wire.push(all, 0, all.length)
  }

  /** The next lines, exactly these. */
  async hears(...lines: string[]): Promise<void> {
    await this.#settle()
    expect(this.#heard.splice(0, lines.length)).toEqual(lines)
  }

  /** The next line is an OK; returns it. */
  async hearsOk(): Promise<string> {
    await this.#settle()
    const line = this.#heard.shift() ?? '(nothing)'
    expect(line).toMatch(/^OK /)
    return line
  }

  async hearsError(pattern: RegExp = /./): Promise<void> {
    await this.#settle()
    const line = this.#heard.shift() ?? '(nothing)'
    expect(line).toMatch(/^ERR [^;]+; .+/)
    expect(line).toMatch(pattern)
  }

  async hearsNothing(): Promise<void> {
    await this.#settle()
    expect(this.#heard).toEqual([])
  }

  /** Everything heard and not asked for yet. */
  async takes(): Promise<string[]> {
    await this.#settle()
    return this.#heard.splice(0)
  }

  /** The server has ended the connection, and nothing was left to hear. */
  async isGone(): Promise<void> {
    await this.hearsNothing()
    expect({ ended: this.ended, closed: this.closed }).toEqual({ ended: true, closed: true })
  }

  /** Ends its input. Whether it is still there to hear the goodbye takes the server a moment to find out. */
  hangsUp(): void {
    this.#hungUp = true
    this.wire.end()
  }

  #settle(): Promise<void> {
    return this.#hungUp ? this.#runtime.pass(50) : this.#runtime.settle()
  }
}
