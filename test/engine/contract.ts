// What core relies on, whoever remembers: one suite, run against every engine. Helpers to build
// records and to listen to an engine stand here too, for the engines' own tests.

import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  type Engine,
  EngineError,
  type EngineEvents,
  type LogRecord,
  type RetainedMessage,
} from '../../src/core/engine.ts'
import type { Timer } from '../../src/core/runtime.ts'
import { Topic } from '../../src/core/topics.ts'
import {
  type Message,
  NO_BYTES,
  SendState,
  type SessionFlow,
  type SessionProfile,
  type StoredSession,
} from '../../src/core/types.ts'

/** Time that moves when it is told to, and chance that repeats. */
export class ManualRuntime {
  time = 1_700_000_000_000
  #seed = 1
  #timers: { due: number; call: () => void }[] = []

  now(): number {
    return this.time
  }

  after(ms: number, call: () => void): Timer {
    const timer = { due: this.time + ms, call }
    this.#timers.push(timer)
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer)
      },
    }
  }

  random(): number {
    this.#seed = (this.#seed * 48_271) % 2_147_483_647
    return this.#seed / 2_147_483_647
  }

  /** Moves time and runs what became due. */
  advance(ms: number): void {
    this.time += ms
    const due = this.#timers.filter((timer) => timer.due <= this.time)
    this.#timers = this.#timers.filter((timer) => timer.due > this.time)
    for (const timer of due) timer.call()
  }
}

const topics = new Map<string, Topic>()

export function topicOf(name: string): Topic {
  let topic = topics.get(name)
  if (!topic) {
    topic = new Topic(Buffer.from(name), 0)
    topics.set(name, topic)
  }
  return topic
}

export function resolveTopic(bytes: Buffer, start: number, length: number): Topic {
  return topicOf(bytes.toString('utf8', start, start + length))
}

export function message(topic: string, payload: string, more: Partial<Message> = {}): Message {
  return {
    topic: topicOf(topic),
    payload: Buffer.from(payload),
    properties: NO_BYTES,
    qos: 1,
    retain: false,
    at: 1_700_000_000_000,
    expires: Number.POSITIVE_INFINITY,
    publisher: '',
    ...more,
  }
}

/** A record of messages that somebody durable wants, unless `wanted` says otherwise. */
export function record(
  messages: Message[],
  wanted: boolean[] = messages.map(() => true),
  saves: LogRecord['saves'] = [],
): LogRecord {
  const bytes = messages.reduce(
    (sum, { payload, properties }) => sum + payload.length + properties.length,
    0,
  )
  return { first: 0, messages, wanted, saves, bytes }
}

export function numbered(...numbers: number[]): LogRecord {
  return record(numbers.map((n) => message('count', String(n))))
}

/** Everything an engine said. */
export class Listener implements EngineEvents {
  readonly records: LogRecord[] = []
  readonly changes: RetainedMessage[] = []
  readonly states: string[] = []

  record(heard: LogRecord): void {
    this.records.push(heard)
  }

  retained(change: RetainedMessage): void {
    this.changes.push(change)
  }

  cast(): void {}

  async kick(): Promise<void> {}

  state(state: string, why: string): void {
    this.states.push(`${state}: ${why}`)
  }
}

/** Payloads of the wanted messages of records after a position, as a reader sees them. */
export function payloads(records: readonly LogRecord[], after = 0): string[] {
  const found: string[] = []
  for (const { first, messages, wanted } of records) {
    for (let i = 0; i < messages.length; i++) {
      if (first + i > after && wanted[i]) found.push(messages[i]!.payload.toString())
    }
  }
  return found
}

/** Reads to the end as core does: as often as it takes. */
export async function readAll(engine: Engine, after = 0): Promise<LogRecord[]> {
  const all: LogRecord[] = []
  let scan = after
  const { last } = engine.bounds()
  while (scan < last) {
    const { records, scanned } = await engine.read(scan, last)
    expect(scanned).toBeGreaterThan(scan)
    all.push(...records)
    scan = scanned
  }
  return all
}

