// A person with netcat, for tests: says lines on a plain socket and hears lines, one at a time.
import { createConnection, type Socket } from 'node:net'
import type { Address } from './raw-client.ts'

const DEADLINE_MS = 5_000

export class LineClient {
  readonly #socket: Socket
  readonly #lines: string[] = []
  #rest = ''
  #closed = false
  #waiting: (() => void) | null = null

  constructor(socket: Socket) {
    this.#socket = socket
    socket.setEncoding('latin1')
    socket.on('data', (text: string) => this.#read(text))
    for (const event of ['end', 'close', 'error']) socket.on(event, () => this.#close())
  }

  says(line: string | Buffer): void {
    this.#socket.write(line)
    this.#socket.write('\n')
  }

  /** The next line, without its end. Throws when none comes within five seconds. */
  async hears(): Promise<string> {
    await this.#until(() => this.#lines.length > 0 || this.#closed, 'a line')
    const line = this.#lines.shift()
    if (line === undefined) throw new Error('the connection was closed; a line was expected')
    return Buffer.from(line, 'latin1').toString()
  }

  /** The next line, which must begin like this. */
  async hearsThat(beginning: string): Promise<string> {
    const line = await this.hears()
    if (line.startsWith(beginning)) return line
    throw new Error(`heard ${JSON.stringify(line)} where ${JSON.stringify(beginning)} was expected`)
  }

  /** End of input; what the server still says can be heard. */
  end(): void {
    this.#socket.end()
  }

  drop(): void {
    this.#socket.destroy()
  }

  async closed(): Promise<void> {
    await this.#until(() => this.#closed, 'the end of the connection')
  }

  #read(text: string): void {
    const lines = (this.#rest + text).split('\n')
    this.#rest = lines.pop() ?? ''
    this.#lines.push(...lines)
    this.#waiting?.()
  }

  #close(): void {
    this.#closed = true
    this.#waiting?.()
  }

  async #until(ready: () => boolean, what: string): Promise<void> {
    const end = performance.now() + DEADLINE_MS
    while (!ready()) {
      const left = end - performance.now()
      if (left <= 0) throw new Error(`waited ${DEADLINE_MS} ms for ${what}`)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left)
        this.#waiting = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }
}

export async function openLine(server: Address): Promise<LineClient> {
  const socket = createConnection({ host: server.host, port: server.port, noDelay: true })
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  return new LineClient(socket)
}

/** A subscriber or publisher that was told OK, such as `openRole(server, 'SUBSCRIBER SPORTS')`. */
export async function openRole(server: Address, line: string): Promise<LineClient> {
  const client = await openLine(server)
  client.says(line)
  await client.hearsThat('OK ')
  return client
}
