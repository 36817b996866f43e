// Bytes over WebSocket: one binary message per flush, packets may span or share messages [MQTT-6.0.0-2].
// Owns the messages that wait for the socket, so that memory is counted and progress can be seen.

import type { WebSocket } from 'ws'
import type { Counters } from '../core/counters.ts'
import type { Runtime, Timer } from '../core/runtime.ts'
import type { Wire, WireReader } from './wire.ts'

/** What every wire of one listener shares. */
export interface WebSocketSettings {
  readonly runtime: Runtime
  readonly counters: Counters
  /** Bytes queued beyond which the wire counts as congested, and below half of which it has drained. */
  readonly congestion: number
  /** Seconds queued bytes may make no progress before the wire is closed. */
  readonly stallTimeout: number
}

/** Who is on the other side. */
export interface WebSocketPeer {
  readonly address: string
  readonly port: number
  readonly secure: boolean
}

/** A flush does not wait for the end of the turn once this much is queued. */
const FLUSH_BYTES = 64 * 1024
/** Bytes the socket holds at most; the rest waits here, where a finished write shows as progress. */
const WINDOW_BYTES = 256 * 1024
/** Messages that wait share blocks of this size, so that a slow reader does not collect tiny buffers. */
const BLOCK_BYTES = 16 * 1024
const READ_BYTES_PER_TURN = 256 * 1024
const GOODBYE_MS = 5_000
/** Progress is looked for this many times within the stall timeout. */
const STALL_CHECKS = 4
/** Close codes by which the other side says goodbye: done, going away, no code given. */
const GOODBYES: readonly number[] = [1000, 1001, 1005]
/** The other side sent a kind of message we do not take. */
const CLOSE_UNSUPPORTED = 1003

/** A message or a fragment of one, waiting for the socket. `fin` ends the message. */
interface Part {
  readonly block: Buffer
  used: number
  readonly fin: boolean
}

/** `ending` still sends, `goodbye` waits for the other side, `dropped` neither sends nor reads. */
type State = 'open' | 'ending' | 'goodbye' | 'dropped' | 'closed'

export class WebSocketWire implements Wire {
  readonly address: string
  readonly peer: string
  readonly transport: string
  readonly #socket: WebSocket
  readonly #settings: WebSocketSettings
  #state: State = 'open'
  #reader: WireReader | null = null
  #fault: Error | undefined
  /** What was pushed in this turn, by reference. */
  #slices: Buffer[] | null = null
  #sliced = 0
  /** Copied and waiting for the socket to take what it has. */
  #parts: Part[] | null = null
  #parted = 0
  /** Room handed out in this turn. */
  #block: Buffer | null = null
  #at = 0
  #turnAsked = false
  #congested = false
  #paused = false
  #throttled = false
  #readThisTurn = 0
  /** Messages that came in one network read, and those that came with the one after which we were paused. */
  #held: Buffer[] | null = null
  /** Whether a microtask will hand them on. */
  #releasing = false
  #stall: Timer | null = null
  #checksWithoutProgress = 0
  #goodbye: Timer | null = null

