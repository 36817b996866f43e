// The QoS 1 and 2 messages sent to a client and not yet acknowledged: packet identifier ↔
// position. Two small arrays, made at first use; identifiers are handed out in order, so the
// place of one is computed and not looked up.

import { IDENTIFIERS, SendRuns } from './send-runs.ts'
import type { Group } from './share.ts'
import { type Pos, type SendRun, SendState } from './types.ts'

const SLOTS_MIN = 16

/** Where an entry comes from when it is not simply the next message of the log. */
export type Origin =
  | { readonly group: Group }
  | { readonly retained: string }
  /** A shared group, by `name/filter`, that may not know yet that the session has it: not sent before. */
  | { readonly awaits: string }

export interface WindowEntry {
  readonly packetId: number
  readonly pos: Pos
  readonly state: SendState
  readonly origin: Origin | null
}

const NO_POSITIONS = new Float64Array(0)
const NO_STATES = new Uint8Array(0)

export class Window {
  /** Serial numbers grow for ever; identifier = serial mod 65 535, plus 1. */
  #first = 0
  #next = 0
  #inFlight = 0
  #lostBefore: Pos = 0
  #positions: Float64Array = NO_POSITIONS
  #states: Uint8Array = NO_STATES
  #origins: Map<number, Origin> | null = null

  /** Whether an identifier was ever handed out. */
  get used(): boolean {
    return this.#next > 0
  }

  /** Messages not finished. */
  get inFlight(): number {
    return this.#inFlight
  }

  /**
   * Whether another message may be sent to a client that takes `limit` at once. The span between oldest and
   * newest is bounded too: a client that acknowledges all but one for ever holds at most four windows.
   */
  room(limit: number): boolean {
    return this.#inFlight < limit && this.#next - this.#first < Math.min(IDENTIFIERS, limit * 4)
  }

