// Bytes over TCP or TLS, the hot wire. Collects what a turn writes and hands the kernel few large
// pieces; what a slow reader has to wait for is copied, so that it never pins what others read.

import type { Socket } from 'node:net'
import type { Counters } from '../core/counters.ts'
import type { Deadlines } from '../core/deadlines.ts'
import type { Runtime, Timer } from '../core/runtime.ts'
import { type ReadBuffers, readInto } from './read-buffers.ts'
import type { Wire, WireReader } from './wire.ts'

/** What every wire of one server shares. */
export interface TcpSettings {
  readonly runtime: Runtime
  readonly counters: Counters
  /** Bytes queued beyond which `drained` will be told once less than half of them are left. */
  readonly congestion: number
  /** Seconds a piece given to the kernel may make no progress. */
  readonly stallTimeout: number
  /** Calls `TcpWire.stalled` when due. */
  readonly stalls: Deadlines<TcpWire>
  /** Memory that busy sockets read into. */
  readonly reads: ReadBuffers
}

export interface TcpPeer {
  readonly address: string
  readonly port: number
  readonly secure: boolean
}

/** A flush does not wait for the end of the turn once this much is queued. */
const FLUSH_BYTES = 64 * 1024
/** Slices below this size are copied together: one write of many is cheaper than many vectors. */
const GATHER_BYTES = 8 * 1024
/** No write is larger: Node tells only of finished ones, and a slow reader's progress must be seen. */
const PIECE_BYTES = 256 * 1024
/** What a slow reader waits for stands in blocks of this size, and leaves in pieces of as much. */
const BLOCK_BYTES = 64 * 1024
const READ_BYTES_PER_TURN = 256 * 1024
const ROOM_MIN = 256
const ROOM_MAX = 64 * 1024
const GOODBYE_MS = 5_000

type State = 'open' | 'ending' | 'closed'

export class TcpWire implements Wire {
  readonly address: string
  readonly peer: string
  readonly transport: string
  readonly #socket: Socket
  readonly #settings: TcpSettings
  #reader: WireReader | null = null
  #state: State = 'open'
  #fault: Error | undefined
  /** The newest slice queued in this turn; adjoining ones extend it. */
  #last: Buffer | null = null
  #lastStart = 0
  #lastEnd = 0
  /** Those before it. */
  #slices: Buffer[] | null = null
  #sliced = 0
  /** Where `room` lets others write. */
  #block: Buffer | null = null
  #at = 0
  #roomHint = ROOM_MIN
  /** The kernel did not take what it was given; the rest waits here, compact. */
  #blocked = false
  #waiting: Buffer[] | null = null
  #waitingFill = 0
  #waitingBytes = 0
  /** Bytes the socket still holds. */
  #inSocket = 0
  #congested = false
  #turnAsked = false
  #paused = false
  #throttled = false
  #readThisTurn = 0
  /** What the socket reads into next. */
  #next: Buffer
  /** What is being read now, if its memory will be used again. */
  #reading: Buffer | null = null
  #goodbye: Timer | null = null

