// How a row of the table of options is written down: what is the same for most of them is filled in here.

import type { Counters } from '../core/counters.ts'
import { DEFAULT_LIMITS, type Limits } from '../core/limits.ts'
import type { EngineKind, Option } from './options.ts'

type Given = Pick<Option, 'key' | 'group' | 'doc' | 'default'> & Partial<Option>

const ENGINE_KINDS: readonly EngineKind[] = ['memory', 'disk', 'cluster']

/** An option with what most of them have in common. */
export function option(given: Given): Option {
  const flag = given.flag ?? null
  return {
    flag,
    env: `PARTYLINE_${(flag ?? 'port').toUpperCase().replaceAll('-', '_')}`,
    kind: 'text',
    many: false,
    placeholder: 'VALUE',
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    choices: [],
    counter: null,
    engines: ENGINE_KINDS,
    ...given,
  }
}

/** One of `Limits`; its default stands there. */
export function limit(
  name: keyof Limits,
  flag: string,
  kind: 'count' | 'bytes' | 'seconds',
  [min, max]: readonly [number, number],
  counter: keyof Counters | null,
  doc: string,
): Option {
  return option({
    key: `limits.${name}`,
    flag: `limit-${flag}`,
    kind,
    min,
    max,
    counter,
    doc,
    default: DEFAULT_LIMITS[name],
    placeholder: kind === 'bytes' ? 'SIZE' : kind === 'seconds' ? 'TIME' : 'N',
    group: 'Limits',
  })
}
