// The conformance table itself: every statement is either proved by a case or excused with a reason.
import { describe, expect, it } from 'vitest'
import type { Version } from './case.ts'
import { cases } from './cases.ts'
import { statements, testedIds } from './suite.ts'
import { untestable } from './untestable.ts'

const expected = [
  { version: 4, name: 'MQTT 3.1.1', total: 121, least: 95 },
  { version: 5, name: 'MQTT 5.0', total: 253, least: 205 },
] as const

describe.each(expected)('the table of $name', ({ version, total, least }) => {
  const all = statements(version).map((s) => s.id)
  const tested = testedIds(version)
  const excused = Object.keys(untestable[version as Version])

  it('has every statement once', () => {
    expect(all).toHaveLength(total)
    expect(new Set(all).size).toBe(total)
  })

  it('proves or excuses each, never both', () => {
    expect([...tested, ...excused].sort()).toEqual([...all].sort())
  })

  it('proves enough of them', () => {
    expect(tested.size).toBeGreaterThanOrEqual(least)
  })

  it('gives one line of reason for each excuse', () => {
    for (const reason of Object.values(untestable[version as Version]))
      expect(reason).toMatch(/^[^\n]{10,100}$/)
  })
})

it('gives every case a title of its own within its version', () => {
  const titles = cases.map((c) => `${c.version} ${c.title}`)
  expect(titles).toEqual([...new Set(titles)])
})