export async function sessionsOf(engine: Engine): Promise<StoredSession[]> {
  const all: StoredSession[] = []
  for await (const session of engine.sessions()) all.push(session)
  return all.sort((a, b) => (a.id < b.id ? -1 : 1))
}

export async function faultOf(doing: Promise<unknown>): Promise<string> {
  const error = await doing.then(
    () => null,
    (reason: unknown) => reason,
  )
  return error instanceof EngineError ? error.fault : `no fault: ${error}`
}

export const PROFILE: SessionProfile = {
  expiry: 3600,
  user: 'ann',
  subscriptions: [
    { filter: 'a/+', qos: 2, identifier: 7, noLocal: true, retainAsPublished: false, from: 1024 },
    { filter: 'b/#', qos: 0, identifier: 0, noLocal: false, retainAsPublished: true, from: 0 },
  ],
  will: {
    topic: 'gone/ann',
    payload: Buffer.from('bye'),
    properties: Buffer.from([1, 1]),
    qos: 1,
    retain: true,
    delay: 5,
    expiry: Number.POSITIVE_INFINITY,
  },
}

export function flowOf(log: string, cursor: number): SessionFlow {
  return {
    cursor,
    sending: [
      { packetId: 9, positions: [2048, 2049, 2050, 4096], state: SendState.published },
      { packetId: 13, positions: [2051], state: SendState.released, retained: ['a/b'] },
    ],
    receiving: [3, 65_535],
    awaySince: 17,
    log,
  }
}

export interface Bench {
  /** A new engine; the same storage on each call where there is any. */
  make(runtime: ManualRuntime, cap?: number): Engine
  /** Removes what was stored. */
  clear(): void | Promise<void>
  /**
   * Whether other nodes may want what nobody wants here: then every message is kept, records that wait for
   * each other are stored as one, and time is the servers'.
   */
  readonly shared?: true
}

