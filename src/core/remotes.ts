// Other nodes with members of a shared group, or with messages that were lent to them, as the owner of its record
// knows them.

import type { Pos } from './types.ts'

export interface Remote {
  members: number
  room: number
  /** What the record says it has, and the first statement that says so; after that, what it has not it gave back. */
  readonly lent: Map<Pos, number>
  /** Done there, and the record says so. */
  readonly confirmed: Set<Pos>
}

/** What is said to one node: what it may give to its members, and what it need not repeat. */
export interface Lent {
  readonly node: string
  readonly lent: ReadonlySet<Pos>
  readonly confirmed: ReadonlySet<Pos>
}

export class Remotes {
  readonly #byNode = new Map<string, Remote>()

  get members(): number {
    let members = 0
    for (const remote of this.#byNode.values()) members += remote.members
    return members
  }

  /** How many more messages they would take in all. */
  get room(): number {
    let room = 0
    for (const remote of this.#byNode.values()) room += Math.max(0, remote.room)
    return room
  }

  get(node: string): Remote | undefined {
    return this.#byNode.get(node)
  }

  /** Made if it is not known. */
  at(node: string): Remote {
    let remote = this.#byNode.get(node)
    if (remote === undefined) {
      remote = { members: 0, room: 0, lent: new Map(), confirmed: new Set() }
      this.#byNode.set(node, remote)
    }
    return remote
  }

  delete(node: string): void {
    this.#byNode.delete(node)
  }

  nodes(): string[] {
    return [...this.#byNode.keys()]
  }

  /** The node with the most room; null when none has any. */
  roomiest(): string | null {
    let best: string | null = null
    let most = 0
    for (const [node, { room }] of this.#byNode) {
      if (room <= most) continue
      best = node
      most = room
    }
    return best
  }

  *all(): Generator<Lent> {
    for (const [node, { lent, confirmed }] of this.#byNode) {
      yield { node, lent: new Set(lent.keys()), confirmed }
    }
  }
}
