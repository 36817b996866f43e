// Topic rules against their meaning: what a filter covers is judged by the topics it matches.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { EVERYTHING } from '../../src/core/access.ts'
import { filterFault, matches } from '../../src/core/topic.ts'
import { covers, type Rule, RuleSet, Rules, sharing } from '../../src/server/rules.ts'

const level = fc.constantFrom('a', 'b', '', '$x')
const topic = fc.array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join('/'))
const filter = fc
  .tuple(
    fc.array(fc.constantFrom('a', 'b', '', '+', '$x'), { minLength: 0, maxLength: 4 }),
    fc.boolean(),
  )
  .map(([levels, open]) => [...levels, ...(open || levels.length === 0 ? ['#'] : [])].join('/'))
  .filter((text) => text !== '' && filterFault(text) === null)

describe('covers', () => {
  test.each([
    ['home/#', 'home/kitchen'],
    ['home/#', 'home'],
    ['home/#', 'home/+/light'],
    ['home/#', 'home/#'],
    ['home/#', 'home/+/#'],
    ['home/+', 'home/kitchen'],
    ['home/+', 'home/+'],
    ['+/+', 'a/+'],
    ['#', '+/+/x'],
    ['#', '+/#'],
    ['+/#', '#'],
    ['$SYS/#', '$SYS/broker/+'],
    ['/+', '/'],
  ])('%s covers %s', (allowed, asked) => expect(covers(allowed, asked)).toBe(true))

  test.each([
    ['home/+', 'home/#'],
    ['home/+', 'home'],
    ['home/+', 'home/a/b'],
    ['home', 'home/#'],
    ['home/kitchen', 'home/+'],
    ['+', '#'],
    ['#', '$SYS/#'],
    ['+/broker', '$SYS/broker'],
    ['a/+/#', 'a/#'],
    ['a', 'b'],
  ])('%s does not cover %s', (allowed, asked) => expect(covers(allowed, asked)).toBe(false))

  test('is what it says: every topic of the covered filter is a topic of the other', () => {
    fc.assert(
      fc.property(filter, filter, topic, (allowed, asked, name) => {
        if (covers(allowed, asked) && matches(asked, name)) {
          expect(matches(allowed, name)).toBe(true)
        }
      }),
      { numRuns: 5000 },
    )
  })

  test('misses nothing: what it refuses has a topic that the other does not match', () => {
    fc.assert(
      fc.property(filter, filter, (allowed, asked) => {
        if (covers(allowed, asked)) return
        const witnesses = topicsOf(asked)
        expect(witnesses.every((name) => matches(asked, name))).toBe(true)
        expect(witnesses.some((name) => !matches(allowed, name))).toBe(true)
      }),
      { numRuns: 5000 },
    )
  })

  /** Topics of a filter whose wildcards stand for levels that no other filter names. */
  function topicsOf(asked: string): string[] {
    const levels = asked.split('/').map((each) => (each === '+' ? 'fresh' : each))
    if (levels.at(-1) !== '#') return [levels.join('/')]
    const head = levels.slice(0, -1)
    const tails = [[], ['fresh'], ['fresh', 'fresh'], Array.from({ length: 6 }, () => 'fresh')]
    return tails
      .map((tail) => [...head, ...tail].join('/'))
      .filter((name) => name !== '' || head.length > 0)
  }
})

describe('a rule set', () => {
  const rules: Rule[] = [
    { allows: 'publish', filter: 'sensors/#' },
    { allows: 'subscribe', filter: 'news/+' },
    { allows: 'both', filter: 'chat' },
  ]
  const set = new RuleSet(rules)

  test('allows what a rule names and nothing else', () => {
    expect(set.mayPublish('sensors/a')).toBe(true)
    expect(set.mayPublish('chat')).toBe(true)
    expect(set.mayPublish('news/today')).toBe(false)
    expect(set.maySubscribe('news/+')).toBe(true)
    expect(set.maySubscribe('chat')).toBe(true)
    expect(set.maySubscribe('sensors/a')).toBe(false)
    expect(set.maySubscribe('news/#')).toBe(false)
  })

  test('without rules everything is allowed, by the one class for that', () => {
    expect(new Rules([], 'alice', sharing()).classFor('any')).toBe(EVERYTHING)
  })

  test('equal rules are one class, whoever they belong to and in whatever order', () => {
    const share = sharing()
    const alice = new Rules(rules, 'alice', share)
    const bob = new Rules([...rules].reverse(), 'bob', share)
    expect(alice.classFor('x')).toBe(bob.classFor('y'))
    expect(new Rules(rules.slice(1), 'carol', share).classFor('x')).not.toBe(alice.classFor('x'))
  })

  test('%u makes a class for each user, %c one for each client', () => {
    const share = sharing()
    const byUser: Rule[] = [{ allows: 'both', filter: 'home/%u/#' }]
    const alice = new Rules(byUser, 'alice', share)
    expect(alice.classFor('x')).toBe(alice.classFor('y'))
    expect(alice.classFor('x').mayPublish('home/alice/light')).toBe(true)
    expect(alice.classFor('x').mayPublish('home/bob/light')).toBe(false)
    const both = new Rules([{ allows: 'both', filter: 'home/%u/%c/#' }], 'alice', share)
    expect(both.classFor('lamp').maySubscribe('home/alice/lamp/#')).toBe(true)
    expect(both.classFor('lamp').maySubscribe('home/alice/+/#')).toBe(false)
    expect(both.classFor('lamp')).not.toBe(both.classFor('door'))
  })

  test.each(['#', '+', 'a/b', '/', '', 'x\0', 'a+'])(
    'the client identifier %j reaches nothing through %%c',
    (clientId) => {
      const access = new Rules([{ allows: 'both', filter: 'x/%c/#' }], 'a', sharing()).classFor(
        clientId,
      )
      expect(access.maySubscribe('x/#')).toBe(false)
      expect(access.maySubscribe(`x/${clientId}/#`)).toBe(false)
      expect(access.mayPublish(`x/${clientId}/y`)).toBe(false)
    },
  )

  test('no identifier reaches the topics of the server', () => {
    const access = new Rules([{ allows: 'both', filter: '%c/#' }], 'a', sharing()).classFor('$SYS')
    expect(access.maySubscribe('$SYS/#')).toBe(false)
  })

  test('a name is put in as it is, not as a pattern', () => {
    const access = new Rules([{ allows: 'both', filter: 'x/%u' }], "$&$'", sharing()).classFor('c')
    expect(access.mayPublish("x/$&$'")).toBe(true)
  })
})