export function describeEngine(name: string, bench: Bench): void {
  const { shared = false } = bench
  describe(`${name} engine`, () => {
    let runtime: ManualRuntime
    let heard: Listener
    let engine: Engine

    beforeEach(async () => {
      runtime = new ManualRuntime()
      heard = new Listener()
      engine = bench.make(runtime)
      await engine.open(heard)
    })

    afterEach(async () => {
      await engine.close()
      await bench.clear()
    })

    test('tells records in the order of the calls, at growing positions', async () => {
      const sent = [1, 2, 3, 4, 5].map((n) => numbered(n, n + 100))
      await Promise.all(sent.map((each) => engine.append(each)))
      expect(heard.records).toEqual(sent)
      const firsts = sent.map(({ first }) => first)
      expect(firsts[0]).toBe(1024)
      if (shared) expect(firsts).toEqual([...new Set(firsts)].sort((a, b) => a - b))
      else expect(firsts).toEqual([1024, 2048, 3072, 4096, 5120])
      expect(engine.bounds()).toMatchObject({ first: 1, last: firsts[4]! + 1 })
      expect(payloads(await readAll(engine))).toEqual(payloads(sent))
    })

    test('a record is told before its append resolves', async () => {
      const sent = numbered(1)
      await engine.append(sent).then(() => expect(heard.records).toEqual([sent]))
      expect(heard.records).toHaveLength(1)
    })

    test('has nothing before the first message', async () => {
      expect(engine.bounds()).toMatchObject({ first: 1, last: 0 })
      expect(await engine.read(0, 0)).toEqual({ records: [], scanned: 0 })
    })

    test('a message nobody durable wants is told in its place and not kept', async () => {
      const wanted = numbered(1)
      const unwanted = record([message('count', '2')], [false])
      await Promise.all([
        engine.append(wanted),
        engine.append(unwanted),
        engine.append(numbered(3)),
      ])
      expect(heard.records.map(({ messages }) => messages[0]!.payload.toString())).toEqual([
        '1',
        '2',
        '3',
      ])
      expect(payloads(await readAll(engine))).toEqual(shared ? ['1', '2', '3'] : ['1', '3'])
    })

    test('messages keep their places beside holes', async () => {
      const mixed = record(
        ['1', '2', '3', '4'].map((text) => message('count', text)),
        [false, true, false, true],
      )
      await engine.append(mixed)
      const [kept] = await readAll(engine)
      if (shared) {
        expect(payloads([kept!])).toEqual(['1', '2', '3', '4'])
        return
      }
      expect(payloads([kept!])).toEqual(['2', '4'])
      expect(kept!.messages[1]!.payload.toString()).toBe('2')
      // Whoever overlooks `wanted` meets a message that is over, and never a wrong one.
      expect(kept!.messages[0]!.expires).toBe(0)
      expect(kept!.messages[0]!.payload).toHaveLength(0)
    })

    test('gives back every part of a message', async () => {
      const full = message('a/b', 'text', {
        properties: Buffer.from([3, 0, 1, 65]),
        qos: 2,
        retain: false,
        at: 5,
        expires: 1_700_000_000_500,
        publisher: 'ännchen',
      })
      await engine.append(record([full, message('a/b', '')]))
      const [kept] = await readAll(engine)
      expect(kept!.messages[0]).toEqual(full)
      expect(kept!.messages[1]).toEqual(message('a/b', ''))
    })

    test('reads a range, and the rest in pieces of about 1 MiB', async () => {
      const big = 'x'.repeat(200_000)
      for (let n = 0; n < 12; n++) await engine.append(record([message('big', `${n} ${big}`)]))
      const { records, scanned } = await engine.read(0, engine.bounds().last)
      expect(records.length).toBeGreaterThan(0)
      expect(records.length).toBeLessThan(8)
      expect(scanned).toBeGreaterThanOrEqual(records[records.length - 1]!.first)
      expect(scanned).toBeLessThan((records.length + 1) * 1024)
      const all = payloads(await readAll(engine))
      expect(all.map((text) => Number(text.split(' ')[0]))).toEqual([
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
      ])
      // On a busy machine the time for one read is over after the first record, too.
      const { records: some, scanned: end } = await engine.read(3072, 4096)
      const rest = end < 4096 ? (await engine.read(end, 4096)).records : []
      expect(payloads([...some, ...rest], 3072)).toEqual([`3 ${big}`])
    })

    test('reads a record that begins before the position asked for', async () => {
      await engine.append(numbered(1, 2, 3))
      expect(payloads((await engine.read(1024, 1026)).records, 1024)).toEqual(['2', '3'])
    })

    test('forgets up to a position and not beyond', async () => {
      for (let n = 1; n <= 4; n++) await engine.append(numbered(n, n * 10))
      await engine.truncate(2049)
      expect(payloads(await readAll(engine))).toEqual(['3', '30', '4', '40'])
      expect(engine.bounds()).toMatchObject({ first: 2050, last: 4097 })
      await engine.truncate(3072)
      expect(engine.bounds().first).toBe(3073)
      expect(payloads(await readAll(engine, 3072), 3072)).toEqual(['30', '4', '40'])
      await engine.truncate(Number.MAX_SAFE_INTEGER)
      expect(await readAll(engine)).toEqual([])
      expect(engine.bounds().first).toBe(4098)
      await engine.append(numbered(5))
      expect(payloads(await readAll(engine))).toEqual(['5'])
      expect(engine.bounds()).toMatchObject({ first: 4098, last: 5120 })
    })

    test('refuses what is above its cap, and takes it again once there is room', async () => {
      await engine.close()
      await bench.clear()
      engine = bench.make(runtime, 256 * 1024)
      await engine.open(new Listener())
      const chunk = () => record([message('big', 'x'.repeat(50_000))])
      let taken = 0
      for (; taken < 20; taken++) {
        const refused = await engine.append(chunk()).then(
          () => false,
          (error: EngineError) => error.fault === 'full',
        )
        if (refused) break
      }
      expect(taken).toBeGreaterThan(2)
      expect(taken).toBeLessThan(6)
      const unwanted = record([message('big', 'x'.repeat(50_000))], [false])
      if (shared) expect(await faultOf(engine.append(unwanted))).toBe('full')
      else await engine.append(unwanted)
      await engine.truncate(engine.bounds().last)
      await engine.append(chunk())
      expect(engine.bounds().bytes).toBeGreaterThan(50_000)
    })

    test('a session is what was saved last of each part', async () => {
      const { epoch, stored } = await engine.claim('ann')
      expect(stored).toBeNull()
      await engine.save([{ id: 'ann', epoch, profile: PROFILE }])
      await engine.save([{ id: 'ann', epoch, flow: flowOf(engine.log, 2000) }])
      await engine.save([{ id: 'ann', epoch, flow: flowOf(engine.log, 3000) }])
      const again = await engine.claim('ann')
      expect(again.epoch).toBeGreaterThan(epoch)
      expect(again.stored).toEqual({
        id: 'ann',
        epoch: again.epoch,
        profile: PROFILE,
        flow: flowOf(engine.log, 3000),
      })
    })

    test('an older owner can save nothing any more', async () => {
      const first = await engine.claim('ann')
      await engine.save([{ id: 'ann', epoch: first.epoch, flow: flowOf(engine.log, 1) }])
      const second = await engine.claim('ann')
      const late = { id: 'ann', epoch: first.epoch, flow: flowOf(engine.log, 2) }
      const other = await engine.claim('bob')
      const bobs = { id: 'bob', epoch: other.epoch, profile: PROFILE }
      expect(await faultOf(engine.save([bobs, late]))).toBe('fenced')
      expect(await faultOf(engine.append(record([message('a', '1')], [true], [late])))).toBe(
        'fenced',
      )
      expect(heard.records).toEqual([])
      expect((await engine.claim('ann')).stored!.flow.cursor).toBe(1)
      expect((await engine.claim('bob')).stored).toBeNull()
      expect(second.epoch).toBeGreaterThan(first.epoch)
    })

    test('a claim sees saves that were still on their way', async () => {
      const { epoch } = await engine.claim('ann')
      const saved = engine.save([{ id: 'ann', epoch, flow: flowOf(engine.log, 4711) }])
      const { stored } = await engine.claim('ann')
      expect(stored!.flow.cursor).toBe(4711)
      await saved
    })

    test('a session saved with a record is there when the record is', async () => {
      const { epoch } = await engine.claim('ann')
      const save = { id: 'ann', epoch, flow: flowOf(engine.log, 77) }
      await engine.append(record([message('a', '1')], [true], [save]))
      expect((await sessionsOf(engine)).map(({ flow }) => flow.cursor)).toEqual([77])
    })

    test('an ended session is gone, and its owner may start anew', async () => {
      const { epoch } = await engine.claim('ann')
      await engine.save([{ id: 'ann', epoch, profile: PROFILE, flow: flowOf(engine.log, 5) }])
      await engine.save([{ id: 'ann', epoch, ended: true }])
      expect(await sessionsOf(engine)).toEqual([])
      await engine.save([{ id: 'ann', epoch, profile: PROFILE }])
      expect((await sessionsOf(engine)).map(({ flow }) => flow.cursor)).toEqual([0])
    })

    test('lists every session, whatever its identifier', async () => {
      const ids = Array.from({ length: 300 }, (_, n) => `client-${String(n).padStart(3, '0')}`)
      ids.push('ünï', 'l'.repeat(3000))
      await Promise.all(
        ids.map(async (id) => {
          const { epoch } = await engine.claim(id)
          await engine.save([{ id, epoch, profile: PROFILE, flow: flowOf(engine.log, 1) }])
        }),
      )
      expect((await sessionsOf(engine)).map(({ id }) => id)).toEqual([...ids].sort())
    })

    test('keeps a small payload without the read it came in', async () => {
      const read = Buffer.alloc(64 * 1024, 'r')
      const slice = record([message('a', '', { payload: read.subarray(0, 10) })])
      await engine.append(slice)
      const [kept] = await readAll(engine)
      expect(kept!.messages[0]!.payload.toString()).toBe('rrrrrrrrrr')
      expect(kept!.messages[0]!.payload.buffer).not.toBe(read.buffer)
    })

    test('its time is the runtime’s', () => {
      const before = engine.now()
      runtime.advance(5)
      expect(engine.now()).toBe(shared ? before + 5 : runtime.time)
    })
  })
}
