// A folder of each released format is kept, and this version opens all of them.

import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { DiskEngine } from '../../src/engine/disk.ts'
import { FORMAT } from '../../src/engine/folder.ts'
import { Listener, ManualRuntime, readAll, sessionsOf } from './contract.ts'
import { FLOW, LONG_ID, MESSAGES, PROFILE, sampleTopic } from './formats/sample.ts'

const kept = fileURLToPath(new URL('./formats', import.meta.url))
const formats = fs.readdirSync(kept).filter((name) => /^\d+$/.test(name))

test('the present format is among those kept', () => {
  expect(formats).toContain(String(FORMAT))
})

test.each(formats)('opens format %s', async (format) => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'partyline-format-'))
  fs.cpSync(path.join(kept, format), directory, { recursive: true })
  const heard = new Listener()
  const engine = new DiskEngine({ directory, runtime: new ManualRuntime(), resolve: sampleTopic })
  await engine.open(heard)
  const [record] = await readAll(engine)
  expect(record!.first).toBe(1024)
  expect(record!.wanted).toEqual([true, false, true])
  expect([record!.messages[0], record!.messages[2]]).toEqual([MESSAGES[0], MESSAGES[2]])
  expect(heard.changes).toEqual([{ topic: 'house/küche', message: MESSAGES[2], pos: 1026 }])
  expect(await sessionsOf(engine)).toMatchObject(
    ['ann', LONG_ID].map((id) => ({ id, profile: PROFILE, flow: { ...FLOW, log: engine.log } })),
  )
  expect(engine.damaged).toBe(0)
  await engine.close()
  fs.rmSync(directory, { recursive: true })
})
