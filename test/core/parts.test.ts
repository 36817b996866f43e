// The small parts: deadlines, the saver, the intake, retained messages.

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Deadlines } from '../../src/core/deadlines.ts'
import { RECORD_MESSAGES_MAX } from '../../src/core/types.ts'
import { type FakeLink, FakePublisher, House } from './house.ts'

describe('deadlines', () => {
  it('are told once each, never early, and not later than the granularity', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(3), fc.nat(5_000), fc.nat(2_000)), { maxLength: 20 }),
        async (plan) => {
          const { clock, runtime } = new House()
          const house = { clock, runtime }
          const due = new Map<number, number>()
          const told: number[] = []
          const deadlines = new Deadlines<number>(house.runtime, 250, (item) => {
            told.push(item)
            const time = due.get(item)
            expect(time).toBeDefined()
            expect(clock.time).toBeGreaterThanOrEqual(time as number)
            expect(clock.time).toBeLessThanOrEqual((time as number) + 500)
            due.delete(item)
          })
          for (const [item, after, pause] of plan) {
            due.set(item, clock.time + after)
            deadlines.set(item, clock.time + after)
            const until = clock.time + pause
            while (await clock.turn(until));
          }
          const until = clock.time + 10_000
          while (await clock.turn(until));
          expect(due.size).toBe(0)
          expect(deadlines.size).toBe(0)
        },
      ),
      { numRuns: 50 },
    )
  })
})

describe('the intake', () => {
  it('makes one record of what a turn brought, and answers in its order', async () => {
    const house = await House.open({ engine: {} })
    const a = new FakePublisher()
    const b = new FakePublisher()
    const { broker } = house
    const message = broker.message({ topic: 't', payload: Buffer.from('x'), qos: 1 })
    let appended = 0
    const append = house.engine.append.bind(house.engine)
    house.engine.append = (record) => {
      appended++
      return append(record)
    }
    for (let i = 0; i < 3; i++) {
      broker.intake.add(a, message, i, null)
      broker.intake.add(b, message, 10 + i, null)
    }
    await house.passes(20)
    expect(appended).toBe(1)
    expect(a.answers.map(([token]) => token)).toEqual([0, 1, 2])
    expect(b.answers.map(([token]) => token)).toEqual([10, 11, 12])
    expect(broker.intake.bytes).toBe(0)
    expect(a.intakeBytes).toBe(0)
  })

  it('begins another record when one is full', async () => {
    const house = await House.open({ engine: {} })
    const publisher = new FakePublisher()
    const { broker } = house
    const message = broker.message({ topic: 't', payload: Buffer.from('x'), qos: 1 })
    const sizes: number[] = []
    const append = house.engine.append.bind(house.engine)
    house.engine.append = (record) => {
      sizes.push(record.messages.length)
      return append(record)
    }
    for (let i = 0; i < RECORD_MESSAGES_MAX + 5; i++) broker.intake.add(publisher, message, i, null)
    await house.passes(20)
    expect(sizes).toEqual([RECORD_MESSAGES_MAX, 5])
    const tokens = publisher.answers.map(([token]) => token)
    expect(tokens).toEqual(Array.from({ length: RECORD_MESSAGES_MAX + 5 }, (_, i) => i))
  })

  it('has no room beyond its limit, and says when there is some again', async () => {
    const house = await House.open({ engine: {}, limits: { intakeBytesPerLink: 10 } })
    const publisher = new FakePublisher()
    const { broker } = house
    const message = broker.message({ topic: 't', payload: Buffer.alloc(20), qos: 1 })
    expect(broker.intake.room(publisher)).toBe(true)
    broker.intake.add(publisher, message, 1, null)
    expect(broker.intake.room(publisher)).toBe(false)
    await house.passes(20)
    expect(publisher.woken).toBe(1)
    expect(broker.intake.room(publisher)).toBe(true)
  })

  it('tells every publisher of a record that was refused', async () => {
    const house = await House.open({ engine: { cap: 1, durable: true } })
    house.subscribes(await house.comes('a', { expiry: 100 }), 't')
    const publisher = new FakePublisher()
    const message = house.broker.message({ topic: 't', payload: Buffer.from('x'), qos: 1 })
    house.broker.intake.add(publisher, message, 1, null)
    await house.passes(20)
    expect(publisher.answers).toEqual([[1, 'full']])
  })
})

