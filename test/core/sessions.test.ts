// Who owns a session: takeover, clean start, expiry, wills, and two CONNECTs at once.

import { describe, expect, it } from 'vitest'
import { EngineError } from '../../src/core/engine.ts'
import { type FakeLink, FakePublisher, House } from './house.ts'

describe('a takeover', () => {
  it('does not spoil what other sessions save in the same turn', async () => {
    const house = await House.open({ engine: { commitMs: 20 } })
    await house.comes('a', { expiry: 100 })
    const b = await house.comes('b', { expiry: 100 })
    const again = house.asks('a', { expiry: 100 })
    const saved = house.broker.saver.profile(b.session as NonNullable<FakeLink['session']>)
    await house.passes(200)
    await expect(saved).resolves.toBeUndefined()
    expect((await again).present).toBe(true)
    expect(house.reports).toEqual([])
  })

  it('does not spoil what other clients publish in the same turn', async () => {
    const house = await House.open({ engine: { commitMs: 20 } })
    const a = await house.comes('a', { expiry: 100 })
    const message = house.broker.message({ topic: 't', payload: Buffer.from('x'), qos: 2 })
    const publisher = new FakePublisher()
    a.session?.receive(1)
    house.broker.intake.add(publisher, message, 7, { session: a.session!, packetId: 7 })
    const other = house.says('t', 'y')
    const again = house.asks('a', { expiry: 100 })
    await house.passes(200)
    await again
    await expect(other).resolves.toBeUndefined()
    expect(publisher.answers).toEqual([[7, null]])
  })

  it('closes the link that was there, once', async () => {
    const house = await House.open()
    const first = await house.comes('a', { expiry: 10 })
    await house.comes('a', { expiry: 10 })
    expect(first.closed).toEqual(['session-taken-over'])
  })

  it('serves two CONNECTs at once one after the other', async () => {
    const house = await House.open({ engine: { commitMs: 30 } })
    const first = house.asks('a', { expiry: 10 })
    const second = house.asks('a', { expiry: 10 })
    await house.passes(500)
    const links = [(await first).link, (await second).link]
    expect(links.map((link) => link.closed.length)).toEqual([1, 0])
    expect(house.broker.sessions.get('a')?.link).toBe(links[1])
  })
})

describe('expiry', () => {
  it('keeps a session that long and no longer', async () => {
    const house = await House.open()
    house.leaves(await house.comes('a', { expiry: 10 }))
    await house.passes(9_900)
    expect(house.broker.sessions.get('a')).not.toBeNull()
    await house.passes(500)
    expect(house.broker.sessions.get('a')).toBeNull()
    expect(house.broker.counters.sessionsExpired).toBe(1)
  })

  it('counts to the moment the client asks, however long the engine takes to answer', async () => {
    const house = await House.open({ engine: { commitMs: 1 } })
    house.leaves(await house.comes('a', { expiry: 1 }))
    await house.passes(900)
    const slow = house.broker.engine.claim.bind(house.broker.engine)
    house.broker.engine.claim = async (id) => {
      await new Promise<void>((resolve) => house.clock.at(3_000, resolve))
      return slow(id)
    }
    const back = house.asks('a', { expiry: 1 })
    await house.passes(5_000)
    expect((await back).present).toBe(true)
  })

  it('leaves nothing behind in the engine, also when the client comes back too late', async () => {
    const house = await House.open({ engine: { commitMs: 300 } })
    const link = await house.comes('a', { expiry: 1, will: { delay: 1 } })
    house.leaves(link)
    await house.passes(1_000)
    // It is over, and the wheel has not noticed yet.
    const late = house.asks('a')
    await house.passes(2_000)
    expect((await late).present).toBe(false)
    await house.passes(2_000)
    expect(house.disk.sessions.get('a')?.profile.will ?? null).toBeNull()
    expect(house.broker.counters.willsPublished).toBe(1)
    expect(house.reports).toEqual([])
  })
})

describe('a session that ended while the disk was full', () => {
  async function endedInVain(): Promise<{ house: House; hasRoom: () => void }> {
    const house = await House.open({ engine: {} })
    const link = await house.comes('a', { expiry: 1 })
    house.subscribes(link, 't')
    void house.broker.saver.profile(link.session as NonNullable<FakeLink['session']>)
    await house.passes(100)
    const { engine } = house.broker
    const save = engine.save.bind(engine)
    engine.save = () => Promise.reject(new EngineError('full', 'no room'))
    house.leaves(link)
    await house.passes(5_000)
    expect(house.disk.sessions.has('a')).toBe(true)
    return {
      house,
      hasRoom: () => {
        engine.save = save
      },
    }
  }

  it('is removed when there is room again', async () => {
    const { house, hasRoom } = await endedInVain()
    hasRoom()
    await house.passes(1_000)
    expect(house.disk.sessions.has('a')).toBe(false)
  })

  it('is not there for a client that comes back', async () => {
    const { house, hasRoom } = await endedInVain()
    hasRoom()
    const back = house.asks('a')
    await house.passes(1_000)
    expect((await back).present).toBe(false)
    expect(house.disk.sessions.has('a')).toBe(false)
  })
})

describe('retained messages that a client did not wait for', () => {
  it('come when it is back, as often as they were asked for and each new', async () => {
    const house = await House.open()
    for (const topic of ['a', 'b']) void house.says(topic, `kept ${topic}`, 1, true)
    const link = await house.comes('late', { expiry: 100 })
    link.congested = true
    for (const filter of ['a', 'b', 'a']) house.subscribes(link, filter)
    house.leaves(link)
    void house.says('b', 'newer b', 1, true)
    await house.turns()
    const back = await house.comes('late', { expiry: 100 })
    await house.turns()
    const retained = back.sent.filter(({ retain }) => retain)
    expect(retained.map(({ payload }) => payload)).toEqual(['newer b', 'kept a'])
    expect(retained.every(({ duplicate }) => !duplicate)).toBe(true)
  })

  it('do not come for a subscription that has ended meanwhile', async () => {
    const house = await House.open()
    void house.says('a', 'kept', 1, true)
    const link = await house.comes('late', { expiry: 100 })
    link.congested = true
    house.subscribes(link, 'a')
    house.leaves(link)
    const away = house.broker.sessions.get('late') as NonNullable<FakeLink['session']>
    house.broker.unsubscribe(away, 'a')
    const back = await house.comes('late', { expiry: 100 })
    await house.turns()
    expect(back.hears()).toEqual([])
  })
})