  constructor(socket: Socket, peer: TcpPeer, settings: TcpSettings) {
    this.#socket = socket
    this.#settings = settings
    this.address = peer.address
    const host = peer.address.includes(':') ? `[${peer.address}]` : peer.address
    this.peer = `${host}:${peer.port}`
    this.transport = peer.secure ? 'tls' : 'tcp'
    socket.on('data', (chunk: Buffer) => this.#data(chunk))
    socket.on('end', () => this.#reader?.ended())
    socket.on('drain', () => this.#drained())
    socket.on('error', (error) => {
      this.#fault ??= error
    })
    socket.on('close', () => this.#gone())
    this.#next = settings.reads.shared
    // TLS has memory of its own.
    if (!peer.secure) readInto(socket, this.#next, (bytes, buffer) => this.#filled(bytes, buffer))
  }

  get queued(): number {
    return this.#sliced + (this.#lastEnd - this.#lastStart) + this.#waitingBytes + this.#inSocket
  }

  get at(): number {
    return this.#at
  }

  attach(reader: WireReader): void {
    this.#reader = reader
  }

  push(bytes: Buffer, start: number, end: number): void {
    if (this.#state !== 'open' || end <= start) return
    if (this.#last === bytes && this.#lastEnd === start) this.#lastEnd = end
    else {
      if (this.#last !== null) this.#keepLast()
      this.#last = bytes
      this.#lastStart = start
      this.#lastEnd = end
      this.#askTurn()
    }
    if (this.#sliced + this.#lastEnd - this.#lastStart >= FLUSH_BYTES) this.#flush()
  }

  room(size: number): Buffer {
    if (this.#block === null || this.#block.length - this.#at < size) {
      if (this.#block !== null) this.#roomHint = Math.min(ROOM_MAX, this.#roomHint * 4)
      this.#block = Buffer.allocUnsafe(Math.max(size, this.#roomHint))
      this.#at = 0
    }
    return this.#block
  }

  commit(size: number): void {
    const start = this.#at
    this.#at += size
    this.push(this.#block as Buffer, start, this.#at)
  }

  pause(): void {
    this.#paused = true
    this.#socket.pause()
  }

  resume(): void {
    this.#paused = false
    if (!this.#throttled && this.#state !== 'closed') this.#socket.resume()
  }

  end(): void {
    if (this.#state !== 'open') return
    this.#flush()
    this.#state = 'ending'
    // Whoever was not read while paused must still be seen to leave.
    this.#socket.resume()
    if (!this.#blocked) this.#socket.end()
    this.#goodbye = this.#settings.runtime.after(GOODBYE_MS, () => this.#socket.destroy())
  }

  destroy(): void {
    if (this.#state === 'closed') return
    this.#state = 'ending'
    this.#socket.destroy()
  }

  /** The reader took nothing for too long. */
  stalled(): void {
    if (!this.#blocked || this.#state === 'closed') return
    this.#settings.counters.stalledClosed++
    this.#fault ??= new Error(
      `${this.queued} bytes made no progress for ${this.#settings.stallTimeout} s; the reader is gone or stuck`,
    )
    this.destroy()
  }

  keep(): void {
    if (this.#reading !== null) this.#settings.reads.keep(this.#reading)
  }

  #filled(bytes: number, buffer: Buffer): Buffer {
    const { reads } = this.#settings
    if (buffer === reads.shared) this.#data(reads.copied(bytes))
    else {
      reads.used(buffer)
      this.#reading = buffer
      this.#data(buffer.subarray(0, bytes))
      this.#reading = null
    }
    this.#next = reads.next(bytes)
    return this.#next
  }

  #data(chunk: Buffer): void {
    if (this.#readThisTurn === 0) this.#askTurn()
    this.#readThisTurn += chunk.length
    // One publisher at full speed must leave room in the turn for the others.
    if (this.#readThisTurn >= READ_BYTES_PER_TURN && !this.#throttled) {
      this.#throttled = true
      this.#socket.pause()
    }
    if (this.#state === 'open') this.#reader?.read(chunk)
  }

  #askTurn(): void {
    if (this.#turnAsked) return
    this.#turnAsked = true
    this.#settings.runtime.atTurnEnd(() => this.#turnEnded())
  }

  #turnEnded(): void {
    this.#turnAsked = false
    this.#readThisTurn = 0
    if (this.#last !== null) this.#flush()
    if (this.#block !== null) {
      // An idle wire owns no buffer. What was sent keeps its part alive as long as it needs it.
      if (this.#at < this.#roomHint / 4) this.#roomHint = Math.max(ROOM_MIN, this.#roomHint / 2)
      this.#block = null
      this.#at = 0
    }
    if (!this.#throttled) return
    this.#throttled = false
    if (!this.#paused && this.#state !== 'closed') this.#socket.resume()
  }

  #keepLast(): void {
    this.#slices ??= []
    this.#slices.push((this.#last as Buffer).subarray(this.#lastStart, this.#lastEnd))
    this.#sliced += this.#lastEnd - this.#lastStart
    this.#last = null
    this.#lastStart = 0
    this.#lastEnd = 0
  }

  #flush(): void {
    if (this.#last === null) return
    this.#keepLast()
    const slices = this.#slices as Buffer[]
    const total = this.#sliced
    this.#slices = null
    this.#sliced = 0
    if (this.#state === 'closed') return
    if (this.#blocked) this.#wait(slices)
    else this.#write(slices, total)
    if (!this.#congested && this.queued > this.#settings.congestion) this.#congested = true
  }

  #write(slices: Buffer[], total: number): void {
    if (total > PIECE_BYTES) {
      this.#writePieces(slices)
      return
    }
    const socket = this.#socket
    if (slices.length === 1) socket.write(slices[0] as Buffer)
    else if (total < GATHER_BYTES * slices.length) socket.write(Buffer.concat(slices, total))
    else {
      socket.cork()
      for (const slice of slices) socket.write(slice)
      socket.uncork()
    }
    this.#inSocket = socket.writableLength
    if (this.#inSocket === 0) return
    for (const slice of slices) this.#settings.reads.keep(slice)
    if (!socket.writableNeedDrain) return
    this.#blocked = true
    const { runtime, stallTimeout, stalls } = this.#settings
    stalls.set(this, runtime.now() + stallTimeout * 1000)
  }

  #writePieces(slices: readonly Buffer[]): void {
    for (const slice of slices) {
      let from = 0
      while (from < slice.length && !this.#blocked) {
        const to = Math.min(slice.length, from + PIECE_BYTES)
        this.#write([slice.subarray(from, to)], to - from)
        from = to
      }
      if (from < slice.length) this.#wait([slice.subarray(from)])
    }
  }

  /** Copies what has to wait into blocks of its own. */
  #wait(slices: readonly Buffer[]): void {
    this.#waiting ??= []
    for (const slice of slices) {
      let from = 0
      while (from < slice.length) {
        let block = this.#waiting[this.#waiting.length - 1]
        if (block === undefined || this.#waitingFill === block.length) {
          // Small first: most readers that are behind are behind by little.
          const size = this.#waiting.length === 0 ? BLOCK_BYTES / 16 : BLOCK_BYTES
          block = Buffer.allocUnsafeSlow(size)
          this.#waiting.push(block)
          this.#waitingFill = 0
          this.#waitingBytes += size
        }
        const copied = slice.copy(block, this.#waitingFill, from)
        this.#waitingFill += copied
        from += copied
      }
    }
  }

  /** The kernel took everything it was given. */
  #drained(): void {
    this.#inSocket = this.#socket.writableLength
    if (!this.#blocked) return
    this.#blocked = false
    this.#settings.stalls.clear(this)
    while (this.#waiting !== null && !this.#blocked) this.#writeWaiting()
    if (this.#state === 'ending' && !this.#blocked) this.#socket.end()
    if (this.#congested && this.queued < this.#settings.congestion / 2) {
      this.#congested = false
      if (this.#state === 'open') this.#reader?.drained()
    }
  }

  #writeWaiting(): void {
    const waiting = this.#waiting as Buffer[]
    const block = waiting.shift() as Buffer
    this.#waitingBytes -= block.length
    const last = waiting.length === 0
    const bytes = last ? block.subarray(0, this.#waitingFill) : block
    if (last) this.#waiting = null
    this.#write([bytes], bytes.length)
  }

  #gone(): void {
    const ours = this.#state !== 'open'
    this.#state = 'closed'
    this.#settings.reads.unused(this.#next)
    this.#settings.stalls.clear(this)
    this.#goodbye?.cancel()
    this.#slices = null
    this.#last = null
    this.#lastStart = 0
    this.#lastEnd = 0
    this.#sliced = 0
    this.#block = null
    this.#waiting = null
    this.#waitingBytes = 0
    const reader = this.#reader
    reader?.closed(ours && this.#goodbye !== null ? undefined : this.#fault)
  }
}
