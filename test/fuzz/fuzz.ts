// Throws random and damaged bytes at all doors of a server at once while well-behaved clients exchange messages, and
// judges: nothing lost, nothing crashed, no connection kept, memory flat. A seed repeats the bytes, not the timing.
import { type ChildProcess, fork } from 'node:child_process'
import { createConnection, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { Chance } from '../../sim/chance.ts'
import type { Address } from '../support/raw-client.ts'
import type { HostAnswer } from './host.ts'
import { cut } from './mutate.ts'
import { Pair } from './pair.ts'
import { DOORS, type Door, inner, speech } from './speech.ts'

export interface FuzzOptions {
  readonly seed: number
  readonly seconds: number
}

export interface FuzzReport {
  readonly seed: number
  readonly conversations: number
  readonly bytes: number
  readonly byDoor: Readonly<Record<Door, number>>
  /** Messages of the well-behaved. */
  readonly exchanged: number
  readonly protocolErrors: number
  /** Bytes in use after a third of the time, and at the end. */
  readonly memory: readonly [number, number]
  readonly rss: number
  /** Empty when all is well. */
  readonly faults: readonly string[]
}

const CONCURRENT = 24
/** What the bounds in host.ts allow to be kept besides what is in use anyway. */
const GROWTH_BYTES = 24 * 1024 * 1024
const RSS_BYTES = 512 * 1024 * 1024
const root = fileURLToPath(new URL('../..', import.meta.url))

type Health = Exclude<HostAnswer, { port: number }>

class Host {
  readonly #child: ChildProcess
  #stderr = ''
  ended: string | null = null

  constructor() {
    this.#child = fork(fileURLToPath(new URL('host.ts', import.meta.url)), {
      cwd: root,
      execArgv: ['--expose-gc', '--import', 'tsx'],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    })
    this.#child.stderr?.on('data', (piece) => {
      this.#stderr += piece
    })
    this.#child.on('exit', (code, signal) => {
      this.ended = `the server ended with ${code ?? signal}:\n${this.#stderr}`
    })
  }

  async listening(): Promise<Address> {
    const { port } = (await this.#answer()) as { port: number }
    return { host: '127.0.0.1', port }
  }

  health(): Promise<Health> {
    const answer = this.#answer() as Promise<Health>
    this.#child.send('health')
    return answer
  }

  async stop(): Promise<void> {
    if (this.ended !== null) return
    const gone = new Promise((resolve) => this.#child.once('exit', resolve))
    this.#child.disconnect()
    await gone
  }

  #answer(): Promise<HostAnswer> {
    return new Promise((resolve, reject) => {
      if (this.ended !== null) reject(new Error(this.ended))
      const gone = (): void => reject(new Error(this.ended ?? 'the server ended'))
      this.#child.once('exit', gone)
      this.#child.once('message', (message) => {
        this.#child.off('exit', gone)
        resolve(message as HostAnswer)
      })
    })
  }
}

export async function fuzz({ seed, seconds }: FuzzOptions): Promise<FuzzReport> {
  const host = new Host()
  try {
    const address = await host.listening()
    const crowd = new Crowd(address, seed)
    const pair = await Pair.start(address)
    const faults: string[] = []
    await crowd.shout((seconds * 1000) / 3, host)
    const early = await host.health()
    await crowd.shout((seconds * 2000) / 3, host)
    const exchanged = pair.sent
    faults.push(...(await pair.finish()))
    const late = await alone(host)
    faults.push(...judge(early, late))
    return {
      seed,
      conversations: crowd.conversations,
      bytes: crowd.bytes,
      byDoor: crowd.byDoor,
      exchanged,
      protocolErrors: late.protocolErrors,
      memory: [early.used, late.used],
      rss: late.rss,
      faults,
    }
  } finally {
    await host.stop()
  }
}

/** Everybody is gone: waits until the server knows. */
async function alone(host: Host): Promise<Health> {
  const end = performance.now() + 10_000
  for (;;) {
    const health = await host.health()
    if (health.connectionsOpen === 0 || performance.now() > end) return health
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

function judge(early: Health, late: Health): string[] {
  const faults = late.errors.map((error) => `the server wrote: ${error}`)
  if (late.connectionsOpen > 0) faults.push(`${late.connectionsOpen} connections were never let go`)
  const growth = late.used - early.used
  if (growth > GROWTH_BYTES) faults.push(`memory grew by ${growth} bytes`)
  if (late.rss > RSS_BYTES) faults.push(`${late.rss} bytes are resident`)
  if (late.protocolErrors === 0) faults.push('no stranger made a mistake: this was no test')
  return faults
}

/** Strangers, a few dozen at a time. */
class Crowd {
  readonly #server: Address
  readonly #seed: number
  conversations = 0
  bytes = 0
  readonly byDoor = Object.fromEntries(DOORS.map((door) => [door, 0])) as Record<Door, number>

  constructor(server: Address, seed: number) {
    this.#server = server
    this.#seed = seed
  }

  /** Resolves when the time is over and the last has left; rejects when the server ends. */
  async shout(milliseconds: number, host: Host): Promise<void> {
    const end = performance.now() + milliseconds
    const one = async (): Promise<void> => {
      while (performance.now() < end) {
        if (host.ended !== null) throw new Error(`seed ${this.#seed}: ${host.ended}`)
        await this.#converse(this.conversations++)
      }
    }
    await Promise.all(Array.from({ length: CONCURRENT }, one))
  }

  async #converse(number: number): Promise<void> {
    const chance = new Chance(this.#seed * 1_000_003 + number)
    const door = chance.pick(DOORS)
    this.byDoor[door]++
    const secure = door === 'tls' && chance.is(0.5)
    const said = speech(secure ? inner(chance) : door, chance)
    this.bytes += said.length
    const socket = this.#open(secure)
    const gone = new Promise<void>((resolve) => socket.once('close', () => resolve()))
    socket.on('error', () => {})
    if (chance.is(0.9)) socket.resume()
    for (const piece of cut(said, chance)) {
      socket.write(piece)
      if (chance.is(0.2)) await new Promise((resolve) => setImmediate(resolve))
    }
    await Promise.race([gone, after(chance.pick([0, 1, 5, 20, 300]))])
    leave(socket, chance.between(0, secure ? 1 : 2))
    await Promise.race([gone, after(1_500)])
    socket.destroy()
  }

  #open(secure: boolean): Socket {
    const { host, port } = this.#server
    if (secure) return connectTls({ host, port, rejectUnauthorized: false })
    return createConnection({ host, port, allowHalfOpen: true })
  }
}

/** A goodbye, a sudden end, or a reset (which a socket with TLS on top cannot do). */
function leave(socket: Socket, way: number): void {
  if (way === 0) socket.end()
  else if (way === 1) socket.destroy()
  else socket.resetAndDestroy()
}

function after(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds))
}
