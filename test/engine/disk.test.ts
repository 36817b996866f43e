// The disk engine against the contract, and what must survive: kill, damage, a full disk.

import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { open } from 'lmdb'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { DiskEngine, type DiskOptions } from '../../src/engine/disk.ts'
import { DataFolder } from '../../src/engine/folder.ts'
import { CommitError, nameKey, Store } from '../../src/engine/store.ts'
import {
  describeEngine,
  faultOf,
  flowOf,
  Listener,
  ManualRuntime,
  message,
  numbered,
  PROFILE,
  payloads,
  readAll,
  record,
  resolveTopic,
  sessionsOf,
} from './contract.ts'

function newFolder(): string {
  return fs.mkdtempSync(path.join(os.tmpdir(), 'partyline-disk-'))
}

let shared = ''
describeEngine('disk', {
  make: (runtime, cap) => {
    shared ||= newFolder()
    const options = { directory: shared, runtime, resolve: resolveTopic }
    return new DiskEngine(cap === undefined ? options : { ...options, logBytes: cap })
  },
  clear: () => {
    fs.rmSync(shared, { recursive: true })
    shared = ''
  },
})

describe('what is on disk', () => {
  let folder: string
  let runtime: ManualRuntime
  let notes: string[]
  const running = new Set<DiskEngine>()

  beforeEach(() => {
    folder = newFolder()
    runtime = new ManualRuntime()
    notes = []
  })

  afterEach(async () => {
    for (const engine of running) await engine.close()
    running.clear()
    fs.rmSync(folder, { recursive: true, force: true })
  })

  async function start(more: Partial<DiskOptions> = {}): Promise<[DiskEngine, Listener]> {
    const heard = new Listener()
    const engine = new DiskEngine({
      directory: folder,
      runtime,
      resolve: resolveTopic,
      notify: (note) => notes.push(note),
      ...more,
    })
    await engine.open(heard)
    running.add(engine)
    return [engine, heard]
  }

  async function stop(engine: DiskEngine): Promise<void> {
    running.delete(engine)
    await engine.close()
  }

  /** The folder as it would be found had the machine stopped now. */
  function crashed(): string {
    const copy = `${folder}-crashed`
    fs.rmSync(copy, { recursive: true, force: true })
    fs.cpSync(folder, copy, { recursive: true })
    // The lock names this process, which lives; after a crash it would not.
    fs.rmSync(path.join(copy, 'server.lock'))
    fs.rmSync(path.join(copy, 'lock.mdb'))
    return copy
  }

  /** Subscriptions and will as they are stored, as bytes. */
  function profileOf(id: string): Buffer | undefined {
    const store = Store.open(crashed(), true)
    const value = store.profile.getBinary(nameKey(Buffer.from(id)).key)
    void store.close()
    return value && Buffer.from(value)
  }

  test('everything is there after an orderly stop', async () => {
    const [engine] = await start()
    const { epoch } = await engine.claim('ann')
    await engine.save([{ id: 'ann', epoch, profile: PROFILE, flow: flowOf(engine.log, 9) }])
    await engine.append(record([message('a/b', '1', { retain: true }), message('c', '2')]))
    const { log } = engine
    await stop(engine)

    const [again, heard] = await start()
    expect(again.log).toBe(log)
    expect(payloads(await readAll(again))).toEqual(['1', '2'])
    expect(heard.changes).toMatchObject([{ topic: 'a/b', pos: 1024 }])
    expect(heard.changes[0]!.message!.payload.toString()).toBe('1')
    const claimed = await again.claim('ann')
    expect(claimed.epoch).toBeGreaterThan(epoch)
    expect(claimed.stored).toMatchObject({ profile: PROFILE, flow: flowOf(log, 9) })
    expect(notes).toEqual([])
  })

  test('what traffic changes is written without subscriptions and will', async () => {
    const [engine] = await start()
    const { epoch } = await engine.claim('ann')
    await engine.save([{ id: 'ann', epoch, profile: PROFILE, flow: flowOf(engine.log, 1) }])
    const before = profileOf('ann')
    await engine.save([{ id: 'ann', epoch, flow: flowOf(engine.log, 2) }])
    expect(profileOf('ann')).toEqual(before)
    expect((await engine.claim('ann')).stored).toMatchObject({ flow: { cursor: 2 } })

    const later = await engine.claim('ann')
    await engine.save([{ id: 'ann', epoch: later.epoch, profile: PROFILE }])
    // It carries the epoch it was written under, so one that is written anew is another.
    expect(profileOf('ann')).not.toEqual(before)
  })

  test('a file is no folder', async () => {
    const directory = path.join(folder, 'file')
    fs.writeFileSync(directory, '')
    await expect(start({ directory })).rejects.toThrow(
      `${directory} cannot be written as a data folder: there is a file of that name (EEXIST); choose another with --data`,
    )
  })

  test.runIf(process.platform === 'linux')(
    'a folder that cannot be made is refused in one sentence',
    async () => {
      for (const directory of ['/proc/none/data', '/dev/null/data']) {
        await expect(start({ directory })).rejects.toThrow(
          `${directory} cannot be written as a data folder`,
        )
      }
    },
  )

  test('what comes while it closes is stored or refused, and the folder is left in order', async () => {
    const [engine, heard] = await start()
    const { epoch } = await engine.claim('ann')
    await engine.append(numbered(0))
    running.delete(engine)
    const closing = engine.close()
    const asked: Promise<unknown>[] = []
    for (let n = 1; n <= 30; n++) {
      asked.push(engine.append(numbered(n)))
      asked.push(engine.save([{ id: 'ann', epoch, flow: flowOf(engine.log, n) }]))
      asked.push(engine.retain([{ topic: 'r', message: message('r', 'x'), pos: n }]))
      await Promise.resolve()
    }
    asked.push(closing.then(() => engine.append(numbered(31))))
    const ends = await Promise.all(
      asked.map((end) => end.then(() => 'stored').catch((error: { fault: string }) => error.fault)),
    )
    expect(new Set(ends)).toEqual(new Set(['down']))
    expect(heard.states).toEqual([])

    const [again] = await start()
    expect(notes).toEqual([])
    expect(payloads(await readAll(again))).toEqual(['0'])
    const next = numbered(99)
    await again.append(next)
    expect(next.first).toBe(heard.records.at(-1)!.first + 1024)
  })

  test('who never comes back after a restart can be saved and ended all the same', async () => {
    const [engine] = await start()
    for (const id of ['ann', 'bob']) {
      const { epoch } = await engine.claim(id)
      await engine.save([{ id, epoch, profile: PROFILE, flow: flowOf(engine.log, 9) }])
    }
    await stop(engine)

    const [again] = await start()
    const [ann, bob] = (await sessionsOf(again)).toSorted((a, b) => (a.id < b.id ? -1 : 1))
    await again.save([{ id: 'ann', epoch: ann!.epoch, flow: flowOf(again.log, 11) }])
    await again.save([{ id: 'bob', epoch: bob!.epoch, ended: true }])
    expect((await sessionsOf(again)).map(({ id, flow }) => [id, flow.cursor])).toEqual([
      ['ann', 11],
    ])
    const { epoch } = await again.claim('ann')
    await expect(
      again.save([{ id: 'ann', epoch: ann!.epoch, flow: flowOf(again.log, 12) }]),
    ).rejects.toMatchObject({ fault: 'fenced' })
    await again.save([{ id: 'ann', epoch, ended: true }])
  })

  test('what was resolved is there after a crash, and no position is used twice', async () => {
    const [engine] = await start()
    const { epoch } = await engine.claim('ann')
    await engine.append(
      record([message('a', '1')], [true], [{ id: 'ann', epoch, flow: flowOf(engine.log, 1) }]),
    )
    // Only this process ever knew these positions; they are as used as any.
    for (let n = 0; n < 50; n++) await engine.append(record([message('a', 'x')], [false]))
    const { last } = engine.bounds()
    const copy = crashed()

    const [again] = await start({ directory: copy })
    expect(notes[0]).toMatch(/was not closed in order/)
    expect(payloads(await readAll(again))).toEqual(['1'])
    expect((await sessionsOf(again)).map(({ flow }) => flow.cursor)).toEqual([1])
    expect(again.bounds().last).toBeGreaterThan(last)
    const next = numbered(2)
    await again.append(next)
    expect(next.first).toBeGreaterThan(last)
    expect(again.bounds().first).toBe(1)
    expect((await again.claim('ann')).epoch).toBeGreaterThan(epoch + 1000)
    await stop(again)
    fs.rmSync(copy, { recursive: true })
  })

  test('reserves positions ahead of use, and writes for that alone only once a block', async () => {
    const [engine] = await start({ reserveSequences: 64 })
    const before = transactions(folder)
    const unwanted = () => record([message('a', 'x')], [false])
    for (let n = 0; n < 640; n++) await engine.append(unwanted())
    expect(transactions(folder) - before).toBe(10)
    const { last } = engine.bounds()
    const copy = crashed()
    const [again] = await start({ directory: copy, reserveSequences: 64 })
    expect(again.bounds().last).toBeGreaterThan(last)
    expect(again.bounds().last).toBeLessThan(last + 2 * 64 * 1024)
    await stop(again)
    fs.rmSync(copy, { recursive: true })
    // More in one turn than was reserved: refused rather than used twice.
    const refused = await Promise.all(
      Array.from({ length: 200 }, () => faultOf(engine.append(unwanted()))),
    )
    expect(refused).toContain('full')
    await engine.append(unwanted())
  })

  test('a restart still knows what was forgotten', async () => {
    const [engine] = await start()
    for (let n = 1; n <= 3; n++) await engine.append(numbered(n, n * 10))
    await engine.truncate(2048)
    const copy = crashed()
    const [again] = await start({ directory: copy })
    expect(again.bounds().first).toBe(2049)
    expect(payloads(await readAll(again, 2048), 2048)).toEqual(['20', '3', '30'])
    await stop(again)
    fs.rmSync(copy, { recursive: true })
  })

  test('a folder somebody wrote to since it was closed is looked through first', async () => {
    const [engine] = await start()
    await engine.append(numbered(1))
    await stop(engine)
    await flip('log', 0)
    await expect(start()).rejects.toThrow(/damaged values, 1 of them.*data check.*data backup/)
  })

  test('what waits together shares a sync', async () => {
    const [engine, heard] = await start()
    const before = transactions(folder)
    await Promise.all(Array.from({ length: 200 }, (_, n) => engine.append(numbered(n))))
    expect(heard.records).toHaveLength(200)
    // The first call's turn goes alone at most; the rest waited for it together.
    expect(transactions(folder) - before).toBeLessThanOrEqual(2)
  })

  test('a message nobody durable wants costs no disk, and waits for those before it', async () => {
    const [engine, heard] = await start()
    const before = transactions(folder)
    const alone = engine.append(record([message('a', 'now')], [false]))
    expect(heard.records).toHaveLength(1)
    await alone
    expect(transactions(folder)).toBe(before)
    const stored = engine.append(numbered(1))
    const behind = engine.append(record([message('a', 'behind')], [false]))
    expect(heard.records).toHaveLength(1)
    await Promise.all([stored, behind])
    expect(heard.records.map(({ messages }) => messages[0]!.payload.toString())).toEqual([
      'now',
      '1',
      'behind',
    ])
    expect(transactions(folder)).toBe(before + 1)
  })

  test('retained of QoS 0 is written within 250 ms, four times a second at most', async () => {
    const [engine] = await start()
    const before = transactions(folder)
    const written: Promise<void>[] = []
    for (let ms = 0; ms < 1000; ms += 10) {
      for (let n = 0; n < 20; n++) {
        const each = message(`room/${n}`, String(ms), { qos: 0, retain: true })
        written.push(
          engine.retain([{ topic: `room/${n}`, message: each, pos: engine.bounds().last }]),
        )
      }
      runtime.advance(10)
      // Lets a write that began reach the disk, as 10 ms would.
      await engine.claim('nobody')
    }
    expect(transactions(folder) - before).toBeLessThanOrEqual(5)
    runtime.advance(250)
    await Promise.all(written)
    expect(written).toHaveLength(2000)
    const idle = transactions(folder)
    for (let n = 0; n < 100; n++) runtime.advance(1000)
    await engine.claim('nobody')
    expect(transactions(folder)).toBe(idle)
    const copy = crashed()
    const [again, heard] = await start({ directory: copy })
    expect(heard.changes.map(({ message: kept }) => kept!.payload.toString())).toEqual(
      Array.from({ length: 20 }, () => '990'),
    )
    await stop(again)
    fs.rmSync(copy, { recursive: true })
  })

  test('a stop writes the newest retained of QoS 0', async () => {
    const [engine] = await start()
    const first = message('lamp', 'on', { qos: 0, retain: true })
    const second = message('lamp', 'off', { qos: 0, retain: true })
    void engine.retain([{ topic: 'lamp', message: first, pos: 0 }])
    runtime.advance(0)
    void engine.retain([{ topic: 'lamp', message: second, pos: 0 }])
    await stop(engine)
    const [, heard] = await start()
    expect(heard.changes.map(({ message: kept }) => kept!.payload.toString())).toEqual(['off'])
  })

  test('of two retained messages the higher position stays', async () => {
    const [engine] = await start()
    const older = message('lamp', 'older', { qos: 0, retain: true })
    const newer = record([message('lamp', 'newer', { retain: true })], [false])
    const stored = engine.append(newer)
    // Made before the record was stored: its position is lower.
    const lazy = engine.retain([{ topic: 'lamp', message: older, pos: 0 }])
    runtime.advance(250)
    await Promise.all([stored, lazy])
    const removed = engine.retain([{ topic: 'gone', message: null, pos: newer.first }])
    runtime.advance(250)
    await removed
    await stop(engine)
    const [again, heard] = await start()
    expect(heard.changes.map(({ message: kept }) => kept!.payload.toString())).toEqual(['newer'])
    await again.append(record([message('lamp', '', { retain: true })], [false]))
    await stop(again)
    const [, empty] = await start()
    expect(empty.changes).toEqual([])
  })

  test('a second process is refused, and told what to do', async () => {
    await start()
    const second = new DiskEngine({ directory: folder, runtime, resolve: resolveTopic })
    await expect(second.open(new Listener())).rejects.toThrow(
      new RegExp(`in use by process ${process.pid}.*--data`),
    )
  })

  test('the lock of a process that is gone is nobody’s', async () => {
    const [engine] = await start()
    await stop(engine)
    fs.writeFileSync(path.join(folder, 'server.lock'), '{"pid":999999999,"started":""}')
    const [again] = await start()
    await stop(again)
    // A living process, but not the one that wrote it: its number was used again.
    fs.writeFileSync(path.join(folder, 'server.lock'), `{"pid":${process.pid},"started":"x/1"}`)
    if (process.platform === 'linux') await start()
  })

  test('a newer format is refused with the version that reads it', async () => {
    const [engine] = await start()
    await stop(engine)
    fs.writeFileSync(path.join(folder, 'format'), '2 needs Partyline 3.1.0 or later\n')
    const older = new DiskEngine({ directory: folder, runtime, resolve: resolveTopic })
    await expect(older.open(new Listener())).rejects.toThrow(/format 2.*run Partyline 3\.1\.0/)
  })

  test('a nearly full disk refuses what it would have to store, and recovers', async () => {
    let free = 10_000_000
    const [engine, heard] = await start({
      reserveBytes: 1_000_000,
      freeSpace: () => Promise.resolve({ free, size: 100_000_000 }),
    })
    await engine.append(numbered(1))
    free = 900_000
    runtime.advance(2000)
    await engine.append(numbered(2))
    await engine.claim('nobody')
    expect(await faultOf(engine.append(numbered(3)))).toBe('full')
    expect(
      await faultOf(engine.append(record([message('a', 'x', { retain: true })], [false]))),
    ).toBe('full')
    await engine.append(record([message('a', 'passes')], [false]))
    const { epoch } = await engine.claim('ann')
    await engine.save([{ id: 'ann', epoch, profile: PROFILE }])
    free = 10_000_000
    runtime.advance(300)
    await engine.append(numbered(4)).catch(() => {})
    await new Promise((resolve) => setImmediate(resolve))
    await engine.append(numbered(5))
    const texts = heard.records.map(({ messages }) => messages[0]!.payload.toString())
    expect(texts.filter((text) => text === '3')).toEqual([])
    expect(texts).toEqual(expect.arrayContaining(['1', '2', 'passes', '5']))
  })

  test('one flipped bit in a stored value is noticed, counted, skipped', async () => {
    const [engine] = await start()
    for (let n = 1; n <= 3; n++) await engine.append(numbered(n))
    const { epoch } = await engine.claim('ann')
    await engine.save([{ id: 'ann', epoch, profile: PROFILE, flow: flowOf(engine.log, 1) }])
    await engine
      .claim('bob')
      .then(({ epoch: bobs }) =>
        engine.save([{ id: 'bob', epoch: bobs, profile: PROFILE, flow: flowOf(engine.log, 1) }]),
      )
    const kept = record([message('lamp', 'on', { retain: true })], [false])
    await engine.append(kept)
    await stop(engine)
    await flip('log', 1)
    await flip('prof', 0)
    await flip('ses', 1)
    await flip('ret', 0)
    // Rotted while it lay still: nothing about the file tells, so no scan happens.
    new DataFolder(folder).markClean()

    const [again, heard] = await start()
    expect(heard.changes).toEqual([])
    expect(payloads(await readAll(again))).toEqual(['1', '3'])
    const sessions = await sessionsOf(again)
    // Ann's subscriptions are gone, so she is; Bob starts over because his cursor is.
    expect(sessions.map(({ id, flow }) => [id, flow.cursor, flow.log])).toEqual([['bob', 0, '']])
    expect(again.damaged).toBe(4)
    expect(notes.join('\n')).toMatch(/record 2: checksum .*/)
  })

  /** Flips a bit in the nth value of a table, behind the engine's back. */
  async function flip(table: string, nth: number): Promise<void> {
    const encoding = { encoding: 'binary', keyEncoding: 'binary' } as const
    const root = open<Buffer, Buffer>({
      path: folder,
      noSubdir: false,
      overlappingSync: false,
      maxDbs: 8,
      ...encoding,
    })
    const db = root.openDB<Buffer, Buffer>({ name: table, ...encoding })
    const { key, value } = [...db.getRange({ start: Buffer.from([0]) })][nth]!
    value[value.length - 1]! ^= 4
    await db.put(key, value)
    await root.close()
  }

  test.each([
    ['cut short', (bytes: Buffer) => bytes.subarray(0, bytes.length - 8192)],
    ['without its first meta page', (bytes: Buffer) => bytes.fill(0x5a, 0, 4096)],
    [
      'with a page of zeros',
      (bytes: Buffer) => bytes.fill(0, bytes.length - 8192, bytes.length - 4096),
    ],
    ['with flipped bits', (bytes: Buffer) => flipAll(bytes, Math.floor(bytes.length / 2), 64)],
  ])(
    'a folder nobody closed and %s is refused in one sentence or served unchanged',
    async (_name, harm) => {
      const [engine] = await start()
      const texts = Array.from({ length: 60 }, (_, n) => `${n} ${'y'.repeat(5000)}`)
      await Promise.all(texts.map((text) => engine.append(record([message('big', text)]))))
      const copy = crashed()
      const file = path.join(copy, 'data.mdb')
      fs.writeFileSync(file, harm(fs.readFileSync(file)))
      const opening = start({ directory: copy })
      const outcome = await opening.then(
        async ([again]) => {
          const texts = payloads(await readAll(again))
          await stop(again)
          return texts
        },
        (error: Error) => error.message,
      )
      if (typeof outcome === 'string') {
        expect(outcome).toMatch(/partyline data check/)
        expect(outcome).toMatch(/partyline data backup/)
        expect(fs.existsSync(path.join(copy, 'server.lock'))).toBe(false)
      } else {
        for (const text of outcome) expect(text).toMatch(/^\d+ y{5000}$/)
      }
      fs.rmSync(copy, { recursive: true })
    },
  )

  test('a commit the disk refuses for good is the end: nothing is acknowledged after it', async () => {
    const [engine, heard] = await start()
    await engine.append(numbered(1))
    const sync = vi.spyOn(Store.prototype, 'commit')
    sync.mockRejectedValueOnce(new CommitError(new Error('Input/output error')))
    const refused = [engine.append(numbered(2)), engine.append(numbered(3))]
    expect(await Promise.all(refused.map(faultOf))).toEqual(['failed', 'failed'])
    expect(await faultOf(engine.append(record([message('a', '4')], [false])))).toBe('failed')
    expect(heard.records).toHaveLength(1)
    expect(heard.states).toHaveLength(1)
    expect(heard.states[0]).toMatch(/^failed: .*nothing is acknowledged any more/)
    await stop(engine)
    expect(fs.existsSync(path.join(folder, 'clean'))).toBe(false)
  })

  test('backup while serving can be opened, and holds what was stored', async () => {
    const [engine] = await start()
    await Promise.all(Array.from({ length: 100 }, (_, n) => engine.append(numbered(n))))
    const copy = newFolder()
    const making = engine.backup(copy)
    for (let n = 100; n < 120; n++) await engine.append(numbered(n))
    await making
    fs.copyFileSync(path.join(folder, 'format'), path.join(copy, 'format'))
    const [again] = await start({ directory: copy })
    const found = payloads(await readAll(again)).map(Number)
    expect(found.slice(0, 100)).toEqual(Array.from({ length: 100 }, (_, n) => n))
    await stop(again)
    fs.rmSync(copy, { recursive: true })
  })
})

