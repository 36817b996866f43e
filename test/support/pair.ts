// Two ends of a connection in memory, each a Wire: what one pushes the other reads in the next turn.
// No socket, no port, no clock; a side that pauses makes the other's bytes queue.

import type { Runtime } from '../../src/core/runtime.ts'
import type { Wire, WireReader } from '../../src/net/wire.ts'

export interface PairOptions {
  readonly runtime: Runtime
  /** Queued bytes beyond which a side is congested and will be told when it has `drained`. */
  readonly congestion?: number
  readonly address?: string
  readonly transport?: string
}

/** What memory is overwritten with that nobody kept. */
const SPOILT = 0xdb

let ports = 50_000

/** The near end, for who is tested, and the far end, for the test. */
export function wirePair(options: PairOptions): [near: PairWire, far: PairWire] {
  const address = options.address ?? '127.0.0.1'
  const peer = `${address}:${++ports}`
  const near = new PairWire(options, address, peer)
  const far = new PairWire(options, address, 'server')
  near.other = far
  far.other = near
  return [near, far]
}

export class PairWire implements Wire {
  readonly address: string
  readonly peer: string
  readonly transport: string
  other!: PairWire
  readonly #runtime: Runtime
  readonly #congestion: number
  #reader: WireReader | null = null
  #chunks: Buffer[] = []
  #queued = 0
  #congested = false
  #flushing = false
  #paused = false
  #kept = false
  #state: 'open' | 'ending' | 'ended' | 'closed' = 'open'
  #block = Buffer.alloc(0)

  constructor({ runtime, congestion, transport }: PairOptions, address: string, peer: string) {
    this.address = address
    this.peer = peer
    this.transport = transport ?? 'tcp'
    this.#runtime = runtime
    this.#congestion = congestion ?? 8 * 1024 * 1024
  }

  get queued(): number {
    return this.#queued
  }

  get paused(): boolean {
    return this.#paused
  }

  get state(): 'open' | 'ending' | 'ended' | 'closed' {
    return this.#state
  }

  readonly at = 0

  attach(reader: WireReader): void {
    this.#reader = reader
    this.other.#flushSoon()
  }

  push(bytes: Buffer, start: number, end: number): void {
    if (this.#state !== 'open' || end <= start) return
    // Copied at once, so that a buffer which is reused too early shows in a test.
    this.#chunks.push(Buffer.from(bytes.subarray(start, end)))
    this.#queued += end - start
    if (this.#queued > this.#congestion) this.#congested = true
    this.#flushSoon()
  }

  room(size: number): Buffer {
    this.#block = Buffer.alloc(size)
    return this.#block
  }

  commit(size: number): void {
    this.push(this.#block, 0, size)
  }

  keep(): void {
    this.#kept = true
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.other.#flushSoon()
  }

  /** Our side says goodbye; the other is told once it has read everything. */
  end(): void {
    if (this.#state !== 'open') return
    this.#state = 'ending'
    this.#flushSoon()
  }

  destroy(): void {
    this.#close()
    this.other.#close()
  }

  /** The network breaks: both sides are closed with a fault. */
  break(why: string): void {
    const fault = new Error(why)
    this.#close(fault)
    this.other.#close(fault)
  }

  #flushSoon(): void {
    if (this.#flushing) return
    this.#flushing = true
    this.#runtime.nextTurn(() => {
      this.#flushing = false
      this.#flush()
    })
  }

  #flush(): void {
    const { other } = this
    const reader = other.#reader
    if (this.#state === 'closed' || reader === null) return
    while (this.#chunks.length > 0 && !other.#paused) {
      // One read a turn holds everything that was sent in the one before.
      const bytes = Buffer.concat(this.#chunks.splice(0))
      this.#queued = 0
      other.#kept = false
      reader.read(bytes)
      // Nobody may look at it after this turn who did not say so: a real socket reads into it again.
      if (!other.#kept) this.#runtime.nextTurn(() => bytes.fill(SPOILT))
    }
    if (this.#congested && this.#queued < this.#congestion / 2) {
      this.#congested = false
      this.#reader?.drained()
    }
    if (this.#state !== 'ending' || this.#chunks.length > 0 || other.#paused) return
    this.#state = 'ended'
    reader.ended()
    if (other.#state === 'ended') {
      this.#close()
      other.#close()
    }
  }

  #close(fault?: Error): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#chunks = []
    this.#queued = 0
    this.#reader?.closed(fault)
  }
}
