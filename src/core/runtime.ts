// The only door to time and chance. Core, protocols and tests get theirs through a
// constructor, so that a simulation can replay any run from its seed.

/** A pending call that can be called off. Cancelling twice, or after it ran, does nothing. */
export interface Timer {
  cancel(): void
}

export interface Runtime {
  /** Wall clock in milliseconds since 1970. */
  now(): number
  /** Calls back once, not before `ms` milliseconds have passed. Never keeps the process alive. */
  after(ms: number, call: () => void): Timer
  /**
   * Calls back at the end of the current turn of the event loop, after everything that was readable has
   * been read; asked for at the end of a turn, still in that turn. For what must go out now, in one go.
   */
  atTurnEnd(call: () => void): void
  /** Calls back in the next turn, after others had theirs. For work cut into portions. */
  nextTurn(call: () => void): void
  /** A number in [0, 1), unpredictable to clients. */
  random(): number
}
