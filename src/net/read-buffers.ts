// Memory that TCP sockets read into. Node makes new memory for every read, 64 KiB however little comes; so
// whoever is quiet reads into one buffer that all share, and whoever is busy into buffers that are used
// again as soon as nobody needs what was read.

import type { Socket } from 'node:net'
import type { Runtime } from '../core/runtime.ts'

/** What one read of a busy socket can bring. Larger ones split fewer frames, but must stay in the cache. */
export const READ_BYTES = 128 * 1024
/** What one read of any other can bring; it is copied, so it is small. */
export const SHARED_BYTES = 16 * 1024
/** A socket that brings less than this at once is not busy. */
const BUSY_BYTES = 8 * 1024
/** Buffers that sockets hold to read into next; when there are as many, others share. */
const HELD_MAX = 256
/** Buffers kept for later; more are left to the garbage collector. */
const FREE_MAX = 64

export class ReadBuffers {
  /** What a socket reads into before it is busy, and when it is not any more. */
  readonly shared: Buffer = Buffer.allocUnsafeSlow(SHARED_BYTES)
  readonly #runtime: Pick<Runtime, 'nextTurn'>
  readonly #recycled: (buffer: Buffer) => void
  #held = 0
  #free: Buffer[] = []
  /** What was read into in this turn, and in the one before: the end of a turn may still write it. */
  #used: Buffer[] = []
  #aged: Buffer[] = []
  #ageing = false

  /** `recycled` is told of each buffer that will be overwritten: tests spoil it, to see whether anybody minds. */
  constructor(runtime: Pick<Runtime, 'nextTurn'>, recycled: (buffer: Buffer) => void = () => {}) {
    this.#runtime = runtime
    this.#recycled = recycled
  }

  /** Memory for the next read of a socket whose last read brought that much. Unless `shared`, it is held by the socket. */
  next(lastRead: number): Buffer {
    if (lastRead < BUSY_BYTES || this.#held >= HELD_MAX) return this.shared
    // A socket that was read empty may stay silent for ever, and others may need what it holds.
    if (this.#held >= HELD_MAX / 2 && lastRead < READ_BYTES) return this.shared
    this.#held++
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(READ_BYTES)
  }

  /** What was read into `shared`, in memory of its own: the next read of anybody overwrites it. */
  copied(bytes: number): Buffer {
    const chunk = Buffer.allocUnsafe(bytes)
    this.shared.copy(chunk, 0, 0, bytes)
    return chunk
  }

  /** The buffer, which is not `shared`, was read into. It is used again when the next turn is over, unless somebody keeps it. */
  used(buffer: Buffer): void {
    this.#held--
    this.#used.push(buffer)
    if (!this.#ageing) this.#ageLater()
  }

  /** The socket that held the buffer is closed. */
  unused(buffer: Buffer): void {
    if (buffer === this.shared) return
    this.#held--
    if (this.#free.length < FREE_MAX) this.#free.push(buffer)
  }

  /** What these bytes are a slice of will be needed after this turn. */
  keep(bytes: Buffer): void {
    if (!take(this.#used, bytes)) take(this.#aged, bytes)
  }

  #ageLater(): void {
    this.#ageing = true
    this.#runtime.nextTurn(() => {
      this.#ageing = false
      for (const buffer of this.#aged) {
        if (this.#free.length >= FREE_MAX) break
        this.#recycled(buffer)
        this.#free.push(buffer)
      }
      this.#aged = this.#used
      this.#used = []
      if (this.#aged.length > 0) this.#ageLater()
    })
  }
}

/** Removes the buffer that the bytes are a slice of; false when it is not there. */
function take(buffers: Buffer[], bytes: Buffer): boolean {
  const at = buffers.findIndex((buffer) => buffer.buffer === bytes.buffer)
  if (at >= 0) buffers.splice(at, 1)
  return at >= 0
}

/** The parts of a socket that its `onread` option sets, and its handle. */
interface OnRead {
  _handle?: { useUserBuffer?: (buffer: Buffer) => void } | null
  [name: symbol]: unknown
}

/** The names of those parts, once found; null where this Node has no such fields. */
let names: { buffer: symbol; callback: symbol; generator: symbol } | null | undefined

function namesIn(socket: Socket): typeof names {
  const field = (name: string): symbol | undefined =>
    Object.getOwnPropertySymbols(socket).find((symbol) => symbol.description === name)
  const [buffer, callback, generator] = ['kBuffer', 'kBufferCb', 'kBufferGen'].map(field)
  if (buffer === undefined || callback === undefined || generator === undefined) return null
  return { buffer, callback, generator }
}

/**
 * Makes a connected socket read into memory of ours from its next read on, as the documented `onread` option of
 * `net.Socket` does; a server's sockets cannot be given that option, so its private fields are set. `read` is told how
 * many bytes came into which buffer, and answers with the next. False, and nothing has changed, where this Node has
 * no such fields: then its own memory is good enough.
 */
export function readInto(
  socket: Socket,
  first: Buffer,
  read: (bytes: number, buffer: Buffer) => Buffer,
): boolean {
  if (names === undefined) names = namesIn(socket)
  const inside = socket as unknown as OnRead
  const handle = inside._handle
  if (names === null || names === undefined) return false
  if (typeof handle?.useUserBuffer !== 'function') return false
  let next = first
  inside[names.buffer] = first
  inside[names.callback] = (bytes: number, filled: Buffer) => {
    next = read(bytes, filled)
    return true
  }
  inside[names.generator] = () => next
  handle.useUserBuffer(first)
  return true
}
