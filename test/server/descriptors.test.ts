// Connections as far as descriptors reach, and a sentence where they do not reach at all.
import { expect, test } from 'vitest'
import { connectionBound, descriptorLimit } from '../../src/server/descriptors.ts'

test('256 descriptors are kept for everything else', () => {
  expect(connectionBound(100_000, 20_000)).toBe(19_744)
  expect(connectionBound(1_000, 20_000)).toBe(1_000)
  expect(connectionBound(1_000, Number.POSITIVE_INFINITY)).toBe(1_000)
})

test('too few are refused with what to do', () => {
  expect(() => connectionBound(1_000, 256)).toThrow(/ulimit -n/)
})

test('the limit of this process is a number above what it has open', () => {
  expect(descriptorLimit()).toBeGreaterThan(16)
})
