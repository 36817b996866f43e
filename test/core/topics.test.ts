// The table of topics: growth, generations, and what happens when names collide.

import { describe, expect, it } from 'vitest'
import { Counters } from '../../src/core/counters.ts'
import { DEFAULT_LIMITS } from '../../src/core/limits.ts'
import { Topics } from '../../src/core/topics.ts'

function table(
  topicsRemembered: number,
  random: () => number = Math.sqrt.bind(null, 0.37),
): {
  topics: Topics
  counters: Counters
} {
  const counters = new Counters()
  const runtime = {
    now: () => 0,
    after: () => ({ cancel: () => {} }),
    atTurnEnd: () => {},
    nextTurn: () => {},
    random,
  }
  return {
    topics: new Topics({ ...DEFAULT_LIMITS, topicsRemembered }, counters, runtime),
    counters,
  }
}

const find = (topics: Topics, name: string) => topics.named(name)

describe('the topic table', () => {
  it('gives the same object for the same name, also after it has grown', () => {
    const { topics } = table(1_000_000)
    const names = Array.from({ length: 5_000 }, (_, i) => `sensor/${i}`)
    const first = names.map((n) => find(topics, n))
    expect(names.map((n) => find(topics, n))).toEqual(first)
    expect(first.every((topic, i) => topic?.name === names[i])).toBe(true)
    expect(topics.size).toBe(5_000)
  })

  it('forgets only what nobody asked for during a generation', () => {
    const { topics, counters } = table(20)
    const evicted: string[] = []
    topics.onEvict = (topic) => evicted.push(topic.name)
    const used = find(topics, 'used')
    for (let i = 0; i < 100; i++) {
      find(topics, `once/${i}`)
      expect(find(topics, 'used')).toBe(used)
    }
    expect(used?.evicted).toBe(false)
    expect(evicted.length).toBe(counters.topicsEvicted)
    expect(evicted).toContain('once/0')
    expect(evicted).not.toContain('used')
    expect(topics.size).toBeLessThanOrEqual(21)
  })

  it('does not take a look for a use', () => {
    const { topics } = table(20)
    find(topics, 'watched')
    for (let i = 0; i < 40; i++) {
      topics.known('watched')
      find(topics, `once/${i}`)
    }
    expect(topics.known('watched')).toBeNull()
  })

  it('tells names with the same hash apart, and takes a new seed when there are many', () => {
    // With the factor 1 every permutation of the same bytes has one hash.
    let asked = 0
    const { topics } = table(1_000_000, () => {
      asked++
      return asked <= 2 ? 0 : Math.sqrt(asked + 7) % 1
    })
    const letters = 'abcdefg'.split('')
    const names = permutations(letters).slice(0, 200)
    const evicted: string[] = []
    topics.onEvict = (topic) => evicted.push(topic.name)
    for (const n of names.slice(0, 60)) expect(find(topics, n)?.name).toBe(n)
    for (const n of names.slice(0, 60)) expect(find(topics, n)?.name).toBe(n)
    expect(evicted).toEqual([])
    for (const n of names) expect(find(topics, n)?.name).toBe(n)
    expect(asked).toBe(4)
    expect(evicted.length).toBeGreaterThan(60)
  })

  it('takes no name that is not valid, and says why', () => {
    const { topics } = table(100)
    for (const [bytes, why] of [
      [Buffer.from(''), /at least one/],
      [Buffer.from('a/#'), /wildcards/],
      [Buffer.from('a\0'), /U\+0000/],
      [Buffer.from([0xff]), /UTF-8/],
      [Buffer.from('/'.repeat(200)), /levels/],
    ] as const) {
      expect(topics.find(bytes, 0, bytes.length)).toBeNull()
      expect(topics.fault(bytes, 0, bytes.length)).toMatch(why)
    }
  })
})

function permutations(letters: readonly string[]): string[] {
  if (letters.length === 1) return [letters[0] as string]
  return letters.flatMap((first, i) =>
    permutations([...letters.slice(0, i), ...letters.slice(i + 1)]).map((rest) => first + rest),
  )
}
