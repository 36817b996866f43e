// A wire made of nothing: bytes are split, delayed, held back and lost as chance has it. The
// broker's end is a `Wire`, the client's end is this object's other half.

import type { Wire, WireReader } from '../src/net/wire.ts'
import type { Chance } from './chance.ts'
import type { Clock, SimRuntime } from './clock.ts'

/** What the client's end tells. */
export interface Peer {
  receive(bytes: Buffer): void
  /** The broker said goodbye, or the wire broke. */
  gone(): void
}

export interface WireFaults {
  /** Longest time a piece travels, milliseconds. */
  readonly delay: number
  /** How often a piece is cut in two. */
  readonly split: number
  /** Whether memory that was read and not kept is overwritten after the turn. */
  readonly spoil: boolean
  /** Bytes queued beyond which the reader counts as behind. */
  readonly congestion: number
}

const GOODBYE_MS = 5_000

export class SimWire implements Wire {
  readonly address = 'sim'
  readonly peer: string
  readonly transport = 'sim'
  readonly #clock: Clock
  readonly #runtime: SimRuntime
  readonly #chance: Chance
  readonly #faults: WireFaults
  readonly #client: Peer
  #reader: WireReader | null = null
  /** To the broker: what the client wrote in this turn. */
  readonly #written: Buffer[] = []
  /** To the broker: what arrived and is not read yet. */
  #arrived: Buffer[] = []
  #readAsked = false
  #kept = false
  #paused = false
  /** Latest arrival promised in either direction: pieces never overtake each other. */
  #inDue = 0
  #outDue = 0
  /** From the broker, in this turn. */
  #slices: Buffer[] = []
  #flushAsked = false
  /** From the broker, not taken by the client. */
  #waiting: Buffer[] = []
  queued = 0
  #congested = false
  #block: Buffer = Buffer.alloc(0)
  at = 0
  #stalled = false
  #lost = false
  #clientEnded = false
  #closedTold = false
  /** Time at which the broker's end was finished with: it said goodbye, or learned of the loss. 0 before. */
  partedAt = 0
  /** Whether the broker ended it, rather than learned of its loss. */
  endedByBroker = false
  /** Time of the last arrival of bytes, read or not. */
  arrivedAt = 0
  pausedSince = 0
  /** Everything the broker wrote, for whoever watches. */
  onWritten: (bytes: Buffer) => void = () => {}
  /** The broker's end is finished with. */
  onParted: (why: string) => void = () => {}

  constructor(
    peer: string,
    clock: Clock,
    runtime: SimRuntime,
    chance: Chance,
    faults: WireFaults,
    client: Peer,
  ) {
    this.peer = peer
    this.#clock = clock
    this.#runtime = runtime
    this.#chance = chance
    this.#faults = faults
    this.#client = client
    this.arrivedAt = clock.time
  }

  // ---- The broker's end ----------------------------------------------------------------------

  attach(reader: WireReader): void {
    this.#reader = reader
  }

  push(bytes: Buffer, start: number, end: number): void {
    if (this.partedAt !== 0 || end <= start) return
    this.#slices.push(bytes.subarray(start, end))
    this.queued += end - start
    if (this.queued > this.#faults.congestion) this.#congested = true
    if (this.#flushAsked) return
    this.#flushAsked = true
    this.#runtime.atTurnEnd(() => this.#flush())
  }

  room(size: number): Buffer {
    if (this.#block.length - this.at < size) {
      this.#block = Buffer.alloc(Math.max(size, 256))
      this.at = 0
    }
    return this.#block
  }

  commit(size: number): void {
    const start = this.at
    this.at += size
    this.push(this.#block, start, this.at)
  }

  keep(): void {
    this.#kept = true
  }

  pause(): void {
    if (!this.#paused) this.pausedSince = this.#clock.time
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.#askRead()
  }

  get paused(): boolean {
    return this.#paused
  }

  end(): void {
    if (this.partedAt !== 0) return
    this.#flush()
    this.partedAt = this.#clock.time
    this.endedByBroker = true
    this.onParted('the broker ends it')
    this.#send(null)
    this.#runtime.after(GOODBYE_MS, () => this.#tellClosed())
  }

  destroy(): void {
    if (this.partedAt === 0) {
      this.partedAt = this.#clock.time
      this.endedByBroker = true
    }
    this.cut(0)
  }

  /** At the end of the turn the bytes are as they are: what changed a slice since is seen here. */
  #flush(): void {
    this.#flushAsked = false
    if (this.#slices.length === 0) return
    const bytes = Buffer.concat(this.#slices)
    this.#slices = []
    this.onWritten(bytes)
    if (this.#lost) {
      this.queued -= bytes.length
      return
    }
    if (this.#chance.is(this.#faults.split) && bytes.length > 1) {
      const at = this.#chance.between(1, bytes.length - 1)
      this.#send(bytes.subarray(0, at))
      this.#send(bytes.subarray(at))
    } else this.#send(bytes)
  }

  /** Null is the end. */
  #send(bytes: Buffer | null): void {
    this.#outDue = Math.max(this.#outDue, this.#clock.time + this.#travel())
    this.#clock.at(this.#outDue - this.#clock.time, () => {
      if (this.#lost) return
      if (bytes !== null) this.#waiting.push(bytes)
      else this.#clientEnded = true
      this.#give()
    })
  }

  #give(): void {
    if (this.#stalled) return
    const waiting = this.#waiting
    this.#waiting = []
    let given = 0
    for (const bytes of waiting) {
      given += bytes.length
      this.#client.receive(bytes)
    }
    this.#take(given)
    if (this.#clientEnded && !this.#lost) {
      this.#lost = true
      this.#client.gone()
      this.#clock.at(this.#travel(), () => this.#tellClosed())
    }
  }

  #take(bytes: number): void {
    this.queued -= bytes
    if (!this.#congested || this.queued >= this.#faults.congestion / 2) return
    this.#congested = false
    this.#runtime.nextTurn(() => {
      if (this.partedAt === 0) this.#reader?.drained()
    })
  }

  #travel(): number {
    return this.#chance.between(0, this.#faults.delay)
  }

