// Who owns a session among several nodes on one NATS cluster: one of them, always; how it goes from one to the
// next when its owner is there, gone, hanging or out of reach.

import { expect, test } from 'vitest'
import { Cast } from '../../src/engine/nats/cast.ts'
import { Connection } from '../../src/engine/nats/connection.ts'
import { Names } from '../../src/engine/nats/options.ts'
import {
  faultOf,
  flowOf,
  message,
  PROFILE,
  record,
  resolveTopic,
  sessionsOf,
} from '../engine/contract.ts'
import { Gate } from '../support/nats.ts'
import { nodesForTests, until } from '../support/nats-nodes.ts'
import { describeWith } from '../support/programs.ts'

const runtime = { now: () => Date.now(), random: () => Math.random() }

describeWith(['nats-server'], 'owners of sessions', (programs) => {
  const field = nodesForTests(programs['nats-server'], 3)
  const { start } = field

  test('a session has one owner, whoever claims at the same moment', async () => {
    const [a, b] = [await start('a'), await start('b')]
    for (let round = 0; round < 25; round++) {
      const id = `client-${round}`
      const claims = await Promise.all([a.engine.claim(id), b.engine.claim(id)])
      const [first, second] = claims as [(typeof claims)[0], (typeof claims)[0]]
      expect(first.epoch).not.toBe(second.epoch)
      const saves = await Promise.all([
        faultOf(a.engine.save([{ id, epoch: first.epoch, profile: PROFILE }])),
        faultOf(b.engine.save([{ id, epoch: second.epoch, profile: PROFILE }])),
      ])
      // The later claim is the owner's.
      const winner = first.epoch > second.epoch ? 0 : 1
      expect(saves[winner]).toMatch(/^no fault/)
      expect(saves[1 - winner]).toBe('fenced')
    }
  })

  test('an owner that is there lets go first, and what it saves then is what the next one gets', async () => {
    const [a, b] = [await start('a'), await start('b')]
    const { epoch } = await a.engine.claim('ann')
    await a.engine.save([{ id: 'ann', epoch, profile: PROFILE, flow: flowOf(a.engine.log, 1) }])
    a.onKick = () => a.engine.save([{ id: 'ann', epoch, flow: flowOf(a.engine.log, 4711) }])
    const { stored, epoch: next } = await b.engine.claim('ann')
    expect(a.kicks).toEqual(['ann'])
    expect(stored).toEqual({
      id: 'ann',
      epoch: next,
      profile: PROFILE,
      flow: flowOf(a.engine.log, 4711),
    })
    expect(await faultOf(a.engine.save([{ id: 'ann', epoch, profile: PROFILE }]))).toBe('fenced')
    await b.engine.save([{ id: 'ann', epoch: next, flow: flowOf(a.engine.log, 4712) }])
    expect((await sessionsOf(b.engine)).map(({ flow }) => flow.cursor)).toEqual([4712])
  })

  test('an owner that is gone costs no wait', async () => {
    const [a, b] = [await start('a'), await start('b')]
    const { epoch } = await a.engine.claim('ann')
    await a.engine.save([{ id: 'ann', epoch, profile: PROFILE }])
    await field.ends(a)
    const began = performance.now()
    expect((await b.engine.claim('ann')).stored?.profile).toEqual(PROFILE)
    expect(performance.now() - began).toBeLessThan(500)
  })

  test('an owner that was killed a moment ago is not waited for, one that is slow is', async () => {
    const a = await start('a')
    const connection = await Connection.open(
      { servers: field.cluster.addresses, runtime, resolve: resolveTopic },
      'killed',
    )
    const names = new Names({ prefix: field.prefix, name: 'killed', runtime })
    const known = connection.nc.subscribe(names.subject('k', names.node))
    await connection.nc.flush()
    const cast = new Cast(connection, new Names({ prefix: field.prefix, name: 'c', runtime }), {
      cast: () => {},
      kick: async () => {},
    })
    setTimeout(() => known.unsubscribe(), 50)
    const began = performance.now()
    expect(await cast.kick(names.node, 'ann')).toBe(false)
    expect(performance.now() - began).toBeLessThan(1_000)

    a.onKick = () => new Promise((resolve) => setTimeout(resolve, 800))
    const { epoch } = await a.engine.claim('ann')
    await a.engine.save([{ id: 'ann', epoch, profile: PROFILE }])
    expect(await cast.kick(a.engine.node, 'ann')).toBe(true)
    expect(a.kicks).toEqual(['ann'])
    await connection.close()
  })

  test('an owner that hangs loses the session, and its save when it wakes', async () => {
    const [a, b] = [await start('a'), await start('b')]
    const { epoch } = await a.engine.claim('ann')
    await a.engine.save([{ id: 'ann', epoch, flow: flowOf(a.engine.log, 1) }])
    a.onKick = () => new Promise(() => {})
    const next = await b.engine.claim('ann')
    const late = { id: 'ann', epoch, flow: flowOf(a.engine.log, 2) }
    expect(await faultOf(a.engine.append(record([message('a', '1')], [true], [late])))).toBe(
      'fenced',
    )
    expect(a.kicks).toEqual(['ann', 'ann'])
    expect(b.records).toEqual([])
    const flow = flowOf(a.engine.log, 3)
    await b.engine.save([{ id: 'ann', epoch: next.epoch, flow }])
    expect((await a.engine.claim('ann')).stored?.flow.cursor).toBe(3)
  })

  test('a session of a node that died is taken unless somebody took it since', async () => {
    const [a, b] = [await start('a'), await start('b')]
    await a.engine.claim('never saved')
    const { epoch } = await a.engine.claim('ann')
    await a.engine.save([{ id: 'ann', epoch, profile: PROFILE }])
    const found = await sessionsOf(b.engine)
    expect(found).toMatchObject([
      { id: 'ann', epoch, node: a.engine.node, profile: PROFILE },
      { id: 'never saved', node: a.engine.node, profile: { subscriptions: [], will: null } },
    ])
    expect((await b.engine.claim('never saved', found[1]!.epoch)).stored).toBeNull()
    const next = await b.engine.claim('ann', epoch)
    expect(next.stored?.profile).toEqual(PROFILE)
    a.kicks.length = 0
    expect(await faultOf(a.engine.claim('ann', epoch))).toBe('fenced')
    expect(await faultOf(a.engine.claim('nobody', epoch))).toBe('fenced')
    expect(b.kicks).toEqual([])
    await b.engine.save([{ id: 'ann', epoch: next.epoch, flow: flowOf(a.engine.log, 5) }])
  })

  test('who takes a session back hears first that it had been lost', async () => {
    const [a, b] = [await start('a'), await start('b')]
    await a.engine.claim('ann')
    // It does not hear of the claim in time.
    a.onKick = () => new Promise(() => {})
    await b.engine.claim('ann')
    a.kicks.length = 0
    await a.engine.claim('ann').then(() => expect(a.kicks).toEqual(['ann']))
    expect(b.kicks).toEqual(['ann'])
  })

  test('an owner that could not be asked is told when it can be reached', async () => {
    const gate = await Gate.open(field.cluster.servers[0]!.address)
    const a = await start('a', { servers: [gate.address], learn: false })
    const b = await start('b')
    await until('b knows a', () => b.nodes.length === 1)
    await a.engine.claim('ann')
    gate.cut()
    await b.engine.claim('ann')
    expect(a.kicks).toEqual([])
    gate.mend()
    await until('a knows', () => a.kicks.length === 1)
    expect(a.lapses).toBe(0)
    await field.ends(a)
    await gate.close()
  })

  test('a claim that was held up yields to who took the session meanwhile', async () => {
    const gate = await Gate.open(field.cluster.servers[0]!.address)
    const a = await start('a', { servers: [gate.address], learn: false })
    const b = await start('b')
    gate.cut()
    const began = performance.now()
    const late = faultOf(a.engine.claim('ann'))
    await b.engine.claim('ann')
    await until('it is late', () => performance.now() > began + 3_000)
    gate.mend()
    // Its client went to the other node when this one did not answer.
    expect(await late).toBe('fenced')
    expect(b.kicks).toEqual([])
    // A client that comes now takes it.
    await a.engine.claim('ann')
    expect(b.kicks).toEqual(['ann'])
    await gate.close()
  })

  test('a claim for a client yields to one that came later elsewhere, whatever was saved since', async () => {
    const [a, b] = [await start('a'), await start('b')]
    const came = a.engine.now()
    const { epoch } = await a.engine.claim('ann')
    await a.engine.save([{ id: 'ann', epoch, profile: PROFILE }])
    expect(await faultOf(b.engine.claim('ann', undefined, came - 5_000))).toBe('fenced')
    expect(a.kicks).toEqual([])
    await a.engine.save([{ id: 'ann', epoch, flow: flowOf(a.engine.log, 1) }])
    const next = await b.engine.claim('ann', undefined, came + 5_000)
    expect(next.stored?.profile).toEqual(PROFILE)
    expect(a.kicks).toEqual(['ann'])
    expect(await faultOf(a.engine.claim('ann', undefined, came + 1_000))).toBe('fenced')
    // Whoever takes a dead node's session has no client for it, and still knows when the last one came.
    const { epoch: last } = await a.engine.claim('ann', next.epoch)
    await a.engine.save([{ id: 'ann', epoch: last, flow: flowOf(a.engine.log, 2) }])
    expect(await faultOf(b.engine.claim('ann', undefined, came + 1_000))).toBe('fenced')
    await b.engine.claim('ann', undefined, came + 6_000)
  })
})
