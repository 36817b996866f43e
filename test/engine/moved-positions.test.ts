// Positions in a copy of the log: order is kept, what is there is found, what is not is never taken
// for something else.

import { expect, test } from 'vitest'
import { SendState, type SessionFlow } from '../../src/core/types.ts'
import { MovedPositions, movedFlow, movedProfile } from '../../src/engine/moved-positions.ts'
import { flowOf, PROFILE } from './contract.ts'

/** The old log held messages at these positions; the new one holds them from 7 168 on. */
function moved(stored: readonly number[], named: readonly number[], before = 7_167) {
  const positions = new MovedPositions(named, before)
  stored.forEach((pos, i) => {
    positions.copied(pos, before + 1 + i)
  })
  positions.end()
  return positions
}

const never = (): boolean => false

test('a position moves to its message, or to the last one before it', () => {
  const positions = moved([1_024, 1_026, 5_000], [0, 1_024, 1_025, 1_026, 4_999, 5_000, 9_000])
  expect([0, 1_024, 1_025, 1_026, 4_999, 5_000, 9_000].map((pos) => positions.of(pos))).toEqual([
    7_167, 7_168, 7_168, 7_169, 7_169, 7_170, 7_170,
  ])
  expect([0, 1_024, 1_025, 5_000, 9_000].map((pos) => positions.has(pos))).toEqual([
    false,
    true,
    false,
    true,
    false,
  ])
})

test('a log without messages begins where the other ends', () => {
  const positions = moved([], [0, 77], 0)
  expect([positions.of(0), positions.of(77)]).toEqual([0, 0])
  expect(positions.last).toBe(0)
})

test('a position that nobody named is a fault', () => {
  expect(() => moved([1_024], [1_024]).of(1_025)).toThrow(/was not named/)
})

test('any cut of any log keeps what is owed', () => {
  for (let seed = 1; seed <= 200; seed++) {
    let chance = seed
    const next = (below: number): number => {
      chance = (chance * 48_271) % 2_147_483_647
      return chance % below
    }
    const stored = [...new Set(Array.from({ length: 30 }, () => next(200)))].sort((a, b) => a - b)
    const named = Array.from({ length: 20 }, () => next(220))
    const positions = moved(stored, named)
    for (const cursor of named) {
      const owed = stored.filter((pos) => pos > cursor)
      const there = stored.map((_, i) => 7_168 + i).filter((pos) => pos > positions.of(cursor))
      expect(there, `seed ${seed}, cursor ${cursor}`).toHaveLength(owed.length)
    }
  }
})

test('subscriptions begin where they began', () => {
  const subscriptions = [
    { filter: 'a', qos: 1, identifier: 3, noLocal: true, retainAsPublished: false, from: 1_025 },
  ] as const
  const profile = movedProfile({ ...PROFILE, subscriptions }, moved([1_024, 1_026], [1_025]))
  expect(profile.subscriptions).toEqual([{ ...subscriptions[0], from: 7_168 }])
})

test('packet identifiers stay with their messages, those of missing messages are free', () => {
  const flow: SessionFlow = {
    ...flowOf('old', 1_030),
    sending: [
      { packetId: 65_534, positions: [1_024, 1_025, 1_026, 1_028], state: SendState.transmitted },
      { packetId: 3, positions: [1_027], state: SendState.released },
      { packetId: 4, positions: [900, 901], state: SendState.published, retained: ['a', 'b'] },
    ],
    receiving: [7],
    awaySince: 12,
  }
  const named = [1_030, 1_024, 1_025, 1_026, 1_028, 1_027, 900, 901]
  const positions = moved([1_024, 1_026, 1_028, 1_030], named)
  expect(movedFlow(flow, positions, 'new', (topic) => topic === 'b')).toEqual({
    cursor: 7_171,
    sending: [
      { packetId: 65_534, positions: [7_168], state: SendState.transmitted },
      { packetId: 1, positions: [7_169, 7_170], state: SendState.transmitted },
      { packetId: 3, positions: [7_169], state: SendState.released },
      { packetId: 5, positions: [7_167], state: SendState.published, retained: ['b'] },
    ],
    receiving: [7],
    awaySince: 12,
    log: 'new',
  })
  expect(movedFlow({ ...flow, sending: [] }, positions, 'new', never).sending).toEqual([])
})

test('who a message is with stays said', () => {
  const run = { packetId: 1, state: SendState.published }
  const flow: SessionFlow = {
    ...flowOf('old', 1_024),
    sending: [
      { ...run, positions: [1_024, 1_026], with: 'a' },
      { ...run, positions: [1_025] },
    ],
  }
  const positions = moved([1_024, 1_025, 1_026], [1_024, 1_025, 1_026])
  expect(movedFlow(flow, positions, 'new', never).sending).toEqual([
    { ...run, positions: [7_168, 7_170], with: 'a' },
    { ...run, positions: [7_169] },
  ])
})
