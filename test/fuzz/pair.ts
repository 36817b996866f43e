// Well-behaved clients that talk to each other while strangers shout: numbered messages at QoS 1 and 2 over TCP, WebSocket
// and lines, of which every one must arrive, in order, and none twice.
import { type LineClient, openRole } from '../support/line-client.ts'
import { type Guest, join } from '../support/mqtt-js.ts'
import type { Address } from '../support/raw-client.ts'

interface Stream {
  readonly topic: string
  readonly write: (text: string) => Promise<unknown>
  sent: number
}

export class Pair {
  readonly #guests: Guest[]
  readonly #streams: Stream[]
  readonly #line: LineClient
  readonly #faults: string[] = []
  #going = true
  #ended: Promise<unknown> = Promise.resolve()

  private constructor(guests: Guest[], line: LineClient, streams: Stream[]) {
    this.#guests = guests
    this.#line = line
    this.#streams = streams
    for (const { client } of guests) {
      client.on('close', () => {
        if (this.#going) this.#faults.push(`${client.options.clientId} lost its connection`)
      })
    }
  }

  static async start(server: Address): Promise<Pair> {
    const one = await join(server, { version: 5, clientId: 'pair-1' })
    const other = await join(server, { version: 4, clientId: 'pair-2', transport: 'websocket' })
    for (const { client } of [one, other]) await client.subscribeAsync('pair/#', { qos: 2 })
    const line = await openRole(server, 'PUBLISHER pair/line')
    const publish = ({ client }: Guest, topic: string, qos: 1 | 2): Stream => ({
      topic,
      write: (text) => client.publishAsync(topic, text, { qos }),
      sent: 0,
    })
    const lines: Stream = {
      topic: 'pair/line',
      // A line is not answered; now and then a turn passes.
      write: (text) => {
        line.says(text)
        return new Promise((resolve) => setTimeout(resolve, 5))
      },
      sent: 0,
    }
    const streams = [
      publish(one, 'pair/tcp/1', 1),
      publish(one, 'pair/tcp/2', 2),
      publish(other, 'pair/ws/1', 1),
      publish(other, 'pair/ws/2', 2),
      lines,
    ]
    const pair = new Pair([one, other], line, streams)
    pair.#ended = Promise.all(streams.map((stream) => pair.#write(stream)))
    return pair
  }

  async #write(stream: Stream): Promise<void> {
    while (this.#going) {
      await stream.write(`${stream.sent++}`).catch((error: unknown) => {
        this.#faults.push(`${stream.topic}: ${String(error)}`)
        this.#going = false
      })
    }
  }

  /** Messages published so far. */
  get sent(): number {
    return this.#streams.reduce((sum, { sent }) => sum + sent, 0)
  }

  /** Says goodbye and tells what went wrong: a message lost, doubled or out of order, a connection lost. */
  async finish(): Promise<string[]> {
    this.#going = false
    await this.#ended
    this.#line.end()
    await this.#line.hearsThat('OK goodbye').catch((error: Error) => {
      this.#faults.push(`the line publisher: ${error.message}`)
    })
    for (const guest of this.#guests) {
      const name = `${guest.client.options.clientId}`
      const arrived = await guest.inbox.take(this.sent, 10_000).catch((error: Error) => {
        this.#faults.push(`${name}: ${error.message}`)
        return []
      })
      for (const { topic, sent } of arrived.length > 0 ? this.#streams : []) {
        const texts = arrived.filter((one) => one.topic === topic).map((one) => `${one.payload}`)
        const wrong = texts.findIndex((text, i) => text !== `${i}`)
        if (wrong >= 0) this.#faults.push(`${name}: ${topic} ${texts[wrong]} in place of ${wrong}`)
        if (texts.length !== sent)
          this.#faults.push(`${name}: ${texts.length} of ${sent} at ${topic}`)
      }
      await guest.leave()
      if (guest.inbox.size > 0) this.#faults.push(`${name}: ${guest.inbox.size} too many`)
    }
    return this.#faults
  }
}
