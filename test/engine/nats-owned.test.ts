// What a node remembers of the QoS 2 messages of a session it owns: which of them are in doubt.

import { beforeEach, expect, test } from 'vitest'
import { Owned } from '../../src/engine/nats/owned.ts'

let owned: Owned
beforeEach(() => {
  owned = new Owned({ epoch: 1, profile: null, flow: null, introduced: [1], intents: [], came: 0 })
})

const made = (group: string) => (packetIds: readonly number[]) => ({
  group,
  packetIds,
  after: 0,
  at: 0,
})
const doubts = () => owned.intents.map(({ group, packetIds }) => [group, ...packetIds])

test('identifiers that are new with an append are in doubt until it is stored', () => {
  owned.receive([1, 2, 3], made('a'))
  owned.receive([1, 2, 3, 4], made('b'))
  owned.receive([1, 2, 3, 4], null)
  expect(doubts()).toEqual([
    ['a', 2, 3],
    ['b', 4],
  ])
  owned.settled('a', true)
  expect(doubts()).toEqual([['b', 4]])
})

test('what was not stored stays in doubt until it is saved as not received', () => {
  owned.receive([1, 2], made('a'))
  owned.settled('a', false)
  // A save that was made before that was known.
  owned.receive([1, 2], null)
  expect(doubts()).toEqual([['a', 2]])
  owned.receive([1], null)
  expect(doubts()).toEqual([])
})

test('an identifier that is used again is in doubt for the new message alone', () => {
  owned.receive([1, 2], made('a'))
  owned.settled('a', false)
  owned.receive([1, 2], made('b'))
  expect(doubts()).toEqual([['b', 2]])
  owned.settled('b', true)
  owned.receive([1], null)
  owned.receive([1, 2], made('c'))
  expect(doubts()).toEqual([['c', 2]])
})

test('what was not in the append it came with is saved with the next one, and not before', () => {
  expect(owned.receive([1, 2], made('a'))).toEqual([1, 2])
  expect(owned.withhold('a')).toBe(true)
  expect(doubts()).toEqual([])
  expect(owned.receive([1, 2], null)).toEqual([1])
  expect(owned.receive([1, 2, 3], made('b'))).toEqual([1, 2, 3])
  expect(doubts()).toEqual([['b', 2, 3]])
  expect(owned.withhold('a')).toBe(false)
})

test('what was not in its append and is given up means nothing to who uses the identifier again', () => {
  owned.receive([1, 2], made('a'))
  owned.withhold('a')
  expect(owned.receive([1], null)).toEqual([1])
  expect(owned.receive([1, 2], null)).toEqual([1, 2])
})
