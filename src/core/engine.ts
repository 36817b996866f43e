// What core asks of whoever remembers: a log, session records, retained messages. Twelve
// methods; memory, disk and NATS implement them and one contract suite runs against each.

import type { Message, Pos, SessionFlow, SessionProfile, StoredSession } from './types.ts'

/**
 * The unit of the log: what a node accepted in one turn, whatever its link, topic or audience.
 * At most RECORD_MESSAGES_MAX messages; message `i` has position `first + i`.
 */
export interface LogRecord {
  /**
   * Position of the first message; the engine sets it in `append`, 0 until then. A multiple of
   * RECORD_MESSAGES_MAX, unless the engine stored several appended records as one.
   */
  first: Pos
  readonly messages: Message[]
  /**
   * Parallel to `messages`: whether a durable session or group wants the message. What nobody durable
   * wants need not outlive the process; a retained message is kept by its topic either way. An engine with
   * several nodes keeps all and sets all.
   */
  readonly wanted: boolean[]
  /** Session records that become durable with the record or not at all (QoS 2 intents). */
  readonly saves: SessionSave[]
  /** Payload and property bytes of all messages. */
  bytes: number
}

/** One session's new state. Absent parts stay as they were; `ended` deletes the session. */
export interface SessionSave {
  readonly id: string
  /** The epoch under which the session is owned; a save under an older one is refused. */
  readonly epoch: number
  readonly profile?: SessionProfile
  readonly flow?: SessionFlow
  readonly ended?: true
}

export interface Claim {
  /** Higher than any earlier epoch of the same session. */
  readonly epoch: number
  /** Null when nothing is stored under this identifier. */
  readonly stored: StoredSession | null
}

export interface RetainedMessage {
  readonly topic: string
  /** Null when the topic's retained message was removed. */
  readonly message: Message | null
  /** Position the change belongs to: a change applies only over an equal or lower one. */
  readonly pos: Pos
}

export interface Bounds {
  /**
   * Everything kept at or after this position is still there: one above what was forgotten. The oldest
   * message may stand later, since holes are normal; `last + 1` when all was forgotten.
   */
  readonly first: Pos
  /** Position of the newest message that was ever appended, 0 when none. */
  readonly last: Pos
  readonly bytes: number
  /** Bytes the log may hold; Infinity when unbounded. */
  readonly cap: number
}

/** Why an engine refused: the protocols turn it into their own reason codes. */
export type EngineFault = 'full' | 'too-large' | 'down' | 'fenced' | 'failed'

export class EngineError extends Error {
  readonly fault: EngineFault
  constructor(fault: EngineFault, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'EngineError'
    this.fault = fault
  }
}

/** What an engine tells core. Every call is made from a turn of its own or from within a method. */
export interface EngineEvents {
  /** The live tail: every record, once, in order, and only when the log cannot forget it any more. */
  record(record: LogRecord): void
  /** A retained message that was stored by an earlier run or by another node. Called during `open` too. */
  retained(change: RetainedMessage): void
  /** Something another node sent with `cast`. */
  cast(from: string, bytes: Buffer): void
  /**
   * Another node claims a session of ours, or turns out to have claimed it: disconnect its client, save if that is
   * still possible, forget the session, then resolve. Told too before a save of it is refused as `fenced`, and
   * before a claim of ours resolves that takes it back.
   */
  kick(id: string): Promise<void>
  /** `failed` is final: nothing is acknowledged any more and the process should end. */
  state(state: 'up' | 'down' | 'failed', why: string): void
  /** Another node came, or died or left: then its sessions wait for another owner. */
  node?(id: string, up: boolean): void
  /** This node could not prove for long that it lives: others may own its sessions now, or soon. */
  lapsed?(): void
  /** It has proved again that it lives, after `lapsed`; `state` may not have changed meanwhile. */
  proved?(): void
}

export interface Engine {
  /** A word for logs and metrics: memory, disk, nats. */
  readonly name: string
  /** Whether sessions and log outlive the process. */
  readonly durable: boolean
  /**
   * This node's name, new with each start, where several nodes share log, sessions and retained messages; null
   * where nobody does.
   */
  readonly node: string | null
  /** Random identity of this log, made with it; known after `open`. */
  readonly log: string
  /** Makes ready, reports every retained message, then resolves. Throws a person-readable Error. */
  open(events: EngineEvents): Promise<void>
  /** Resolves when everything accepted is as safe as it will get. No call may follow. */
  close(): Promise<void>
  /**
   * Takes the record, sets its `first`, stores it with its saves and retained changes, and resolves when
   * it is as durable as this engine makes things, after `events.record` was called for it. Records keep
   * the order of the calls. Rejects with EngineError; then nothing of the record was or will be delivered,
   * except that after `down` it may have been stored and be delivered yet.
   */
  append(record: LogRecord): Promise<void>
  /**
   * Stored records holding messages with after < position <= until, oldest first, about 1 MiB at most, and at
   * least one if there is any. A record may hold positions at or before `after`: the caller skips them.
   * `scanned` says up to where everything stored is in the answer.
   */
  read(after: Pos, until: Pos): Promise<{ records: LogRecord[]; scanned: Pos }>
  bounds(): Bounds
  /** Forgets stored messages up to and including the position. */
  truncate(upTo: Pos): Promise<void>
  /**
   * Takes exclusive ownership of a session's record. With `epoch`, only if nobody claimed it since that one: else
   * rejects `fenced` and disturbs nobody. So does a claim that was held up while another node took the record, and,
   * with `asked`, one where a client came to another node after that engine time. Who has the record for itself need
   * not look at either.
   */
  claim(id: string, epoch?: number, asked?: number): Promise<Claim>
  /** Resolves when durable. Rejects `fenced` when another owner claimed one of the sessions since. */
  save(saves: readonly SessionSave[]): Promise<void>
  /**
   * Every stored session, in no order. Where there are several nodes `node` is its owner, and a session that was
   * claimed and never saved is among them, with an empty profile.
   */
  sessions(): AsyncIterable<StoredSession & { readonly node?: string }>
  /** Retained messages of QoS 0, which no record carries; resolves when written, lazily. */
  retain(changes: readonly RetainedMessage[]): Promise<void>
  /** Sends bytes to one node, or to all when null. Fire and forget. */
  cast(node: string | null, bytes: Buffer): void
  /** Engine time in milliseconds: the clock that expiry is measured by. */
  now(): number
}
