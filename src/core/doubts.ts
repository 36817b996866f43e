// Messages of shared groups that were on their way into the record of a member when its session went to another node:
// whether the record has them is known once the session has its next owner. Nobody else gets them before.

import type { Broker } from './broker.ts'
import type { Recorded } from './saver.ts'
import { type Group, isGroupRecord } from './share.ts'
import type { Pos } from './types.ts'

/** Milliseconds between two looks. */
const ASK_AGAIN_MS = 1_000

interface Doubt {
  readonly group: Group
  readonly pos: Pos
  readonly id: string
  /** Under which it was to be saved: while nobody claimed the record since, it may be yet. */
  readonly epoch: number
}

export class Doubts {
  readonly #broker: Broker
  #open: Doubt[] = []
  #asking = false

  constructor(broker: Broker) {
    this.#broker = broker
  }

  add(group: Group, pos: Pos, { id, epoch }: Recorded): void {
    this.#open.push({ group, pos, id, epoch })
    if (!this.#asking) void this.#ask()
  }

  async #ask(): Promise<void> {
    const { runtime } = this.#broker
    this.#asking = true
    // A node that has ended leaves them to others, which look for themselves.
    while (this.#open.length > 0 && this.#broker.state !== 'closed') {
      // The engine may be away: asked again when it is back.
      await this.#look().catch(() => {})
      if (this.#open.length > 0) {
        await new Promise<void>((resolve) => runtime.after(ASK_AGAIN_MS, resolve))
      }
    }
    this.#asking = false
  }

  async #look(): Promise<void> {
    const asked = this.#open
    const ids = new Set(asked.map(({ id }) => id))
    const epochs = new Map<string, number>()
    /** By group, what any session has of it. */
    const taken = new Map<string, Set<Pos>>()
    for (const { group } of asked) taken.set(group.key, new Set())
    for await (const { id, epoch, flow } of this.#broker.engine.sessions()) {
      if (isGroupRecord(id)) continue
      if (ids.has(id)) epochs.set(id, epoch)
      for (const run of flow.sending) {
        const known = run.with === undefined ? undefined : taken.get(run.with)
        if (known !== undefined) for (const pos of run.positions) known.add(pos)
      }
    }
    const isOpen = ({ id, epoch }: Doubt): boolean => epochs.get(id) === epoch
    this.#open = this.#open.filter((doubt) => !asked.includes(doubt) || isOpen(doubt))
    for (const doubt of asked) {
      const { group, pos } = doubt
      if (!isOpen(doubt)) group.cleared(pos, taken.get(group.key)?.has(pos) === true)
    }
  }
}
