// Catching up from the engine: how often it is read, and that others have their turns meanwhile.

import { describe, expect, it } from 'vitest'
import type { LogRecord } from '../../src/core/engine.ts'
import { OldRecords } from '../../src/core/old-records.ts'
import { House } from './house.ts'

/** So little that only the newest record stays in memory. */
const SHORT = { limits: { tailBytes: 1 } }

function record(first: number): LogRecord {
  return { first, messages: [], wanted: [], saves: [], bytes: 0 }
}

/** Old records over an engine that answers ten positions at a time. */
function reader() {
  const asked: number[] = []
  const turns: (() => void)[] = []
  let fade: () => void = () => {}
  const read = async (after: number) => {
    asked.push(after)
    return { records: [record(after + 1)], scanned: after + 10 }
  }
  const runtime = {
    nextTurn: (call: () => void) => {
      turns.push(call)
    },
    after: (_ms: number, call: () => void) => {
      fade = call
      return { cancel: () => {} }
    },
  }
  return {
    old: new OldRecords({ read }, runtime),
    asked,
    turn: () => {
      for (const call of turns.splice(0)) call()
    },
    fade: () => fade(),
  }
}

describe('what was read from the engine', () => {
  it('is not read again for who comes back to it, until nobody does', async () => {
    const { old, asked, fade } = reader()
    await old.read(0, 100)
    expect((await old.read(4, 100)).scanned).toBe(10)
    expect(asked).toEqual([0])
    fade() // Used since it was read.
    await old.read(5, 100)
    fade()
    fade()
    await old.read(5, 100)
    expect(asked).toEqual([0, 5])
  })

  it('is read once for all who ask for the same at once', async () => {
    const { old, asked } = reader()
    await Promise.all([old.read(0, 100), old.read(0, 100), old.read(0, 100)])
    expect(asked).toEqual([0])
  })

  it('is a few parts a turn, however many ask', async () => {
    const { old, asked, turn } = reader()
    const all = Promise.all(Array.from({ length: 9 }, (_, i) => old.read(i * 1_000, 1_000_000)))
    for (const expected of [4, 8, 9]) {
      await new Promise((resolve) => setImmediate(resolve))
      expect(asked.length).toBe(expected)
      turn()
    }
    await all
  })
})

describe('a session that catches up', () => {
  it('with a small window reads each record once', async () => {
    const house = await House.open({ engine: {}, ...SHORT })
    const first = await house.comes('a', { expiry: 100, receiveMaximum: 2 })
    house.subscribes(first, 't')
    house.leaves(first)
    for (let i = 0; i < 40; i++) {
      void house.says('t', String(i))
      await house.passes(5)
    }
    let found = 0
    const read = house.engine.read.bind(house.engine)
    house.engine.read = async (after, until) => {
      const answer = await read(after, until)
      found += answer.records.length
      return answer
    }
    const back = await house.comes('a', { expiry: 100, receiveMaximum: 2 })
    const heard: string[] = []
    for (let i = 0; i < 100 && heard.length < 40; i++) {
      await house.passes(5)
      const sent = back.sent.map(({ packetId }) => packetId)
      heard.push(...back.hears())
      back.acks(...sent)
    }
    expect(heard).toEqual(Array.from({ length: 40 }, (_, i) => String(i)))
    // Each message is a record of its own.
    expect(found).toBeLessThanOrEqual(40)
  })
})