function flipAll(bytes: Buffer, at: number, count: number): Buffer {
  for (let i = at; i < at + count; i++) bytes[i]! ^= 0xff
  return bytes
}

/** Number of the newest transaction in the database file: one more for each commit. */
function transactions(folder: string): number {
  const bytes = fs.readFileSync(path.join(folder, 'data.mdb'))
  const numbers = [0, 4096].map((page) => Number(bytes.readBigUInt64LE(page + 24 + 128)))
  return Math.max(...numbers)
}

test('messages whose topics today’s limits forbid are holes, and the rest is served', async () => {
  const directory = newFolder()
  const runtime = new ManualRuntime()
  const engine = new DiskEngine({ directory, runtime, resolve: resolveTopic })
  await engine.open(new Listener())
  const long = message('long/topic', 'no')
  await engine.append(record([long, message('a', 'yes'), long, message('a', 'still')]))
  await engine.close()
  const again = new DiskEngine({
    directory,
    runtime,
    resolve: (bytes, start, length) => (length > 1 ? null : resolveTopic(bytes, start, length)),
  })
  await again.open(new Listener())
  const [kept] = await readAll(again)
  expect(kept!.wanted).toEqual([false, true, false, true])
  expect(payloads([kept!])).toEqual(['yes', 'still'])
  await again.close()
  fs.rmSync(directory, { recursive: true })
})
