// The goodbyes of a node that is to end, where there are others: spread over the time it has, so that its clients do
// not all dial the next node in the same instant. Whoever is still there when it ends is told then.

import type { Broker } from './broker.ts'
import type { Timer } from './runtime.ts'

/** Share of the time in which nobody is told: load balancers must learn first that the node takes nobody new. */
const QUIET = 1 / 2
/** Milliseconds between two lots of goodbyes. */
const LOT_MS = 50

export class Farewell {
  readonly #broker: Broker
  readonly #why: string
  /** Client identifiers: who comes back all the same stays until the end. */
  readonly #told = new Set<string>()
  #timer: Timer | null = null

  /** Begins; the node has `time` milliseconds. Without other nodes nobody is told before the end. */
  constructor(broker: Broker, time: number, why: string) {
    this.#broker = broker
    this.#why = why
    if (broker.engine.node === null) return
    const lots = Math.floor((time * (1 - QUIET)) / LOT_MS)
    if (lots > 0) this.#in(time * QUIET, lots)
  }

  stop(): void {
    this.#timer?.cancel()
  }

  #in(ms: number, lots: number): void {
    this.#timer = this.#broker.runtime.after(ms, () => {
      this.#tell(lots)
      if (lots > 1) this.#in(LOT_MS, lots - 1)
    })
  }

  /** The next of so many lots: as many as the others get, those that have been there longest. */
  #tell(lots: number): void {
    const { sessions } = this.#broker
    const here = [...sessions.all()].filter(({ id, link }) => link !== null && !this.#told.has(id))
    const lot = here.slice(0, Math.round(here.length / lots))
    for (const { id } of lot) this.#told.add(id)
    // Who is away from now on was not lost: that is stored before they are told.
    if (lot.length > 0)
      void sessions.moves.ending(lot).then(() => sessions.closeLinks(this.#why, lot))
  }
}
