// Shared subscriptions: each message to one member, and what happens when that one goes.

import { describe, expect, it } from 'vitest'
import { EngineError, type SessionSave } from '../../src/core/engine.ts'
import type { Session } from '../../src/core/session.ts'
import type { Pos, SessionFlow } from '../../src/core/types.ts'
import { type FakeLink, FakePublisher, House } from './house.ts'

async function pair(house: House, filter = '$share/g/t'): Promise<[FakeLink, FakeLink]> {
  const a = await house.comes('a', { expiry: 100 })
  const b = await house.comes('b', { expiry: 100 })
  house.subscribes(a, filter, 2)
  house.subscribes(b, filter, 2)
  await house.turns()
  return [a, b]
}

/** What a member hears that so many times acknowledges what it was sent. */
async function acknowledging(house: House, member: FakeLink, times: number): Promise<string[]> {
  const heard: string[] = []
  for (let i = 0; i < times; i++) {
    const ids = member.sent.map(({ packetId }) => packetId)
    heard.push(...member.hears())
    member.acks(...ids)
    await house.passes(100)
  }
  return heard
}

describe('a shared group', () => {
  it.each([0, 1, 2] as const)('gives each message of QoS %d to one member', async (qos) => {
    const house = await House.open()
    const [a, b] = await pair(house)
    for (let i = 0; i < 10; i++) {
      void house.says('t', String(i), qos)
      await house.turns()
    }
    const heard = [...a.hears(), ...b.hears()]
    expect(heard.sort()).toEqual(Array.from({ length: 10 }, (_, i) => String(i)))
  })

  it('gives what a member did not acknowledge to another when it goes', async () => {
    const house = await House.open()
    const [a, b] = await pair(house)
    void house.says('t', 'x')
    await house.turns()
    const [holder, other] = a.sent.length > 0 ? [a, b] : [b, a]
    house.leaves(holder)
    await house.turns()
    expect(other.hears()).toEqual(['x'])
  })

  it('leaves QoS 2 with the member that has it', async () => {
    const house = await House.open()
    const [a, b] = await pair(house)
    void house.says('t', 'x', 2)
    await house.turns()
    const [holder, other] = a.sent.length > 0 ? [a, b] : [b, a]
    house.leaves(holder)
    await house.turns()
    expect(other.hears()).toEqual([])
    const back = await house.comes(holder.clientId, { expiry: 100 })
    expect(back.sent).toMatchObject([{ payload: 'x', qos: 2, duplicate: true }])
  })

  it('keeps everything while all are away, and the first to come gets it', async () => {
    const house = await House.open()
    const [a, b] = await pair(house)
    house.leaves(a)
    house.leaves(b)
    for (const payload of ['1', '2', '3']) void house.says('t', payload)
    await house.turns()
    const back = await house.comes('b', { expiry: 100 })
    await house.turns()
    expect(back.hears()).toEqual(['1', '2', '3'])
  })

  it('goes on with other members while one takes no more', async () => {
    const house = await House.open()
    const [a, b] = await pair(house)
    a.congested = true
    for (let i = 0; i < 5; i++) void house.says('t', String(i))
    await house.turns()
    expect(a.hears()).toEqual([])
    expect(b.hears().length).toBe(5)
  })

  it('that nobody durable is in loses nothing to the ageing of what others are owed', async () => {
    const house = await House.open()
    const lasting = await house.comes('lasting', { expiry: 100 })
    house.subscribes(lasting, 'other')
    const a = await house.comes('a', { receiveMaximum: 1 })
    house.subscribes(a, '$share/g/t')
    for (const payload of ['1', '2', '3']) void house.says('t', payload)
    await house.turns()
    void house.says('other', 'x')
    await house.turns()
    lasting.acks(1)
    await house.passes(10_000)
    expect(await acknowledging(house, a, 3)).toEqual(['1', '2', '3'])
  })

  it('that becomes durable while it is behind keeps what only memory holds', async () => {
    const house = await House.open({ engine: {} })
    const lasting = await house.comes('lasting', { expiry: 100 })
    house.subscribes(lasting, 'other')
    const a = await house.comes('a', { receiveMaximum: 1 })
    house.subscribes(a, '$share/g/t')
    await house.passes(20)
    for (const payload of ['1', '2', '3']) void house.says('t', payload)
    await house.passes(20)
    void house.says('other', 'x')
    await house.passes(20)
    // From here on somebody is in it who outlives the link: what comes now is stored, what came is not.
    const b = await house.comes('b', { expiry: 100 })
    b.congested = true
    house.subscribes(b, '$share/g/t')
    lasting.acks(1)
    void house.says('t', '4')
    await house.passes(10_000)
    expect(await acknowledging(house, a, 4)).toEqual(['1', '2', '3', '4'])
  })

  it('has a member once, however often it subscribes', async () => {
    const house = await House.open()
    const a = await house.comes('a')
    house.subscribes(a, '$share/g/t')
    house.subscribes(a, '$share/g/t', 2)
    await house.turns()
    void house.says('t', 'x')
    await house.turns()
    expect(a.hears()).toEqual(['x'])
  })

  it('is wanted as soon as one member outlives its link, not only when the first does', async () => {
    const house = await House.open({ engine: {} })
    const a = await house.comes('a')
    house.subscribes(a, '$share/g/t')
    void house.says('t', 'before')
    await house.passes(20)
    house.subscribes(await house.comes('b', { expiry: 100 }), '$share/g/t')
    void house.says('t', 'after')
    await house.passes(20)
    expect(house.disk.records.flatMap((r) => r.messages.map((m) => String(m.payload)))).toEqual([
      'after',
    ])
  })

  it('begins after a crash with what came since its first member, if it was not stored before', async () => {
    const house = await House.open({ engine: {} })
    const zoe = await house.comes('zoe', { expiry: 100 })
    house.subscribes(zoe, '$share/g/t')
    zoe.congested = true
    void house.broker.saver.profile(zoe.session as NonNullable<FakeLink['session']>)
    await house.passes(5)
    void house.says('t', 'x')
    await house.passes(5)
    const adam = await house.comes('adam', { expiry: 100 })
    adam.congested = true
    house.subscribes(adam, '$share/g/t')
    void house.broker.saver.profile(adam.session as NonNullable<FakeLink['session']>)
    await house.passes(5)
    // As a crash before the group's first save leaves it, and whoever is read first.
    const disk = house.crash()
    const stored = ['adam', 'zoe'].flatMap((id) => disk.sessions.get(id) ?? [])
    expect(stored.length).toBe(2)
    disk.sessions.clear()
    for (const session of stored) disk.sessions.set(session.id, session)
    const again = await House.open({ engine: {}, disk })
    const back = await again.comes('adam', { expiry: 100 })
    await again.passes(100)
    expect(back.hears()).toEqual(['x'])
  })

  it('is stored with the member that has a message of QoS 2, whatever else is stored meanwhile', async () => {
    const house = await House.open({ engine: { commitMs: 40 } })
    const a = await house.comes('a', { expiry: 100 })
    const other = await house.comes('other', { expiry: 100 })
    house.subscribes(a, '$share/g/t', 2)
    void house.broker.saver.profile(a.session as Session)
    await house.passes(500)
    // What is on the disk after each commit.
    const flows = new Map<string, SessionFlow>()
    const states: { member: SessionFlow | undefined; group: SessionFlow }[] = []
    const { engine, saver, intake } = house.broker
    const note = (saves: readonly SessionSave[]): void => {
      for (const { id, flow } of saves) {
        if (flow !== undefined) flows.set(id.includes('share/') ? 'group' : id, flow)
      }
      const group = flows.get('group')
      if (group !== undefined) states.push({ member: flows.get('a'), group })
    }
    const { append, save } = engine
    engine.append = (record) => {
      note(record.saves)
      return append.call(engine, record)
    }
    engine.save = (saves) => {
      note(saves)
      return save.call(engine, saves)
    }
    for (let id = 1; id < 400; id++) {
      if (id % 10 === 1) void house.says('t', String(id), 2)
      void saver.flow(other.session as Session)
      const message = house.broker.message({ topic: 'u', payload: Buffer.from('y'), qos: 2 })
      other.session?.receive(id)
      intake.add(new FakePublisher(), message, id, { session: other.session!, packetId: id })
      await house.passes(1)
    }
    const shared = house.disk.records.flatMap(({ first, wanted }) =>
      wanted.flatMap((kept, i) => (kept ? [first + i] : [])),
    )
    expect(shared.length).toBeGreaterThan(30)
    const names = (flow: SessionFlow | undefined): Pos[] =>
      flow?.sending.flatMap(({ positions }) => positions) ?? []
    for (const { member, group } of states) {
      const due = shared.filter((pos) => pos <= group.cursor)
      expect([...names(member), ...names(group)].sort((x, y) => x - y)).toEqual(due)
    }
    await house.passes(1_000)
    expect(a.hears().length).toBe(40)
  })

  it('reads again what was lent before a restart, until the engine answers', async () => {
    const house = await House.open({ engine: {} })
    const a = await house.comes('a', { expiry: 100 })
    house.subscribes(a, '$share/g/t')
    void house.broker.saver.profile(a.session as NonNullable<FakeLink['session']>)
    void house.says('t', 'x')
    await house.passes(1_000)
    expect(a.hears()).toEqual(['x'])

    const again = await House.open({ engine: {}, disk: house.crash() })
    const { engine } = again
    const read = engine.read.bind(engine)
    engine.read = () => Promise.reject(new EngineError('down', 'away'))
    const back = await again.comes('a', { expiry: 100 })
    await again.passes(5_000)
    expect(back.hears()).toEqual([])
    engine.read = read
    await again.passes(5_000)
    expect(back.hears()).toEqual(['x'])
  })

  it('forgets its record only after its last member has', async () => {
    const house = await House.open({ engine: { commitMs: 30 } })
    const a = await house.comes('a', { expiry: 100 })
    house.subscribes(a, '$share/g/t')
    void house.broker.saver.profile(a.session as NonNullable<FakeLink['session']>)
    await house.passes(200)
    void house.says('t', 'x')
    await house.passes(1_000)
    expect([...house.disk.sessions.keys()].length).toBe(2)
    house.broker.unsubscribe(a.session as NonNullable<FakeLink['session']>, '$share/g/t')
    let groupGoneFirst = false
    for (let i = 0; i < 200; i++) {
      await house.passes(1)
      const group = [...house.disk.sessions.keys()].some((id) => id.includes('share/'))
      const member = house.disk.sessions.get('a')?.profile.subscriptions.length
      if (!group && member === 1) groupGoneFirst = true
    }
    expect(groupGoneFirst).toBe(false)
    expect([...house.disk.sessions.keys()]).toEqual(['a'])
  })
})
