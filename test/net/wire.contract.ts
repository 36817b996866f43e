// What every wire must do, said once: any kind of wire runs this suite over a real loopback socket pair.
// Time is injected; bytes travel through the operating system, so arrival is awaited, never slept for.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterEach, describe, expect, test } from 'vitest'
import { Counters } from '../../src/core/counters.ts'
import type { Runtime, Timer } from '../../src/core/runtime.ts'
import type { Wire, WireReader } from '../../src/net/wire.ts'

/** The other end of the wire: a plain client that knows nothing of ours. */
export interface FarEnd {
  /** Everything received so far, in order. */
  readonly received: Buffer[]
  send(bytes: Buffer): void
  /** Stops and resumes taking bytes from the operating system. */
  pause(): void
  resume(): void
  /** Says goodbye properly. */
  end(): void
  /** Vanishes without a goodbye. */
  vanish(): void
  /** Resolves when the far end saw the connection end. */
  readonly gone: Promise<void>
}

export interface WireKind {
  readonly name: string
  /** Whether the other side may finish sending and still receive. */
  readonly halfOpen: boolean
  /** Congestion mark 1 MiB, stall timeout 30 s. */
  pair(settings: ContractSettings): Promise<{ wire: Wire; far: FarEnd; close(): void }>
}

export interface ContractSettings {
  readonly runtime: Runtime
  readonly counters: Counters
  readonly congestion: number
  readonly stallTimeout: number
}

/** Time stands still until told otherwise; turns are real. */
export class HandTurnedTime implements Runtime {
  #now = 1_700_000_000_000
  #timers: { at: number; call: () => void }[] = []

  now(): number {
    return this.#now
  }

  after(ms: number, call: () => void): Timer {
    const timer = { at: this.#now + ms, call }
    this.#timers.push(timer)
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((each) => each !== timer)
      },
    }
  }

  /** While set, no turn ends: what was asked for waits. */
  #held: (() => void)[] | null = null

  atTurnEnd(call: () => void): void {
    if (this.#held !== null) this.#held.push(call)
    else setImmediate(call)
  }

  holdTurn(): void {
    this.#held ??= []
  }

  endTurn(): void {
    const held = this.#held ?? []
    this.#held = null
    for (const call of held) call()
  }

  nextTurn(call: () => void): void {
    setImmediate(call)
  }

  random(): number {
    return 0.5
  }

  get pending(): number {
    return this.#timers.length
  }

  /** Lets time pass; whoever asked is called in order. */
  pass(ms: number): void {
    const end = this.#now + ms
    for (;;) {
      const next = this.#timers.filter((each) => each.at <= end).sort((a, b) => a.at - b.at)[0]
      if (next === undefined) break
      this.#timers = this.#timers.filter((each) => each !== next)
      this.#now = Math.max(this.#now, next.at)
      next.call()
    }
    this.#now = end
  }
}

/** Writes down everything a wire tells its link. */
export class NotingReader implements WireReader {
  readonly chunks: Buffer[] = []
  endings = 0
  closings = 0
  drains = 0
  fault: Error | undefined
  onRead: ((chunk: Buffer) => void) | null = null

  read(chunk: Buffer): void {
    this.chunks.push(Buffer.from(chunk))
    this.onRead?.(chunk)
  }
  ended(): void {
    this.endings++
  }
  closed(fault?: Error): void {
    this.closings++
    this.fault = fault
  }
  drained(): void {
    this.drains++
  }
  get text(): string {
    return Buffer.concat(this.chunks).toString()
  }
}

