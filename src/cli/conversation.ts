// The terminal client at work: lines from the input go to the server, lines from the server to the output.
// Connects, reconnects where asked, and knows how it all ended. Streams, dialling and time come from outside.

import type { Duplex, Readable, Writable } from 'node:stream'
import { isTerminate, LineSplitter, parseCommand } from '../protocol/line/codec.ts'
import { shownBytes } from '../protocol/line/display.ts'
import { nameOf, reasonOf, type Server } from './servers.ts'

/** Longest line passed on or shown; the server has its own limit and says so. */
const LINE_MAX = 64 * 1024 * 1024
/** Milliseconds a server that was asked to close may say nothing. */
const GOODBYE_MS = 10_000
/** The same for somebody who pressed Ctrl-C. */
const HURRY_MS = 500
const RETRY_FIRST_MS = 500
const RETRY_MAX_MS = 10_000
const HINT = '; type PUBLISHER, SUBSCRIBER, HELP or just text; "terminate" ends'
const LF = Buffer.from('\n')

export interface Surroundings {
  readonly input: Readable
  readonly output: Writable
  /** Takes a notice of the client's own, without its line end. */
  notice(text: string): void
  dial(server: Server): Promise<Duplex>
  /** Calls back after so many milliseconds; the function returned calls it off. */
  after(ms: number, call: () => void): () => void
  /** Whether a person sits at the input: then an `ERR` is theirs to read and no failure. */
  readonly interactive: boolean
}

export interface Wishes {
  readonly servers: readonly Server[]
  /** Lines to say first, on each connection. */
  readonly opening: readonly string[]
  readonly reconnect: boolean
}

/** How it ended; the number is the exit status. */
export const Ending = { goodbye: 0, failed: 1 } as const
type Ending = (typeof Ending)[keyof typeof Ending]

export class Conversation {
  readonly #around: Surroundings
  readonly #wishes: Wishes
  readonly #typed = new LineSplitter(LINE_MAX)
  /** What to say first when connecting again: the opening, and the role that was typed. */
  #opening: readonly string[]
  #hasRole: boolean
  /** Which server to try first: after one that left us the next, for a dying one may still accept. */
  #first = 0
  #socket: Duplex | null = null
  /** Whether we said goodbye and the server's closing is what we wait for. */
  #leaving = false
  #hurried = false
  #sawError = false
  #inputEnded = false
  /** Calls off what we wait for: the next attempt to connect, or the server's goodbye. */
  #stopWaiting: () => void = () => {}
  #finish: (ending: Ending) => void = () => {}

  constructor(wishes: Wishes, around: Surroundings) {
    this.#wishes = wishes
    this.#around = around
    this.#opening = wishes.opening
    this.#hasRole = wishes.opening.some(isRole)
  }

