// Memory that busy TCP sockets read into, used again as soon as nobody needs what was read. Node
// makes new memory for every read; at hundreds of MB/s that alone costs a third of the throughput.

import type { Socket } from 'node:net'
import type { Runtime } from '../core/runtime.ts'

/** What one read of a socket can bring, as Node has it. */
export const READ_BYTES = 64 * 1024
/** A socket that brings less than this at once is not busy: it gets small memory that is not used again. */
const BUSY_BYTES = 8 * 1024
const SMALL_BYTES = 8 * 1024
/** Buffers kept for later; more are left to the garbage collector. */
const FREE_MAX = 64

export class ReadBuffers {
  readonly #runtime: Pick<Runtime, 'nextTurn'>
  readonly #recycled: (buffer: Buffer) => void
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

  /** Memory for the next read of a socket whose last read brought that much. */
  next(lastRead: number): Buffer {
    if (lastRead < BUSY_BYTES) return Buffer.allocUnsafeSlow(SMALL_BYTES)
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(READ_BYTES)
  }

  /** The buffer was read into. It is used again when the next turn is over, unless somebody keeps it. */
  used(buffer: Buffer): void {
    if (buffer.length !== READ_BYTES) return
    this.#used.push(buffer)
    if (!this.#ageing) this.#ageLater()
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

/**
 * Makes a connected socket read into memory of ours from its next read on, as the documented `onread` option of
 * `net.Socket` does; a server's sockets cannot be given that option, so its private fields are set. False,
 * and nothing has changed, where this Node has no such fields: then its own memory is good enough.
 */
export function readInto(
  socket: Socket,
  first: Buffer,
  read: (bytes: number, buffer: Buffer) => Buffer,
): boolean {
  const inside = socket as unknown as OnRead
  const field = (name: string): symbol | undefined =>
    Object.getOwnPropertySymbols(socket).find((symbol) => symbol.description === name)
  const buffer = field('kBuffer')
  const callback = field('kBufferCb')
  const generator = field('kBufferGen')
  const handle = inside._handle
  if (buffer === undefined || callback === undefined || generator === undefined) return false
  if (typeof handle?.useUserBuffer !== 'function') return false
  let next = first
  inside[buffer] = first
  inside[callback] = (bytes: number, filled: Buffer) => {
    next = read(bytes, filled)
    return true
  }
  inside[generator] = () => next
  handle.useUserBuffer(first)
  return true
}
