// The memory engine against the contract, and what is its own.

import { expect, test } from 'vitest'
import { MemoryEngine } from '../../src/engine/memory.ts'
import { describeEngine, Listener, ManualRuntime, message, numbered, record } from './contract.ts'

describeEngine('memory', {
  make: (runtime, cap) =>
    cap === undefined
      ? new MemoryEngine(runtime)
      : new MemoryEngine(runtime, { memoryLogBytes: cap }),
  clear: () => {},
})

test('a record is told within the call: nothing to wait for', async () => {
  const engine = new MemoryEngine(new ManualRuntime())
  const heard = new Listener()
  await engine.open(heard)
  const first = engine.append(numbered(1))
  expect(heard.records).toHaveLength(1)
  // One promise for all: an append that keeps nothing must cost nothing.
  expect(engine.append(record([message('a', '1')], [false]))).toBe(first)
})

test('empty messages fill the log too', async () => {
  const engine = new MemoryEngine(new ManualRuntime(), { memoryLogBytes: 1000 })
  await engine.open(new Listener())
  const empty = () => record([message('a', '')])
  for (let n = 0; n < 7; n++) await engine.append(empty())
  await expect(engine.append(empty())).rejects.toThrow(/for sessions that are away/)
})

test('two logs never have the same identity', () => {
  const runtime = new ManualRuntime()
  const logs = Array.from({ length: 100 }, () => new MemoryEngine(runtime).log)
  expect(new Set(logs).size).toBe(100)
  expect(logs[0]).toMatch(/^[0-9a-f]{32}$/)
})
