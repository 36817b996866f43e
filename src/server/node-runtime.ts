// Time and chance as Node has them: what core is given in production.

import { randomBytes } from 'node:crypto'
import type { Runtime, Timer } from '../core/runtime.ts'

/** Longest delay a Node timer takes; longer ones are waited for in pieces. */
const TIMER_MAX_MS = 2_147_483_647
const RANDOM_POOL_BYTES = 4096

export class NodeRuntime implements Runtime {
  #turnEnd: (() => void)[] = []
  #asked = false
  #pool = Buffer.alloc(0)
  #poolAt = 0

  now(): number {
    return Date.now()
  }

  after(ms: number, call: () => void): Timer {
    const due = Date.now() + ms
    let timer: NodeJS.Timeout
    const wait = (left: number): void => {
      timer = setTimeout(() => {
        const rest = due - Date.now()
        if (rest > 0 && left === TIMER_MAX_MS) wait(Math.min(rest, TIMER_MAX_MS))
        else call()
      }, left).unref()
    }
    wait(Math.min(Math.max(0, ms), TIMER_MAX_MS))
    return { cancel: () => clearTimeout(timer) }
  }

  atTurnEnd(call: () => void): void {
    this.#turnEnd.push(call)
    if (this.#asked) return
    this.#asked = true
    setImmediate(() => this.#endTurn())
  }

  nextTurn(call: () => void): void {
    setImmediate(call)
  }

  random(): number {
    if (this.#poolAt + 6 > this.#pool.length) {
      this.#pool = randomBytes(RANDOM_POOL_BYTES)
      this.#poolAt = 0
    }
    const value = this.#pool.readUIntBE(this.#poolAt, 6)
    this.#poolAt += 6
    return value / 0x1_0000_0000_0000
  }

  /** Rounds with promise callbacks between them: what storing has released still leaves in this turn. */
  #endTurn(): void {
    if (this.#turnEnd.length === 0) {
      this.#asked = false
      return
    }
    const calls = this.#turnEnd
    this.#turnEnd = []
    for (const call of calls) call()
    queueMicrotask(() => this.#endTurn())
  }
}
