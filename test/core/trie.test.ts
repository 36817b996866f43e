// Filters and names: the trie in both directions against `matches`, which a newcomer can check by eye.

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { filterFault, matches, sharedFilter, topicFault } from '../../src/core/topic.ts'
import { Trie } from '../../src/core/trie.ts'

const level = fc.constantFrom('', 'a', 'b', '$x')
const name = fc.array(level, { minLength: 1, maxLength: 4 }).map((l) => l.join('/') || 'a')
const filter = fc
  .tuple(fc.array(fc.oneof(level, fc.constant('+')), { minLength: 1, maxLength: 4 }), fc.boolean())
  .map(([levels, rest]) => [...levels, ...(rest ? ['#'] : [])].join('/') || '+')

describe('matches', () => {
  it.each([
    ['a/#', 'a', true],
    ['a/#', 'a/b/c', true],
    ['#', 'a', true],
    ['+', 'a', true],
    ['+', 'a/b', false],
    ['+/+', '/a', true],
    ['/+', '/a', true],
    ['+', '/a', false],
    ['a/+', 'a/', true],
    ['a/+', 'a', false],
    ['a/+/c', 'a//c', true],
    ['#', '$SYS/x', false],
    ['+/x', '$SYS/x', false],
    ['$SYS/#', '$SYS/x', true],
    ['$SYS/+', '$SYS/x', true],
    ['a/$x', 'a/$x', true],
    ['a/+', 'a/$x', true],
    ['a', 'ab', false],
    ['ab', 'a', false],
    ['a/', 'a', false],
  ])('%s on %s: %s', (f, n, expected) => {
    expect(matches(f, n)).toBe(expected)
  })
})

describe('the trie', () => {
  it('finds for a name exactly the filters that match it, whatever came and went', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.boolean(), filter)), fc.array(name), (changes, names) => {
        const trie = new Trie<string>()
        const kept = new Set<string>()
        for (const [add, f] of changes) {
          if (add) {
            trie.set(f, f)
            kept.add(f)
          } else {
            trie.delete(f)
            kept.delete(f)
          }
        }
        for (const n of names) {
          const found: string[] = []
          trie.matching(n, (f) => found.push(f))
          expect(found.sort()).toEqual([...kept].filter((f) => matches(f, n)).sort())
        }
      }),
    )
  })

  it('finds for a filter exactly the names that it matches', () => {
    fc.assert(
      fc.property(fc.uniqueArray(name), filter, (names, f) => {
        const trie = new Trie<string>()
        for (const n of names) trie.set(n, n)
        expect([...trie.matched(f)].sort()).toEqual(names.filter((n) => matches(f, n)).sort())
      }),
    )
  })

  it('keeps no node that is of no use any more', () => {
    fc.assert(
      fc.property(fc.array(filter), (filters) => {
        const trie = new Trie<string>()
        for (const f of filters) trie.set(f, f)
        for (const f of filters) trie.delete(f)
        expect(trie.root.idle).toBe(true)
      }),
    )
  })

  it('may change while names are yielded', () => {
    const trie = new Trie<string>()
    for (const n of ['a/1', 'a/2', 'a/3']) trie.set(n, n)
    const found: string[] = []
    for (const n of trie.matched('a/+')) {
      found.push(n)
      trie.delete('a/2')
    }
    expect(found).toEqual(['a/1', 'a/3'])
  })
})

describe('what may be subscribed and published', () => {
  it.each(['', 'a#', '#/a', 'a/#/b', 'a+', '+a/b', 'a\u0000'])('refuses the filter %j', (f) => {
    expect(filterFault(f)).not.toBeNull()
  })

  it.each(['#', '+', '/', '+/+', 'a//b', '/#', '$share', 'a b'])('takes the filter %j', (f) => {
    expect(filterFault(f)).toBeNull()
  })

  it.each(['', 'a/+', '#', 'a\u0000b'])('refuses the topic %j', (n) => {
    expect(topicFault(n)).not.toBeNull()
  })

  it('takes shared filters apart', () => {
    expect(sharedFilter('$share/g/a/#')).toEqual({ group: 'g', filter: 'a/#' })
    expect(sharedFilter('$share/g//')).toEqual({ group: 'g', filter: '/' })
    expect(sharedFilter('a/$share/g')).toBeNull()
    for (const wrong of ['$share/g', '$share//a', '$share/+/a', '$share/g/', '$share/g#/a']) {
      expect(sharedFilter(wrong)).toBeTypeOf('string')
    }
  })
})
