// The receiving half of a line connection: writes lines to the wire and tells the session what the
// network has taken. People type no acknowledgements, so that is what counts as received.

import type { Broker } from '../../core/broker.ts'
import type { Counters } from '../../core/counters.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { Session } from '../../core/session.ts'
import type { Wire } from '../../net/wire.ts'
import type { Lines } from './door.ts'

/** Lines up to this size are copied into the wire's block. */
const COPIED_BYTES = 1024
/** Milliseconds between two looks at a reader that is slow. */
const LOOK_AGAIN_MS = 20

interface Owed {
  readonly session: Session
  readonly packetId: number
  /** Bytes written up to and including this message. */
  readonly end: number
}

export class Receiving {
  readonly #wire: Wire
  readonly #runtime: Runtime
  readonly #counters: Counters
  /** Bytes ever written. */
  #written = 0
  /** Messages of QoS 1 and 2 that the network has not taken yet, oldest first. */
  #owed: Owed[] | null = null
  /** A look is due. */
  #looking = false
  #closed = false

  constructor(wire: Wire, { runtime, counters }: Broker) {
    this.#wire = wire
    this.#runtime = runtime
    this.#counters = counters
  }

  /** Sends a line, given without its end. */
  say(line: string): void {
    this.write(Buffer.from(`${line}\n`))
  }

  /** Sends messages. */
  deliver({ bytes, payload }: Lines, count: number): void {
    this.#counters.messagesOut += count
    this.#counters.bytesOut += payload
    this.write(bytes)
  }

  write(bytes: Buffer): void {
    const { length } = bytes
    this.#written += length
    if (length > COPIED_BYTES) {
      this.#wire.push(bytes, 0, length)
      return
    }
    // Written one behind the other they leave as one piece; as slices of their own they would be gathered later.
    this.#wire.room(length).set(bytes, this.#wire.at)
    this.#wire.commit(length)
  }

  /** What was written last is a message that the session waits to hear about. */
  owes(session: Session | null, packetId: number): void {
    if (session === null) return
    this.#owed ??= []
    if (!this.#looking) {
      this.#looking = true
      this.#runtime.nextTurn(() => this.#look())
    }
    this.#owed.push({ session, packetId, end: this.#written })
  }

  /** Tells now what the network has taken by now; before a goodbye, so that it does not come again. */
  settle(): void {
    this.#acknowledge()
  }

  /** The connection is gone: what the network has not taken stays owed. */
  close(): void {
    this.#closed = true
    this.#owed = null
  }

  #look(): void {
    this.#looking = false
    if (this.#closed) return
    const sessions = this.#acknowledge()
    if (this.#owed !== null) {
      this.#looking = true
      this.#runtime.after(LOOK_AGAIN_MS, () => this.#look())
    }
    for (const session of sessions) session.settle()
  }

  #acknowledge(): ReadonlySet<Session> {
    const sessions = new Set<Session>()
    const owed = this.#owed ?? []
    const taken = this.#written - this.#wire.queued
    let done = 0
    for (; done < owed.length; done++) {
      const { session, packetId, end } = owed[done] as Owed
      if (end > taken) break
      acknowledge(session, packetId)
      sessions.add(session)
    }
    if (done === owed.length) this.#owed = null
    else if (done > 0) this.#owed = owed.slice(done)
    return sessions
  }
}

/** QoS 1, or the first half of QoS 2: the link answers `release` with the second half. */
function acknowledge(session: Session, packetId: number): void {
  if (!session.acknowledged(packetId)) session.received(packetId, false)
}
