// A node that is to end, among others: its clients are sent to them one after the other.

import { afterEach, describe, expect, test } from 'vitest'
import { Farewell } from '../../src/core/farewell.ts'
import { Nodes } from '../support/nodes.ts'
import { type FakeLink, House } from './house.ts'

describe('goodbyes', () => {
  let nodes: Nodes
  let links: FakeLink[]
  let watcher: FakeLink
  afterEach(() => nodes.stop())

  /** So many clients at the first of two nodes; whoever watches wills is at the other. */
  async function start(count: number): Promise<void> {
    nodes = await Nodes.start(2)
    watcher = await nodes.comes(1, 'watcher')
    nodes.subscribe(1, watcher, 'will/#', 1)
    links = []
    for (let i = 0; i < count; i++) links.push(await nodes.comes(0, `c${i}`, { will: {} }))
    await nodes.pass(1_000)
  }

  function drains(ms: number): Farewell {
    return new Farewell(nodes.broker(0), ms, 'ends')
  }

  function told(): number {
    return links.filter(({ closed }) => closed.length > 0).length
  }

  test('nobody in the first half of the time, then evenly', async () => {
    await start(100)
    drains(4_000)
    await nodes.pass(1_900)
    expect(told()).toBe(0)
    const counts: number[] = []
    for (let i = 0; i < 4; i++) {
      await nodes.pass(500)
      counts.push(told())
    }
    for (const [i, count] of counts.entries()) {
      expect(Math.abs(count - 20 - 25 * i)).toBeLessThanOrEqual(5)
    }
    await nodes.pass(500)
    expect(told()).toBe(100)
    expect(new Set(links.flatMap(({ closed }) => closed))).toEqual(new Set(['use-another-server']))
  })

  test('who is told finds its session elsewhere, and no will is published', async () => {
    await start(20)
    for (const link of links) nodes.subscribe(0, link, 'a', 1)
    drains(2_000)
    const gone = new Map<number, FakeLink>()
    while (gone.size < 20) {
      await nodes.pass(50)
      for (const [i, { closed }] of links.entries()) {
        if (closed.length === 0 || gone.has(i)) continue
        await nodes.store(1, 'a', `to ${i}`)
        gone.set(i, await nodes.comes(1, `c${i}`, { will: {} }))
        expect(nodes.present).toBe(true)
      }
    }
    await nodes.pass(1_000)
    for (const [i, link] of gone) expect(link.hears()).toContain(`to ${i}`)
    await nodes.done(nodes.broker(0).close('ends'))
    await nodes.pass(60_000)
    expect(watcher.hears()).toEqual([])
  })

  test('who comes back all the same is told at the end', async () => {
    await start(4)
    drains(2_000)
    while (told() === 0) await nodes.pass(10)
    const [first] = links.filter(({ closed }) => closed.length > 0)
    const again = await nodes.comes(0, first?.clientId ?? '', { will: {} })
    await nodes.pass(1_500)
    expect(told()).toBe(4)
    expect(again.closed).toEqual([])
    await nodes.done(nodes.broker(0).close('ends'))
    expect(again.closed).toEqual(['use-another-server'])
    // It was not lost, however long ago it was told first.
    await nodes.comes(1, again.clientId, { will: {} })
    await nodes.pass(60_000)
    expect(watcher.hears().filter((text) => text === `will of ${again.clientId}`)).toEqual([])
  })

  test('the will of a client that comes back and is then lost is published', async () => {
    await start(1)
    drains(1_000)
    while (told() === 0) await nodes.pass(10)
    const again = await nodes.comes(0, 'c0', { will: {} })
    nodes.goes(0, again)
    await nodes.pass(1_000)
    expect(watcher.hears()).toEqual(['will of c0'])
  })

  test('who is in a hurry tells all that are left at once', async () => {
    await start(100)
    const farewell = drains(4_000)
    await nodes.pass(3_000)
    const before = told()
    expect(before).toBeLessThan(60)
    farewell.stop()
    await nodes.pass(3_000)
    // Those of the last lot, of whom that is stored first.
    expect(told()).toBeLessThanOrEqual(before + 3)
    await nodes.done(nodes.broker(0).close('ends'))
    expect(told()).toBe(100)
  })
})

test('a server of its own sends nobody away before it ends: there is nowhere to go', async () => {
  const house = await House.open({ engine: {} })
  const ann = await house.comes('ann')
  new Farewell(house.broker, 1_000, 'ends')
  await house.passes(10_000)
  expect(ann.closed).toEqual([])
})
