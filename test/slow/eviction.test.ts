// One client is away and the log fills up: the client pays, is named and counted, and nobody else notices.

import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { DiskProcess } from '../support/disk-process.ts'
import { dial, type RawClient } from '../support/raw-client.ts'

const LOG_BYTES = 8 * 1024 * 1024
const PADDING = 'x'.repeat(10_000)

test('the session that holds the log back loses its oldest messages, and publishers go on', async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'partyline-evict-'))
  const server = await DiskProcess.start(folder, { LOG_BYTES: String(LOG_BYTES) })
  const connect = async (clientId: string, clean: boolean): Promise<RawClient> => {
    const client = await dial(server.address, { version: 5, deadline: 10_000 })
    const properties = clean ? {} : { properties: { sessionExpiryInterval: 3600 } }
    client.connect({ clientId, clean, ...properties })
    await client.hears('connack', { reasonCode: 0 })
    return client
  }
  const away = await connect('sleeper', false)
  away.subscribe('owed', { qos: 1 })
  await away.hears('suback')
  away.drop()

  const publisher = await connect('publisher', true)
  const total = Math.ceil((4 * LOG_BYTES) / PADDING.length)
  for (let n = 0; n < total; n++) {
    publisher.publish('owed', `${n} ${PADDING}`, { qos: 1 })
    const { reasonCode = 0 } = await publisher.hears('puback')
    expect(reasonCode, `publish ${n}`).toBeLessThan(0x80)
  }
  const told = [...server.errors.matchAll(/^evicted: sleeper, messages lost: (\d+)$/gm)]
  const lost = told.reduce((sum, [, count]) => sum + Number(count), 0)
  expect(lost).toBeGreaterThan(0)
  expect(server.errors).not.toMatch(/evicted: (?!sleeper)/)
  expect(fs.statSync(path.join(folder, 'data.mdb')).size).toBeLessThan(2 * LOG_BYTES)

  const back = await connect('sleeper', false)
  const numbers: number[] = []
  while (numbers[numbers.length - 1] !== total - 1) {
    numbers.push(Number((await back.receives()).payload.toString().split(' ')[0]))
  }
  // What is left is the newest part, whole and in order.
  expect(numbers.length).toBeGreaterThan(LOG_BYTES / PADDING.length / 4)
  expect(numbers).toEqual(Array.from(numbers, (_, n) => total - numbers.length + n))
  expect(numbers.length + lost).toBe(total)
  back.drop()
  publisher.drop()
  expect(await server.stop()).toEqual({ code: 0, signal: null })
  fs.rmSync(folder, { recursive: true })
})
