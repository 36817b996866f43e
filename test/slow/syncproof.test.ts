// That an acknowledgement means "on disk", seen from outside: every sync of the server is made to take
// half a second, and no promise may arrive earlier; then every sync is made to fail, and none may arrive.

import type { ChildProcess } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { DiskProcess } from '../support/disk-process.ts'
import { describeWith } from '../support/programs.ts'
import { dial, type RawClient } from '../support/raw-client.ts'
import { injectSyncs } from '../support/strace.ts'

const DELAY_MS = 500
/** Clocks of two processes and timers: a promise this much early is on time. */
const SLACK_MS = 5

describeWith(['strace'], 'an acknowledgement means on disk', ({ strace }) => {
  let folder: string
  let server: DiskProcess
  let tracer: ChildProcess | null = null
  const clients: RawClient[] = []

  beforeEach(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'partyline-sync-'))
  })

  afterEach(async () => {
    for (const client of clients.splice(0)) client.drop()
    tracer?.kill('SIGKILL')
    tracer = null
    await server.kill()
    fs.rmSync(folder, { recursive: true })
  })

  async function client(): Promise<RawClient> {
    const made = await dial(server.address, { deadline: 20_000 })
    clients.push(made)
    return made
  }

  async function publisher(): Promise<RawClient> {
    const made = await client()
    made.connect({ clientId: `publisher-${clients.length}` })
    await made.hears('connack')
    return made
  }

  test('no promise arrives before its sync, whatever else is on its way', async () => {
    server = await DiskProcess.start(folder)
    tracer = await injectSyncs(strace, server.pid, `delay_enter=${DELAY_MS * 1000}`)
    const times = await conversation()
    for (const [what, ms] of times.durable) {
      expect(ms, `${what} after ${ms.toFixed(0)} ms`).toBeGreaterThan(DELAY_MS - SLACK_MS)
    }
    expect(times.durable.map(([what]) => what)).toEqual([
      'CONNACK',
      'SUBACK',
      'PUBACK',
      'PUBREC',
      ...Array.from({ length: 8 }, (_, n) => `PUBACK ${n} of those sent during a sync`),
    ])
    expect(times.volatile.length).toBeGreaterThan(20)
    expect(Math.max(...times.volatile)).toBeLessThan(DELAY_MS / 2)
  })

  test('a server that does not wait for its syncs is found out', async () => {
    server = await DiskProcess.start(folder, { UNSYNCED: '1' })
    tracer = await injectSyncs(strace, server.pid, `delay_enter=${DELAY_MS * 1000}`)
    const times = await conversation()
    const early = times.durable.filter(([, ms]) => ms < DELAY_MS - SLACK_MS)
    expect(early.length).toBeGreaterThan(3)
  })

  test('when syncs fail nothing is acknowledged, and the server ends with one clear line', async () => {
    server = await DiskProcess.start(folder)
    const subscriber = await client()
    subscriber.connect({ clientId: 'durable', clean: false })
    await subscriber.hears('connack')
    subscriber.subscribe('a/#', { qos: 1 })
    await subscriber.hears('suback')
    const one = await publisher()
    const two = await publisher()
    tracer = await injectSyncs(strace, server.pid, 'error=EIO')
    one.publish('a/1', 'lost', { qos: 1 })
    two.publish('a/2', 'lost', { qos: 2 })
    const { code, signal } = await server.exited
    expect({ code, signal }).toEqual({ code: 1, signal: null })
    expect(one.takes()).toEqual([])
    expect(two.takes()).toEqual([])
    expect(subscriber.takes()).toEqual([])
    const said = server.errors.split('\n').filter((line) => line.startsWith('partyline: '))
    expect(said).toHaveLength(1)
    expect(said[0]).toMatch(/the disk did not take what was written.*nothing is acknowledged/)
  })

  /** Milliseconds from each packet to its promise; and of QoS 0 messages from hand to hand meanwhile. */
  async function conversation(): Promise<{ durable: [string, number][]; volatile: number[] }> {
    const durable: [string, number][] = []
    const timed = async (what: string, sent: number, answer: Promise<unknown>) => {
      await answer
      durable.push([what, performance.now() - sent])
    }
    const now = () => performance.now()

    const subscriber = await client()
    let sent = now()
    subscriber.connect({ clientId: 'durable', clean: false })
    await timed('CONNACK', sent, subscriber.hears('connack'))
    sent = now()
    subscriber.subscribe('a/#', { qos: 2 })
    await timed('SUBACK', sent, subscriber.hears('suback'))

    const talk = chatter(await publisher(), await publisher())
    const one = await publisher()
    sent = now()
    one.publish('a/1', 'x', { qos: 1 })
    await timed('PUBACK', sent, one.hears('puback'))
    sent = now()
    const id = one.publish('a/2', 'x', { qos: 2 })
    await timed('PUBREC', sent, one.hears('pubrec'))
    one.ack('pubrel', id)
    await one.hears('pubcomp')

    // One every 130 ms: most begin while a sync that cannot cover them is under way.
    const late: Promise<void>[] = []
    for (let n = 0; n < 8; n++) {
      const other = await publisher()
      late.push(
        (async () => {
          const began = now()
          other.publish('a/3', String(n), { qos: 1 })
          await timed(`PUBACK ${n} of those sent during a sync`, began, other.hears('puback'))
        })(),
      )
      await sleep(130)
    }
    await Promise.all(late)
    return { durable, volatile: await talk() }
  }

  /** Sends QoS 0 from one to the other until it is called, which answers how long each took. */
  function chatter(from: RawClient, to: RawClient): () => Promise<number[]> {
    const took: number[] = []
    let talking = true
    const talk = (async () => {
      to.subscribe('chat')
      await to.hears('suback')
      while (talking) {
        const sent = performance.now()
        from.publish('chat', 'x')
        await to.hears('publish')
        took.push(performance.now() - sent)
        await sleep(20)
      }
    })()
    return async () => {
      talking = false
      await talk
      return took
    }
  }
})