describe('the saver', () => {
  it('saves together what a turn changed, and lazily within a quarter of a second', async () => {
    const house = await House.open({ engine: {} })
    const a = await house.comes('a', { expiry: 100 })
    const b = await house.comes('b', { expiry: 100 })
    const saves: string[][] = []
    const save = house.engine.save.bind(house.engine)
    house.engine.save = (all) => {
      saves.push(all.map(({ id }) => id))
      return save(all)
    }
    void house.broker.saver.flow(a.session as NonNullable<FakeLink['session']>)
    void house.broker.saver.profile(b.session as NonNullable<FakeLink['session']>)
    await house.passes(20)
    expect(saves).toEqual([['a', 'b']])
    house.broker.saver.lazily(a.session as NonNullable<FakeLink['session']>)
    await house.passes(200)
    expect(saves.length).toBe(1)
    await house.passes(100)
    expect(saves).toEqual([['a', 'b'], ['a']])
  })

  it('sends what the session received before what says that it was received', async () => {
    const house = await House.open({ engine: { commitMs: 5 } })
    const a = await house.comes('a', { expiry: 100 })
    const calls: string[] = []
    const { append, save } = house.engine
    house.engine.append = (record) => {
      calls.push('append')
      return append.call(house.engine, record)
    }
    house.engine.save = (all) => {
      calls.push('save')
      return save.call(house.engine, all)
    }
    const session = a.session as NonNullable<FakeLink['session']>
    void house.broker.saver.flow(session)
    const message = house.broker.message({ topic: 't', payload: Buffer.from('x'), qos: 2 })
    house.broker.intake.add(new FakePublisher(), message, 1, { session, packetId: 1 })
    session.receive(1)
    await house.passes(50)
    expect(calls).toEqual(['append', 'save'])
  })
})

describe('retained messages', () => {
  it('are sent to a new subscription as fast as its client takes them, and none is lost', async () => {
    const house = await House.open()
    for (let i = 0; i < 30; i++) void house.says(`r/${i}`, String(i), 1, true)
    await house.turns()
    const link = await house.comes('a', { receiveMaximum: 4 })
    house.subscribes(link, 'r/#')
    const heard: string[] = []
    for (let round = 0; round < 10; round++) {
      expect(link.sent.length).toBeLessThanOrEqual(4)
      expect(link.sent.every(({ retain }) => retain)).toBe(true)
      const ids = link.sent.map(({ packetId }) => packetId)
      heard.push(...link.hears())
      link.acks(...ids)
      await house.turns()
    }
    expect(heard.map(Number).sort((x, y) => x - y)).toEqual(Array.from({ length: 30 }, (_, i) => i))
  })

  it('wait while the client is behind', async () => {
    const house = await House.open()
    void house.says('r', 'x', 0, true)
    const link = await house.comes('a')
    link.congested = true
    house.subscribes(link, 'r')
    expect(link.hears()).toEqual([])
    link.congested = false
    link.session?.settle()
    expect(link.hears()).toEqual(['x'])
  })

  it('are removed by an empty one and end with the highest place in the log', async () => {
    const house = await House.open()
    const { retained } = house.broker
    const message = (payload: string) =>
      house.broker.message({ topic: 'r', payload: Buffer.from(payload), qos: 1, retain: true })
    expect(retained.apply(message('new'), 20)).toBe(true)
    expect(retained.apply(message('old'), 10)).toBe(false)
    expect(retained.get('r')?.message.payload.toString()).toBe('new')
    expect(retained.apply(message(''), 30)).toBe(true)
    expect(retained.get('r')).toBeNull()
    expect([retained.count, retained.bytes]).toEqual([0, 0])
  })

  it('are not sent again once another has taken their place', async () => {
    const house = await House.open()
    void house.says('r', 'old', 1, true)
    await house.turns()
    const link = await house.comes('a', { expiry: 100 })
    house.subscribes(link, 'r')
    expect(link.hears()).toEqual(['old'])
    house.leaves(link)
    void house.says('r', 'new', 1, true)
    await house.turns()
    const back = await house.comes('a', { expiry: 100 })
    await house.turns()
    expect(back.hears()).toEqual(['new'])
  })
})
