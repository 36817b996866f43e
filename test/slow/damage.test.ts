// A server on a damaged folder, and on a disk that is full: it serves what is sound or refuses in one
// sentence, never a changed byte, never an end by signal; and a full disk is not the end of anything.

import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { DiskProcess } from '../support/disk-process.ts'
import { skipSuite } from '../support/programs.ts'
import { dial, type RawClient } from '../support/raw-client.ts'

const MESSAGES = 200

describe('a damaged folder', () => {
  let place: string
  /** Left by a killed server: messages that one session is owed. */
  let left: string

  beforeAll(async () => {
    place = fs.mkdtempSync(path.join(os.tmpdir(), 'partyline-damage-'))
    left = path.join(place, 'left')
    const server = await DiskProcess.start(left)
    const away = await dial(server.address)
    away.connect({ clientId: 'away', clean: false })
    await away.hears('connack')
    away.subscribe('owed/#', { qos: 1 })
    await away.hears('suback')
    away.drop()
    const publisher = await dial(server.address)
    publisher.connect({ clientId: 'publisher' })
    await publisher.hears('connack')
    for (let n = 0; n < MESSAGES; n++) publisher.publish('owed/1', payload(n), { qos: 1 })
    for (let n = 0; n < MESSAGES; n++) await publisher.hears('puback')
    publisher.drop()
    await server.kill()
  })

  afterAll(() => fs.rmSync(place, { recursive: true }))

  test.each<[string, (file: Buffer) => Buffer]>([
    ['cut by a page', (file) => file.subarray(0, file.length - 4096)],
    ['cut by half', (file) => file.subarray(0, file.length / 2)],
    ['flipped bits near its end', (file) => flip(file, file.length - 40_000, 64)],
    ['flipped bits in its middle', (file) => flip(file, file.length >> 1, 64)],
    ['a page of zeros', (file) => file.fill(0, 4096 * 20, 4096 * 21)],
    ['another page of zeros', (file) => file.fill(0, file.length - 8192, file.length - 4096)],
    ['a damaged first meta page', (file) => flip(file, 16, 200)],
    ['a damaged second meta page', (file) => flip(file, 4096 + 16, 200)],
    ['nothing but zeros', (file) => file.fill(0)],
  ])('with %s is served unchanged or refused in one sentence', async (name, harm) => {
    const copy = path.join(place, name)
    fs.cpSync(left, copy, { recursive: true })
    const file = path.join(copy, 'data.mdb')
    fs.writeFileSync(file, harm(fs.readFileSync(file)))
    const outcome = await DiskProcess.start(copy).catch((error: Error) => error.message)
    if (typeof outcome === 'string') {
      // Its own exit, and not a signal.
      expect(outcome).toMatch(/^ended with 1 before it listened/)
      const said = outcome.split('\n').filter((line) => line.includes('partyline: '))
      expect(said).toHaveLength(1)
      expect(outcome).toMatch(/partyline data check/)
      expect(outcome).toMatch(/partyline data backup/)
      return
    }
    const back = await dial(outcome.address)
    back.connect({ clientId: 'away', clean: false })
    await back.hears('connack', { sessionPresent: true })
    await sleep(500)
    const heard = back.takes().filter((packet) => packet.cmd === 'publish')
    for (const { payload: got } of heard) {
      const n = Number(got.toString().split(' ')[0])
      expect(got.toString()).toBe(payload(n))
    }
    back.drop()
    expect(await outcome.stop()).toEqual({ code: 0, signal: null })
  })

  test('untouched is served whole', async () => {
    const server = await DiskProcess.start(left)
    const back = await dial(server.address)
    back.connect({ clientId: 'away', clean: false })
    await back.hears('connack', { sessionPresent: true })
    for (let n = 0; n < MESSAGES; n++) {
      const { payload: got } = await back.receives()
      expect(got.toString()).toBe(payload(n))
    }
    back.drop()
    await server.kill()
  })
})

function payload(n: number): string {
  return `${n} ${String.fromCharCode(97 + (n % 26)).repeat(3000)}`
}

function flip(file: Buffer, at: number, count: number): Buffer {
  for (let i = at; i < at + count; i++) file[i]! ^= 0xff
  return file
}

const mountable = process.platform === 'linux' && process.getuid?.() === 0 && canMount()

function canMount(): boolean {
  const there = fs.mkdtempSync(path.join(os.tmpdir(), 'partyline-mount-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', there], { stdio: 'ignore' })
    execFileSync('umount', [there])
    return true
  } catch {
    return false
  } finally {
    fs.rmSync(there, { recursive: true })
  }
}

if (mountable) fullDisk()
else skipSuite('a full disk', 'a small file system can only be mounted as root on Linux')

function fullDisk(): void {
  describe('a full disk', () => {
    let disk: string
    let server: DiskProcess
    const clients: RawClient[] = []

    beforeEach(async () => {
      disk = fs.mkdtempSync(path.join(os.tmpdir(), 'partyline-full-'))
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=32m', 'tmpfs', disk])
      server = await DiskProcess.start(path.join(disk, 'data'))
    })

    afterEach(async () => {
      for (const client of clients.splice(0)) client.drop()
      await server.kill()
      execFileSync('umount', [disk])
      fs.rmdirSync(disk)
    })

    async function client(clientId: string, clean: boolean): Promise<RawClient> {
      const made = await dial(server.address, { version: 5 })
      clients.push(made)
      const properties = clean ? {} : { properties: { sessionExpiryInterval: 3600 } }
      made.connect({ clientId, clean, ...properties })
      await made.hears('connack', { reasonCode: 0 })
      return made
    }

    test('refuses with "quota exceeded", loses nothing, and takes messages again', async () => {
      const away = await client('away', false)
      away.subscribe('owed', { qos: 1 })
      await away.hears('suback')
      away.drop()
      const here = await client('here', true)
      here.subscribe('chat')
      await here.hears('suback')
      const publisher = await client('publisher', true)
      const accepted: string[] = []
      const publish = async (text: string): Promise<number> => {
        publisher.publish('owed', text, { qos: 1 })
        const { reasonCode = 0 } = await publisher.hears('puback')
        if (reasonCode < 0x80) accepted.push(text)
        return reasonCode
      }
      expect(await publish('before')).toBe(0)

      const ballast = path.join(disk, 'ballast')
      fillWith(ballast)
      const answers: number[] = []
      for (let n = 0; n < 20; n++) answers.push(await publish(`${n} ${'z'.repeat(20_000)}`))
      expect(answers).toContain(0x97)
      expect(answers.every((code) => code === 0 || code === 0x97)).toBe(true)
      publisher.publish('chat', 'still here')
      await here.hears('publish', { topic: 'chat' })

      fs.rmSync(ballast)
      let recovered = 0x97
      for (let tries = 0; tries < 40 && recovered !== 0; tries++) {
        await sleep(100)
        recovered = await publish(`after ${tries}`)
      }
      expect(recovered).toBe(0)

      const back = await client('away', false)
      for (const text of accepted) expect((await back.receives()).payload.toString()).toBe(text)
      await back.hearsNothing()
      expect(await server.stop()).toEqual({ code: 0, signal: null })
    })
  })
}

/** Writes until there is no room for another byte. */
function fillWith(file: string): void {
  const descriptor = fs.openSync(file, 'w')
  for (let size = 1024 * 1024; size >= 1; size = size > 4096 ? size / 2 : 0) {
    try {
      for (;;) fs.writeSync(descriptor, Buffer.alloc(size))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
    }
  }
  fs.closeSync(descriptor)
}
