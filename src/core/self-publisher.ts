// The broker as a publisher of its own: for wills, HTTP and the program it runs in, who wait for
// a promise where a link waits for nothing.

import type { EngineFault } from './engine.ts'
import type { Intake, Publisher } from './intake.ts'
import type { Message } from './types.ts'

export class SelfPublisher implements Publisher {
  intakeBytes = 0
  readonly #waiting = new Map<number, { resolve: () => void; reject: (fault: Error) => void }>()
  #token = 0

  publish(intake: Intake, message: Message): Promise<void> {
    return new Promise((resolve, reject) => {
      const token = ++this.#token
      this.#waiting.set(token, { resolve, reject })
      intake.add(this, message, token, null)
    })
  }

  stored(token: number, fault: EngineFault | null): void {
    const waiting = this.#waiting.get(token)
    this.#waiting.delete(token)
    if (fault === null) waiting?.resolve()
    else waiting?.reject(new Error(`the message could not be stored: ${fault}`))
  }

  roomAgain(): void {}
}
