// How long the log remembers, and who pays when it is full.

import { describe, expect, it } from 'vitest'
import { House } from './house.ts'

const full = { engine: { durable: true, cap: 10_000 } } as const

describe('the log', () => {
  it('forgets what everybody durable has acknowledged', async () => {
    const house = await House.open({ engine: {} })
    const link = await house.comes('a', { expiry: 100 })
    house.subscribes(link, 't')
    void house.says('t', 'x')
    await house.passes(10)
    expect(house.disk.records.length).toBe(1)
    link.acks(1)
    await house.passes(2_000)
    expect(house.disk.records.length).toBe(0)
  })

  it('keeps what a client that is away has not had', async () => {
    const house = await House.open({ engine: {} })
    const link = await house.comes('a', { expiry: 100 })
    house.subscribes(link, 't')
    house.leaves(link)
    void house.says('t', 'x')
    await house.passes(5_000)
    expect(house.disk.records.length).toBe(1)
  })
})

describe('a full log', () => {
  async function fill(house: House): Promise<number> {
    let refused = 0
    for (let i = 0; i < 40; i++) {
      house.says('fill', 'x'.repeat(500)).catch(() => {
        refused++
      })
      await house.passes(20)
    }
    return refused
  }

  it('costs the client that is away its oldest messages, and nobody else anything', async () => {
    const house = await House.open(full)
    const away = await house.comes('away', { expiry: 100 })
    house.subscribes(away, 'fill')
    house.leaves(away)
    const here = await house.comes('here', { expiry: 100 })
    house.subscribes(here, 'fill')
    here.receiveMaximum = 1_000
    expect(await fill(house)).toBe(0)
    expect(here.sent.length).toBe(40)
    expect(house.broker.counters.sessionsEvicted).toBeGreaterThan(0)
  })

  it('is not held by a client that is there and never acknowledges', async () => {
    const house = await House.open(full)
    const stuck = await house.comes('stuck', { expiry: 100 })
    house.subscribes(stuck, 'rare')
    house.subscribes(await house.comes('here', { expiry: 100 }), 'fill', 0)
    const away = await house.comes('away', { expiry: 100 })
    house.subscribes(away, 'fill')
    house.leaves(away)
    void house.says('rare', 'x')
    await house.passes(10)
    expect(await fill(house)).toBe(0)
    expect(stuck.session?.inFlight).toBe(1)
    stuck.acks(1)
    expect(stuck.session?.inFlight).toBe(0)
  })

  it('does not give a client that is behind more than it takes at once', async () => {
    const house = await House.open(full)
    const slow = await house.comes('slow', { expiry: 100, receiveMaximum: 2 })
    house.subscribes(slow, 'fill')
    await fill(house)
    expect(slow.sent.length).toBe(2)
    expect(slow.session?.inFlight).toBe(2)
    slow.session?.settle()
    expect(slow.sent.length).toBe(2)
  })
})
