// Saves that only spare duplicates: how many at once and how soon, and that nothing is given away without them.

import { afterEach, describe, expect, test } from 'vitest'
import { LazySaves } from '../../src/core/lazy-saves.ts'
import type { Recorded } from '../../src/core/saver.ts'
import { ManualRuntime } from '../support/manual-runtime.ts'
import { Nodes } from '../support/nodes.ts'
import { type FakeLink, House } from './house.ts'

/** Sessions by number, those that were saved, and a switch for the engine. */
function clients(shared: boolean) {
  const runtime = new ManualRuntime()
  const saved: number[] = []
  const engine = { away: false }
  const due = (one: number): void => {
    saved.push(one)
  }
  const lazy = new LazySaves<number>(runtime, { shared, isAway: () => engine.away, due })
  return { runtime, saved, engine, lazy }
}

function count(from: number, until: number): number[] {
  return Array.from({ length: until - from }, (_, i) => from + i)
}

describe('saves that only spare duplicates', () => {
  test('an engine of its own takes all at once, within a quarter of a second', async () => {
    const { runtime, saved, lazy } = clients(false)
    for (const one of count(0, 5_000)) lazy.add(one)
    await runtime.pass(249)
    expect(saved).toEqual([])
    await runtime.pass(1)
    expect(saved).toEqual(count(0, 5_000))
    expect(runtime.timers).toBe(0)
  })

  test('a shared engine gets 500 a second, the oldest first', async () => {
    const { runtime, saved, lazy } = clients(true)
    for (const one of count(0, 1_000)) lazy.add(one)
    await runtime.pass(250)
    expect(saved).toEqual(count(0, 125))
    await runtime.pass(750)
    expect(saved).toEqual(count(0, 500))
    // Who was saved and acknowledges again waits behind the others; who waits keeps its place.
    lazy.add(0)
    lazy.add(500)
    await runtime.pass(1_250)
    expect(saved).toEqual([...count(0, 1_000), 0])
    expect(runtime.timers).toBe(0)
  })

  test('nobody waits longer than 30 s, however many there are', async () => {
    const { runtime, saved, lazy } = clients(true)
    for (const one of count(0, 40_000)) lazy.add(one)
    await runtime.pass(10_000)
    for (const one of count(40_000, 41_000)) lazy.add(one)
    await runtime.pass(19_750)
    expect(saved.length).toBe(14_875)
    await runtime.pass(250)
    expect(saved).toEqual(count(0, 40_000))
    expect(lazy.size).toBe(1_000)
  })

  test('who was saved for another reason is not saved again', async () => {
    const { runtime, saved, lazy } = clients(true)
    for (const one of [1, 2, 3]) lazy.add(one)
    lazy.delete(2)
    await runtime.pass(250)
    expect(saved).toEqual([1, 3])
    expect(lazy.size).toBe(0)
  })

  test('while the engine is away all wait, and keep their places', async () => {
    const { runtime, saved, engine, lazy } = clients(true)
    for (const one of count(0, 200)) lazy.add(one)
    engine.away = true
    await runtime.pass(5_000)
    expect(saved).toEqual([])
    engine.away = false
    await runtime.pass(250)
    expect(saved).toEqual(count(0, 125))
  })

  test('at the end all are saved at once', () => {
    const { saved, lazy } = clients(true)
    for (const one of count(0, 1_000)) lazy.add(one)
    lazy.flush()
    expect(saved).toEqual(count(0, 1_000))
    expect(lazy.size).toBe(0)
  })
})

describe('a node where many clients acknowledge', () => {
  let nodes: Nodes
  afterEach(() => nodes.stop())

  /** As many sessions that acknowledged a moment ago; nothing of them is ever written. */
  function crowd(size: number): void {
    const { saver } = nodes.broker(0)
    for (const id of count(0, size)) {
      saver.lazily({ id: `${id}`, claiming: true, gone: false } as Recorded)
    }
  }

  /** A client that acknowledged one message of two, and whose record does not say so. */
  async function behind(): Promise<FakeLink> {
    nodes = await Nodes.start(2)
    const ann = await nodes.comes(0, 'ann')
    nodes.subscribe(0, ann, 'a', 1)
    await nodes.pass(1_000)
    await nodes.store(1, 'a', '1')
    await nodes.store(1, 'a', '2')
    await nodes.pass(1_000)
    crowd(15_000)
    expect(ann.hears()).toEqual(['1', '2'])
    ann.acks(1)
    await nodes.pass(5_000)
    expect(nodes.broker(0).saver.waiting).toBeGreaterThan(10_000)
    expect(nodes.servers.sessions.get('ann')?.flow?.cursor).toBeLessThan(nodes.servers.last)
    return ann
  }

  test('who goes to another node finds what it acknowledged acknowledged', async () => {
    await behind()
    const there = await nodes.comes(1, 'ann')
    await nodes.pass(1_000)
    expect(there.hears()).toEqual(['2'])
  })

  test('a node that ends saves all of them first', async () => {
    await behind()
    nodes
      .broker(0)
      .saver.flush()
      .catch(() => {})
    await nodes.pass(1_000)
    nodes.kill(0)
    const there = await nodes.comes(1, 'ann')
    await nodes.pass(1_000)
    expect(there.hears()).toEqual(['2'])
  })

  test('a node that dies costs a message twice and loses none', async () => {
    await behind()
    nodes.kill(0)
    const there = await nodes.comes(1, 'ann')
    await nodes.pass(1_000)
    expect(there.hears()).toEqual(['1', '2'])
  })

  test('what was acknowledged is forgotten, also while a record names it: nobody misses it', async () => {
    await behind()
    for (let i = 0; i < 10; i++) {
      await nodes.store(1, 'b', `${i}`)
      await nodes.pass(1_500)
    }
    expect(nodes.servers.sessions.get('ann')?.flow?.cursor).toBeLessThan(nodes.servers.floor)
    nodes.kill(0)
    const there = await nodes.comes(1, 'ann')
    await nodes.pass(1_000)
    expect(there.hears()).toEqual(['2'])
    expect(nodes.reports).toEqual([])
  })
})

test('a server of its own saves what it is told to save lazily in one batch', async () => {
  const house = await House.open({ engine: {} })
  const links = await Promise.all(count(0, 300).map((id) => house.comes(`${id}`, { expiry: 100 })))
  let batches = 0
  const save = house.engine.save.bind(house.engine)
  house.engine.save = (saves) => {
    batches++
    return save(saves)
  }
  for (const { session } of links) if (session !== null) house.broker.saver.lazily(session)
  await house.passes(300)
  expect(batches).toBe(1)
  expect(house.broker.saver.waiting).toBe(0)
})