/** Waits, turn by turn, for something that the operating system decides; gives up after ten seconds. */
export async function until(what: () => boolean, name: string): Promise<void> {
  const deadline = performance.now() + 10_000
  while (!what()) {
    if (performance.now() > deadline) throw new Error(`waited 10 s in vain for: ${name}`)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}

/** Collects garbage, so that memory shows what is held and not what is forgotten. */
function collect(): void {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  gc()
  gc()
}

const total = (chunks: readonly Buffer[]): number =>
  chunks.reduce((sum, chunk) => sum + chunk.length, 0)

export function wireContract(kind: WireKind): void {
  describe(`a ${kind.name} wire`, () => {
    let close = (): void => {}
    afterEach(() => close())

    async function open() {
      const time = new HandTurnedTime()
      const counters = new Counters()
      const pair = await kind.pair({
        runtime: time,
        counters,
        congestion: 1024 * 1024,
        stallTimeout: 30,
      })
      close = pair.close
      const reader = new NotingReader()
      pair.wire.attach(reader)
      return { ...pair, reader, time, counters }
    }

    const say = (wire: Wire, text: string): void => {
      const bytes = Buffer.from(text)
      wire.push(bytes, 0, bytes.length)
    }

    test('carries bytes both ways, in order, and says who is there', async () => {
      const { wire, far, reader } = await open()
      expect(wire.address).toBe('127.0.0.1')
      expect(wire.peer).toMatch(/^127\.0\.0\.1:\d+$/)
      far.send(Buffer.from('hello'))
      far.send(Buffer.from(' there'))
      await until(() => reader.text === 'hello there', 'the greeting')
      say(wire, 'one ')
      say(wire, 'two ')
      const block = wire.room(16)
      const size = block.write('three ', wire.at)
      wire.commit(size)
      say(wire, 'four')
      await until(() => total(far.received) === 18, 'the answer')
      expect(Buffer.concat(far.received).toString()).toBe('one two three four')
    })

    test('sends the part of a buffer it was told to', async () => {
      const { wire, far } = await open()
      wire.push(Buffer.from('..goal..'), 2, 6)
      wire.push(Buffer.from('nothing'), 3, 3)
      await until(() => total(far.received) >= 4, 'the slice')
      expect(Buffer.concat(far.received).toString()).toBe('goal')
    })

    test('keeps order over megabytes of small, large and own writes', async () => {
      const { wire, far } = await open()
      const expected: Buffer[] = []
      for (let index = 0; index < 600; index++) {
        const bytes = Buffer.alloc((index * 7919) % (index % 50 === 0 ? 300_000 : 900), index)
        expected.push(bytes)
        if (index % 3 === 0 && bytes.length > 0 && bytes.length < 900) {
          const block = wire.room(bytes.length)
          bytes.copy(block, wire.at)
          wire.commit(bytes.length)
        } else wire.push(bytes, 0, bytes.length)
      }
      const want = Buffer.concat(expected)
      await until(() => total(far.received) >= want.length, 'all bytes')
      expect(Buffer.concat(far.received).equals(want)).toBe(true)
      await until(() => wire.queued === 0, 'an empty queue')
    })

    test('what waits for a slow reader does not pin the buffers it came from', async () => {
      const { wire, far } = await open()
      far.pause()
      const rounds = 1500
      collect()
      const before = process.memoryUsage().arrayBuffers
      for (let round = 0; round < rounds; round++) {
        // A small message out of a large network read, again and again.
        const chunk = Buffer.alloc(64 * 1024, round)
        wire.push(chunk, 1000, 1000 + 6000)
        await new Promise((resolve) => setImmediate(resolve))
      }
      expect(wire.queued).toBeGreaterThan(0)
      collect()
      const waiting = process.memoryUsage().arrayBuffers - before
      // By reference this would be 64 KiB for each 6000 bytes.
      expect(waiting).toBeLessThan(2 * wire.queued + 2 * 1024 * 1024)
      far.resume()
      await until(() => total(far.received) >= rounds * 6000, 'all bytes')
      const got = Buffer.concat(far.received)
      for (let round = 0; round < rounds; round++) {
        const part = got.subarray(round * 6000, (round + 1) * 6000)
        if (!part.every((byte) => byte === (round & 0xff)))
          throw new Error(`round ${round} differs`)
      }
    })

    test('counts what waits, and tells when it has drained', async () => {
      const { wire, far, reader } = await open()
      expect(wire.queued).toBe(0)
      far.pause()
      const block = Buffer.alloc(256 * 1024, 1)
      let pushed = 0
      while (wire.queued < 3 * 1024 * 1024) {
        wire.push(block, 0, block.length)
        pushed += block.length
        await new Promise((resolve) => setImmediate(resolve))
        if (pushed > 256 * 1024 * 1024) throw new Error('the reader is not slow')
      }
      expect(reader.drains).toBe(0)
      far.resume()
      await until(() => reader.drains > 0, 'drained')
      expect(wire.queued).toBeLessThan(512 * 1024)
      await until(() => total(far.received) === pushed, 'all bytes')
      expect(reader.drains).toBe(1)
      expect(wire.queued).toBe(0)
    })

    test('never tells drained when it was not congested', async () => {
      const { wire, far, reader } = await open()
      say(wire, 'small')
      await until(() => total(far.received) === 5, 'bytes')
      await until(() => wire.queued === 0, 'an empty queue')
      expect(reader.drains).toBe(0)
    })

    test('ends after the flush: the other side gets everything, then the goodbye', async () => {
      const { wire, far, reader } = await open()
      const bytes = Buffer.alloc(3_000_000, 7)
      wire.push(bytes, 0, bytes.length)
      say(wire, 'last')
      wire.end()
      say(wire, 'too late')
      await until(() => reader.closings === 1, 'closed')
      await far.gone
      const got = Buffer.concat(far.received)
      expect(got.length).toBe(3_000_004)
      expect(got.subarray(-4).toString()).toBe('last')
      expect(reader.fault).toBeUndefined()
    })

    test('destroys five seconds after a goodbye nobody answers', async () => {
      const { wire, far, reader, time } = await open()
      far.pause()
      wire.end()
      for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
      time.pass(4_900)
      for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
      expect(reader.closings).toBe(0)
      time.pass(200)
      await until(() => reader.closings === 1, 'closed')
      expect(time.pending).toBe(0)
    })

    test('closes when queued bytes make no progress for the stall timeout, and counts it', async () => {
      const { wire, far, reader, time, counters } = await open()
      far.pause()
      const block = Buffer.alloc(256 * 1024, 1)
      for (let index = 0; index < 200 && wire.queued < 2 * 1024 * 1024; index++) {
        wire.push(block, 0, block.length)
        await new Promise((resolve) => setImmediate(resolve))
      }
      // The kernel takes what it has room for; only when it takes no more does the clock count.
      let before = -1
      while (before !== wire.queued) {
        before = wire.queued
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
      time.pass(20_000)
      await new Promise((resolve) => setImmediate(resolve))
      expect(reader.closings).toBe(0)
      time.pass(41_000)
      await until(() => reader.closings === 1, 'closed')
      expect(reader.fault?.message).toMatch(/no progress/)
      expect(counters.stalledClosed).toBe(1)
    })

    test('keeps a slow reader that makes progress, however long it takes', async () => {
      const { wire, far, reader, time, counters } = await open()
      far.pause()
      const block = Buffer.alloc(256 * 1024, 1)
      let pushed = 0
      while (wire.queued < 6 * 1024 * 1024) {
        wire.push(block, 0, block.length)
        pushed += block.length
        await new Promise((resolve) => setImmediate(resolve))
      }
      while (wire.queued > 0) {
        const before = wire.queued
        far.resume()
        await until(() => wire.queued < before, 'progress')
        far.pause()
        // Never the whole timeout without progress, but far more than it in the end.
        time.pass(12_000)
      }
      far.resume()
      await until(() => total(far.received) === pushed, 'all bytes')
      expect(reader.closings).toBe(0)
      expect(counters.stalledClosed).toBe(0)
    })

    test('an idle wire has no timer', async () => {
      const { wire, far, time } = await open()
      say(wire, 'hello')
      await until(() => total(far.received) === 5 && wire.queued === 0, 'bytes')
      time.pass(61_000)
      expect(time.pending).toBe(0)
    })

    test('reads nothing while paused, and everything in order afterwards', async () => {
      const { wire, far, reader } = await open()
      reader.onRead = () => {
        wire.pause()
        reader.onRead = null
      }
      for (let index = 0; index < 50; index++) far.send(Buffer.from(`${index},`))
      await until(() => reader.chunks.length === 1, 'the first chunk')
      for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve))
      expect(reader.chunks.length).toBe(1)
      say(wire, 'still writing')
      await until(() => total(far.received) === 13, 'bytes while paused')
      wire.resume()
      const want = Array.from({ length: 50 }, (_, index) => `${index},`).join('')
      await until(() => reader.text.length === want.length, 'the rest')
      expect(reader.text).toBe(want)
    })

    test('a flood reaches the reader whole', async () => {
      const { far, reader } = await open()
      const bytes = Buffer.alloc(700_000)
      for (let index = 0; index < bytes.length; index++) bytes[index] = index % 251
      for (let round = 0; round < 4; round++) far.send(bytes)
      await until(() => total(reader.chunks) === 2_800_000, 'the flood')
      const got = Buffer.concat(reader.chunks)
      for (let round = 0; round < 4; round++) {
        expect(got.subarray(round * 700_000, (round + 1) * 700_000).equals(bytes)).toBe(true)
      }
    })

    test('one publisher gets 256 KiB a turn, then others have theirs', async () => {
      const { far, reader, time } = await open()
      const piece = Buffer.alloc(16 * 1024, 1)
      time.holdTurn()
      for (let index = 0; index < 200; index++) far.send(piece)
      const arrived = (): number => total(reader.chunks)
      await until(() => arrived() >= 256 * 1024, 'a share of a turn')
      for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve))
      // What came in the network read that reached the mark still counts for this turn.
      expect(arrived()).toBeLessThanOrEqual(256 * 1024 + 128 * 1024)
      time.endTurn()
      await until(() => arrived() === 200 * piece.length, 'the rest')
    })

    test('tells of a goodbye once, without a fault', async () => {
      const { wire, far, reader } = await open()
      far.send(Buffer.from('bye'))
      far.end()
      if (kind.halfOpen) {
        await until(() => reader.endings === 1, 'ended')
        say(wire, 'still here')
        await until(() => total(far.received) === 10, 'bytes after their end')
        wire.end()
      }
      await until(() => reader.closings === 1, 'closed')
      expect(reader.text).toBe('bye')
      expect(reader.fault).toBeUndefined()
      wire.end()
      wire.destroy()
      say(wire, 'ignored')
      await new Promise((resolve) => setImmediate(resolve))
      expect(reader.closings).toBe(1)
      expect(reader.endings).toBe(kind.halfOpen ? 1 : 0)
    })

    test('tells of a lost connection with a fault', async () => {
      const { far, reader } = await open()
      far.vanish()
      await until(() => reader.closings === 1, 'closed')
      expect(reader.fault).toBeInstanceOf(Error)
    })

    test('destroys at once', async () => {
      const { wire, far, reader } = await open()
      wire.destroy()
      await until(() => reader.closings === 1, 'closed')
      await far.gone
      expect(wire.queued).toBe(0)
    })
  })
}
