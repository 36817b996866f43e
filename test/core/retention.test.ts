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

describe('a message that waits for a client', () => {
  const limits = { backlogMaximum: 100 } as const

  it('waits as long as the limit says, and its loss has a name', async () => {
    const house = await House.open({ engine: {}, limits })
    const away = await house.comes('away', { expiry: 1_000 })
    house.subscribes(away, 't')
    house.leaves(away)
    void house.says('t', 'old')
    await house.passes(60_000)
    void house.says('t', 'young')
    await house.passes(39_000)
    expect(house.disk.records.length).toBe(2)
    await house.passes(4_000)
    expect(house.disk.records.length).toBe(1)
    expect(house.reports).toEqual(['evicted: away, messages lost: 1'])
    const back = await house.comes('away', { expiry: 1_000 })
    await house.passes(100)
    expect(back.hears()).toEqual(['young'])
  })

  it('is as old after a restart as before', async () => {
    const before = await House.open({ engine: {}, limits })
    const away = await before.comes('away', { expiry: 1_000 })
    before.subscribes(away, 't')
    await before.passes(100)
    before.leaves(away)
    void before.says('t', 'old')
    await before.passes(50_000)
    const disk = before.crash()
    const after = await House.open({ engine: {}, limits, disk })
    await after.passes(90_000)
    expect(disk.records.length).toBe(1)
    await after.passes(20_000)
    expect(disk.records.length).toBe(0)
    expect(after.reports).toEqual(['evicted: away, messages lost: 1'])
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

  it('says who lost how many messages: what is left and what was lost is everything', async () => {
    const house = await House.open(full)
    const away = await house.comes('away', { expiry: 100 })
    house.subscribes(away, 'fill')
    house.leaves(away)
    const other = await house.comes('other', { expiry: 100 })
    house.subscribes(other, 'elsewhere')
    house.leaves(other)
    expect(await fill(house)).toBe(0)
    const { counters } = house.broker
    const told = house.reports.map((report) => /^evicted: away, messages lost: (\d+)$/.exec(report))
    const lost = told.reduce((sum, match) => sum + Number(match?.[1]), 0)
    expect(lost).toBe(counters.messagesEvicted)
    const back = await house.comes('away', { expiry: 100 })
    await house.passes(1_000)
    expect(back.sent.length).toBeGreaterThan(8)
    expect(back.sent.length + lost).toBe(40)
  })

  it('takes as many bytes as it needs, however far apart the positions are', async () => {
    const house = await House.open(full)
    const away = await house.comes('away', { expiry: 1_000 })
    house.subscribes(away, 'fill')
    house.leaves(away)
    for (let i = 0; i < 8; i++) {
      void house.says('fill', `before ${i}`.padEnd(500))
      await house.passes(20)
    }
    // As after a crash: positions go on far away, and the oldest are a small part of their range.
    house.disk.sequence += 2 ** 20
    for (let i = 0; i < 8; i++) {
      void house.says('fill', `behind ${i}`.padEnd(500))
      await house.passes(20)
    }
    const back = await house.comes('away', { expiry: 1_000 })
    await house.passes(1_000)
    const lost = 16 - back.sent.length
    expect(lost).toBeGreaterThan(0)
    expect(lost).toBeLessThan(8)
    expect(house.broker.counters.messagesEvicted).toBe(lost)
  })

  it('refuses publishers, and costs nobody anything, where that is the rule', async () => {
    const house = await House.open({ ...full, logFull: 'reject' })
    const away = await house.comes('away', { expiry: 100 })
    house.subscribes(away, 'fill')
    house.leaves(away)
    const refused = await fill(house)
    expect(refused).toBeGreaterThan(0)
    expect(house.broker.counters.messagesEvicted).toBe(0)
    const back = await house.comes('away', { expiry: 100 })
    await house.passes(1_000)
    expect(back.sent.length + refused).toBe(40)
  })

  it('counts what a client may have missed that went before it acknowledged', async () => {
    const house = await House.open({ ...full, limits: { tailBytes: 600 } })
    const slow = await house.comes('slow', { expiry: 100 })
    house.subscribes(slow, 'fill')
    for (let i = 0; i < 4; i++) void house.says('fill', 'x')
    await house.passes(20)
    expect(slow.sent.length).toBe(4)
    house.leaves(slow)
    expect(await fill(house)).toBe(0)
    const { messagesEvicted } = house.broker.counters
    const back = await house.comes('slow', { expiry: 100 })
    await house.passes(1_000)
    expect(back.sent.length + messagesEvicted).toBe(44)
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

describe('a retained message that expires', () => {
  async function keeps(house: House, payload: string, expiry: number): Promise<void> {
    const message = house.broker.message({
      topic: 't',
      payload: Buffer.from(payload),
      qos: 1,
      retain: true,
      expiry,
    })
    void house.broker.publish(message)
    await house.passes(100)
  }

  it('is gone from memory and disk soon after', async () => {
    const house = await House.open({ engine: {} })
    await keeps(house, 'x', 5)
    expect(house.broker.retained.count).toBe(1)
    await house.passes(20_000)
    expect(house.broker.retained).toMatchObject({ count: 0, bytes: 0 })
    expect(house.disk.retained.get('t')?.message).toBeNull()
  })

  it('is gone after a restart, too', async () => {
    const before = await House.open({ engine: {} })
    await keeps(before, 'x', 5)
    const disk = before.crash()
    const after = await House.open({ engine: {}, disk })
    await after.passes(30_000)
    expect(after.broker.retained.count).toBe(0)
    expect(disk.retained.get('t')?.message).toBeNull()
  })

  it('is not remembered once it was removed or replaced', async () => {
    const house = await House.open({ engine: {} })
    await keeps(house, 'x', 1_000_000)
    expect(house.broker.retainedExpiry.size).toBe(1)
    await keeps(house, '', 1_000_000)
    expect(house.broker.retainedExpiry.size).toBe(0)
    await keeps(house, 'x', 1_000_000)
    await keeps(house, 'y', Number.POSITIVE_INFINITY)
    expect(house.broker.retainedExpiry.size).toBe(0)
  })

  it('does not take the one with it that came in its place', async () => {
    const house = await House.open({ engine: {} })
    await keeps(house, 'x', 5)
    await keeps(house, 'y', Number.POSITIVE_INFINITY)
    await house.passes(30_000)
    expect(house.broker.retained.get('t')?.message.payload.toString()).toBe('y')
    expect(String(house.disk.retained.get('t')?.message?.payload)).toBe('y')
  })
})
