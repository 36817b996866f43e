// Shared groups with members at several nodes: where a group begins, who gets what when nodes and members
// go, and when its record ends.

import { afterEach, describe, expect, test } from 'vitest'
import { EngineError } from '../../src/core/engine.ts'
import type { QoS } from '../../src/core/types.ts'
import { Nodes, type Visit } from '../support/nodes.ts'
import type { FakeLink } from './house.ts'

const RECORD = '\u0000share/g/q'

describe('a shared group at several nodes', () => {
  let nodes: Nodes
  afterEach(() => nodes.stop())

  /** A client comes and is a member from now on. */
  async function joins(
    index: number,
    clientId: string,
    qos: QoS = 1,
    visit: Visit = {},
  ): Promise<FakeLink> {
    const link = await nodes.comes(index, clientId, visit)
    nodes.subscribe(index, link, '$share/g/q', qos)
    return link
  }

  /** At QoS 2: bob, at the node that owns the group, has no room; ann, at the first, has. */
  async function onlyAnnHasRoom(count: number): Promise<{ ann: FakeLink; bob: FakeLink }> {
    nodes = await Nodes.start(count)
    const bob = await joins(1, 'bob', 2)
    await nodes.pass(5_000)
    const ann = await joins(0, 'ann', 2)
    await nodes.pass(2_000)
    bob.congested = true
    return { ann, bob }
  }

  test('begins with its first member, also where that one’s node could tell nobody', async () => {
    nodes = await Nodes.start(2)
    const ann = await joins(0, 'ann')
    await nodes.pass(100)
    nodes.node(0).engine.cut = true
    await nodes.store(1, 'q', 'early')
    const bob = await joins(1, 'bob')
    await nodes.pass(5_000)
    expect(nodes.servers.sessions.get(RECORD)?.node).toBe('n1')
    nodes.node(0).engine.cut = false
    await nodes.pass(5_000)
    expect([...ann.hears(), ...bob.hears()]).toEqual(['early'])
  })

  test('lends a message to nobody before its record says to whom', async () => {
    nodes = await Nodes.start(2)
    const ann = await joins(0, 'ann')
    await nodes.pass(5_000)
    nodes.node(0).engine.save = () => new Promise(() => {})
    await nodes.store(1, 'q', '1')
    await nodes.pass(5_000)
    expect(ann.hears()).toEqual([])
  })

  test('gives others what the members of a dead node did not acknowledge', async () => {
    nodes = await Nodes.start(2)
    const ann = await joins(0, 'ann')
    await nodes.pass(5_000)
    const bob = await joins(1, 'bob')
    await nodes.store(1, 'q', '1')
    await nodes.pass(1_000)
    expect(ann.hears()).toEqual(['1'])
    nodes.kill(0)
    await nodes.store(1, 'q', '2')
    await nodes.pass(10_000)
    expect(bob.hears()).toEqual(['2'])
    await nodes.pass(30_000)
    expect(bob.hears()).toEqual(['1'])
  })

  test('gives nobody else QoS 2 that is in the record of a dead node’s session', async () => {
    const { ann, bob } = await onlyAnnHasRoom(2)
    await nodes.store(1, 'q', '1', 2)
    await nodes.pass(1_000)
    expect(ann.hears()).toEqual(['1'])
    nodes.kill(0)
    bob.congested = false
    await nodes.pass(60_000)
    expect(bob.hears()).toEqual([])
    const back = await nodes.comes(1, 'ann')
    await nodes.pass(1_000)
    expect(back.sent).toMatchObject([{ payload: '1', qos: 2, duplicate: true }])
  })

  test('gives nobody else QoS 2 that its member completed elsewhere before its node was dead', async () => {
    const { bob } = await onlyAnnHasRoom(3)
    nodes.node(0).engine.cast = () => {}
    await nodes.store(1, 'q', '1', 2)
    await nodes.pass(200)
    nodes.kill(0)
    const back = await nodes.comes(2, 'ann')
    await nodes.pass(2_000)
    expect(back.hears()).toEqual(['1'])
    back.session?.received(1, false)
    await nodes.pass(200)
    back.session?.completed(1)
    back.congested = true
    bob.congested = false
    await nodes.pass(60_000)
    expect(bob.hears()).toEqual([])
  })

  test('sends QoS 2 only once the group knows that the member has it', async () => {
    const { ann } = await onlyAnnHasRoom(2)
    nodes.node(0).engine.cast = () => {}
    await nodes.store(1, 'q', '1', 2)
    await nodes.pass(2_000)
    expect(ann.hears()).toEqual([])
    expect(nodes.servers.sessions.get('ann')?.flow?.sending).toMatchObject([{ with: 'g/q' }])
  })

  test('gives nobody else QoS 2 that a record holds whose save was not answered', async () => {
    const { ann, bob } = await onlyAnnHasRoom(2)
    const { engine } = nodes.node(0)
    const save = engine.save.bind(engine)
    engine.save = async (saves) => {
      await save(saves)
      if (!saves.some(({ flow }) => flow?.sending.some((run) => run.with === 'g/q'))) return
      engine.save = save
      engine.cut = true
      throw new EngineError('down', 'no answer')
    }
    await nodes.store(1, 'q', '1', 2)
    await nodes.pass(15_000)
    expect(ann.closed).toContain('engine-lost')
    engine.cut = false
    bob.congested = false
    await nodes.pass(10_000)
    expect(bob.hears()).toEqual([])
    const back = await nodes.comes(1, 'ann')
    await nodes.pass(10_000)
    expect([...back.hears(), ...bob.hears()]).toEqual(['1'])
  })

  test('goes on at another node while its owner stands still, which gives nothing twice', async () => {
    nodes = await Nodes.start(2)
    const ann = await joins(0, 'ann')
    await nodes.pass(5_000)
    const bob = await joins(1, 'bob')
    await nodes.pass(1_000)
    nodes.pauses(0)
    await nodes.store(1, 'q', '1')
    await nodes.pass(8_000)
    expect(bob.hears()).toEqual(['1'])
    nodes.goesOn(0)
    await nodes.pass(5_000)
    expect(ann.hears()).toEqual([])
    expect(nodes.servers.sessions.get(RECORD)?.node).toBe('n1')
  })

  test('has members again at a node that stood still and noticed as it was heard', async () => {
    nodes = await Nodes.start(2)
    const ann = await joins(0, 'ann')
    await nodes.pass(5_000)
    // It is being answered that it lives: that is what it hears first when it goes on.
    const said = nodes.servers.cards.get('n0')?.seq
    while (nodes.servers.cards.get('n0')?.seq === said) await nodes.clock.turn(Infinity)
    nodes.pauses(0)
    await nodes.pass(15_000)
    nodes.goesOn(0)
    await nodes.pass(10_000)
    const back = await nodes.comes(0, 'ann')
    await nodes.store(1, 'q', '1')
    await nodes.pass(10_000)
    expect(ann.closed).toContain('engine-lost')
    expect(back.hears()).toEqual(['1'])
  })

  test('ends when nobody is left, and not while a member is away', async () => {
    nodes = await Nodes.start(2)
    const ann = await joins(0, 'ann')
    await nodes.pass(5_000)
    nodes.goes(0, ann)
    await nodes.pass(60_000)
    expect(nodes.servers.sessions.get(RECORD)?.ended).toBe(false)
    const back = await nodes.comes(0, 'ann')
    nodes.unsubscribe(0, back, '$share/g/q')
    if (back.session !== null) await nodes.done(nodes.broker(0).saver.profile(back.session))
    await nodes.pass(60_000)
    expect(nodes.servers.sessions.get(RECORD)?.ended).toBe(true)
  })

  test('is left in order by a node that ends: nothing comes twice, nothing more is said', async () => {
    nodes = await Nodes.start(2)
    const ann = await joins(0, 'ann')
    await nodes.pass(5_000)
    expect(nodes.servers.sessions.get(RECORD)?.node).toBe('n0')
    const bob = await joins(1, 'bob')
    await nodes.pass(5_000)
    await nodes.store(0, 'q', '1')
    await nodes.pass(1_000)
    expect(ann.hears()).toEqual(['1'])
    ann.acks(1)
    const { engine } = nodes.node(0)
    const after: string[] = []
    await nodes.done(nodes.broker(0).close('ends'))
    engine.cast = () => after.push('cast')
    engine.claim = () => {
      after.push('claim')
      return new Promise(() => {})
    }
    await nodes.pass(60_000)
    expect(after).toEqual([])
    expect(bob.hears()).toEqual([])
    await nodes.store(1, 'q', '2')
    await nodes.pass(1_000)
    expect(bob.hears()).toEqual(['2'])
  })

  test('ends also when its owner and all its members died', async () => {
    nodes = await Nodes.start(2)
    await joins(0, 'ann', 1, { expiry: 0, clean: true })
    await nodes.pass(5_000)
    expect(nodes.servers.sessions.get(RECORD)?.node).toBe('n0')
    nodes.kill(0)
    await nodes.pass(120_000)
    expect(nodes.servers.sessions.get(RECORD)?.ended).toBe(true)
  })
})
