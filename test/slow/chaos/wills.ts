// The judge of wills: one may be published for a connection that was lost, never for one that lasts, and
// never for one that the server itself ended because NATS was away or because it was told to go.

import type { Connection } from './roamer.ts'

/** A time during which NATS alone was in trouble, by `performance.now()`. */
export interface Trouble {
  readonly from: number
  readonly to: number
  readonly name: string
}

export interface Mourned {
  readonly client: string
  readonly connections: readonly Connection[]
}

/** `wills` are `client:connection`, as they arrived. */
export function judgeWills(
  wills: readonly string[],
  clients: readonly Mourned[],
  troubles: readonly Trouble[],
): string[] {
  const faults: string[] = []
  const seen = new Set<string>()
  for (const will of wills) {
    const [id, number] = will.split(':')
    const known = clients.find(({ client }) => client === id)
    const connection = known?.connections.find((one) => one.number === Number(number))
    if (seen.has(will)) faults.push(`the will of ${will} came twice`)
    seen.add(will)
    if (connection === undefined) continue
    if (connection.by === '') {
      faults.push(`the will of ${id} was published while it was connected`)
      continue
    }
    const { ended, by } = connection
    const trouble = troubles.find(({ from, to }) => from <= ended && ended <= to)
    if (by === 'server' && trouble !== undefined) {
      const when = `ended by the server ${Math.round(ended - trouble.from)} ms into: ${trouble.name}`
      faults.push(`the will of ${will} was published, whose connection was ${when}`)
    }
  }
  return faults
}
