// Where QoS 1 and 2 publishes wait until they are stored. What a turn accepted, whoever from,
// is one record; its publishers hear of it together, in the order they published.

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

interface Batch {
  readonly record: LogRecord
  readonly publishers: Publisher[]
  readonly tokens: number[]
  /** Sessions whose packet identifiers of QoS 2 become durable with the record. */
  readonly receiving: Set<Session>
}

export class Intake {
  readonly #engine: Pick<Engine, 'append'>
  readonly #router: Router
  readonly #limits: Limits
  readonly #runtime: Runtime
  #batch: Batch | null = null
  #bytes = 0
  readonly #waiting = new Set<Publisher>()

  constructor(engine: Pick<Engine, 'append'>, router: Router, limits: Limits, runtime: Runtime) {
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

  /** The publisher is gone and waits no more. */
  forget(publisher: Publisher): void {
    this.#waiting.delete(publisher)
  }

  /** `receiving` is the publisher's session when the message is QoS 2 and the session outlives the process. */
  add(publisher: Publisher, message: Message, token: number, receiving: Session | null): void {
    const size = message.payload.length + message.properties.length + message.topic.bytes.length
    let batch = this.#batch
    // Sealed before and never behind: the caller notes what is saved with the record once it was added.
    if (batch !== null && isFull(batch.record, size)) {
      this.#seal()
      batch = null
    }
    batch ??= this.#open()
    const { record } = batch
    record.messages.push(message)
    record.bytes += size
    batch.publishers.push(publisher)
    batch.tokens.push(token)
    if (receiving !== null) batch.receiving.add(receiving)
    publisher.intakeBytes += size
    this.#bytes += size
  }

  /** Gives the engine what was added so far, without waiting for the end of the turn. */
  flush(): void {
    if (this.#batch !== null) this.#seal()
  }

  #open(): Batch {
    const batch: Batch = {
      record: { first: 0, messages: [], wanted: [], saves: [], bytes: 0 },
      publishers: [],
      tokens: [],
      receiving: new Set(),
    }
    this.#batch = batch
    this.#runtime.atTurnEnd(() => {
      if (this.#batch === batch) this.#seal()
    })
    return batch
  }

  #seal(): void {
    const batch = this.#batch as Batch
    this.#batch = null
    const { record } = batch
    for (const message of record.messages) {
      record.wanted.push(this.#router.audience(message.topic).wanted)
    }
    for (const session of batch.receiving) {
      record.saves.push({ id: session.id, epoch: session.epoch, flow: session.flow() })
    }
    this.#engine.append(record).then(
      () => this.#done(batch, null),
      (error: unknown) => this.#done(batch, faultOf(error)),
    )
  }

  #done(batch: Batch, fault: EngineFault | null): void {
    const { record, publishers, tokens } = batch
    for (let i = 0; i < tokens.length; i++) {
      const { payload, properties, topic } = record.messages[i] as Message
      const publisher = publishers[i] as Publisher
      const size = payload.length + properties.length + topic.bytes.length
      publisher.intakeBytes -= size
      this.#bytes -= size
      publisher.stored(tokens[i] as number, fault, record.first + i)
    }
    if (this.#waiting.size > 0) this.#wakeWaiting()
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

function isFull(record: LogRecord, size: number): boolean {
  return record.messages.length === RECORD_MESSAGES_MAX || record.bytes + size > RECORD_BYTES_MAX
}

function faultOf(error: unknown): EngineFault {
  return error instanceof EngineError ? error.fault : 'failed'
}
