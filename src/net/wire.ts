// A Wire moves bytes in both directions; TCP, TLS and WebSocket look the same from above.
// Links are written against this interface and tests give them a pair of wires in memory.

/** Who listens to a wire; a link. */
export interface WireReader {
  /**
   * Bytes arrived. The buffer is the reader's to slice until the turn ends; what is needed longer must be copied,
   * or `Wire.keep` be called before this returns. A slice that is kept pins the whole chunk.
   */
  read(chunk: Buffer): void
  /** The other side will send no more; our side is still open for writing. */
  ended(): void
  /** Nothing moves any more. `fault` says why when it was not a goodbye. Called exactly once. */
  closed(fault?: Error): void
  /** Queued bytes fell to less than half the congestion mark after having been above it. */
  drained(): void
}

export interface Wire {
  /** Address of the other side for logs and limits, such as `127.0.0.1` or `::1`. */
  readonly address: string
  /** `address:port`, or what identifies the peer best. */
  readonly peer: string
  /** How it came: `tcp`, `tls`, `ws`, `wss`. */
  readonly transport: string
  /** Bytes accepted and not yet taken by the operating system, backing memory included. */
  readonly queued: number
  /** Sets who is told; may be replaced once the first bytes have said what protocol it is. */
  attach(reader: WireReader): void
  /**
   * Queues `bytes[start, end)` behind everything queued before. By reference within the turn, copied if it
   * has to wait longer. Never blocks, never throws; ignored once the wire is closing.
   */
  push(bytes: Buffer, start: number, end: number): void
  /**
   * Room for `size` bytes written by the caller at once: returns the block, `block.at` is where to write, and
   * `commit(size)` (at most what was asked for) queues them. No other call may come between.
   */
  room(size: number): Buffer
  /** Offset at which to write into the block that `room` returned. */
  readonly at: number
  commit(size: number): void
  /** Within `read`: slices of this chunk will be needed after the turn. */
  keep(): void
  /** Stops and resumes reading; a paused wire still writes. */
  pause(): void
  resume(): void
  /** Sends what is queued, then says goodbye; destroys after 5 seconds if the other side does not follow. */
  end(): void
  /** Drops everything at once. */
  destroy(): void
}
