// What a node remembers of retained messages on the NATS servers: no more than is retained there.

import { describe, expect, test } from 'vitest'
import type { RetainedMessage } from '../../src/core/engine.ts'
import { ApiError, ErrCode } from '../../src/engine/nats/api.ts'
import { Names } from '../../src/engine/nats/options.ts'
import type { Reader, Stored } from '../../src/engine/nats/reader.ts'
import { NatsRetained } from '../../src/engine/nats/retained.ts'
import { Versions } from '../../src/engine/nats/versions.ts'
import { RecordCodec } from '../../src/engine/record.ts'
import { ManualRuntime as Clock } from '../support/manual-runtime.ts'
import { ManualRuntime, message, resolveTopic } from './contract.ts'

const KEPT = { removed: false, expires: Number.POSITIVE_INFINITY }
const REMOVED = { removed: true, expires: Number.POSITIVE_INFINITY }

describe('versions of retained records', () => {
  test('are known as long as the message is retained', () => {
    const versions = new Versions(new Clock())
    for (let i = 0; i < 30_000; i++) versions.set(`t${i}`, { seq: i, pos: i }, KEPT)
    expect(versions.size).toBe(30_000)
    expect(versions.get('t0')).toEqual({ seq: 0, pos: 0 })
  })

  test('of removed messages are known for the latest 10 000', () => {
    const versions = new Versions(new Clock())
    for (let i = 0; i < 30_000; i++) {
      versions.set(`t${i}`, { seq: 2 * i, pos: i }, KEPT)
      versions.set(`t${i}`, { seq: 2 * i + 1, pos: i }, REMOVED)
    }
    expect(versions.size).toBe(10_000)
    expect(versions.get('t29999')).toEqual({ seq: 59_999, pos: 29_999 })
    expect(versions.get('t0')).toBeUndefined()
    versions.set('t29999', { seq: 70_000, pos: 70_000 }, KEPT)
    versions.set('t1', { seq: 70_001, pos: 70_001 }, REMOVED)
    expect(versions.size).toBe(10_001)
  })

  test('of messages that expire are known until then', async () => {
    const clock = new Clock()
    const versions = new Versions(clock)
    const expires = clock.now() + 60_000
    for (const token of ['a', 'b', 'c']) {
      versions.set(token, { seq: 1, pos: 1 }, { removed: false, expires })
    }
    versions.set('b', { seq: 2, pos: 2 }, { removed: false, expires: expires + 60_000 })
    versions.set('c', { seq: 3, pos: 3 }, REMOVED)
    await clock.pass(59_000)
    expect(versions.size).toBe(3)
    await clock.pass(12_000)
    expect(versions.get('a')).toBeUndefined()
    expect(versions.get('b')).toEqual({ seq: 2, pos: 2 })
    expect(versions.get('c')).toEqual({ seq: 3, pos: 3 })
    versions.stop()
    expect(clock.timers).toBe(0)
  })
})

/** The servers, as one node sees them. */
class Servers {
  readonly newest = new Map<string, Stored>()
  readonly told: RetainedMessage[] = []
  readonly retained: NatsRetained
  #seq = 0

  constructor() {
    const reader = {
      api: {
        connection: { maxPayload: 1_000_000 },
        store: async (subject: string, data: Buffer, fields: Record<string, string>) => {
          const expected = Number(fields['Nats-Expected-Last-Subject-Sequence'])
          if (expected !== (this.newest.get(subject)?.seq ?? 0)) {
            throw new ApiError({ code: 400, err_code: ErrCode.wrongLastSequence })
          }
          const seq = ++this.#seq
          this.newest.set(subject, { seq, subject, time: 0, id: '', data })
          return { seq }
        },
      },
      lastOfLeader: async (_: string, subject: string) => this.newest.get(subject) ?? null,
    } as unknown as Reader
    this.retained = new NatsRetained({
      reader,
      tailReader: reader,
      names: new Names({ runtime: new ManualRuntime() }),
      clock: new Clock(),
      codec: new RecordCodec(resolveTopic),
      resolve: resolveTopic,
      changed: (change) => this.told.push(change),
      damaged: () => {},
    })
  }

  store(topic: string, text: string, pos: number): Promise<void> {
    return this.retained.store(message(topic, text, { retain: true }), pos)
  }
}

test('a topic whose removal was forgotten is written and removed as before', async () => {
  const servers = new Servers()
  await servers.store('first', '1', 1)
  await servers.store('first', '', 2)
  for (let i = 0; i < 10_000; i++) await servers.store(`t${i}`, '', 3 + i)
  servers.told.length = 0
  // One that was published before the removal and comes late changes nothing.
  await servers.store('first', 'late', 1)
  expect(servers.told).toEqual([])
  await servers.store('first', '2', 20_000)
  await servers.store('first', '', 20_001)
  const told = servers.told.map(({ message, pos }) => [message?.payload.toString() ?? null, pos])
  expect(told).toEqual([
    ['2', 20_000],
    [null, 20_001],
  ])
})
