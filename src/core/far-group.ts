// A shared group's members at other nodes. A QoS 0 message that meets none here goes to one of those nodes, in turn
// and the more often the more members it has; that node gives it to one of them and never passes it on.

import { Mark } from './audience.ts'
import type { Run } from './run.ts'
import type { Runtime } from './runtime.ts'
import { SHARE_RUN } from './share.ts'

/** A group by its name and its filter, which is without `$share/name/`. */
export interface GroupName {
  readonly name: string
  readonly filter: string
}

/** A way to a node with members. */
export interface FarLink {
  passShared(group: GroupName, run: Run): void
}

export class FarGroup implements GroupName {
  readonly name: string
  readonly filter: string
  readonly mark: Mark
  readonly #members = new Map<FarLink, number>()
  #total = 0
  #turn = 0

  constructor({ name, filter }: GroupName, runtime: Runtime) {
    this.name = name
    this.filter = filter
    this.mark = new Mark(runtime)
  }

  get empty(): boolean {
    return this.#total === 0
  }

  /** So many of that node's members are connected. */
  set(link: FarLink, members: number): void {
    this.#total += members - (this.#members.get(link) ?? 0)
    if (members === 0) this.#members.delete(link)
    else this.#members.set(link, members)
  }

  isOf({ name, filter }: GroupName): boolean {
    return name === this.name && filter === this.filter
  }

  pass(run: Run): void {
    for (let from = 0; from < run.count; from += SHARE_RUN) {
      const to = Math.min(run.count, from + SHARE_RUN)
      this.#next().passShared(this, from === 0 && to === run.count ? run : run.part(from, to))
    }
  }

  #next(): FarLink {
    this.#turn = (this.#turn + 1) % this.#total
    let before = this.#turn
    let chosen: FarLink | null = null
    for (const [link, members] of this.#members) {
      chosen = link
      before -= members
      if (before < 0) break
    }
    return chosen as FarLink
  }
}
