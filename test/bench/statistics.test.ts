// The arithmetic that the benchmark's claims rest on, against figures worked out by hand.
import { describe, expect, test } from 'vitest'
import { median, pairedRatio } from '../../bench/statistics.ts'

describe('the median', () => {
  test('is the middle value, in whatever order they come', () => {
    expect(median([9, 1, 5])).toBe(5)
  })

  test('of an even number of values lies between the middle two', () => {
    expect(median([4, 1, 3, 100])).toBe(3.5)
  })

  test('compares numbers, not their texts', () => {
    expect(median([10, 9, 100])).toBe(10)
  })

  test('of nothing is refused, and the values given are left as they were', () => {
    const values = [3, 1, 2]
    median(values)
    expect(values).toEqual([3, 1, 2])
    expect(() => median([])).toThrow(RangeError)
  })
})

describe('a paired ratio', () => {
  test('of the same ratio in each round has no width, however much the rounds differ', () => {
    const { ratio, low, high } = pairedRatio([200, 20, 2000], [100, 10, 1000])
    expect(ratio).toBeCloseTo(2)
    expect(low).toBeCloseTo(2)
    expect(high).toBeCloseTo(2)
  })

  test('takes twice as fast and half as fast to be even', () => {
    expect(pairedRatio([2, 1], [1, 2]).ratio).toBeCloseTo(1)
  })

  test('has the interval of Student with one degree of freedom less than rounds', () => {
    // Logarithms of the ratios: ln 1, ln 2, ln 4. Mean ln 2, standard deviation ln 2, t(2) = 4.303.
    const { ratio, low, high, rounds } = pairedRatio([1, 2, 4], [1, 1, 1])
    const half = (4.303 * Math.LN2) / Math.sqrt(3)
    expect(ratio).toBeCloseTo(2)
    expect(low).toBeCloseTo(2 * Math.exp(-half))
    expect(high).toBeCloseTo(2 * Math.exp(half))
    expect(rounds).toBe(3)
  })

  test('swapped is the reciprocal', () => {
    const forth = pairedRatio([3, 5, 9, 2], [2, 6, 4, 2])
    const back = pairedRatio([2, 6, 4, 2], [3, 5, 9, 2])
    expect(back.ratio).toBeCloseTo(1 / forth.ratio)
    expect(back.low).toBeCloseTo(1 / forth.high)
  })

  test('of one round claims nothing about its error', () => {
    expect(pairedRatio([3], [2])).toEqual({
      ratio: 1.5,
      low: 0,
      high: Number.POSITIVE_INFINITY,
      rounds: 1,
    })
  })

  test.each([
    [[1, 2], [1]],
    [[], []],
    [[0], [1]],
    [[1], [Number.NaN]],
  ])('of %j and %j is refused', (ours, theirs) => {
    expect(() => pairedRatio(ours, theirs)).toThrow(RangeError)
  })
})
