// Sessions, wills and shared groups of several nodes over one log: who owns what, and what a client
// finds when it comes to another node.

import { afterEach, describe, expect, test } from 'vitest'
import { Nodes } from '../support/nodes.ts'

describe('several nodes', () => {
  let nodes: Nodes
  afterEach(() => nodes.stop())

  test('a client finds its session and what it missed at another node', async () => {
    nodes = await Nodes.start(2)
    const there = await nodes.comes(0, 'ann')
    nodes.subscribe(0, there, 'a', 1)
    await nodes.pass(100)
    nodes.goes(0, there)
    await nodes.store(1, 'a', 'missed')
    const here = await nodes.comes(1, 'ann')
    await nodes.pass(500)
    expect(nodes.present).toBe(true)
    expect(here.hears()).toEqual(['missed'])
    expect(nodes.broker(0).sessions.get('ann')).toBeNull()
  })

  test('one client identifier is at one node: the earlier is told so', async () => {
    nodes = await Nodes.start(2)
    const first = await nodes.comes(0, 'ann', { expiry: 0, clean: true })
    await nodes.comes(1, 'ann', { expiry: 0, clean: true })
    expect(first.closed).toEqual(['session-taken-over'])
  })

  test('the will of a client whose node died is published once', async () => {
    nodes = await Nodes.start(3)
    const watcher = await nodes.comes(2, 'watcher')
    nodes.subscribe(2, watcher, 'will/#', 1)
    await nodes.comes(0, 'ann', { expiry: 0, clean: true, will: {} })
    await nodes.pass(1_000)
    nodes.kill(0)
    await nodes.pass(10_000)
    expect(watcher.hears()).toEqual([])
    await nodes.pass(30_000)
    expect(watcher.hears()).toEqual(['will of ann'])
  })

  test('the will of a client that begins clean where it was is published once, although its node dies', async () => {
    nodes = await Nodes.start(2)
    const watcher = await nodes.comes(1, 'watcher')
    nodes.subscribe(1, watcher, 'will/#', 1)
    await nodes.comes(0, 'ann', { will: {} })
    await nodes.pass(1_000)
    nodes.node(0).engine.save = () => new Promise(() => {})
    void nodes.comes(0, 'ann', { clean: true, expiry: 0 }).catch(() => {})
    await nodes.pass(1_000)
    nodes.kill(0)
    await nodes.pass(60_000)
    expect(watcher.hears()).toEqual(['will of ann'])
  })

  test('a will that a dead node left is published once, although the node that finds it dies, too', async () => {
    nodes = await Nodes.start(3)
    const watcher = await nodes.comes(2, 'watcher')
    nodes.subscribe(2, watcher, 'will/#', 1)
    await nodes.comes(0, 'ann', { clean: true, expiry: 0, will: {} })
    await nodes.pass(1_000)
    nodes.kill(0)
    nodes.node(1).engine.save = () => new Promise(() => {})
    void nodes.comes(1, 'ann', { clean: true, expiry: 0 }).catch(() => {})
    await nodes.pass(3_000)
    nodes.kill(1)
    await nodes.pass(60_000)
    expect(watcher.hears()).toEqual(['will of ann'])
  })

  test('no will where only the servers were away', async () => {
    nodes = await Nodes.start(2)
    const watcher = await nodes.comes(1, 'watcher', { expiry: 0, clean: true })
    nodes.subscribe(1, watcher, 'will/#', 1)
    const ann = await nodes.comes(0, 'ann', { will: {} })
    nodes.servers.away = true
    await nodes.pass(40_000)
    expect(ann.closed).toEqual(['engine-lost'])
    nodes.servers.away = false
    await nodes.pass(5_000)
    await nodes.comes(1, 'ann', { will: {} })
    await nodes.pass(60_000)
    expect(watcher.hears()).toEqual([])
    expect(nodes.present).toBe(true)
  })

  test('while the servers are away who needs nothing of them comes, others are refused', async () => {
    nodes = await Nodes.start(1)
    nodes.servers.away = true
    await nodes.pass(5_000)
    const ann = await nodes.comes(0, 'ann', { clean: true, expiry: 0 })
    nodes.subscribe(0, ann, 'a', 0)
    nodes.publish(0, 'a', 'hello')
    await nodes.pass(100)
    expect(ann.hears()).toEqual(['hello'])
    await expect(nodes.comes(0, 'bob')).rejects.toMatchObject({ fault: 'down' })
    nodes.servers.away = false
    await nodes.pass(5_000)
    expect(nodes.servers.sessions.get('ann')?.node).toBe('n0')
  })

  test('each message of a shared group goes to one member, at whatever node', async () => {
    nodes = await Nodes.start(2)
    const ann = await nodes.comes(0, 'ann')
    const bob = await nodes.comes(1, 'bob')
    nodes.subscribe(0, ann, '$share/g/q', 1)
    nodes.subscribe(1, bob, '$share/g/q', 1)
    await nodes.pass(10_000)
    ann.congested = true
    await nodes.store(0, 'q', '1')
    await nodes.pass(2_000)
    expect(bob.hears()).toEqual(['1'])
    ann.congested = false
    bob.congested = true
    await nodes.pass(2_000)
    await nodes.store(1, 'q', '2')
    await nodes.pass(2_000)
    expect(ann.hears()).toEqual(['2'])
    expect(bob.hears()).toEqual([])
  })
})
