// A node that ends in order, among others: its clients were sent away and not lost, so nobody publishes their
// wills, whatever comes between the goodbye and what the records say of it.

import { afterEach, describe, expect, test } from 'vitest'
import { EVERYTHING } from '../../src/core/access.ts'
import { Nodes } from '../support/nodes.ts'
import type { FakeLink } from './house.ts'

describe('a node that ends in order', () => {
  let nodes: Nodes
  let watcher: FakeLink
  afterEach(() => nodes.stop())

  /** Three nodes; whoever watches wills is at the last. */
  async function start(): Promise<void> {
    nodes = await Nodes.start(3)
    watcher = await nodes.comes(2, 'watcher')
    nodes.subscribe(2, watcher, 'will/#', 1)
    await nodes.pass(1_000)
  }

  /** The client asks that node and leaves before it is answered. */
  async function givesUp(index: number, clientId: string, link: FakeLink): Promise<void> {
    const connecting = nodes.broker(index).sessions.connect({
      clientId,
      cleanStart: false,
      expiry: 3_600,
      will: null,
      user: '',
      access: EVERYTHING,
      link,
      abandoned: () => true,
    })
    await expect(nodes.done(connecting)).rejects.toThrow('left before its turn')
  }

  /** Nobody publishes its will before it comes back to that node, nor afterwards. */
  async function comesBackUnmourned(index: number, clientId: string): Promise<void> {
    await nodes.pass(20_000)
    expect(watcher.hears()).toEqual([])
    await nodes.comes(index, clientId, { will: {} })
    await nodes.pass(60_000)
    expect(watcher.hears()).toEqual([])
  }

  test('no will of a client that comes back elsewhere', async () => {
    await start()
    const ann = await nodes.comes(0, 'ann', { will: {} })
    await nodes.done(nodes.broker(0).close('ends'))
    expect(ann.closed).toEqual(['use-another-server'])
    await nodes.comes(1, 'ann', { will: {} })
    await nodes.pass(60_000)
    expect(nodes.present).toBe(true)
    expect(watcher.hears()).toEqual([])
  })

  test('nobody is told before the records say so', async () => {
    await start()
    const ann = await nodes.comes(0, 'ann', { will: {} })
    const closing = nodes.broker(0).close('ends')
    expect(ann.closed).toEqual([])
    expect(nodes.servers.sessions.get('ann')?.flow?.awaySince).toBe(0)
    while (ann.closed.length === 0) await nodes.pass(1)
    expect(nodes.servers.sessions.get('ann')?.flow?.awaySince).toBeGreaterThan(0)
    await nodes.done(closing)
  })

  test('the servers are slow: who is told before finds a node that still saves', async () => {
    await start()
    const ann = await nodes.comes(0, 'ann', { will: {} })
    const { engine } = nodes.node(0)
    const save = engine.save.bind(engine)
    // Everything it saves takes two seconds longer.
    engine.save = async (saves) => {
      await new Promise<void>((resolve) => nodes.node(0).runtime.after(2_000, resolve))
      return save(saves)
    }
    void nodes.broker(0).close('ends')
    while (ann.closed.length === 0) await nodes.pass(10)
    await givesUp(1, 'ann', ann)
    await comesBackUnmourned(1, 'ann')
  })

  test('a client that gives up waiting for another node is not lost either', async () => {
    await start()
    const ann = await nodes.comes(0, 'ann', { will: {} })
    // What the node did before it ended was not saved.
    nodes.kill(0)
    await givesUp(1, 'ann', ann)
    await comesBackUnmourned(2, 'ann')
  })

  test('no will of a session that ends with its connection, though its end was not stored', async () => {
    await start()
    const ann = await nodes.comes(0, 'ann', { expiry: 0, clean: true, will: {} })
    const { engine, runtime } = nodes.node(0)
    const save = engine.save.bind(engine)
    engine.save = (saves) =>
      saves.some(({ ended }) => ended) ? new Promise(() => {}) : save(saves)
    void nodes.broker(0).close('ends')
    await nodes.pass(3_000)
    expect(ann.closed).toEqual(['use-another-server'])
    engine.kill()
    runtime.kill()
    await nodes.pass(60_000)
    expect(watcher.hears()).toEqual([])
  })

  test('the node is not gone before the ends of its sessions are stored', async () => {
    await start()
    await nodes.comes(0, 'ann', { expiry: 0, clean: true, will: {} })
    const { engine, runtime } = nodes.node(0)
    const save = engine.save.bind(engine)
    engine.save = async (saves) => {
      await new Promise<void>((resolve) => runtime.after(500, resolve))
      return save(saves)
    }
    const closed = nodes.broker(0).close('ends')
    while (nodes.servers.cards.get('n0')?.left === false) await nodes.pass(1)
    expect(nodes.servers.sessions.get('ann')?.ended).toBe(true)
    await nodes.done(closed)
  })

  test('who comes too late is sent on, and its will is not left behind', async () => {
    await start()
    const late = nodes.comes(0, 'ann', { will: {} })
    late.catch(() => {})
    const closing = nodes.broker(0).close('ends')
    await expect(late).rejects.toThrow('this node is ending')
    await nodes.done(closing)
    await nodes.pass(60_000)
    expect(watcher.hears()).toEqual([])
  })

  test('who does not come back is mourned in the end', async () => {
    await start()
    await nodes.comes(0, 'ann', { will: {} })
    await nodes.done(nodes.broker(0).close('ends'))
    await nodes.pass(25_000)
    expect(watcher.hears()).toEqual([])
    await nodes.pass(20_000)
    expect(watcher.hears()).toEqual(['will of ann'])
  })
})