  /** Resolves with the exit status when the conversation is over. */
  run(): Promise<number> {
    const { input, output } = this.#around
    return new Promise((resolve) => {
      this.#finish = (ending) => {
        this.#finish = () => {}
        this.#leaving = true
        this.#stopWaiting()
        input.pause()
        this.#socket?.destroy()
        resolve(ending)
      }
      // Whoever read our output has gone (`… | head -1`): nothing is left to do.
      output.on('error', () => this.#finish(Ending.goodbye))
      input.on('data', (chunk: Buffer) => this.#type(this.#typed.split(Buffer.from(chunk))))
      input.on('end', () => this.#endInput())
      input.on('error', () => this.#endInput())
      input.pause()
      void this.#connect()
    })
  }

  /** Leaves as Ctrl-C does: says goodbye in any role, and waits for the answer only a moment. */
  leave(): void {
    const socket = this.#socket
    if (socket === null) {
      this.#finish(Ending.goodbye)
      return
    }
    if (!this.#leaving) socket.end('terminate\n')
    this.#leaving = true
    this.#hurried = true
    this.#around.input.pause()
    this.#wait(HURRY_MS, () => this.#finish(Ending.goodbye))
  }

  async #connect(): Promise<void> {
    let wait = RETRY_FIRST_MS
    let told = false
    for (;;) {
      const found = await this.#dialEach()
      if (typeof found !== 'string') return this.#converse(found.socket, found.server)
      if (!this.#wishes.reconnect) return this.#giveUp(found)
      if (!told) this.#around.notice(`${found}; trying again until it is there, Ctrl-C ends`)
      told = true
      await new Promise<void>((go) => this.#wait(wait, go))
      wait = Math.min(2 * wait, RETRY_MAX_MS)
    }
  }

  #wait(ms: number, call: () => void): void {
    this.#stopWaiting()
    this.#stopWaiting = this.#around.after(ms, call)
  }

  #giveUp(why: string): void {
    const port = this.#wishes.servers[0]?.port
    this.#around.notice(
      `${why}; is the server running? start one with: npx partyline serve ${port}`,
    )
    this.#finish(Ending.failed)
  }

  async #dialEach(): Promise<{ socket: Duplex; server: Server } | string> {
    const reasons: string[] = []
    const { servers } = this.#wishes
    for (const server of [...servers.slice(this.#first), ...servers.slice(0, this.#first)]) {
      try {
        return { socket: await this.#around.dial(server), server }
      } catch (error) {
        reasons.push(`${nameOf(server)} (${reasonOf(error as Error)})`)
      }
    }
    return `no server at ${reasons.join(' or ')}`
  }

  #converse(socket: Duplex, server: Server): void {
    if (this.#leaving) {
      socket.destroy()
      return
    }
    this.#socket = socket
    const next = this.#around.interactive && !this.#hasRole ? HINT : ''
    this.#around.notice(`connected to ${nameOf(server)}${next}`)
    const heard = new LineSplitter(LINE_MAX)
    let fault: Error | null = null
    socket.on('data', (chunk: Buffer) => {
      if (this.#leaving && !this.#hurried) this.#awaitGoodbye()
      this.#show(heard.split(chunk), socket)
    })
    socket.on('end', () => {
      const rest = heard.rest()
      if (rest !== null) this.#show([rest], socket)
      socket.end()
    })
    socket.on('error', (error: Error) => {
      fault = error
    })
    socket.on('close', () => this.#closed(server, fault))
    socket.on('drain', () => this.#around.input.resume())
    // An empty line means nothing, but lets the server see at once that somebody is there.
    const opening = this.#opening.length > 0 ? this.#opening : ['']
    for (const line of opening) socket.write(`${line}\n`)
    if (this.#inputEnded) this.#sayGoodbye()
    else this.#around.input.resume()
  }

  #closed(server: Server, fault: Error | null): void {
    this.#socket = null
    if (this.#leaving && fault === null) {
      const failed = this.#sawError && !this.#around.interactive
      this.#finish(failed ? Ending.failed : Ending.goodbye)
      return
    }
    this.#around.input.pause()
    const why = fault === null ? 'closed the connection' : `is gone (${reasonOf(fault)})`
    this.#around.notice(`the server at ${nameOf(server)} ${why}`)
    this.#first = this.#wishes.servers.indexOf(server) + 1
    if (this.#wishes.reconnect && !this.#leaving) void this.#connect()
    else this.#finish(Ending.failed)
  }

  #type(lines: readonly Buffer[]): void {
    const socket = this.#socket
    if (socket === null) return
    let flowing = true
    for (const line of lines) {
      if (this.#leaving) return
      this.#remember(line)
      flowing = socket.write(Buffer.concat([line, LF]))
      if (isTerminate(line)) this.#sayGoodbye()
    }
    if (!flowing && !this.#leaving) this.#around.input.pause()
  }

  /** A role and a login that were typed are said again on the next connection. */
  #remember(line: Buffer): void {
    if (!this.#wishes.reconnect || this.#hasRole) return
    const text = line.toString()
    this.#hasRole = isRole(text)
    if (this.#hasRole || parseCommand(line).verb === 'login')
      this.#opening = [...this.#opening, text]
  }

  #endInput(): void {
    const rest = this.#typed.rest()
    this.#inputEnded = true
    if (rest !== null) this.#type([rest])
    if (this.#socket !== null && !this.#leaving) this.#sayGoodbye()
  }

  /** Ends our side; what the server still has to say is shown until it ends its own. */
  #sayGoodbye(): void {
    this.#leaving = true
    this.#around.input.pause()
    // A long input may take long to send: the wait begins when all of it is on its way.
    this.#socket?.end(() => this.#awaitGoodbye())
  }

  #awaitGoodbye(): void {
    if (this.#socket === null) return
    this.#wait(GOODBYE_MS, () => {
      this.#around.notice('the server does not say goodbye; leaving without')
      this.#finish(Ending.failed)
    })
  }

  #show(lines: readonly Buffer[], socket: Duplex): void {
    if (lines.length === 0) return
    const output = this.#around.output
    let text = ''
    for (const line of lines) {
      const shown = shownBytes(line)
      if (shown.startsWith('ERR ')) this.#sawError = true
      text += `${shown}\n`
    }
    if (output.write(text)) return
    socket.pause()
    output.once('drain', () => socket.resume())
  }
}

function isRole(line: string): boolean {
  const { verb } = parseCommand(Buffer.from(line))
  return verb === 'publisher' || verb === 'subscriber'
}
