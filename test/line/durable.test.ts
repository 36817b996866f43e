// A subscriber with a name: what it misses is kept, what it was given does not come again, and one
// name is one connection.

import { describe, expect, it } from 'vitest'
import type { LogRecord } from '../../src/core/engine.ts'
import { EngineError } from '../../src/core/engine.ts'
import { MemoryEngine } from '../../src/engine/memory.ts'
import { Table } from './table.ts'

const AS_BOB = 'OK you receive SPORTS as bob; what you miss while away is kept, "terminate" ends'
const BACK =
  'OK welcome back, bob: you receive SPORTS; what you miss while away is kept, "terminate" ends'

describe('SUBSCRIBER filter AS name', () => {
  it('misses nothing while away, whatever way it went', async () => {
    const table = await Table.open()
    const ann = await table.called('PUBLISHER SPORTS')
    let bob = table.caller('SUBSCRIBER SPORTS AS bob')
    await bob.hears(AS_BOB)
    ann.says('one')
    await bob.hears('[SPORTS] one')
    const ways = [
      () => bob.says('terminate'),
      () => bob.hangsUp(),
      () => bob.wire.break('connection reset'),
    ]
    for (const [i, leaves] of ways.entries()) {
      leaves()
      await table.settle()
      ann.says(`missed ${i}`, `also ${i}`)
      await table.settle()
      bob = table.caller('subscriber SPORTS as bob')
      await bob.hears(BACK, `[SPORTS] missed ${i}`, `[SPORTS] also ${i}`)
      ann.says('live')
      await bob.hears('[SPORTS] live')
      await bob.hearsNothing()
    }
  })

  it('counts as received what the network took, and sends the rest again', async () => {
    const table = await Table.open()
    const ann = await table.called('PUBLISHER SPORTS')
    const bob = await table.called('SUBSCRIBER SPORTS AS bob')
    ann.says('taken')
    await bob.hears('[SPORTS] taken')
    bob.wire.pause()
    ann.says('stuck one', 'stuck two')
    await table.settle()
    bob.wire.break('connection reset')
    const again = table.caller('SUBSCRIBER SPORTS AS bob')
    await again.hears(BACK, '[SPORTS] stuck one', '[SPORTS] stuck two')
    await again.hearsNothing()
  })

  it('gets more than one window, in order, when it was away for long', async () => {
    const table = await Table.open({ limits: { sendWindow: 10 } })
    const bob = await table.called('SUBSCRIBER SPORTS AS bob')
    bob.says('terminate')
    await bob.hears('OK goodbye')
    const ann = await table.called('PUBLISHER SPORTS')
    const all = Array.from({ length: 500 }, (_, i) => `message ${i}`)
    ann.says(...all)
    await table.settle()
    const back = await table.called('SUBSCRIBER SPORTS AS bob')
    expect(await back.takes()).toEqual(all.map((text) => `[SPORTS] ${text}`))
  })

  it('keeps its filters when it names none, and replaces them when it does', async () => {
    const table = await Table.open()
    const first = table.caller('SUBSCRIBER a b AS bob')
    await first.hearsOk()
    first.says('SUB c', 'terminate')
    await first.hears('OK you receive c', 'OK goodbye')
    const second = table.caller('SUBSCRIBER AS bob')
    expect(await second.hearsOk()).toContain('you receive a, b, c;')
    second.hangsUp()
    const third = table.caller('SUBSCRIBER b d AS bob')
    expect(await third.hearsOk()).toContain('you receive b, d;')
    const ann = await table.called('PUBLISHER a b c d')
    ann.says('x')
    await third.hears('[b] x', '[d] x')
    await third.hearsNothing()
    const nobody = table.caller('SUBSCRIBER AS new')
    expect(await nobody.hearsOk()).toContain('you receive general as new;')
  })

  it('is not disturbed by a mistyped line under its name', async () => {
    const table = await Table.open({
      access: {
        connect: () => ({
          user: '',
          access: { mayPublish: () => true, maySubscribe: (filter) => filter !== 'secret' },
        }),
        classOf: () => null,
      },
    })
    const ann = await table.called('PUBLISHER SPORTS')
    const bob = await table.called('SUBSCRIBER SPORTS AS bob')
    const wrong = table.caller('SUBSCRIBER a/#/b AS bob')
    await wrong.hearsError(/is not a filter/)
    ann.says('goal')
    await bob.hears('[SPORTS] goal')
    bob.says('terminate')
    await bob.hears('OK goodbye')
    ann.says('missed')
    wrong.says('SUBSCRIBER NEWS secret AS bob')
    await wrong.hearsError(/you may not subscribe to secret/)
    wrong.says('SUBSCRIBER AS bob')
    await wrong.hears(BACK, '[SPORTS] missed')
  })

  it('gives way to whoever comes under the same name', async () => {
    const table = await Table.open()
    const older = await table.called('SUBSCRIBER SPORTS AS bob')
    const newer = table.caller('SUBSCRIBER SPORTS AS bob')
    await newer.hears(BACK)
    await older.hears('ERR somebody else came as bob; this connection ends')
    await older.isGone()
    const ann = await table.called('PUBLISHER SPORTS')
    ann.says('goal')
    await newer.hears('[SPORTS] goal')
    expect(table.broker.counters.takeovers).toBe(1)
  })

  it('is forgotten on request, and after its time', async () => {
    const table = await Table.open({ limits: { sessionExpiryMaximum: 60 } })
    const bob = await table.called('SUBSCRIBER SPORTS AS bob')
    bob.says('FORGET')
    await bob.hears('OK bob is forgotten; goodbye')
    await bob.isGone()
    expect(table.broker.sessions.size).toBe(0)
    const again = table.caller('SUBSCRIBER SPORTS AS bob')
    await again.hears(AS_BOB)
    again.hangsUp()
    await table.runtime.pass(61_000)
    expect(table.broker.sessions.size).toBe(0)
    const late = table.caller('SUBSCRIBER SPORTS AS bob')
    await late.hears(AS_BOB)
  })

  it('completes QoS 2 for messages that come so', async () => {
    const table = await Table.open()
    const bob = await table.called('SUBSCRIBER SPORTS AS bob')
    const session = table.broker.sessions.get('line:bob')!
    const options = { qos: 2, identifier: 0, noLocal: false, retainAsPublished: false } as const
    table.broker.subscribe(session, 'SPORTS', options)
    const message = { topic: 'SPORTS', payload: Buffer.from('goal'), qos: 2 } as const
    const stored = table.broker.publish(table.broker.message(message))
    await bob.hears('[SPORTS] goal')
    await stored
    expect(session.inFlight).toBe(0)
  })
})