  /** How many more messages `room` has room for. */
  free(limit: number): number {
    const span = Math.min(IDENTIFIERS, limit * 4) - (this.#next - this.#first)
    return Math.max(0, Math.min(limit - this.#inFlight, span))
  }

  /** Enters a message and returns its packet identifier, unused so far. [MQTT-2.2.1-4] */
  add(pos: Pos, state: SendState, origin: Origin | null): number {
    const serial = this.#next++
    if (this.#next - this.#first > this.#positions.length) this.#grow()
    const slot = serial & (this.#positions.length - 1)
    this.#positions[slot] = pos
    this.#states[slot] = state
    if (origin !== null) {
      this.#origins ??= new Map()
      this.#origins.set(serial, origin)
    }
    this.#inFlight++
    return (serial % IDENTIFIERS) + 1
  }

  /** State of that identifier; `done` when it is not in use. */
  state(packetId: number): SendState {
    const serial = this.#serial(packetId)
    if (serial < 0) return SendState.done
    return this.#states[serial & (this.#positions.length - 1)] as SendState
  }

  /** Moves an identifier in use to another unfinished state. */
  advance(packetId: number, state: SendState): void {
    const serial = this.#serial(packetId)
    if (serial >= 0) this.#states[serial & (this.#positions.length - 1)] = state
  }

  /** The message of an identifier in use is acknowledged for good. Returns which it was. */
  finish(packetId: number): { pos: Pos; origin: Origin | null } {
    const serial = this.#serial(packetId)
    const mask = this.#positions.length - 1
    const slot = serial & mask
    if (serial < 0 || this.#states[slot] === SendState.done) return { pos: 0, origin: null }
    const pos = this.#positions[slot] as Pos
    this.#states[slot] = SendState.done
    this.#inFlight--
    const origin = this.#origins?.get(serial) ?? null
    if (origin !== null) this.#origins?.delete(serial)
    while (this.#first < this.#next && this.#states[this.#first & mask] === SendState.done) {
      this.#first++
    }
    return { pos, origin }
  }

  /**
   * Messages before that position cannot be sent again; identifiers stay in use until they are acknowledged.
   * Returns how many of its own the session could have been sent again so far.
   */
  lose(before: Pos): number {
    let lost = 0
    for (const { pos, state, origin } of this.entries()) {
      const again = origin === null && state !== SendState.released
      if (again && pos >= this.#lostBefore && pos < before) lost++
    }
    this.#lostBefore = Math.max(this.#lostBefore, before)
    return lost
  }

  /** Lowest position of the log still needed for sending again, Infinity when none is. */
  get floor(): Pos {
    let floor = Number.POSITIVE_INFINITY
    for (const { pos, state, origin } of this.entries()) {
      const fromLog = origin === null || !('retained' in origin)
      if (!fromLog || state === SendState.released || pos < this.#lostBefore) continue
      floor = Math.min(floor, pos)
    }
    return floor
  }

  /** Unfinished messages in the order they were sent. */
  *entries(): Generator<WindowEntry> {
    for (let serial = this.#first; serial < this.#next; serial++) {
      const slot = serial & (this.#positions.length - 1)
      const state = this.#states[slot] as SendState
      if (state === SendState.done) continue
      yield {
        packetId: (serial % IDENTIFIERS) + 1,
        pos: this.#positions[slot] as Pos,
        state,
        origin: this.#origins?.get(serial) ?? null,
      }
    }
  }

  /** The message is the session's own from now on, wherever it came from. */
  keep(packetId: number): void {
    this.#origins?.delete(this.#serial(packetId))
  }

  /** For the session's record. Finished ones are left out: their identifiers are free again. */
  runs(): SendRun[] {
    const runs = new SendRuns()
    for (const { packetId, pos, state, origin } of this.entries()) {
      const topic = origin !== null && 'retained' in origin ? origin.retained : undefined
      const group = groupOf(origin)
      // Whoever owns the group's record knows that this node has it, and lends it again.
      if (group !== undefined && state === SendState.published) continue
      runs.add({ packetId, pos, state, topic, with: group })
    }
    return runs.all
  }

  static from(runs: readonly SendRun[]): Window {
    const window = new Window()
    const start = runs[0]
    if (start === undefined) return window
    window.#first = start.packetId - 1
    window.#next = window.#first
    for (const run of runs) {
      run.positions.forEach((pos, i) => {
        const index = (run.packetId - 1 + i) % IDENTIFIERS
        while (window.#next % IDENTIFIERS !== index) window.#skip()
        window.add(pos, run.state, originOf(run, i))
      })
    }
    return window
  }

  /** An identifier that is free again between two in use. */
  #skip(): void {
    const serial = this.#next++
    if (this.#next - this.#first > this.#positions.length) this.#grow()
    this.#states[serial & (this.#positions.length - 1)] = SendState.done
  }

  #serial(packetId: number): number {
    const ahead = (packetId - 1 - (this.#first % IDENTIFIERS) + IDENTIFIERS) % IDENTIFIERS
    const serial = this.#first + ahead
    return serial < this.#next ? serial : -1
  }

  #grow(): void {
    const before = this.#positions
    const states = this.#states
    const mask = before.length - 1
    const slots = Math.max(SLOTS_MIN, before.length * 2)
    this.#positions = new Float64Array(slots)
    this.#states = new Uint8Array(slots)
    const grown = this.#positions.length - 1
    // The newest serial has no place yet.
    for (let serial = this.#first; serial < this.#next - 1; serial++) {
      this.#positions[serial & grown] = before[serial & mask] as number
      this.#states[serial & grown] = states[serial & mask] as number
    }
  }
}

/** The group that the record of the message's session has to name, where nodes share the log. */
function groupOf(origin: Origin | null): string | undefined {
  if (origin === null || 'retained' in origin) return undefined
  if ('awaits' in origin) return origin.awaits
  return origin.group.lending === null ? undefined : origin.group.key
}

function originOf(run: SendRun, i: number): Origin | null {
  if (run.with !== undefined) return { awaits: run.with }
  const topic = run.retained?.[i]
  return topic === undefined ? null : { retained: topic }
}
