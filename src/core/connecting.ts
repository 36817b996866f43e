// How a client's connection begins and ends, as the protocols tell the sessions and hear from them.

import type { AccessClass } from './access.ts'
import { EngineError } from './engine.ts'
import type { Link } from './link.ts'
import type { Session } from './session.ts'
import type { Will } from './types.ts'

export interface ConnectRequest {
  readonly clientId: string
  /** Forget what there was. */
  readonly cleanStart: boolean
  /** Seconds the session may outlive the link. */
  readonly expiry: number
  readonly will: Will | null
  readonly user: string
  readonly access: AccessClass
  readonly link: Link
  /** Whether the client has gone since it asked. */
  readonly abandoned?: () => boolean
}

export interface Connected {
  readonly session: Session
  /** Whether there was one to resume. */
  readonly present: boolean
}

/** How a link ended. */
export interface Parting {
  /** `discard` after a proper goodbye, `keep` when the server goes down and the session is stored, or its node ends. */
  readonly will: 'publish' | 'discard' | 'keep'
  /** A new session expiry, as DISCONNECT of MQTT 5 may carry. */
  readonly expiry?: number
}

/** Too many sessions: the protocols answer with their quota reason. */
export class SessionLimitError extends Error {}

/** Nothing is done for a client that is gone. */
export function abandoned(id: string): EngineError {
  return new EngineError('failed', `"${id}" left before its turn to connect came`)
}

/** Another node was faster. */
export function taken(id: string): EngineError {
  return new EngineError('fenced', `"${id}" connected to another node meanwhile`)
}
