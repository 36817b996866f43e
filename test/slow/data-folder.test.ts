// `partyline data`: what it says about a folder, copies made beside a running engine, and what
// compacting leaves out.

import fs from 'node:fs'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { backup, check, inspect } from '../../src/cli/data.ts'
import type { DiskEngine } from '../../src/engine/disk.ts'
import { compact } from '../../src/engine/maintenance.ts'
import {
  flowOf,
  message,
  PROFILE,
  payloads,
  readAll,
  record,
  sessionsOf,
} from '../engine/contract.ts'
import { DiskFolder } from '../support/disk-folder.ts'

let disk: DiskFolder
/** The data folder; others may lie beside it. */
let folder: string

beforeEach(() => {
  disk = new DiskFolder()
  folder = path.join(disk.directory, 'data')
})
afterEach(() => disk.remove())

const start = (directory = folder) => disk.start({ directory })
const damage = (table: string, nth: number) => disk.flip(table, nth, folder)

/** Messages, two sessions at different places and a retained one. */
async function fill(engine: DiskEngine, count: number): Promise<void> {
  for (const [id, cursor] of [
    ['ann', 1024],
    ['bob', 2048],
  ] as const) {
    const { epoch } = await engine.claim(id)
    await engine.save([{ id, epoch, profile: PROFILE, flow: flowOf(engine.log, cursor) }])
  }
  await engine.append(record([message('lamp', 'on', { retain: true })], [false]))
  const texts = Array.from({ length: count }, (_, n) => `${n} ${'z'.repeat(2000)}`)
  await Promise.all(texts.map((text) => engine.append(record([message('count', text)]))))
}

test('inspect tells what is stored and who is furthest behind', async () => {
  const [engine] = await start()
  await fill(engine, 10)
  const lines = (await inspect(folder)).join('\n')
  expect(lines).toMatch(new RegExp(`in use by process ${process.pid}`))
  expect(lines).toMatch(/stored {5}10 messages in 10 records/)
  expect(lines).toMatch(/sessions {3}2/)
  expect(lines).toMatch(/retained {3}1 message/)
  expect(lines).toMatch(/sound {6}yes/)
  expect(lines.indexOf('"ann"')).toBeLessThan(lines.indexOf('"bob"'))
  await disk.stop(engine)
})

test('check says that a sound folder is sound, and lists damage', async () => {
  const [engine] = await start()
  await fill(engine, 3)
  await disk.stop(engine)
  expect(await check(folder)).toEqual([`${folder} is sound: 3 messages, 2 sessions, 1 retained`])
  await damage('log', 1)
  await expect(check(folder)).rejects.toThrow(/1 damaged value:\n {2}record 3: checksum/)
})

test('a folder of something else is refused', async () => {
  fs.mkdirSync(folder)
  const no = 'is not a Partyline data folder:'
  await expect(check(folder)).rejects.toThrow(`${folder} ${no} it has no format file`)
  const nowhere = path.join(disk.directory, 'nowhere')
  await expect(inspect(nowhere)).rejects.toThrow(`${nowhere} ${no} there is no such folder`)
  const file = path.join(disk.directory, 'file')
  fs.writeFileSync(file, '')
  await expect(check(file)).rejects.toThrow(`${file} ${no} it is a file`)
  fs.writeFileSync(path.join(folder, 'format'), '1 needs Partyline 0.1.0 or later\n')
  for (const look of [check, compact, (from: string) => backup(from, nowhere)]) {
    await expect(look(folder)).rejects.toThrow(`${folder} holds no database: nothing was stored`)
  }
})

test('a backup made while the engine runs holds everything from before, and serves', async () => {
  const [engine] = await start()
  await fill(engine, 50)
  const making = backup(folder, path.join(disk.directory, 'copy'))
  for (let n = 50; n < 70; n++) await engine.append(record([message('count', `${n} late`)]))
  expect((await making).join()).toMatch(/copied to .*copy and verified/)

  const [restored, heard] = await start(path.join(disk.directory, 'copy'))
  const numbers = payloads(await readAll(restored)).map((text) => Number(text.split(' ')[0]))
  // One moment of the log: all before it, nothing left out, nothing twice.
  expect(numbers.length).toBeGreaterThanOrEqual(50)
  expect(numbers).toEqual(Array.from({ length: numbers.length }, (_, n) => n))
  expect(await sessionsOf(restored)).toEqual(await sessionsOf(engine))
  expect(heard.changes.map(({ topic }) => topic)).toEqual(['lamp'])
  expect(restored.log).toBe(engine.log)
  await disk.stop(restored)
  await disk.stop(engine)
  await expect(backup(folder, path.join(disk.directory, 'copy'))).rejects.toThrow(/not empty/)
})

test('compacting gives space back and keeps everything', async () => {
  const [engine] = await start()
  await fill(engine, 300)
  await engine.truncate(290 * 1024 + 1023)
  const before = await sessionsOf(engine)
  const kept = payloads(await readAll(engine))
  const { last } = engine.bounds()
  await disk.stop(engine)
  const sizes = await compact(folder)
  expect(sizes.after).toBeLessThan(sizes.before / 2)
  expect(sizes.dropped).toBe(0)
  const [again] = await start()
  expect(payloads(await readAll(again))).toEqual(kept)
  expect(await sessionsOf(again)).toEqual(before)
  expect(again.bounds().last).toBeGreaterThanOrEqual(last)
  await disk.stop(again)
})

test('compacting leaves damaged values out, and says how many', async () => {
  const [engine] = await start()
  await fill(engine, 5)
  await disk.stop(engine)
  await damage('log', 2)
  await damage('prof', 0)
  // The record, Ann's profile, and with it her flow.
  expect((await compact(folder)).dropped).toBe(3)
  expect(await check(folder)).toEqual([`${folder} is sound: 4 messages, 1 session, 1 retained`])
})

test('a log whose state is damaged starts under a new name, above every old position', async () => {
  const [engine] = await start()
  await fill(engine, 5)
  const { log } = engine
  const { last } = engine.bounds()
  await disk.stop(engine)
  await damage('meta', 0)
  await expect(start()).rejects.toThrow(/damaged values, 1 of them.*partyline data compact/)
  expect((await compact(folder)).dropped).toBe(1)
  const [again] = await start()
  expect(again.log).not.toBe(log)
  expect(again.bounds().last).toBeGreaterThan(last)
  const { epoch, stored } = await again.claim('ann')
  expect(epoch).toBeGreaterThan(stored!.epoch - 1)
  await disk.stop(again)
})

test('compacting a folder in use is refused', async () => {
  const [engine] = await start()
  await fill(engine, 1)
  await expect(compact(folder)).rejects.toThrow(/in use by process \d+: stop that server first$/)
  await disk.stop(engine)
})
