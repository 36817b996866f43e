// Who is at the other end of a line connection: what they logged in as, what they may do, and the
// session they hold. Asks `Access` and core; says on the line why not.

import { type AccessClass, EVERYTHING, type Identity } from '../../core/access.ts'
import type { Broker } from '../../core/broker.ts'
import type { Link } from '../../core/link.ts'
import type { Session } from '../../core/session.ts'
import * as answers from './answers.ts'

const LOGINS_MAX = 3
/** Client identifiers of durable line subscribers begin so; MQTT clients of that name are others. */
const NAMED = 'line:'

export interface GuestEvents {
  /** An answer to the line that is being handled. */
  answer(line: string): void
  /** Somebody who guesses passwords has to go. */
  dismiss(line: string): void
}

export class Guest {
  session: Session | null = null
  /** The name after AS; empty without one. */
  name = ''
  readonly #broker: Broker
  readonly #link: Link
  readonly #address: string
  readonly #events: GuestEvents
  #identity: Identity | null = null
  #login: { readonly name: string; readonly password: Buffer } | null = null
  #failedLogins = 0
  #gone = false

  constructor(broker: Broker, link: Link, address: string, events: GuestEvents) {
    this.#broker = broker
    this.#link = link
    this.#address = address
    this.#events = events
  }

  /** Whether it is settled who this is. */
  get known(): boolean {
    return this.#identity !== null
  }

  get user(): string {
    return this.#identity?.user ?? ''
  }

  get access(): AccessClass {
    return this.session?.access ?? this.#identity?.access ?? EVERYTHING
  }

  /** Settles who this is, under that client identifier; says why not. */
  async identify(clientId = ''): Promise<boolean> {
    if (this.known && clientId === '') return true
    const identity = await this.#broker.access.connect({
      clientId,
      username: this.#login?.name ?? null,
      password: this.#login?.password ?? null,
      address: this.#address,
      door: this.#link.door,
    })
    if (this.#gone) return false
    if (!('refused' in identity)) {
      this.#identity = identity
      return true
    }
    this.#broker.counters.authenticationsFailed++
    this.#broker.activity.refused(this.#link, identity.why)
    this.#events.answer(answers.notWelcome(identity, this.#login !== null))
    return false
  }

  async logIn(name: string, password: string): Promise<void> {
    this.#login = { name, password: Buffer.from(password) }
    this.#identity = null
    if (await this.identify()) {
      this.leave()
      this.#events.answer(answers.loggedIn(name))
      return
    }
    this.#login = null
    if (++this.#failedLogins === LOGINS_MAX) this.#events.dismiss(answers.LOGIN_ENOUGH)
  }

  /**
   * Takes the session of that name, or a nameless one; null, having said why, when it may not. `present` when
   * there was one to come back to. Rejects as `Sessions.connect` does.
   */
  async enter(name: string): Promise<{ session: Session; present: boolean } | null> {
    if (name === '' && this.session !== null) return { session: this.session, present: false }
    const clientId = name === '' ? this.#nameless() : NAMED + name
    if (!(await this.identify(name === '' ? '' : clientId))) return null
    this.leave()
    const { user, access } = this.#identity as Identity
    this.name = name
    const connected = await this.#broker.sessions.connect({
      clientId,
      cleanStart: name === '',
      expiry: name === '' ? 0 : this.#broker.limits.sessionExpiryMaximum,
      will: null,
      user,
      access,
      link: this.#link,
    })
    this.session = connected.session
    if (!this.#gone) return connected
    this.leave()
    return null
  }

  /** Lets the session go; `expiry` in seconds replaces how long it is kept. */
  leave(expiry?: number): void {
    const { session } = this
    this.session = null
    if (session === null) return
    const parting = expiry === undefined ? {} : { expiry }
    this.#broker.sessions.disconnect(session, this.#link, { will: 'discard', ...parting })
  }

  /** The connection ends: whatever is still being settled comes to nothing. */
  go(expiry?: number): void {
    this.#gone = true
    this.#login = null
    this.leave(expiry)
  }

  #nameless(): string {
    const word = (): string => Math.floor(this.#broker.runtime.random() * 2 ** 48).toString(36)
    return `line-${word()}${word()}`
  }
}
