// What people want to see happen: who came, what they do, what they say. Core and the links tell
// it, the server's terminal shows it, tests read it. Told about everything, including the hot path,
// so every method is synchronous, must not throw, and `published` is told once a run.

/** Who did something. Meant to be the link itself: nothing is made for it. */
export interface Peer {
  /** `address:port`, or what identifies the other side best. */
  readonly peer: string
  /** Wire and protocol, such as `tcp/mqtt`, `ws/mqtt`, `tcp/line`. */
  readonly door: string
  /** Client identifier, or the name after `AS`; empty while there is none. A stranger's text. */
  readonly clientId: string
}

/** One published message, for showing only: the payload may be a slice that dies with the turn. */
export interface ShownMessage {
  readonly topic: { readonly name: string }
  readonly payload: Buffer
}

/** Consecutive publishes of one peer. A `Run` is one as it stands. */
export interface ShownRun {
  readonly count: number
  /** The messages in order. Asked for only when they will be shown, before `published` returns. */
  messages(): Iterable<ShownMessage>
}

export interface Activity {
  /** The other side is there and speaks this door's protocol; for MQTT, CONNECT was accepted. */
  connected(who: Peer): void
  /** A line client chose what to be, with the topics or filters it named. */
  role(who: Peer, role: 'publisher' | 'subscriber', topics: readonly string[]): void
  /** Granted filters; for a shared subscription with its `$share/name/` prefix. */
  subscribed(who: Peer, filters: readonly string[]): void
  unsubscribed(who: Peer, filters: readonly string[]): void
  /** Accepted for delivery; also when nobody listens. A will comes in the name of the peer that left it. */
  published(who: Peer, run: ShownRun): void
  /** A line of somebody who has no role yet: it goes to the server's terminal and nowhere else. */
  said(who: Peer, line: string): void
  /** Left as one should: `terminate`, end of input, DISCONNECT. */
  goodbye(who: Peer): void
  /** Gone without a goodbye, or closed by the server; `why` is half a sentence, such as `connection reset`. */
  lost(who: Peer, why: string): void
  /** Something was turned away: a connection, a login, a topic. `what` is half a sentence. */
  refused(who: Peer, what: string): void
}

/** Nobody watches. */
export const SILENT: Activity = {
  connected: () => {},
  role: () => {},
  subscribed: () => {},
  unsubscribed: () => {},
  published: () => {},
  said: () => {},
  goodbye: () => {},
  lost: () => {},
  refused: () => {},
}
