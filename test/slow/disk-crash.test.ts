// What a crash leaves of a data folder, and damage to it: each is looked through in a child process before it is
// opened, so nothing that was acknowledged is missing, no position is used twice, and nothing wrong is served.

import fs from 'node:fs'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  faultOf,
  flowOf,
  message,
  numbered,
  payloads,
  readAll,
  record,
  sessionsOf,
} from '../engine/contract.ts'
import { DiskFolder } from '../support/disk-folder.ts'

let disk: DiskFolder
beforeEach(() => {
  disk = new DiskFolder()
})
afterEach(() => disk.remove())

test('what was resolved is there after a crash, and no position is used twice', async () => {
  const [engine] = await disk.start()
  const { epoch } = await engine.claim('ann')
  await engine.append(
    record([message('a', '1')], [true], [{ id: 'ann', epoch, flow: flowOf(engine.log, 1) }]),
  )
  // Only this process ever knew these positions; they are as used as any.
  for (let n = 0; n < 50; n++) await engine.append(record([message('a', 'x')], [false]))
  const { last } = engine.bounds()
  const copy = disk.crashed()

  const [again] = await disk.start({ directory: copy })
  expect(disk.notes[0]).toMatch(/was not closed in order/)
  expect(payloads(await readAll(again))).toEqual(['1'])
  expect((await sessionsOf(again)).map(({ flow }) => flow.cursor)).toEqual([1])
  expect(again.bounds().last).toBeGreaterThan(last)
  const next = numbered(2)
  await again.append(next)
  expect(next.first).toBeGreaterThan(last)
  expect(again.bounds().first).toBe(1)
  expect((await again.claim('ann')).epoch).toBeGreaterThan(epoch + 1000)
  await disk.stop(again)
})

test('reserves positions ahead of use, and writes for that alone only once a block', async () => {
  const [engine] = await disk.start({ reserveSequences: 64 })
  const before = disk.transactions()
  const unwanted = () => record([message('a', 'x')], [false])
  for (let n = 0; n < 640; n++) await engine.append(unwanted())
  expect(disk.transactions() - before).toBe(10)
  const { last } = engine.bounds()
  const copy = disk.crashed()
  const [again] = await disk.start({ directory: copy, reserveSequences: 64 })
  expect(again.bounds().last).toBeGreaterThan(last)
  expect(again.bounds().last).toBeLessThan(last + 2 * 64 * 1024)
  await disk.stop(again)
  // More in one turn than was reserved: refused rather than used twice.
  const refused = await Promise.all(
    Array.from({ length: 200 }, () => faultOf(engine.append(unwanted()))),
  )
  expect(refused).toContain('full')
  await engine.append(unwanted())
})

test('a restart still knows what was forgotten', async () => {
  const [engine] = await disk.start()
  for (let n = 1; n <= 3; n++) await engine.append(numbered(n, n * 10))
  await engine.truncate(2048)
  const copy = disk.crashed()
  const [again] = await disk.start({ directory: copy })
  expect(again.bounds().first).toBe(2049)
  expect(payloads(await readAll(again, 2048), 2048)).toEqual(['20', '3', '30'])
  await disk.stop(again)
})

test('a folder somebody wrote to since it was closed is looked through first', async () => {
  const [engine] = await disk.start()
  await engine.append(numbered(1))
  await disk.stop(engine)
  await disk.flip('log', 0)
  await expect(disk.start()).rejects.toThrow(/damaged values, 1 of them.*data check.*data backup/)
})

test('retained of QoS 0 is written within 250 ms, four times a second at most', async () => {
  const [engine] = await disk.start()
  const before = disk.transactions()
  const written: Promise<void>[] = []
  for (let ms = 0; ms < 1000; ms += 10) {
    for (let n = 0; n < 20; n++) {
      const each = message(`room/${n}`, String(ms), { qos: 0, retain: true })
      written.push(
        engine.retain([{ topic: `room/${n}`, message: each, pos: engine.bounds().last }]),
      )
    }
    disk.runtime.advance(10)
    // Lets a write that began reach the disk, as 10 ms would.
    await engine.claim('nobody')
  }
  expect(disk.transactions() - before).toBeLessThanOrEqual(5)
  disk.runtime.advance(250)
  await Promise.all(written)
  expect(written).toHaveLength(2000)
  const idle = disk.transactions()
  for (let n = 0; n < 100; n++) disk.runtime.advance(1000)
  await engine.claim('nobody')
  expect(disk.transactions()).toBe(idle)
  const copy = disk.crashed()
  const [again, heard] = await disk.start({ directory: copy })
  expect(heard.changes.map(({ message: kept }) => kept!.payload.toString())).toEqual(
    Array.from({ length: 20 }, () => '990'),
  )
  await disk.stop(again)
})

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
    const [engine] = await disk.start()
    const texts = Array.from({ length: 60 }, (_, n) => `${n} ${'y'.repeat(5000)}`)
    await Promise.all(texts.map((text) => engine.append(record([message('big', text)]))))
    const copy = disk.crashed()
    const file = path.join(copy, 'data.mdb')
    fs.writeFileSync(file, harm(fs.readFileSync(file)))
    const opening = disk.start({ directory: copy })
    const outcome = await opening.then(
      async ([again]) => {
        const texts = payloads(await readAll(again))
        await disk.stop(again)
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
  },
)

test('backup while serving can be opened, and holds what was stored', async () => {
  const [engine] = await disk.start()
  await Promise.all(Array.from({ length: 100 }, (_, n) => engine.append(numbered(n))))
  const copy = fs.mkdtempSync(`${disk.directory}-copy-`)
  const making = engine.backup(copy)
  for (let n = 100; n < 120; n++) await engine.append(numbered(n))
  await making
  fs.copyFileSync(path.join(disk.directory, 'format'), path.join(copy, 'format'))
  const [again] = await disk.start({ directory: copy })
  const found = payloads(await readAll(again)).map(Number)
  expect(found.slice(0, 100)).toEqual(Array.from({ length: 100 }, (_, n) => n))
  await disk.stop(again)
  fs.rmSync(copy, { recursive: true })
})

function flipAll(bytes: Buffer, at: number, count: number): Buffer {
  for (let i = at; i < at + count; i++) bytes[i]! ^= 0xff
  return bytes
}
