// Time and turns of a simulated process. Time moves only when nothing is left to do now; one
// event is one turn of the event loop, with its promise callbacks and its end.

import type { Runtime, Timer } from '../src/core/runtime.ts'
import type { Chance } from './chance.ts'

interface Event {
  readonly due: number
  readonly order: number
  call: (() => void) | null
}

/** Lets every promise callback run that can. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

export class Clock {
  time = 1_700_000_000_000
  #order = 0
  /** A heap: the event due first is at 0. */
  readonly #events: Event[] = []
  #turnEnd: (() => void)[] = []
  #afterTurn: (() => void)[] = []
  /** Turns so far: a finer clock than time, for what happened before what. */
  turns = 0

  /** Calls back after `ms` milliseconds, in a turn of its own. */
  at(ms: number, call: () => void): Timer {
    const event: Event = { due: this.time + Math.max(0, ms), order: this.#order++, call }
    this.#push(event)
    return {
      cancel: () => {
        event.call = null
      },
    }
  }

  /** Calls back at the end of this turn. */
  atTurnEnd(call: () => void): void {
    this.#turnEnd.push(call)
  }

  /** Calls back when this turn is over and nothing of it is left. */
  afterTurn(call: () => void): void {
    this.#afterTurn.push(call)
  }

  /** When the next event is due; Infinity when there is none. */
  get next(): number {
    while (this.#events[0]?.call === null) this.#pop()
    return this.#events[0]?.due ?? Number.POSITIVE_INFINITY
  }

  /** One turn. False when nothing is due any more at or before `until`. */
  async turn(until: number): Promise<boolean> {
    if (this.next > until) {
      this.time = Math.max(this.time, until)
      return false
    }
    const event = this.#pop() as Event
    this.time = Math.max(this.time, event.due)
    this.turns++
    event.call?.()
    await settled()
    while (this.#turnEnd.length > 0) {
      const calls = this.#turnEnd
      this.#turnEnd = []
      for (const call of calls) call()
      await settled()
    }
    for (const call of this.#afterTurn.splice(0)) call()
    return true
  }

  #push(event: Event): void {
    const heap = this.#events
    let i = heap.length
    heap.push(event)
    while (i > 0) {
      const parent = (i - 1) >>> 1
      if (!before(event, heap[parent] as Event)) break
      heap[i] = heap[parent] as Event
      i = parent
    }
    heap[i] = event
  }

  #pop(): Event | undefined {
    const heap = this.#events
    const first = heap[0]
    const last = heap.pop()
    if (first === undefined || last === undefined || first === last) return first
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= heap.length) break
      const right = child + 1
      if (right < heap.length && before(heap[right] as Event, heap[child] as Event)) child = right
      if (!before(heap[child] as Event, last)) break
      heap[i] = heap[child] as Event
      i = child
    }
    heap[i] = last
    return first
  }
}

function before(a: Event, b: Event): boolean {
  return a.due < b.due || (a.due === b.due && a.order < b.order)
}

/** The runtime of one life of a process: when it is killed, nothing it waited for happens. */
export class SimRuntime implements Runtime {
  readonly #clock: Clock
  readonly #chance: Chance
  #dead = false
  /** What became due while the process is stopped, and waits for it to go on; null while it runs. */
  #stopped: (() => void)[] | null = null

  constructor(clock: Clock, chance: Chance) {
    this.#clock = clock
    this.#chance = chance
  }

  get dead(): boolean {
    return this.#dead
  }

  kill(): void {
    this.#dead = true
  }

  /** Nothing happens any more, until it goes on. */
  pause(): void {
    this.#stopped ??= []
  }

  /** The turn in which it was stopped ends before another begins. */
  resume(): void {
    const missed = this.#stopped ?? []
    this.#stopped = null
    for (const goOn of missed) goOn()
  }

  now(): number {
    return this.#clock.time
  }

  after(ms: number, call: () => void): Timer {
    return this.#clock.at(ms, this.#alive(call, this.#soon))
  }

  atTurnEnd(call: () => void): void {
    const again = (late: () => void): void => this.#clock.atTurnEnd(late)
    this.#clock.atTurnEnd(this.#alive(call, again))
  }

  nextTurn(call: () => void): void {
    this.#clock.at(0, this.#alive(call, this.#soon))
  }

  /** After what the end of the turn does: later, too, where the process is stopped in between. */
  afterTurn(call: () => void): void {
    const again = (late: () => void): void => this.#clock.afterTurn(late)
    this.#clock.afterTurn(this.#alive(call, again))
  }

  random(): number {
    return this.#chance.random()
  }

  readonly #soon = (call: () => void): void => {
    this.#clock.at(0, call)
  }

  /** What is to be called while the process is stopped is asked for `again` once it goes on. */
  #alive(call: () => void, again: (call: () => void) => void): () => void {
    return () => {
      if (this.#stopped !== null) this.#stopped.push(() => again(this.#alive(call, again)))
      else if (!this.#dead) call()
    }
  }
}
