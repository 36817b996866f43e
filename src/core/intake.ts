// Where QoS 1 and 2 publishes wait until they are stored. What a turn accepted, whoever from,
// is one record; its publishers hear of it together, in the order they published. Where nodes share
// the log, a publisher has messages in one record at a time: what follows waits until that is stored.

import { type Engine, EngineError, type EngineFault, type LogRecord } from './engine.ts'
import type { Limits } from './limits.ts'
import type { Router } from './router.ts'
import type { Runtime } from './runtime.ts'
import type { Session } from './session.ts'
import { type Message, type Pos, RECORD_BYTES_MAX, RECORD_MESSAGES_MAX } from './types.ts'

/** Who publishes and waits to hear that it is stored. */
export interface Publisher {
  /** Bytes of its messages not stored yet. Intake's to change. */
  intakeBytes: number
  /**
   * The message given with this token is as durable as it gets, or was refused. In order of `add`. `pos` is its
   * place in the log, and means nothing when it was refused.
   */
  stored(token: number, fault: EngineFault | null, pos: Pos): void
  /** There was no room when asked, and now there is. */
  roomAgain(): void
}

/** A session whose packet identifier of QoS 2 becomes durable with the message. */
export interface Receiving {
  readonly session: Session
  readonly packetId: number
}

/** A message that waits for its publisher's record before it enters one. */
interface Held {
  readonly message: Message
  readonly token: number
  readonly receiving: Receiving | null
}

interface Batch {
  readonly record: LogRecord
  /** Parallel to the record's messages. */
  readonly publishers: Publisher[]
  readonly tokens: number[]
  readonly receiving: (Receiving | null)[]
}

const NONE: readonly Held[] = []

export class Intake {
  readonly #engine: Pick<Engine, 'append' | 'node'>
  readonly #router: Router
  readonly #limits: Limits
  readonly #runtime: Runtime
  #batch: Batch | null = null
  #bytes = 0
  readonly #waiting = new Set<Publisher>()
  /**
   * Publishers with messages in a record that is not stored, and what they published since. Should the record
   * be lost, none of what follows may be in the log before the client has sent all of it again. [MQTT-4.6.0-6]
   */
  readonly #flying = new Map<Publisher, Held[]>()

  constructor(
    engine: Pick<Engine, 'append' | 'node'>,
    router: Router,
    limits: Limits,
    runtime: Runtime,
  ) {
    this.#engine = engine
    this.#router = router
    this.#limits = limits
    this.#runtime = runtime
  }

  /** Bytes accepted and not stored. */
  get bytes(): number {
    return this.#bytes
  }