  #askRead(): void {
    if (this.#readAsked || this.#arrived.length === 0 || this.#paused) return
    this.#readAsked = true
    this.#runtime.nextTurn(() => {
      this.#readAsked = false
      if (this.#paused || this.#closedTold) return
      const chunk = this.#arrived.shift()
      if (chunk !== undefined && this.partedAt === 0) this.#read(chunk)
      this.#askRead()
    })
  }

  /** What was not asked to be kept is somebody else's after the turn. */
  #read(chunk: Buffer): void {
    this.#kept = false
    this.#reader?.read(chunk)
    if (this.#faults.spoil && !this.#kept) this.#runtime.afterTurn(() => chunk.fill(0xee))
  }

  #tellClosed(fault?: Error): void {
    if (this.#closedTold || this.#runtime.dead) return
    this.#closedTold = true
    if (this.partedAt === 0) {
      this.partedAt = this.#clock.time
      this.onParted('the broker learns that it is lost')
    }
    this.#reader?.closed(fault)
  }

  // ---- The client's end ----------------------------------------------------------------------

  get lost(): boolean {
    return this.#lost
  }

  /** What the client writes in one turn travels together, as far as chance lets it. */
  write(bytes: Buffer): void {
    if (this.#lost) return
    this.#written.push(bytes)
    if (this.#written.length === 1) this.#clock.at(0, () => this.#sendWritten())
  }

  #sendWritten(): void {
    const bytes = Buffer.concat(this.#written.splice(0))
    if (this.#lost || bytes.length === 0) return
    const cut = this.#chance.is(this.#faults.split) && bytes.length > 1
    const at = cut ? this.#chance.between(1, bytes.length - 1) : bytes.length
    this.#arrive(apart(bytes.subarray(0, at)))
    if (at < bytes.length) this.#arrive(apart(bytes.subarray(at)))
  }

  #arrive(bytes: Buffer): void {
    this.#inDue = Math.max(this.#inDue, this.#clock.time + this.#travel())
    this.#clock.at(this.#inDue - this.#clock.time, () => {
      if (this.#lost || this.#runtime.dead) return
      this.arrivedAt = this.#clock.time
      this.#arrived.push(bytes)
      this.#askRead()
    })
  }

  /** The client stops taking bytes for a while. */
  stall(ms: number): void {
    if (this.#stalled) return
    this.#stalled = true
    this.#clock.at(ms, () => {
      this.#stalled = false
      if (!this.#lost) this.#give()
    })
  }

  /** The client closes after what it wrote has arrived. */
  finish(): void {
    this.#sendWritten()
    this.#inDue = Math.max(this.#inDue, this.#clock.time + this.#travel())
    this.#clock.at(this.#inDue - this.#clock.time, () => {
      if (this.#lost || this.#runtime.dead) return
      this.#finishRead()
    })
  }

  /** A goodbye is seen once everything before it was read. */
  #finishRead(): void {
    if (this.#arrived.length > 0 && this.partedAt === 0) {
      this.#clock.at(5, () => this.#finishRead())
      return
    }
    this.#lost = true
    this.#reader?.ended()
    this.#clock.at(1, () => this.#tellClosed())
  }

  /** The wire breaks: what is on its way is lost, and the broker learns of it that much later. */
  cut(noticedAfter: number): void {
    if (this.#lost) return
    this.#lost = true
    this.#clock.at(noticedAfter, () => this.#tellClosed(new Error('connection reset')))
    this.#client.gone()
  }

  /** The broker's process died. */
  killed(): void {
    if (this.partedAt === 0) this.partedAt = this.#clock.time
    if (this.#lost) return
    this.#lost = true
    this.#clock.at(this.#travel(), () => this.#client.gone())
  }
}

/** A copy in memory of its own, as a socket reads: a small one would share its memory with others. */
function apart(bytes: Buffer): Buffer {
  const own = Buffer.allocUnsafeSlow(bytes.length)
  bytes.copy(own)
  return own
}
