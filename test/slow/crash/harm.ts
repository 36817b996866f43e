// What a guilty server would have done to a recorded run: the judge must find each of these.

import type { History, Received } from './history.ts'

type Harm = (keys: string[], sent: History['sent']) => string[]

export const HARMS: readonly (readonly [what: string, harm: Harm])[] = [
  ['one removed', (keys) => keys.filter((key) => key !== keys[1_000])],
  [
    'one doubled at QoS 2',
    (keys, sent) => [...keys, keys.find((key) => sent.get(key)?.qos === 2)!],
  ],
  ['two swapped', swapped],
  ['one invented', (keys) => [...keys, 'p0:99999999']],
]

/** The same run, but for what the first subscriber received. */
export function harmed(history: History, harm: Harm): History {
  const [first, ...others] = history.received as [Received, ...Received[]]
  const keys = harm(first.keys, history.sent)
  return { ...history, received: [{ ...first, keys }, ...others] }
}

/** Exchanges two neighbours of one publisher, topic and QoS that arrived once. */
function swapped(keys: string[], sent: History['sent']): string[] {
  const lane = (key: string): string => {
    const { publisher, topic, qos } = sent.get(key)!
    return `${publisher} ${topic} ${qos}`
  }
  const counts = new Map<string, number>()
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1)
  const once = keys.filter((key) => counts.get(key) === 1)
  const first = once[500]!
  const second = once.slice(501).find((key) => lane(key) === lane(first))!
  return keys.map((key) => (key === first ? second : key === second ? first : key))
}
