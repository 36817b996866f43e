// A run: consecutive QoS 0 publishes of one link for one audience, the unit of forwarding.
// MQTT links make runs of frames that are never taken apart unless somebody needs them to be.

import type { Message } from './types.ts'

export interface Run {
  /** Messages in it, at least one. */
  readonly count: number
  /** Client identifier of the publisher; empty when nobody's. */
  readonly publisher: string
  /** Set when another node passed it on: it goes to clients of this one alone. */
  readonly relayed?: boolean
  /** Encodings of the run that several links share, by whatever key they agree on; null until one needs it. */
  memo: Map<string, Buffer> | null
  /** The messages in order. Made at first use and then kept; slices die with the turn unless `keep` was called. */
  messages(): readonly Message[]
  /** Makes it safe to use the run after this turn. */
  keep(): void
  /** The run of messages [from, to) alone: shared groups hand out a part to each member. */
  part(from: number, to: number): Run
}

/** A run of messages that did not come as MQTT frames: lines, HTTP, wills, the embedding program. */
export class MessageRun implements Run {
  readonly publisher: string
  memo: Map<string, Buffer> | null = null
  readonly #messages: readonly Message[]

  constructor(messages: readonly Message[], publisher: string) {
    this.#messages = messages
    this.publisher = publisher
  }

  get count(): number {
    return this.#messages.length
  }

  messages(): readonly Message[] {
    return this.#messages
  }

  keep(): void {}

  part(from: number, to: number): Run {
    return new MessageRun(this.#messages.slice(from, to), this.publisher)
  }
}
