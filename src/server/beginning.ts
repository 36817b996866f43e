// Waits for the first bytes of one socket until somebody can say what they mean. Owns the socket's
// events meanwhile and leaves none behind, so that the next owner finds it as if nothing was read.

import type { Duplex } from 'node:stream'
import type { Runtime, Timer } from '../core/runtime.ts'

export interface BeginningOptions<Verdict> {
  readonly runtime: Runtime
  /** Milliseconds a silent connection may stay. */
  readonly silence: number
  /** Milliseconds from the first byte within which the bytes must have said enough. */
  readonly patience: number
  /** Null asks for more bytes. */
  judge(bytes: Buffer): Verdict | null
  /** What bytes that never said enough are taken for: after `patience`, or when no more will come. */
  unclear(): Verdict
  /** Called once, unless the socket ends without a byte. `ended`: the other side sends no more. */
  done(verdict: Verdict, bytes: Buffer, ended: boolean): void
  /** Nothing was said for `silence`. The socket is still open. */
  silent(): void
  /** The socket closed before anything was decided. */
  closed(): void
}

/** Calls one of `done`, `silent` and `closed`, once. */
export function awaitBeginning<Verdict>(socket: Duplex, options: BeginningOptions<Verdict>): void {
  const { runtime } = options
  let received: Buffer | null = null
  let timer: Timer = runtime.after(options.silence, () => {
    release()
    options.silent()
  })
  const release = (): void => {
    timer.cancel()
    socket.off('data', onData)
    socket.off('end', onEnd)
    socket.off('close', onClose)
  }
  const finish = (verdict: Verdict, ended: boolean): void => {
    release()
    options.done(verdict, received as Buffer, ended)
  }
  const onData = (chunk: Buffer): void => {
    if (received === null) {
      timer.cancel()
      timer = runtime.after(options.patience, () => finish(options.unclear(), false))
    }
    received = received === null ? chunk : Buffer.concat([received, chunk])
    const verdict = options.judge(received)
    if (verdict !== null) finish(verdict, false)
  }
  const onEnd = (): void => {
    // Our side stays open until we say otherwise (allowHalfOpen): a goodbye gets a goodbye.
    if (received === null) socket.end()
    else finish(options.unclear(), true)
  }
  const onClose = (): void => {
    release()
    options.closed()
  }
  socket.on('data', onData)
  socket.on('end', onEnd)
  socket.on('close', onClose)
}