/** An engine whose log fails or waits when told to. */
class FickleEngine extends MemoryEngine {
  fault: 'full' | 'down' | null = null
  #held: (() => void)[] | null = null

  hold(): void {
    this.#held = []
  }

  letGo(): void {
    const held = this.#held ?? []
    this.#held = null
    for (const go of held) go()
  }

  override async append(record: LogRecord): Promise<void> {
    if (this.fault !== null) throw new EngineError(this.fault, 'as told')
    if (this.#held !== null) await new Promise<void>((go) => this.#held?.push(go))
    return super.append(record)
  }
}

describe('a publisher', () => {
  async function withFickleEngine(limits = {}) {
    let engine!: FickleEngine
    const table = await Table.open({
      limits,
      engine: (runtime) => {
        engine = new FickleEngine(runtime)
        return engine
      },
    })
    return { table, engine }
  }

  it('hears goodbye only when everything is stored', async () => {
    const { table, engine } = await withFickleEngine()
    const ann = await table.called('PUBLISHER SPORTS')
    engine.hold()
    ann.says('goal', 'terminate')
    await ann.hearsNothing()
    engine.letGo()
    await ann.hears('OK goodbye')
    await ann.isGone()
  })

  it('hears what was not stored, and why', async () => {
    const { table, engine } = await withFickleEngine()
    const ann = await table.called('PUBLISHER SPORTS')
    const cem = await table.called('hello')
    engine.fault = 'full'
    ann.says('one', 'two', 'three')
    await ann.hears('ERR 3 messages were not stored: the log is full; send it again later')
    cem.says('PUB SPORTS x', 'WHO')
    const [first] = await cem.takes()
    expect(first).toBe(
      'ERR the message to SPORTS was not stored: the log is full; send it again later',
    )
    expect(table.broker.counters.refusedFull).toBe(4)
    engine.fault = null
    ann.says('four', 'terminate')
    await ann.hears('OK goodbye')
  })

  it('is not read while its messages find no room, and goes on when they do', async () => {
    const { table, engine } = await withFickleEngine({ intakeBytesPerLink: 1000 })
    const bob = await table.called('SUBSCRIBER SPORTS')
    const ann = await table.called('PUBLISHER SPORTS')
    engine.hold()
    ann.says('x'.repeat(1500))
    await table.settle()
    expect(ann.wire.other.paused).toBe(true)
    expect(table.broker.counters.linksPaused).toBe(1)
    ann.says('later')
    await table.settle()
    expect(ann.wire.queued).toBeGreaterThan(0)
    engine.letGo()
    await bob.hears(`[SPORTS] ${'x'.repeat(1500)}`, '[SPORTS] later')
    expect(ann.wire.other.paused).toBe(false)
  })
})

describe('a slow reader', () => {
  it('without a name loses what is too much, counted, and holds nobody up', async () => {
    const table = await Table.open({ limits: { queueBytes: 10_000 } })
    const bob = await table.called('SUBSCRIBER SPORTS')
    const cem = await table.called('SUBSCRIBER SPORTS')
    const ann = await table.called('PUBLISHER SPORTS')
    bob.wire.pause()
    for (let i = 0; i < 50; i++) {
      ann.says(`${i} ${'x'.repeat(1000)}`)
      await table.settle()
    }
    expect(await cem.takes()).toHaveLength(50)
    bob.wire.resume()
    const heard = await bob.takes()
    expect(heard.length).toBeGreaterThan(5)
    expect(heard.length + table.broker.counters.droppedSlow).toBe(50)
    ann.says('and on')
    await bob.hears('[SPORTS] and on')
  })

  it('with a name loses nothing', async () => {
    const table = await Table.open({ limits: { queueBytes: 10_000 } })
    const bob = await table.called('SUBSCRIBER SPORTS AS bob')
    const ann = await table.called('PUBLISHER SPORTS')
    bob.wire.pause()
    const all = Array.from({ length: 50 }, (_, i) => `${i} ${'x'.repeat(1000)}`)
    for (const text of all) {
      ann.says(text)
      await table.settle()
    }
    expect(bob.wire.other.queued).toBeLessThan(20_000)
    bob.wire.resume()
    await table.runtime.pass(1000)
    expect(await bob.takes()).toEqual(all.map((text) => `[SPORTS] ${text}`))
  })

  it('is not who comes late: nothing is owed from before', async () => {
    const table = await Table.open({ limits: { tailBytes: 2_000 } })
    const ann = await table.called('PUBLISHER SPORTS')
    for (let i = 0; i < 20; i++) {
      ann.says('x'.repeat(1000))
      await table.settle()
    }
    for (const line of ['SUBSCRIBER SPORTS', 'SUBSCRIBER SPORTS AS bob', 'PUBLISHER NEWS']) {
      await (await table.called(line)).hearsNothing()
    }
    expect(table.broker.counters.droppedOverrun).toBe(0)
  })

  it('of answers is not read any more until it reads them', async () => {
    const table = await Table.open({ limits: { queueBytes: 10_000 } })
    const c = await table.called('hello')
    c.wire.pause()
    for (let i = 0; i < 30; i++) {
      c.says('HELP')
      await table.settle()
    }
    expect(c.wire.other.queued).toBeLessThan(15_000)
    expect(c.wire.other.paused).toBe(true)
    c.wire.resume()
    const heard = await c.takes()
    expect(heard.filter((line) => line.startsWith('OK that is all'))).toHaveLength(30)
  })
})
