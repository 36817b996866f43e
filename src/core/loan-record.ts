// When the record of a group that several nodes share is written, and what waits until it is: nothing that a node may
// do counts before the record says so, and nobody forgets what it is done with before that.

import type { Runtime } from './runtime.ts'
import type { Recorded, Saver } from './saver.ts'
import { type Pos, type SendRun, SendState, type SessionProfile } from './types.ts'

/** Milliseconds what nobody waits for may take. */
const LAZY_MS = 250

/** A message that no member is done with. */
export interface Loan {
  /** The node that may give it to a member; null while none may. */
  node: string | null
  /** Whether it may be of QoS 2: then the record of a member may hold it. */
  readonly exact: boolean
}

/** A position, and the node that may give it to a member or is done with it. */
export interface Deed {
  readonly pos: Pos
  readonly node: string
}

export class LoanRecord {
  readonly #whose: Recorded
  readonly #saver: Saver
  readonly #runtime: Runtime
  readonly #saved: (assigned: readonly Deed[], finished: readonly Deed[]) => void
  #assigned: Deed[] = []
  #finished: Deed[] = []
  readonly #finishing = new Set<Pos>()
  /** How often a whole record was asked for, and up to which of those it was written. */
  #asked = 0
  #written = 0
  #writing = false
  #lazy = false

  constructor(
    whose: Recorded,
    saver: Saver,
    runtime: Runtime,
    saved: (assigned: readonly Deed[], finished: readonly Deed[]) => void,
  ) {
    this.#whose = whose
    this.#saver = saver
    this.#runtime = runtime
    this.#saved = saved
  }

  /** The record is to say that the node may have it. */
  assign(pos: Pos, node: string): void {
    this.#assigned.push({ pos, node })
    this.write()
  }

  /** How many are assigned to that node and not in the record. */
  assignedTo(node: string): number {
    let count = 0
    for (const deed of this.#assigned) if (deed.node === node) count++
    return count
  }

  /** The record is to say that nobody gets it any more. */
  finish(pos: Pos, node: string, isUrgent: boolean): void {
    this.#finishing.add(pos)
    this.#finished.push({ pos, node })
    if (isUrgent) this.write()
    else this.#later()
  }

  /** Whether it is finished and the record does not say so. */
  isFinishing(pos: Pos): boolean {
    return this.#finishing.has(pos)
  }

  /** Where it begins has changed, too. */
  writeWhole(): void {
    this.#asked++
    this.write()
  }

  /** Whether the record says where the group begins. */
  get isWhole(): boolean {
    return this.#written === this.#asked
  }

  write(): void {
    if (this.#writing || this.#whose.gone) return
    this.#writing = true
    this.#runtime.atTurnEnd(() => {
      this.#writing = false
      if (!this.#whose.gone) this.#save()
    })
  }

  /** What could not be written is tried again. */
  tick(): void {
    if (this.#assigned.length > 0 || this.#finished.length > 0 || !this.isWhole) this.write()
  }

  #later(): void {
    if (this.#lazy) return
    this.#lazy = true
    this.#runtime.after(LAZY_MS, () => {
      this.#lazy = false
      this.write()
    })
  }

  #save(): void {
    const assigned = this.#assigned
    const finished = this.#finished
    const asked = this.#asked
    this.#assigned = []
    this.#finished = []
    const save = this.isWhole ? this.#saver.flow(this.#whose) : this.#saver.profile(this.#whose)
    save.then(
      () => {
        if (this.#whose.gone) return
        this.#written = Math.max(this.#written, asked)
        for (const { pos } of finished) this.#finishing.delete(pos)
        this.#saved(assigned, finished)
      },
      () => {
        this.#assigned = [...assigned, ...this.#assigned]
        this.#finished = [...finished, ...this.#finished]
      },
    )
  }
}

/** The open messages, one run for each node. */
export function runsOf(open: ReadonlyMap<Pos, Loan>): SendRun[] {
  const byNode = new Map<string | null, Pos[]>()
  for (const [pos, { node }] of open) {
    const positions = byNode.get(node)
    if (positions === undefined) byNode.set(node, [pos])
    else positions.push(pos)
  }
  return [...byNode].map(([node, positions]) => ({
    packetId: 1,
    positions: positions.sort((a, b) => a - b),
    state: SendState.published,
    ...(node === null ? {} : { with: node }),
  }))
}

/** Where a group begins, as the subscription of a session that nobody connects to. */
export function begunAfter(from: Pos, filter: string): SessionProfile {
  const options = { qos: 0, identifier: 0, noLocal: false, retainAsPublished: false } as const
  const subscriptions = [{ filter, from, ...options }]
  return { expiry: Number.POSITIVE_INFINITY, subscriptions, will: null, user: '' }
}