  /** Whether the publisher may add more; if not, `roomAgain` will be called. */
  room(publisher: Publisher): boolean {
    if (this.#fits(publisher)) return true
    this.#waiting.add(publisher)
    return false
  }

  /** The publisher is gone and waits no more; what it published and no record holds yet is not stored. */
  forget(publisher: Publisher): void {
    this.#waiting.delete(publisher)
    const held = this.#flying.get(publisher)?.splice(0) ?? NONE
    for (const { message, token, receiving } of held) {
      this.#tell(publisher, message, token, receiving, 'down', 0)
    }
  }

  /** `receiving` when the message is QoS 2 and the publisher's session outlives the process. */
  add(publisher: Publisher, message: Message, token: number, receiving: Receiving | null): void {
    const size = sizeOf(message)
    publisher.intakeBytes += size
    this.#bytes += size
    this.#enter(publisher, message, token, receiving, size)
  }

  /** Gives the engine what was added so far, without waiting for the end of the turn. */
  flush(): void {
    if (this.#batch !== null) this.#seal(this.#batch)
  }

  #enter(
    publisher: Publisher,
    message: Message,
    token: number,
    receiving: Receiving | null,
    size: number,
  ): void {
    let batch = this.#batch
    // Sealed before and never behind: the caller notes what is saved with the record once it was added.
    if (batch !== null && isFull(batch.record, size) && !this.#flying.has(publisher)) {
      this.#seal(batch)
      batch = null
    }
    const held = this.#flying.get(publisher)
    if (held !== undefined) {
      held.push({ message, token, receiving })
      receiving?.session.withhold(receiving.packetId)
      return
    }
    batch ??= this.#open()
    batch.record.messages.push(message)
    batch.record.bytes += size
    batch.publishers.push(publisher)
    batch.tokens.push(token)
    batch.receiving.push(receiving)
  }

  #open(): Batch {
    const batch = newBatch()
    this.#batch = batch
    this.#runtime.atTurnEnd(() => {
      if (this.#batch === batch) this.#seal(batch)
    })
    return batch
  }

  #seal(batch: Batch): void {
    this.#batch = null
    const { record, publishers } = batch
    const shared = this.#engine.node !== null
    for (const message of record.messages) {
      // Who wants what on other nodes is never known everywhere at once.
      record.wanted.push(shared || this.#router.audience(message.topic).wanted)
    }
    if (shared) {
      for (const publisher of publishers) {
        if (!this.#flying.has(publisher)) this.#flying.set(publisher, [])
      }
    }
    this.#append(batch)
  }

  #append(batch: Batch): void {
    const { record } = batch
    const sessions = new Set<Session>()
    for (const receiving of batch.receiving) if (receiving !== null) sessions.add(receiving.session)
    for (const session of sessions) {
      record.saves.push({ id: session.id, epoch: session.epoch, flow: session.flow() })
    }
    this.#engine.append(record).then(
      () => this.#done(batch, null),
      (error: unknown) => {
        const fault = faultOf(error)
        if (fault !== 'fenced' || !this.#withoutLost(batch)) this.#done(batch, fault)
      },
    )
  }

  /** Another node took sessions whose messages were among these: theirs are refused, the others' go on. */
  #withoutLost(batch: Batch): boolean {
    const isLost = (i: number): boolean => {
      const session = batch.receiving[i]?.session
      return session !== undefined && (session.gone || session.leaving)
    }
    const rest = newBatch()
    const lost = newBatch()
    for (let i = 0; i < batch.tokens.length; i++) move(batch, i, isLost(i) ? lost : rest)
    if (lost.tokens.length === 0) return false
    const others = new Set(rest.publishers)
    this.#done(lost, 'fenced', others)
    if (rest.tokens.length > 0) this.#append(rest)
    return true
  }

  /** Tells everybody, except that what waits for the record goes on waiting for those named. */
  #done(batch: Batch, fault: EngineFault | null, except?: ReadonlySet<Publisher>): void {
    const { record, publishers, tokens, receiving } = batch
    const { messages, first } = record
    for (let i = 0; i < tokens.length; i++) {
      this.#tell(
        publishers[i] as Publisher,
        messages[i] as Message,
        tokens[i] as number,
        receiving[i] ?? null,
        fault,
        first + i,
      )
    }
    if (this.#flying.size > 0) {
      for (const publisher of publishers) {
        if (except?.has(publisher) !== true) this.#goOn(publisher, fault)
      }
    }
    if (this.#waiting.size > 0) this.#wakeWaiting()
  }

  /** What waited for the record may follow it; where that may be lost, it must not. */
  #goOn(publisher: Publisher, fault: EngineFault | null): void {
    const held = this.#flying.get(publisher)
    if (held === undefined) return
    this.#flying.delete(publisher)
    const definite = fault === null || fault === 'full' || fault === 'too-large'
    for (const { message, token, receiving } of held) {
      if (!definite) {
        this.#tell(publisher, message, token, receiving, fault, 0)
        continue
      }
      receiving?.session.admit(receiving.packetId)
      this.#enter(publisher, message, token, receiving, sizeOf(message))
    }
  }

  #tell(
    publisher: Publisher,
    message: Message,
    token: number,
    receiving: Receiving | null,
    fault: EngineFault | null,
    pos: Pos,
  ): void {
    const size = sizeOf(message)
    publisher.intakeBytes -= size
    this.#bytes -= size
    if (fault !== null) receiving?.session.admit(receiving.packetId)
    publisher.stored(token, fault, pos)
  }

  #wakeWaiting(): void {
    for (const publisher of this.#waiting) {
      if (!this.#fits(publisher)) continue
      this.#waiting.delete(publisher)
      publisher.roomAgain()
    }
  }

  #fits(publisher: Publisher): boolean {
    return (
      publisher.intakeBytes < this.#limits.intakeBytesPerLink &&
      this.#bytes < this.#limits.intakeBytes
    )
  }
}

function newBatch(): Batch {
  return {
    record: { first: 0, messages: [], wanted: [], saves: [], bytes: 0 },
    publishers: [],
    tokens: [],
    receiving: [],
  }
}

function move(from: Batch, i: number, to: Batch): void {
  const message = from.record.messages[i] as Message
  to.record.messages.push(message)
  to.record.wanted.push(from.record.wanted[i] as boolean)
  to.record.bytes += sizeOf(message)
  to.publishers.push(from.publishers[i] as Publisher)
  to.tokens.push(from.tokens[i] as number)
  to.receiving.push(from.receiving[i] ?? null)
}

function sizeOf({ payload, properties, topic }: Message): number {
  return payload.length + properties.length + topic.bytes.length
}

function isFull(record: LogRecord, size: number): boolean {
  return record.messages.length === RECORD_MESSAGES_MAX || record.bytes + size > RECORD_BYTES_MAX
}

function faultOf(error: unknown): EngineFault {
  return error instanceof EngineError ? error.fault : 'failed'
}
