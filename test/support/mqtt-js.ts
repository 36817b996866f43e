// MQTT.js as a guest of the tests: a client that people really use, and a box of what arrived that a test can
// wait on without sleeping.
import {
  connect,
  type IClientOptions,
  type IConnackPacket,
  type IPublishPacket,
  type MqttClient,
} from 'mqtt'
import type { Address } from './raw-client.ts'

export type Version = 3 | 4 | 5
export type Transport = 'tcp' | 'websocket'

export interface JoinOptions extends IClientOptions {
  /** Default: 5. */
  version?: Version
  /** Default: TCP. */
  transport?: Transport
}

/** A received message: the fields tests ask about. */
export interface Arrived {
  readonly topic: string
  readonly payload: Buffer
  readonly packet: IPublishPacket
}

export interface Guest {
  readonly client: MqttClient
  readonly connack: IConnackPacket
  readonly inbox: Inbox
  /** A proper goodbye. */
  leave(): Promise<void>
  /** The connection is gone without one. */
  vanish(): void
}

/** Arrivals in order; waits up to five seconds for what is not there yet. */
export class Inbox {
  readonly #arrived: Arrived[] = []
  #waiting: (() => void) | null = null

  put(arrived: Arrived): void {
    this.#arrived.push(arrived)
    this.#waiting?.()
  }

  get size(): number {
    return this.#arrived.length
  }

  /** The next `count` messages, in order of arrival. */
  async take(count: number, within = 5_000): Promise<Arrived[]> {
    const end = performance.now() + within
    while (this.#arrived.length < count) {
      const left = end - performance.now()
      if (left <= 0) {
        throw new Error(`waited ${within} ms for ${count} messages; ${this.#arrived.length} came`)
      }
      await this.#change(left)
    }
    return this.#arrived.splice(0, count)
  }

  async next(within?: number): Promise<Arrived> {
    return (await this.take(1, within))[0] as Arrived
  }

  /** The text of the next message. */
  async text(): Promise<string> {
    return (await this.next()).payload.toString()
  }

  #change(left: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer)
        this.#waiting = null
        resolve()
      }
      const timer = setTimeout(done, left)
      this.#waiting = done
    })
  }
}

let joined = 0

/** Connects a client of its own name; it does not reconnect by itself. Rejects with the reason of a refusal. */
export async function join(server: Address, options: JoinOptions = {}): Promise<Guest> {
  const { version = 5, transport = 'tcp', ...rest } = options
  const where = `${server.host}:${server.port}`
  const client = connect(transport === 'tcp' ? `mqtt://${where}` : `ws://${where}/mqtt`, {
    protocolVersion: version,
    protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
    clientId: `guest-${++joined}`,
    reconnectPeriod: 0,
    ...rest,
  })
  const inbox = new Inbox()
  // A resumed session speaks right behind CONNACK, so nobody waits for that first.
  client.on('message', (topic, payload, packet) => inbox.put({ topic, payload, packet }))
  const connack = await new Promise<IConnackPacket>((resolve, reject) => {
    client.once('connect', resolve)
    client.once('close', () => reject(new Error(`${where} hung up before CONNACK`)))
    client.once('error', (error) => {
      client.end()
      reject(error)
    })
  })
  // Tests that break connections hear of it from the broker's side.
  client.on('error', () => {})
  return {
    client,
    connack,
    inbox,
    leave: () => client.endAsync(),
    vanish: () => client.stream.destroy(),
  }
}
