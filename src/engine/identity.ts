// The random identity of a log. Positions mean nothing without it: a cursor that names
// another log belongs to a folder that was replaced, or to a run that is gone.

import type { Runtime } from '../core/runtime.ts'

/** 32 hexadecimal digits, about 106 random bits. */
export function newLogIdentity(runtime: Pick<Runtime, 'random'>): string {
  let digits = ''
  while (digits.length < 32) {
    // 26 bits at a time: well inside what one random() holds.
    digits += Math.floor(runtime.random() * 2 ** 26)
      .toString(16)
      .padStart(7, '0')
  }
  return digits.slice(0, 32)
}
