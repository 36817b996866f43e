// cluster.json: what is written is read again, and what somebody has damaged is refused by name,
// because it decides which processes are sent signals.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  type ClusterRecord,
  isRunning,
  readRecord,
  removeRecord,
  writeRecord,
} from '../../src/cli/cluster-record.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'partyline-record-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const part = { name: 'nats-1', port: 5011, health: 'http://127.0.0.1:1/', pid: null, args: ['x'] }
const record: ClusterRecord = { pid: process.pid, args: ['cluster', 'up'], parts: [part] }

test('is read as it was written, until it is removed', () => {
  expect(readRecord(folder)).toBeNull()
  writeRecord(folder, record)
  expect(readRecord(folder)).toEqual(record)
  removeRecord(folder)
  expect(readRecord(folder)).toBeNull()
})

test.each([
  ['{x', 'JSON'],
  ['null', 'it wants "pid"'],
  ['[]', 'it wants "pid"'],
  ['"text"', 'it wants "pid"'],
  [JSON.stringify({ ...record, pid: '7' }), 'it wants "pid"'],
  [JSON.stringify({ ...record, pid: -1 }), 'it wants "pid"'],
  [JSON.stringify({ ...record, args: [] }), 'it wants "pid", a process id, and "args"'],
  [JSON.stringify({ ...record, parts: {} }), 'it wants "parts", a list'],
  [JSON.stringify({ ...record, parts: [part, {}] }), 'number 2 of its "parts" wants "name"'],
  [JSON.stringify({ ...record, parts: [{ ...part, args: [] }] }), 'number 1 of its "parts"'],
  [JSON.stringify({ ...record, parts: [{ ...part, pid: 0 }] }), 'number 1 of its "parts"'],
])('refuses %s', (text, why) => {
  const file = path.join(folder, 'cluster.json')
  writeFileSync(file, text)
  expect(() => readRecord(folder)).toThrow(why)
  expect(() => readRecord(folder)).toThrow(/^\S+cluster\.json does not say .* and delete it$/)
})

test('knows a process by its command line, and no other by the same number', () => {
  const args = [path.basename(process.argv[0]!)]
  expect(isRunning({ pid: process.pid, args })).toBe(true)
  expect(isRunning({ pid: process.pid, args: [...args, 'of somebody else'] })).toBe(false)
  expect(isRunning({ pid: null, args })).toBe(false)
})
