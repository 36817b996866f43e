// The arithmetic of the benchmark: medians, and the interval of a paired ratio. Two contenders that ran one after the
// other in the same round shared the same noise, so their ratio is far steadier than either figure.

/** The middle of the values, or the mean of the two middle ones. Throws a RangeError when there are none. */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError('the median of no values is not defined')
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** A ratio with the interval that holds the true one in 95 of 100 such measurements. */
export interface RatioInterval {
  /** Geometric mean of the ratios of all rounds. */
  readonly ratio: number
  /** Lower end; 0 when there was a single round, which says nothing about its own error. */
  readonly low: number
  /** Upper end; Infinity when there was a single round. */
  readonly high: number
  readonly rounds: number
}

// Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom; beyond that the normal one is near enough.
const T95 = [
  12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145,
  2.131, 2.12, 2.11, 2.101, 2.093, 2.086, 2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048,
  2.045, 2.042,
] as const

/**
 * The ratio ours/theirs over rounds in which both were measured, `ours[i]` and `theirs[i]` in the same round. Works on
 * logarithms: a ratio of 2 and one of 1/2 must cancel out. Throws a RangeError when the lengths differ, are zero, or
 * a value is not above zero.
 */
export function pairedRatio(ours: readonly number[], theirs: readonly number[]): RatioInterval {
  if (ours.length !== theirs.length || ours.length === 0) {
    throw new RangeError('a paired ratio needs the same rounds of both, and at least one')
  }
  const logs = ours.map((value, round) => Math.log(positive(value) / positive(theirs[round]!)))
  const n = logs.length
  const mean = logs.reduce((sum, x) => sum + x, 0) / n
  const ratio = Math.exp(mean)
  if (n === 1) return { ratio, low: 0, high: Number.POSITIVE_INFINITY, rounds: 1 }
  const variance = logs.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (n - 1)
  const half = (T95[n - 2] ?? 1.96) * Math.sqrt(variance / n)
  return { ratio, low: Math.exp(mean - half), high: Math.exp(mean + half), rounds: n }
}

function positive(value: number): number {
  if (!(value > 0)) throw new RangeError(`a ratio needs values above zero, not ${value}`)
  return value
}