  constructor(socket: WebSocket, peer: WebSocketPeer, settings: WebSocketSettings) {
    this.#socket = socket
    this.#settings = settings
    this.address = peer.address
    this.peer = peer.address.includes(':')
      ? `[${peer.address}]:${peer.port}`
      : `${peer.address}:${peer.port}`
    this.transport = peer.secure ? 'wss' : 'ws'
    socket.on('message', (data, isBinary) => this.#message(data as Buffer, isBinary))
    socket.on('error', (error: Error & { code?: string }) => this.#broken(error))
    socket.on('close', (code) => this.#gone(code))
  }

  get queued(): number {
    return this.#sliced + this.#parted + this.#socket.bufferedAmount
  }

  get at(): number {
    return this.#at
  }

  attach(reader: WireReader): void {
    this.#reader = reader
    if (!this.#paused) this.#release()
  }

  push(bytes: Buffer, start: number, end: number): void {
    if (this.#state !== 'open' || end <= start) return
    this.#queue(bytes.subarray(start, end))
  }

  room(size: number): Buffer {
    if (this.#block === null || this.#block.length - this.#at < size) {
      this.#block = Buffer.allocUnsafe(Math.max(size, 1024))
      this.#at = 0
    }
    return this.#block
  }

  commit(size: number): void {
    const block = this.#block
    if (block === null || size === 0) return
    const start = this.#at
    this.#at += size
    if (this.#state === 'open') this.#queue(block.subarray(start, start + size))
  }

  keep(): void {
    // Every message has memory of its own.
  }

  pause(): void {
    this.#paused = true
    this.#socket.pause()
  }

  resume(): void {
    this.#paused = false
    this.#release()
    if (!this.#paused && !this.#throttled) this.#socket.resume()
  }

  end(): void {
    if (this.#state !== 'open') return
    this.#flush()
    this.#state = 'ending'
    // Whoever was not read while paused must still be seen to leave.
    this.#socket.resume()
    this.#pump()
  }

  destroy(): void {
    if (this.#state === 'closed') return
    this.#state = 'dropped'
    this.#drop()
    this.#socket.terminate()
  }

  #queue(slice: Buffer): void {
    if (this.#slices === null) this.#slices = [slice]
    else this.#slices.push(slice)
    this.#sliced += slice.length
    if (this.#sliced >= FLUSH_BYTES) this.#flush()
    else this.#askTurn()
  }

  #askTurn(): void {
    if (this.#turnAsked) return
    this.#turnAsked = true
    this.#settings.runtime.atTurnEnd(() => this.#turnEnded())
  }

  #turnEnded(): void {
    this.#turnAsked = false
    this.#readThisTurn = 0
    this.#flush()
    if (!this.#throttled) return
    this.#throttled = false
    if (!this.#paused && this.#state !== 'closed') this.#socket.resume()
  }

  /** Makes one message of everything pushed since the last flush; the copy is what may outlive the turn. */
  #flush(): void {
    const slices = this.#slices
    if (slices === null) return
    const total = this.#sliced
    this.#slices = null
    this.#sliced = 0
    this.#block = null
    this.#at = 0
    this.#copy(slices, total)
    this.#pump()
    if (this.queued > this.#settings.congestion) this.#congested = true
  }

  #copy(slices: readonly Buffer[], total: number): void {
    let left = total
    let part = this.#partFor(left)
    for (const slice of slices) {
      let from = 0
      while (from < slice.length) {
        if (part.used === part.block.length) part = this.#partFor(left)
        const copied = slice.copy(part.block, part.used, from)
        part.used += copied
        from += copied
        left -= copied
      }
    }
  }

  /** Where the next `left` bytes of a message go; a message above the window becomes several fragments. */
  #partFor(left: number): Part {
    this.#parts ??= []
    const last = this.#parts.at(-1)
    if (last?.fin && last.block.length - last.used >= left) return last
    const size = Math.min(left, WINDOW_BYTES)
    const full = this.#parts.length > 0 || this.#socket.bufferedAmount >= WINDOW_BYTES
    const block = Buffer.allocUnsafe(full ? Math.max(size, BLOCK_BYTES) : size)
    const part = { block, used: 0, fin: size === left }
    this.#parts.push(part)
    this.#parted += block.length
    return part
  }

  #pump(): void {
    const parts = this.#parts
    if (parts !== null) {
      while (parts.length > 0 && this.#socket.bufferedAmount < WINDOW_BYTES) {
        const { block, used, fin } = parts.shift() as Part
        this.#parted -= block.length
        this.#socket.send(block.subarray(0, used), { binary: true, fin }, () => this.#sent())
      }
      if (parts.length === 0) this.#parts = null
      this.#watchProgress()
    }
    if (this.#state === 'ending' && this.#parts === null) this.#sayGoodbye()
  }

  #sent(): void {
    this.#checksWithoutProgress = 0
    if (this.#state === 'closed' || this.#state === 'dropped') return
    this.#pump()
    if (!this.#congested || this.queued >= this.#settings.congestion / 2) return
    this.#congested = false
    if (this.#state === 'open') this.#reader?.drained()
  }

  #sayGoodbye(): void {
    this.#state = 'goodbye'
    this.#socket.close(1000)
    this.#goodbye = this.#settings.runtime.after(GOODBYE_MS, () => this.#socket.terminate())
  }

  #watchProgress(): void {
    if (this.#stall !== null) return
    this.#checksWithoutProgress = 0
    this.#nextCheck()
  }

  #nextCheck(): void {
    const { runtime, stallTimeout } = this.#settings
    const wait = (stallTimeout * 1000) / STALL_CHECKS
    this.#stall = runtime.after(wait, () => this.#checkProgress())
  }

  #checkProgress(): void {
    this.#stall = null
    if (this.#state === 'closed' || this.queued === 0) return
    this.#checksWithoutProgress++
    if (this.#checksWithoutProgress < STALL_CHECKS) {
      this.#nextCheck()
      return
    }
    this.#settings.counters.stalledClosed++
    this.#fault = new Error(
      `${this.queued} bytes made no progress for ${this.#settings.stallTimeout} s; the reader is gone or stuck`,
    )
    this.destroy()
  }

  #message(data: Buffer, isBinary: boolean): void {
    if (this.#state !== 'open') return
    if (!isBinary) {
      this.#refuseText()
      return
    }
    this.#readThisTurn += data.length
    this.#askTurn()
    if (this.#readThisTurn > READ_BYTES_PER_TURN && !this.#throttled) {
      this.#throttled = true
      this.#socket.pause()
    }
    this.#held ??= []
    this.#held.push(data)
    this.#releaseSoon()
  }

  /** MQTT travels in binary messages; anything else ends the connection [MQTT-6.0.0-1]. */
  #refuseText(): void {
    this.#release()
    this.#fault ??= new Error('a text message came where MQTT needs binary ones')
    this.#settings.counters.protocolErrors++
    this.#drop()
    this.#state = 'dropped'
    this.#socket.close(CLOSE_UNSUPPORTED, 'MQTT needs binary messages')
    this.#goodbye = this.#settings.runtime.after(GOODBYE_MS, () => this.#socket.terminate())
  }

  /** Many clients send a message for each packet: what one read of the socket brought is read as one. */
  #releaseSoon(): void {
    if (this.#releasing) return
    this.#releasing = true
    queueMicrotask(() => {
      this.#releasing = false
      if (this.#state === 'open') this.#release()
    })
  }

  #release(): void {
    while (this.#held !== null && !this.#paused && this.#reader !== null) {
      const held = this.#held
      this.#held = null
      this.#reader.read(held.length === 1 ? (held[0] as Buffer) : Buffer.concat(held))
    }
  }

  #broken(error: Error & { code?: string }): void {
    this.#fault ??= error
    if (error.code?.startsWith('WS_ERR_')) this.#settings.counters.protocolErrors++
  }

  #gone(code: number): void {
    const ours = this.#state !== 'open'
    this.#paused = false
    if (!ours) this.#release()
    this.#state = 'closed'
    this.#stall?.cancel()
    this.#goodbye?.cancel()
    this.#stall = null
    this.#goodbye = null
    this.#drop()
    if (this.#fault === undefined && !ours && !GOODBYES.includes(code)) {
      this.#fault = new Error(`the WebSocket was lost without a goodbye (close code ${code})`)
    }
    this.#reader?.closed(this.#fault)
  }

  #drop(): void {
    this.#slices = null
    this.#sliced = 0
    this.#parts = null
    this.#parted = 0
    this.#block = null
    this.#held = null
  }
}
