// Clients that begin clean while the engine is away: what they came to replace is over once it is back, also
// where they have left by then, and never what a client made at another node after them.

import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Nodes } from '../support/nodes.ts'
import type { FakeLink } from './house.ts'

const CLEAN = { clean: true, expiry: 0 } as const

describe('a clean start while the engine is away', () => {
  let nodes: Nodes
  let watcher: FakeLink
  beforeEach(async () => {
    nodes = await Nodes.start(2)
    watcher = await nodes.comes(1, 'watcher')
    nodes.subscribe(1, watcher, 'will/#', 1)
    await nodes.pass(1_000)
  })
  afterEach(() => nodes.stop())

  /** A session that is owed 'a', of a client that is away. */
  async function sessionAt(index: number, will?: object): Promise<void> {
    const ann = await nodes.comes(index, 'ann', will === undefined ? {} : { will })
    nodes.subscribe(index, ann, 'a', 1)
    await nodes.pass(1_000)
    nodes.goes(index, ann)
    await nodes.pass(1_000)
  }

  async function serversGo(): Promise<void> {
    nodes.servers.away = true
    await nodes.pass(4_000)
  }

  async function serversReturn(): Promise<void> {
    nodes.servers.away = false
    await nodes.pass(3_000)
  }

  /** Whoever comes now finds nothing, and is sent nothing from before. */
  async function nothingIsLeft(index: number): Promise<void> {
    await nodes.store(1, 'a', 'for nobody')
    const ann = await nodes.comes(index, 'ann')
    await nodes.pass(1_000)
    expect(nodes.present).toBe(false)
    expect(ann.hears()).toEqual([])
  }

  test('the client comes twice: it is known to be here, and goes when it comes elsewhere', async () => {
    await serversGo()
    await nodes.comes(0, 'ann', CLEAN)
    const ann = await nodes.comes(0, 'ann', CLEAN)
    await serversReturn()
    expect(nodes.servers.sessions.get('ann')).toMatchObject({ node: 'n0', ended: false })
    await nodes.comes(1, 'ann', CLEAN)
    expect(ann.closed).toEqual(['session-taken-over'])
  })

  test('the client is still there: its session has taken the place of the earlier one', async () => {
    await sessionAt(1)
    await serversGo()
    const ann = await nodes.comes(0, 'ann', CLEAN)
    nodes.subscribe(0, ann, 'b', 0)
    await serversReturn()
    const { node, profile } = nodes.servers.sessions.get('ann') ?? {}
    expect(node).toBe('n0')
    expect(profile?.subscriptions.map(({ filter }) => filter)).toEqual(['b'])
    nodes.publish(1, 'b', 'hello')
    await nodes.store(1, 'a', 'for nobody')
    await nodes.pass(100)
    expect(ann.hears()).toEqual(['hello'])
    nodes.goes(0, ann)
    await nodes.pass(1_000)
    await nothingIsLeft(1)
  })

  for (const [where, owner] of [
    ['the node that it came to', 0],
    ['another node', 1],
  ] as const) {
    test(`the client has left: the session it had at ${where} is over`, async () => {
      await sessionAt(owner)
      await serversGo()
      nodes.goes(0, await nodes.comes(0, 'ann', CLEAN))
      await serversReturn()
      expect(nodes.servers.sessions.get('ann')?.ended).toBe(true)
      await nodes.pass(60_000)
      await nothingIsLeft(1)
    })
  }

  test('the client has left, and nothing was stored: nothing is', async () => {
    await serversGo()
    nodes.goes(0, await nodes.comes(0, 'ann', CLEAN))
    await serversReturn()
    expect(nodes.servers.sessions.get('ann')?.ended).toBe(true)
  })

  test('the client leaves while its session is being claimed', async () => {
    await sessionAt(1)
    await serversGo()
    const ann = await nodes.comes(0, 'ann', CLEAN)
    nodes.servers.away = false
    while (nodes.broker(0).state !== 'up') await nodes.pass(1)
    nodes.goes(0, ann)
    await nodes.pass(3_000)
    expect(nodes.servers.sessions.get('ann')?.ended).toBe(true)
  })

  test('the will that waited is published once, when the session is over', async () => {
    await sessionAt(1, { delay: 600 })
    await serversGo()
    nodes.goes(0, await nodes.comes(0, 'ann', CLEAN))
    await nodes.pass(1_000)
    expect(watcher.hears()).toEqual([])
    await serversReturn()
    expect(watcher.hears()).toEqual(['will of ann'])
    await nodes.pass(700_000)
    expect(watcher.hears()).toEqual([])
  })

  test('the client comes back and wants its session: the one before the clean start is not it', async () => {
    await sessionAt(1)
    await serversGo()
    nodes.goes(0, await nodes.comes(0, 'ann', CLEAN))
    nodes.servers.away = false
    while (nodes.broker(0).state !== 'up') await nodes.pass(1)
    const ann = await nodes.comes(0, 'ann')
    expect(nodes.present).toBe(false)
    nodes.subscribe(0, ann, 'b', 1)
    await nodes.pass(60_000)
    await nodes.store(1, 'b', '1')
    await nodes.pass(1_000)
    expect(ann.hears()).toEqual(['1'])
    expect(ann.closed).toEqual([])
  })

  test('a session that its client made later at another node stays', async () => {
    await sessionAt(1)
    nodes.node(0).engine.cut = true
    await nodes.pass(4_000)
    nodes.goes(0, await nodes.comes(0, 'ann', CLEAN))
    await nodes.pass(1_000)
    const ann = await nodes.comes(1, 'ann', { clean: true })
    nodes.subscribe(1, ann, 'b', 1)
    nodes.node(0).engine.cut = false
    await nodes.pass(60_000)
    await nodes.store(0, 'b', '1')
    await nodes.pass(1_000)
    expect(ann.closed).toEqual([])
    expect(ann.hears()).toEqual(['1'])
    expect(nodes.servers.sessions.get('ann')?.node).toBe('n1')
  })

  test('a client that came to another node later is not disturbed: the one that is here goes', async () => {
    nodes.node(0).engine.cut = true
    await nodes.pass(4_000)
    const here = await nodes.comes(0, 'ann', { ...CLEAN, will: { qos: 0 } })
    await nodes.pass(1_000)
    const there = await nodes.comes(1, 'ann', CLEAN)
    nodes.node(0).engine.cut = false
    await nodes.pass(10_000)
    expect(here.closed).toEqual(['session-taken-over'])
    expect(there.closed).toEqual([])
    expect(nodes.servers.sessions.get('ann')?.node).toBe('n1')
    expect(watcher.hears()).toEqual(['will of ann'])
  })

  test('what its earlier node saves after the outage makes the earlier session no newer', async () => {
    const earlier = await nodes.comes(1, 'ann')
    nodes.subscribe(1, earlier, 'a', 1)
    await nodes.store(1, 'a', '1')
    await nodes.pass(1_000)
    await serversGo()
    nodes.goes(0, await nodes.comes(0, 'ann', CLEAN))
    await nodes.pass(1_000)
    // Its other device acknowledges and leaves; that node is the first to reach the servers.
    earlier.acks(1)
    nodes.goes(1, earlier)
    nodes.node(0).engine.cut = true
    await serversReturn()
    nodes.node(0).engine.cut = false
    await nodes.pass(3_000)
    expect(nodes.servers.sessions.get('ann')?.ended).toBe(true)
  })
})
