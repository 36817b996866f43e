// QoS 0 messages for shared groups whose members are at several nodes: each reaches one member, wherever it was
// published.

import { afterEach, describe, expect, test } from 'vitest'
import { Nodes } from '../support/nodes.ts'
import type { FakeLink } from './house.ts'

describe('a QoS 0 message for a shared group', () => {
  let nodes: Nodes
  afterEach(() => nodes.stop())

  /** A member of the group at that node. */
  async function member(index: number, id: string, filter = '$share/g/q/+'): Promise<FakeLink> {
    const link = await nodes.comes(index, id)
    nodes.subscribe(index, link, filter, 0)
    await nodes.pass(600)
    return link
  }

  async function publishes(index: number, from: number, until: number): Promise<string[]> {
    const texts = Array.from({ length: until - from }, (_, i) => `${from + i}`)
    for (const text of texts) nodes.publish(index, 'q/1', text)
    await nodes.pass(600)
    return texts
  }

  function byNumber(...heard: string[][]): string[] {
    return heard.flat().sort((a, b) => Number(a) - Number(b))
  }

  test('goes to members at other nodes where none is here, each to one, and the more the more there are', async () => {
    nodes = await Nodes.start(3)
    const ann = await member(1, 'ann')
    const [bob, cyd, dan] = [await member(2, 'bob'), await member(2, 'cyd'), await member(2, 'dan')]
    const said = await publishes(0, 0, 40)
    const heard = [ann, bob, cyd, dan].map((link) => link.hears())
    expect(byNumber(...heard)).toEqual(said)
    expect(heard.map(({ length }) => length)).toEqual([10, 10, 10, 10])
  })

  test('stays where a member is', async () => {
    nodes = await Nodes.start(2)
    const [ann, bob] = [await member(0, 'ann'), await member(1, 'bob')]
    const before = nodes.casts
    const said = await publishes(0, 0, 3)
    expect(ann.hears()).toEqual(said)
    expect(bob.hears()).toEqual([])
    expect(nodes.casts - before).toBeLessThanOrEqual(4)
  })

  test('goes elsewhere while the members that are here are not connected', async () => {
    nodes = await Nodes.start(2)
    const [ann, bob] = [await member(0, 'ann'), await member(1, 'bob')]
    nodes.goes(0, ann)
    const said = await publishes(0, 0, 3)
    expect(bob.hears()).toEqual(said)
    const back = await nodes.comes(0, 'ann')
    await publishes(0, 3, 5)
    expect(back.hears()).toEqual(['3', '4'])
    expect(nodes.broker(0).counters.droppedNoMember).toBe(0)
  })

  test('is not sent to who has left, at whatever node', async () => {
    nodes = await Nodes.start(3)
    const [ann, bob] = [await member(1, 'ann'), await member(2, 'bob')]
    nodes.goes(1, ann)
    await nodes.pass(600)
    expect(await publishes(0, 0, 4)).toEqual(bob.hears())
    nodes.unsubscribe(2, bob, '$share/g/q/+')
    await nodes.pass(600)
    await publishes(0, 4, 6)
    expect(bob.hears()).toEqual([])
    const back = await nodes.comes(1, 'ann')
    await nodes.pass(600)
    expect(await publishes(0, 6, 8)).toEqual(back.hears())
  })

  test('reaches one member of each group, and every other subscriber', async () => {
    nodes = await Nodes.start(2)
    const [ann, bob] = [await member(1, 'ann'), await member(1, 'bob', '$share/h/q/#')]
    const cyd = await member(1, 'cyd', 'q/1')
    const said = await publishes(0, 0, 3)
    for (const link of [ann, bob, cyd]) expect(link.hears()).toEqual(said)
  })

  test('a run of many is handed out in parts, in order', async () => {
    nodes = await Nodes.start(3)
    const [ann, bob] = [await member(1, 'ann'), await member(2, 'bob')]
    const broker = nodes.broker(0)
    const texts = Array.from({ length: 40 }, (_, i) => `${i}`)
    const run = texts.map((text) => broker.message({ topic: 'q/1', payload: Buffer.from(text) }))
    nodes.clock.at(0, () => broker.passMessages(run, 'pub'))
    await nodes.pass(600)
    const heard = [ann.hears(), bob.hears()]
    expect(byNumber(...heard)).toEqual(texts)
    expect(heard.map((one) => byNumber(one))).toEqual(heard)
    expect(heard.map(({ length }) => length).sort()).toEqual([16, 24])
  })

  test('a node that has members and nothing else is sent nothing else', async () => {
    nodes = await Nodes.start(2)
    await member(1, 'ann')
    await nodes.pass(5_000)
    const before = nodes.casts
    nodes.publish(0, 'q', 'for nobody')
    nodes.publish(0, 'q/1/2', 'for nobody')
    await nodes.pass(10)
    expect(nodes.casts).toBe(before)
  })

  test('is lost, once, with a node that dies: when that is known, others get the next ones', async () => {
    nodes = await Nodes.start(3)
    const ann = await member(1, 'ann')
    await member(2, 'bob')
    nodes.kill(2)
    await nodes.pass(60_000)
    expect(await publishes(0, 0, 4)).toEqual(ann.hears())
  })

  test('reaches members that a node came to know of late', async () => {
    nodes = await Nodes.start(1)
    const ann = await member(0, 'ann')
    await nodes.boot()
    await nodes.pass(5_000)
    expect(await publishes(1, 0, 2)).toEqual(ann.hears())
    // A change that got lost is asked for.
    nodes.losesNextCasts(1)
    nodes.goes(0, ann)
    await nodes.pass(300)
    const bob = await member(0, 'bob', '$share/other/q/+')
    expect(await publishes(1, 2, 4)).toEqual(bob.hears())
    expect(ann.hears()).toEqual([])
  })

  test('the figures of a server are its own', async () => {
    nodes = await Nodes.start(2)
    const ann = await member(1, 'ann', '$share/g/$SYS/#')
    nodes.publish(0, '$SYS/broker/uptime', '1')
    await nodes.pass(600)
    expect(ann.hears()).toEqual([])
  })

  test('how many members there are is told when it makes a difference', async () => {
    nodes = await Nodes.start(2)
    for (let i = 0; i < 20; i++) await member(1, `member ${i}`)
    await nodes.pass(5_000)
    let told = 0
    const { engine } = nodes.node(1)
    const cast = engine.cast.bind(engine)
    engine.cast = (node, bytes) => {
      if (bytes[0] === 8) told++
      cast(node, bytes)
    }
    await member(1, 'one more')
    expect(told).toBe(0)
    for (let i = 0; i < 4; i++) await member(1, `and ${i}`)
    expect(told).toBe(1)
  })
})
