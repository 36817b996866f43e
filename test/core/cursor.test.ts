// Catching up: from the tail in memory, from the engine, past what is gone.

import { describe, expect, it } from 'vitest'
import { Session } from '../../src/core/session.ts'
import { House } from './house.ts'

/** So little that only the newest record stays in memory. */
const SHORT = { limits: { tailBytes: 1 } }

async function saysMany(house: House, count: number): Promise<string[]> {
  const all = Array.from({ length: count }, (_, i) => String(i + 1))
  for (const payload of all) {
    void house.says('t', payload)
    await house.passes(5)
  }
  return all
}

describe('a durable session that was away', () => {
  it('gets from the engine what memory has forgotten, then what comes, in order', async () => {
    const house = await House.open({ engine: {}, ...SHORT })
    const first = await house.comes('a', { expiry: 100 })
    house.subscribes(first, 't')
    house.leaves(first)
    const all = await saysMany(house, 20)
    const back = await house.comes('a', { expiry: 100 })
    void house.says('t', 'live')
    await house.passes(200)
    expect(back.hears()).toEqual([...all, 'live'])
  })

  it('gets it although reading fails once, and it never says a word', async () => {
    const house = await House.open({ engine: {}, ...SHORT })
    const first = await house.comes('a', { expiry: 100 })
    house.subscribes(first, 't')
    house.leaves(first)
    const all = await saysMany(house, 5)
    const read = house.engine.read.bind(house.engine)
    house.engine.read = async () => {
      house.engine.read = read
      throw new Error('the disk is away')
    }
    const back = await house.comes('a', { expiry: 100 })
    await house.passes(5_000)
    expect(back.hears()).toEqual(all)
  })

  it('is given as much as it takes at once, and the rest as it acknowledges', async () => {
    const house = await House.open({ engine: {}, ...SHORT })
    const first = await house.comes('a', { expiry: 100 })
    house.subscribes(first, 't')
    house.leaves(first)
    await saysMany(house, 6)
    const back = await house.comes('a', { expiry: 100, receiveMaximum: 2 })
    await house.passes(100)
    expect(back.hears()).toEqual(['1', '2'])
    back.acks(1, 2)
    await house.passes(100)
    expect(back.hears()).toEqual(['3', '4'])
    back.acks(3, 4)
    await house.passes(100)
    expect(back.hears()).toEqual(['5', '6'])
  })

  it('gets everything after a restart', async () => {
    const house = await House.open({ engine: {} })
    const first = await house.comes('a', { expiry: 100 })
    house.subscribes(first, 't')
    void house.broker.saver.profile(first.session as never)
    await house.passes(50)
    house.leaves(first)
    const all = await saysMany(house, 3)
    await house.passes(500)
    const again = await House.open({ engine: {}, disk: house.crash() })
    const back = await again.comes('a', { expiry: 100 })
    await again.passes(100)
    expect(back.hears()).toEqual(all)
  })
})

describe('a session that was there when its node died', () => {
  it('has missed nothing that was forgotten: nobody forgets what it may need', async () => {
    const house = await House.open({ engine: {} })
    const idle = await house.comes('idle', { expiry: 100 })
    house.subscribes(idle, 'other')
    void house.broker.saver.profile(idle.session as never)
    const busy = await house.comes('busy', { expiry: 100 })
    house.subscribes(busy, 't')
    for (let i = 0; i < 3; i++) {
      await saysMany(house, 1)
      busy.acks(...busy.sent.splice(0).map(({ packetId }) => packetId))
      await house.passes(1_500)
    }
    expect(house.engine.bounds().first).toBeGreaterThan(1)
    const again = new House({ engine: {}, disk: house.crash() })
    void again.broker.open()
    await again.passes(100)
    expect(again.reports).toEqual([])
    const back = await again.comes('idle', { expiry: 100 })
    void again.says('other', 'new')
    await again.passes(100)
    expect(back.hears()).toEqual(['new'])
    expect(again.broker.counters.droppedOverrun).toBe(0)
  })

  it('may have missed all of a log that is not there any more, which is said', async () => {
    const house = await House.open({ engine: {} })
    const session = new Session('a', house.broker)
    const profile = { expiry: 100, user: '', will: null, subscriptions: [] }
    const flow = { cursor: 5, sending: [], receiving: [], awaySince: 0, log: 'another' }
    session.restore(profile, flow)
    expect(house.reports).toEqual(['overrun: a'])
    session.restore(profile, { ...flow, log: house.engine.log })
    expect(house.reports).toEqual(['overrun: a', 'overrun: a'])
  })
})

describe('a session that dies with its link', () => {
  it('misses what memory has forgotten while it did not read, and goes on behind it', async () => {
    const house = await House.open({ engine: {}, ...SHORT })
    const link = await house.comes('a', { receiveMaximum: 1 })
    house.subscribes(link, 't')
    await saysMany(house, 5)
    expect(link.hears()).toEqual(['1'])
    link.acks(1)
    await house.passes(10)
    expect(link.hears()).toEqual(['5'])
    expect(house.broker.counters.droppedOverrun).toBe(1)
  })

  it('owes nothing to what came before it, however much that was', async () => {
    const house = await House.open()
    await saysMany(house, 10)
    const late = await house.comes('late')
    house.subscribes(late, 't')
    void house.says('t', 'new')
    await house.passes(10)
    expect(late.hears()).toEqual(['new'])
    expect(house.broker.counters.droppedOverrun).toBe(0)
  })
})
