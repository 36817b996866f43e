// Several nodes in one process: what a client at one node sees of what happens at the others.

import { afterEach, describe, expect, test } from 'vitest'
import { Nodes } from '../support/nodes.ts'

describe('QoS 0 between nodes', () => {
  let nodes: Nodes
  afterEach(() => nodes.stop())

  test('goes to who listens at another node, in order, once', async () => {
    nodes = await Nodes.start(3)
    const ann = await nodes.comes(0, 'ann')
    const bob = await nodes.comes(1, 'bob')
    nodes.subscribe(1, bob, 'a/+', 0)
    nodes.subscribe(0, ann, 'a/b', 0)
    await nodes.pass(100)
    for (const text of ['1', '2', '3']) nodes.publish(2, 'a/b', text)
    await nodes.pass(100)
    expect(bob.hears()).toEqual(['1', '2', '3'])
    expect(ann.hears()).toEqual(['1', '2', '3'])
  })

  test('goes nowhere that nobody listens', async () => {
    nodes = await Nodes.start(2)
    const bob = await nodes.comes(1, 'bob')
    nodes.subscribe(1, bob, 'a/b', 0)
    await nodes.pass(100)
    const before = nodes.casts
    nodes.publish(0, 'b/c', 'nobody')
    await nodes.pass(100)
    expect(nodes.casts).toBe(before)
    nodes.unsubscribe(1, bob, 'a/b')
    await nodes.pass(100)
    const after = nodes.casts
    nodes.publish(0, 'a/b', 'nobody')
    await nodes.pass(100)
    expect(nodes.casts).toBe(after)
  })

  test('reaches a node that came later, and from it', async () => {
    nodes = await Nodes.start(1)
    const ann = await nodes.comes(0, 'ann')
    nodes.subscribe(0, ann, '#', 0)
    await nodes.boot()
    await nodes.pass(5_000)
    nodes.publish(1, 'a', 'hello')
    await nodes.pass(100)
    expect(ann.hears()).toEqual(['hello'])
  })

  test('a change that was lost is asked for', async () => {
    nodes = await Nodes.start(2)
    const bob = await nodes.comes(1, 'bob')
    nodes.losesNextCasts(1)
    nodes.subscribe(1, bob, 'a', 0)
    nodes.subscribe(1, bob, 'b', 0)
    await nodes.pass(100)
    nodes.publish(0, 'a', 'now')
    await nodes.pass(100)
    expect(bob.hears()).toEqual(['now'])
  })

  test('the last change before a long silence may be lost, too', async () => {
    nodes = await Nodes.start(2)
    const bob = await nodes.comes(1, 'bob')
    await nodes.pass(1_000)
    nodes.losesNextCasts(1)
    nodes.subscribe(1, bob, 'a', 0)
    await nodes.pass(70_000)
    nodes.publish(0, 'a', 'now')
    await nodes.pass(100)
    expect(bob.hears()).toEqual(['now'])
  })

  test('what was subscribed while a node was cut off is known soon after', async () => {
    nodes = await Nodes.start(2)
    const ann = await nodes.comes(0, 'ann')
    const bob = await nodes.comes(1, 'bob')
    nodes.node(0).engine.cut = true
    await nodes.pass(4_000)
    nodes.subscribe(0, ann, 'a', 0)
    nodes.subscribe(1, bob, 'b', 0)
    nodes.node(0).engine.cut = false
    await nodes.pass(1_000)
    nodes.publish(1, 'a', 'to ann')
    nodes.publish(0, 'b', 'to bob')
    await nodes.pass(100)
    expect(ann.hears()).toEqual(['to ann'])
    expect(bob.hears()).toEqual(['to bob'])
  })

  test('a retained message is found at every node', async () => {
    nodes = await Nodes.start(2)
    nodes.publish(0, 'a/b', 'kept', true)
    await nodes.pass(1_000)
    expect(nodes.retained(0, 'a/b')).toBe('kept')
    expect(nodes.retained(1, 'a/b')).toBe('kept')
    nodes.publish(1, 'a/b', '', true)
    await nodes.pass(1_000)
    expect(nodes.retained(0, 'a/b')).toBeNull()
  })
})
