// Prints verdicts as a table and counts them.

import type { Version } from './case.ts'
import { statements, type Verdict } from './suite.ts'

export interface Count {
  passed: number
  failed: number
  notTestable: number
  notTestedHere: number
}

const names: Record<Version, string> = { 4: 'MQTT 3.1.1', 5: 'MQTT 5.0' }

export function count(verdicts: readonly Verdict[]): Count {
  const of = (verdict: Verdict['verdict']) => verdicts.filter((v) => v.verdict === verdict).length
  return {
    passed: of('passed'),
    failed: of('failed'),
    notTestable: of('not testable'),
    notTestedHere: of('not tested here'),
  }
}

/** The verdicts of one version, a line each. */
export function table(version: Version, verdicts: readonly Verdict[]): string {
  const mine = verdicts.filter((v) => v.version === version)
  const lines = mine.map((v) => `${v.id.padEnd(15)} ${v.verdict.padEnd(16)} ${v.reason}`.trimEnd())
  return [names[version], ...lines, ''].join('\n')
}

/** One line of counts. */
export function summary(version: Version, verdicts: readonly Verdict[]): string {
  const n = count(verdicts.filter((v) => v.version === version))
  const total = statements(version).length
  return (
    `${names[version]}: ${n.passed} passed, ${n.failed} failed, ${n.notTestedHere} not tested here, ` +
    `${n.notTestable} not testable, of ${total}`
  )
}
