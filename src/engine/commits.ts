// Group commit: everything that waits while a commit is on its way to the disk shares the next
// one, and everything is told in the order of the calls. One commit is in flight at a time.

import type { EngineError } from '../core/engine.ts'
import type { Change, Store } from './store.ts'

/** Somebody who is told how it ended. */
export interface Waiting {
  done(): void
  refused(error: EngineError): void
}

interface Group {
  changes: Change[]
  /** In the order of the calls; those without a change of their own are never refused. */
  waiting: { who: Waiting; writes: boolean }[]
}

export class Commits {
  readonly #store: Pick<Store, 'commit'>
  readonly #judge: (error: unknown) => Promise<EngineError>
  readonly #committed: () => void
  /** On its way to the disk, or being told about it. */
  #current: Group | null = null
  #next: Group = { changes: [], waiting: [] }
  #scheduled = false
  #fault: EngineError | null = null

  /** `judge` turns a failed commit into a refusal; `committed` is called before those who wait. */
  constructor(
    store: Pick<Store, 'commit'>,
    judge: (error: unknown) => Promise<EngineError>,
    committed: () => void,
  ) {
    this.#store = store
    this.#judge = judge
    this.#committed = committed
  }

  /** Whether nothing waits: what needs no disk need not wait either. */
  get idle(): boolean {
    return this.#current === null && this.#next.waiting.length === 0
  }

  /** Takes part in the next commit. */
  write(changes: readonly Change[], who: Waiting): void {
    if (this.#fault) {
      who.refused(this.#fault)
      return
    }
    const { changes: all, waiting } = this.#next
    for (const change of changes) all.push(change)
    waiting.push({ who, writes: true })
    this.#schedule()
  }

  /** Is told after everything before it, without a commit of its own. */
  follow(who: Waiting): void {
    if (this.#fault) who.refused(this.#fault)
    else if (this.#next.waiting.length > 0) this.#next.waiting.push({ who, writes: false })
    else if (this.#current) this.#current.waiting.push({ who, writes: false })
    else who.done()
  }

  /** Resolves when everything before is settled, however it ended. */
  settled(): Promise<void> {
    return new Promise((resolve) => {
      this.follow({ done: () => resolve(), refused: () => resolve() })
    })
  }

  /** Whoever comes from now on is refused with that error. Resolves when everything before is settled. */
  async stop(error: EngineError): Promise<void> {
    await this.settled()
    this.#fault ??= error
    this.#refuseNext(this.#fault)
    const current = this.#current
    if (current === null) return
    await new Promise<void>((resolve) => {
      const who = { done: () => resolve(), refused: () => resolve() }
      current.waiting.push({ who, writes: false })
    })
  }

  #schedule(): void {
    if (this.#scheduled || this.#current) return
    this.#scheduled = true
    queueMicrotask(() => {
      this.#scheduled = false
      void this.#commit()
    })
  }

  async #commit(): Promise<void> {
    const group = this.#next
    this.#next = { changes: [], waiting: [] }
    this.#current = group
    let refusal: EngineError | null = null
    try {
      await this.#store.commit(group.changes)
      this.#committed()
    } catch (error) {
      refusal = await this.#judge(error)
      if (refusal.fault === 'failed') this.#fault = refusal
    }
    // Those told may add followers of their own to this group: it is current until all know.
    for (let i = 0; i < group.waiting.length; i++) {
      const { who, writes } = group.waiting[i]!
      if (refusal && (writes || this.#fault)) who.refused(refusal)
      else who.done()
    }
    this.#current = null
    if (this.#fault) this.#refuseNext(this.#fault)
    else if (this.#next.waiting.length > 0) this.#schedule()
  }

  #refuseNext(fault: EngineError): void {
    const { waiting } = this.#next
    this.#next = { changes: [], waiting: [] }
    for (const { who } of waiting) who.refused(fault)
  }
}
