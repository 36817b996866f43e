// Who may connect, publish and subscribe: one seam. The answer for a topic is remembered with
// the topic per access class, so a rule set is asked once per topic and not once per message.

/** What a client shows at the door. */
export interface Credentials {
  readonly clientId: string
  /** Null when the client named none. */
  readonly username: string | null
  readonly password: Buffer | null
  readonly address: string
  /** Wire and protocol, such as `tcp/mqtt` or `ws/mqtt`, `tcp/line`, `http`. */
  readonly door: string
}

/**
 * One rule set. Clients under the same rules share one object; rules that name the user or the client
 * make a class of their own. A verdict must not change for the life of the object: a reload makes new ones.
 */
export interface AccessClass {
  mayPublish(topic: string): boolean
  /** The filter without a `$share/name/` prefix. */
  maySubscribe(filter: string): boolean
  /** Filters closed to everybody, whoever asks: being somebody else would not help. Absent when there are none. */
  closed?(filter: string): boolean
}

export interface Identity {
  readonly user: string
  readonly access: AccessClass
}

export interface Refusal {
  readonly refused: 'credentials' | 'forbidden' | 'banned' | 'busy'
  /** A sentence for the log and, where the protocol carries one, for the client. */
  readonly why: string
}

export interface Access {
  /** Settles who this is. May take long (password hashing); must not throw. */
  connect(credentials: Credentials): Identity | Refusal | Promise<Identity | Refusal>
  /** The class a session's user falls under when no link is there, for wills and reloads; null when gone. */
  classOf(user: string, clientId: string): AccessClass | null
}

/** Everything is allowed, except what core forbids everybody (publishing below `$SYS/`). */
export const EVERYTHING: AccessClass = {
  mayPublish: () => true,
  maySubscribe: () => true,
}

/** An open server: anybody is welcome under any name. */
export const OPEN_ACCESS: Access = {
  connect: ({ username }) => ({ user: username ?? '', access: EVERYTHING }),
  classOf: () => EVERYTHING,
}
