// Who owned which session, as the records say that NATS took: a claim makes its node the owner under a new
// epoch, and from then on no record of an earlier epoch, and none of another node, may be taken.

import { decodeSession } from '../../../src/engine/nats/session-record.ts'
import type { Taken } from './relay.ts'

interface Version {
  readonly seq: number
  readonly node: string
  /** Sequence of the claim; the record's own where it is one. */
  readonly epoch: number
}

export class Owners {
  readonly #versions = new Map<string, Version[]>()

  taken({ token, seq, bytes }: Taken): void {
    const { node, epoch } = decodeSession(token, bytes)
    this.add(token, { seq, node, epoch: epoch === 0 ? seq : epoch })
  }

  add(token: string, version: Version): void {
    const known = this.#versions.get(token)
    if (known === undefined) this.#versions.set(token, [version])
    else known.push(version)
  }

  /** How often a session changed nodes. */
  get moves(): number {
    let moves = 0
    for (const versions of this.#versions.values()) {
      const nodes = inOrder(versions).map(({ node }) => node)
      moves += nodes.filter((node, i) => i > 0 && node !== nodes[i - 1]).length
    }
    return moves
  }

  get records(): number {
    return [...this.#versions.values()].reduce((sum, { length }) => sum + length, 0)
  }

  /** Every record that a node could store though the session was another's by then. */
  faults(): string[] {
    const faults: string[] = []
    for (const [token, versions] of this.#versions) {
      const name = `session ${Buffer.from(token, 'base64url')}`
      let owner: Version | null = null
      for (const version of inOrder(versions)) {
        if (owner !== null && version.epoch < owner.epoch) {
          faults.push(`${name}: ${told(version)}, after ${told(owner)}`)
          continue
        }
        if (owner !== null && version.epoch === owner.epoch && version.node !== owner.node) {
          faults.push(`${name}: ${told(version)} and ${told(owner)} in one epoch`)
        }
        owner = version
      }
    }
    return faults
  }
}

function inOrder(versions: readonly Version[]): Version[] {
  return [...versions].sort((a, b) => a.seq - b.seq)
}

function told({ node, epoch, seq }: Version): string {
  return `node ${node} saved it as record ${seq} in epoch ${epoch}`
}
