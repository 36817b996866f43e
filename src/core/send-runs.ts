// What was sent to a client and not acknowledged, as the session's record tells it: messages with
// packet identifiers in a row, of one state and one kind, are one run.

import type { Pos, SendRun, SendState } from './types.ts'

/** Packet identifiers run from 1 to this. */
export const IDENTIFIERS = 65_535

export interface Sending {
  readonly packetId: number
  readonly pos: Pos
  readonly state: SendState
  /** Of a retained message sent at subscribe. */
  readonly topic: string | undefined
  readonly with: string | undefined
}

interface Growing extends SendRun {
  readonly positions: Pos[]
  readonly retained?: string[]
}

export class SendRuns {
  readonly all: SendRun[] = []
  #last: Growing | null = null

  /** In the order in which they were sent; identifiers in between are free. */
  add(message: Sending): void {
    const { packetId, pos, state, topic, with: party } = message
    const last = this.#last
    if (last !== null && continues(last, message)) {
      last.positions.push(pos)
      if (topic !== undefined) last.retained?.push(topic)
      return
    }
    this.#last = {
      packetId,
      positions: [pos],
      state,
      ...(topic === undefined ? {} : { retained: [topic] }),
      ...(party === undefined ? {} : { with: party }),
    }
    this.all.push(this.#last)
  }
}

function continues(run: Growing, { packetId, state, topic, with: party }: Sending): boolean {
  if (run.state !== state || run.with !== party) return false
  if ((run.retained === undefined) !== (topic === undefined)) return false
  return ((run.packetId - 1 + run.positions.length) % IDENTIFIERS) + 1 === packetId
}
