// The page of the cluster benchmark says what was measured, which goals were met, and what went wrong.
import { expect, test } from 'vitest'
import { type ClusterPage, clusterPage, type Measured, shown } from '../../bench/cluster-report.ts'

const row = (
  name: string,
  unit: string,
  median: number,
  more: Partial<Measured> = {},
): Measured => ({
  name,
  title: `row ${name}`,
  unit,
  figures: { first: { median, rounds: [median] } },
  faults: [],
  ...more,
})

const page = (...results: Measured[]): ClusterPage => ({
  command: 'npm run bench:cluster',
  date: '2026-01-01',
  machine: '2 × test',
  node: '20.19.0',
  rounds: 3,
  results,
})

test('goals are met by what was measured, and by nothing else', () => {
  const met = clusterPage(page(row('qos1-1', 'a second', 100_000), row('failover', 'ms', 1_999)))
  expect(met).toContain('100 000 a second, met')
  expect(met).toContain('1 999 ms for the last of 100 clients, met')
  const missed = clusterPage(page(row('qos1-1', 'a second', 99_000), row('failover', 'ms', 2_000)))
  expect(missed).toContain('99 000 a second, **not met**')
  expect(missed).toContain('2 000 ms for the last of 100 clients, **not met**')
  expect(clusterPage(page())).toMatch(/not measured in this run\n.*not measured in this run/)
})

test('figures keep three digits and say what they count', () => {
  const figures = { rate: { median: 1234.5, rounds: [] }, p99: { median: 4.321, rounds: [] } }
  expect(shown(row('x', 'a second', 0, { figures }))).toMatch(/^x +1 235 a second, 4\.32 p99$/)
})

test('a round that lost messages is not hidden', () => {
  const faults = ['3 lost, 0 disordered']
  expect(clusterPage(page(row('x', 'ms', 1, { faults })))).toContain(
    '**faults: 3 lost, 0 disordered**',
  )
  expect(shown(row('x', 'ms', 1, { faults }))).toContain('FAULTS: 3 lost, 0 disordered')
})
