// The disk engine against the contract, and what must survive: a stop, a full disk, a flipped bit. What needs a
// look through the folder in a child process, as after a crash, is in test/slow/disk-crash.test.ts.

import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { DiskEngine } from '../../src/engine/disk.ts'
import { DataFolder } from '../../src/engine/folder.ts'
import { CommitError, nameKey, Store } from '../../src/engine/store.ts'
import { DiskFolder } from '../support/disk-folder.ts'
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
  let disk: DiskFolder
  beforeEach(() => {
    disk = new DiskFolder()
  })
  afterEach(() => disk.remove())

  /** Subscriptions and will as they are stored, as bytes. */
  function profileOf(id: string): Buffer | undefined {
    const store = Store.open(disk.crashed(), true)
    const value = store.profile.getBinary(nameKey(Buffer.from(id)).key)
    void store.close()
    return value && Buffer.from(value)
  }

  test('everything is there after an orderly stop', async () => {
    const [engine] = await disk.start()
    const { epoch } = await engine.claim('ann')
    await engine.save([{ id: 'ann', epoch, profile: PROFILE, flow: flowOf(engine.log, 9) }])
    await engine.append(record([message('a/b', '1', { retain: true }), message('c', '2')]))
    const { log } = engine
    await disk.stop(engine)

    const [again, heard] = await disk.start()
    expect(again.log).toBe(log)
    expect(payloads(await readAll(again))).toEqual(['1', '2'])
    expect(heard.changes).toMatchObject([{ topic: 'a/b', pos: 1024 }])
    expect(heard.changes[0]!.message!.payload.toString()).toBe('1')
    const claimed = await again.claim('ann')
    expect(claimed.epoch).toBeGreaterThan(epoch)
    expect(claimed.stored).toMatchObject({ profile: PROFILE, flow: flowOf(log, 9) })
    expect(disk.notes).toEqual([])
  })

  test('what traffic changes is written without subscriptions and will', async () => {
    const [engine] = await disk.start()
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
    const directory = path.join(disk.directory, 'file')
    fs.writeFileSync(directory, '')
    await expect(disk.start({ directory })).rejects.toThrow(
      `${directory} cannot be written as a data folder: there is a file of that name (EEXIST); choose another with --data`,
    )
  })

  test.runIf(process.platform === 'linux')(
    'a folder that cannot be made is refused in one sentence',
    async () => {
      for (const directory of ['/proc/none/data', '/dev/null/data']) {
        await expect(disk.start({ directory })).rejects.toThrow(
          `${directory} cannot be written as a data folder`,
        )
      }
    },
  )

  test('what comes while it closes is stored or refused, and the folder is left in order', async () => {
    const [engine, heard] = await disk.start()
    const { epoch } = await engine.claim('ann')
    await engine.append(numbered(0))
    const closing = disk.stop(engine)
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

    const [again] = await disk.start()
    expect(disk.notes).toEqual([])
    expect(payloads(await readAll(again))).toEqual(['0'])
    const next = numbered(99)
    await again.append(next)
    expect(next.first).toBe(heard.records.at(-1)!.first + 1024)
  })

  test('who never comes back after a restart can be saved and ended all the same', async () => {
    const [engine] = await disk.start()
    for (const id of ['ann', 'bob']) {
      const { epoch } = await engine.claim(id)
      await engine.save([{ id, epoch, profile: PROFILE, flow: flowOf(engine.log, 9) }])
    }
    await disk.stop(engine)

    const [again] = await disk.start()
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

  test('what waits together shares a sync', async () => {
    const [engine, heard] = await disk.start()
    const before = disk.transactions()
    await Promise.all(Array.from({ length: 200 }, (_, n) => engine.append(numbered(n))))
    expect(heard.records).toHaveLength(200)
    // The first call's turn goes alone at most; the rest waited for it together.
    expect(disk.transactions() - before).toBeLessThanOrEqual(2)
  })

  test('a message nobody durable wants costs no disk, and waits for those before it', async () => {
    const [engine, heard] = await disk.start()
    const before = disk.transactions()
    const alone = engine.append(record([message('a', 'now')], [false]))
    expect(heard.records).toHaveLength(1)
    await alone
    expect(disk.transactions()).toBe(before)
    const stored = engine.append(numbered(1))
    const behind = engine.append(record([message('a', 'behind')], [false]))
    expect(heard.records).toHaveLength(1)
    await Promise.all([stored, behind])
    expect(heard.records.map(({ messages }) => messages[0]!.payload.toString())).toEqual([
      'now',
      '1',
      'behind',
    ])
    expect(disk.transactions()).toBe(before + 1)
  })

  test('a stop writes the newest retained of QoS 0', async () => {
    const [engine] = await disk.start()
    const first = message('lamp', 'on', { qos: 0, retain: true })
    const second = message('lamp', 'off', { qos: 0, retain: true })
    void engine.retain([{ topic: 'lamp', message: first, pos: 0 }])
    disk.runtime.advance(0)
    void engine.retain([{ topic: 'lamp', message: second, pos: 0 }])
    await disk.stop(engine)
    const [, heard] = await disk.start()
    expect(heard.changes.map(({ message: kept }) => kept!.payload.toString())).toEqual(['off'])
  })

  test('of two retained messages the higher position stays', async () => {
    const [engine] = await disk.start()
    const older = message('lamp', 'older', { qos: 0, retain: true })
    const newer = record([message('lamp', 'newer', { retain: true })], [false])
    const stored = engine.append(newer)
    // Made before the record was stored: its position is lower.
    const lazy = engine.retain([{ topic: 'lamp', message: older, pos: 0 }])
    disk.runtime.advance(250)
    await Promise.all([stored, lazy])
    const removed = engine.retain([{ topic: 'gone', message: null, pos: newer.first }])
    disk.runtime.advance(250)
    await removed
    await disk.stop(engine)
    const [again, heard] = await disk.start()
    expect(heard.changes.map(({ message: kept }) => kept!.payload.toString())).toEqual(['newer'])
    await again.append(record([message('lamp', '', { retain: true })], [false]))
    await disk.stop(again)
    const [, empty] = await disk.start()
    expect(empty.changes).toEqual([])
  })

  test('a second process is refused, and told what to do', async () => {
    await disk.start()
    const second = new DiskEngine({
      directory: disk.directory,
      runtime: disk.runtime,
      resolve: resolveTopic,
    })
    await expect(second.open(new Listener())).rejects.toThrow(
      new RegExp(`in use by process ${process.pid}.*--data`),
    )
  })

  test('the lock of a process that is gone is nobody’s', async () => {
    const [engine] = await disk.start()
    await disk.stop(engine)
    fs.writeFileSync(path.join(disk.directory, 'server.lock'), '{"pid":999999999,"started":""}')
    const [again] = await disk.start()
    await disk.stop(again)
    // A living process, but not the one that wrote it: its number was used again.
    fs.writeFileSync(
      path.join(disk.directory, 'server.lock'),
      `{"pid":${process.pid},"started":"x/1"}`,
    )
    if (process.platform === 'linux') await disk.start()
  })

  test('a newer format is refused with the version that reads it', async () => {
    const [engine] = await disk.start()
    await disk.stop(engine)
    fs.writeFileSync(path.join(disk.directory, 'format'), '2 needs Partyline 3.1.0 or later\n')
    const older = new DiskEngine({
      directory: disk.directory,
      runtime: disk.runtime,
      resolve: resolveTopic,
    })
    await expect(older.open(new Listener())).rejects.toThrow(/format 2.*run Partyline 3\.1\.0/)
  })

  test('a nearly full disk refuses what it would have to store, and recovers', async () => {
    let free = 10_000_000
    const [engine, heard] = await disk.start({
      reserveBytes: 1_000_000,
      freeSpace: () => Promise.resolve({ free, size: 100_000_000 }),
    })
    await engine.append(numbered(1))
    free = 900_000
    disk.runtime.advance(2000)
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
    disk.runtime.advance(300)
    await engine.append(numbered(4)).catch(() => {})
    await new Promise((resolve) => setImmediate(resolve))
    await engine.append(numbered(5))
    const texts = heard.records.map(({ messages }) => messages[0]!.payload.toString())
    expect(texts.filter((text) => text === '3')).toEqual([])
    expect(texts).toEqual(expect.arrayContaining(['1', '2', 'passes', '5']))
  })

  test('one flipped bit in a stored value is noticed, counted, skipped', async () => {
    const [engine] = await disk.start()
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
    await disk.stop(engine)
    await disk.flip('log', 1)
    await disk.flip('prof', 0)
    await disk.flip('ses', 1)
    await disk.flip('ret', 0)
    // Rotted while it lay still: nothing about the file tells, so no scan happens.
    new DataFolder(disk.directory).markClean()

    const [again, heard] = await disk.start()
    expect(heard.changes).toEqual([])
    expect(payloads(await readAll(again))).toEqual(['1', '3'])
    const sessions = await sessionsOf(again)
    // Ann's subscriptions are gone, so she is; Bob starts over because his cursor is.
    expect(sessions.map(({ id, flow }) => [id, flow.cursor, flow.log])).toEqual([['bob', 0, '']])
    expect(again.damaged).toBe(4)
    expect(disk.notes.join('\n')).toMatch(/record 2: checksum .*/)
  })

  test('a commit the disk refuses for good is the end: nothing is acknowledged after it', async () => {
    const [engine, heard] = await disk.start()
    await engine.append(numbered(1))
    const sync = vi.spyOn(Store.prototype, 'commit')
    sync.mockRejectedValueOnce(new CommitError(new Error('Input/output error')))
    const refused = [engine.append(numbered(2)), engine.append(numbered(3))]
    expect(await Promise.all(refused.map(faultOf))).toEqual(['failed', 'failed'])
    expect(await faultOf(engine.append(record([message('a', '4')], [false])))).toBe('failed')
    expect(heard.records).toHaveLength(1)
    expect(heard.states).toHaveLength(1)
    expect(heard.states[0]).toMatch(/^failed: .*nothing is acknowledged any more/)
    await disk.stop(engine)
    expect(fs.existsSync(path.join(disk.directory, 'clean'))).toBe(false)
  })
})

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
