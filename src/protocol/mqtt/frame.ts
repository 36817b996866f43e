// Cuts what a wire brings into whole frames. Frames that lie whole in one read are handed on
// where they stand; only what a read splits is copied.

import { PacketError, Reason } from './packets.ts'

export interface FrameSink {
  /**
   * One whole frame: first byte at `start`, body in [body, end). Returns false to take no more for now; the
   * rest is kept until `resume`.
   */
  frame(bytes: Buffer, start: number, body: number, end: number): boolean
  /**
   * Takes frames from `at` on that are like the last one but for their payload, as many as lie whole before `end`, and
   * returns the offset behind them; `at` when there are none.
   */
  alike(bytes: Buffer, at: number, end: number): number
}

const INCOMPLETE = -1
/** Fixed headers have at most five bytes. */
const HEADER_MAX = 5
/** What is less than this share of the memory it lies in is copied before it is kept. */
const WORTH_PINNING = 4

export class FrameReader {
  /** Pieces of a frame that is not complete. */
  #parts: Buffer[] | null = null
  #have = 0
  /** Size of that frame, header included; 0 while the header itself is incomplete. */
  #need = 0
  /** Whole frames and perhaps a beginning that the sink did not want yet. */
  #held: Buffer | null = null
  /** Set by `#measure`. */
  #body = 0

  /** Whether slices of what was read are kept: of a large frame, or of frames the sink did not want yet. */
  get borrows(): boolean {
    return this.#held !== null || (this.#parts !== null && this.#parts.length > 1)
  }

  /** Bytes kept. */
  get kept(): number {
    return this.#have + (this.#held?.length ?? 0)
  }

  /** Throws PacketError on a length that is malformed or above `limit`; the connection is beyond help then. */
  read(chunk: Buffer, sink: FrameSink, limit: number): void {
    if (this.#held !== null) {
      this.#held = Buffer.concat([this.#held, chunk])
      return
    }
    let at = 0
    if (this.#parts !== null) {
      at = this.#complete(chunk, sink, limit)
      if (this.#parts !== null || at < 0) return
      if (this.#held !== null) {
        if (at < chunk.length) this.#held = chunk.subarray(at)
        return
      }
    }
    this.#scan(chunk, at, sink, limit)
  }

  /** The sink wants frames again. */
  resume(sink: FrameSink, limit: number): void {
    const held = this.#held
    if (held === null) return
    this.#held = null
    this.#scan(held, 0, sink, limit)
  }

  #scan(chunk: Buffer, from: number, sink: FrameSink, limit: number): void {
    const { length } = chunk
    let at = from
    while (at < length) {
      const end = this.#measure(chunk, at, length, limit)
      if (end === INCOMPLETE || end > length) {
        this.#begin(chunk, at, end === INCOMPLETE ? 0 : end - at)
        return
      }
      if (!sink.frame(chunk, at, this.#body, end)) {
        this.#held = chunk.subarray(end)
        return
      }
      at = end < length ? sink.alike(chunk, end, length) : end
    }
  }

  /** Where the frame at `at` ends, also when that is beyond the bytes at hand. Sets `#body`. */
  #measure(bytes: Buffer, at: number, end: number, limit: number): number {
    let length = 0
    for (let i = 0; i < 4; i++) {
      if (at + 1 + i >= end) return INCOMPLETE
      const byte = bytes[at + 1 + i] as number
      length |= (byte & 127) << (7 * i)
      if (byte >= 128) continue
      this.#body = at + 2 + i
      const size = 2 + i + length
      if (size > limit) {
        throw new PacketError(
          Reason.packetTooLarge,
          `a packet of ${size} bytes; this server takes at most ${limit}`,
        )
      }
      return at + size
    }
    throw new PacketError(Reason.malformedPacket, 'a remaining length of more than four bytes')
  }

  #begin(chunk: Buffer, at: number, need: number): void {
    // Copied: a small slice must not pin a large read until the rest comes.
    this.#parts = [ownCopy(chunk.subarray(at))]
    this.#have = chunk.length - at
    this.#need = need
  }

  /** Adds to the frame that is not complete. Returns the offset behind it, or -1 when nothing is left to do. */
  #complete(chunk: Buffer, sink: FrameSink, limit: number): number {
    const parts = this.#parts as Buffer[]
    if (this.#need === 0) this.#learnSize(chunk, limit)
    const missing = this.#need === 0 ? chunk.length : this.#need - this.#have
    if (this.#need === 0 || chunk.length < missing) {
      // By reference, if that pins little else: all of it belongs to this frame.
      parts.push(chunk.length * WORTH_PINNING < chunk.buffer.byteLength ? ownCopy(chunk) : chunk)
      this.#have += chunk.length
      return -1
    }
    const frame = Buffer.allocUnsafe(this.#need)
    let at = 0
    for (const part of parts) at += part.copy(frame, at)
    chunk.copy(frame, at, 0, missing)
    this.#parts = null
    this.#have = 0
    this.#need = 0
    const end = this.#measure(frame, 0, frame.length, limit)
    if (!sink.frame(frame, 0, this.#body, end)) this.#held = chunk.subarray(chunk.length)
    return missing
  }

  /** The first read ended within the header. */
  #learnSize(chunk: Buffer, limit: number): void {
    const header = Buffer.concat([...(this.#parts as Buffer[]), chunk.subarray(0, HEADER_MAX)])
    const end = this.#measure(header, 0, header.length, limit)
    if (end !== INCOMPLETE) this.#need = end
  }
}

function ownCopy(bytes: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length)
  bytes.copy(copy)
  return copy
}
