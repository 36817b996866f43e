// `partyline cluster up`, as somebody tries it out: it starts, a message crosses it, a broker is killed
// and not missed, and when it is told to stop nothing is left.

import { type ChildProcess, execFile, spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { ClusterRecord } from '../../src/cli/cluster-record.ts'
import { freeBlock } from '../support/free-ports.ts'
import { join } from '../support/mqtt-js.ts'
import { until } from '../support/nats-nodes.ts'
import { describeWith } from '../support/programs.ts'

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

interface Ran {
  readonly status: number
  readonly output: string
}

/** Runs `partyline cluster …` to its end. */
function cluster(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ran> {
  return new Promise((resolve) => {
    const options = { env: { ...process.env, ...env } }
    execFile(process.execPath, [main, 'cluster', ...args], options, (error, stdout, stderr) => {
      const status = error === null ? 0 : Number(error.code)
      resolve({ status, output: `${stdout}${stderr}` })
    })
  })
}

describeWith(['nats-server', 'haproxy'], 'a cluster on this machine', () => {
  let folder: string
  let port: number
  let up: ChildProcess
  let said: string
  let ended: Promise<number | null>

  beforeEach(async () => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'partyline-up-'))
    port = await freeBlock()
  })

  afterEach(async () => {
    await cluster(['down', folder])
    fs.rmSync(folder, { recursive: true, force: true })
  })

  async function start(): Promise<void> {
    said = ''
    const args = ['up', folder, '--port', String(port), '--brokers', '2']
    up = spawn(process.execPath, [main, 'cluster', ...args])
    for (const out of [up.stdout!, up.stderr!]) {
      out.setEncoding('utf8').on('data', (text: string) => {
        said += text
      })
    }
    ended = new Promise((resolve) => up.once('close', resolve))
    await Promise.race([
      until('it to say what to try', () => said.includes('Ctrl-C stops everything'), 60_000),
      ended.then(() => expect.fail(said)),
    ])
  }

  const record = (): ClusterRecord =>
    JSON.parse(fs.readFileSync(path.join(folder, 'cluster.json'), 'utf8')) as ClusterRecord
  const processes = (): number[] => record().parts.map(({ pid }) => pid!)
  const at = (offset: number) => ({ host: '127.0.0.1', port: port + offset })

  test('a message crosses it, a broker is killed, `up` itself is killed, and nothing is left in the end', async () => {
    await start()
    const stays = { clientId: 'bob', clean: false, properties: { sessionExpiryInterval: 60 } }
    const reader = await join(at(1), stays)
    await reader.client.subscribeAsync('SPORTS', { qos: 1 })
    const writer = await join(at(2))
    await writer.client.publishAsync('SPORTS', 'goal', { qos: 1 })
    await writer.client.publishAsync('SPORTS/final', '2:1', { qos: 1, retain: true })
    expect(await reader.inbox.text()).toBe('goal')

    const again = await cluster(['up', folder, '--port', String(port)])
    expect(again).toMatchObject({ status: 1, output: expect.stringMatching(/runs in .* already/) })
    const other = await cluster(['up', `${folder}/other`, '--port', String(port)])
    expect(other.output).toMatch(/nats-1 cannot have port \d+ \(it is in use\); .* --port 6000/)

    const { parts } = record()
    const broker = parts.find(({ name }) => name === 'broker-1')
    // While `up` stands still it starts nothing again, however long the rest takes.
    up.kill('SIGSTOP')
    process.kill(broker!.pid!, 'SIGKILL')
    const status = await cluster(['status', folder])
    expect(status).toMatchObject({
      status: 1,
      output: expect.stringMatching(/broker-1 .* does not run\n.*broker-2 .* is well/),
    })
    await writer.client.publishAsync('SPORTS', 'while it is away', { qos: 1 })
    const back = await join(at(0), stays)
    expect(back.connack.sessionPresent).toBe(true)
    expect(await back.inbox.text()).toBe('while it is away')
    up.kill('SIGCONT')
    await until('it to be missed', () => said.includes('broker-1 has ended (by SIGKILL)'))
    await until('the broker to be back', () => said.includes('broker-1 is back'))
    expect((await cluster(['status', folder])).status).toBe(0)

    const first = processes()
    up.kill('SIGKILL')
    await ended
    expect(first.filter(isThere)).toEqual(first)
    await start()
    expect(said).toContain('stopped what was left of an earlier one: haproxy, broker-2, broker-1')
    expect(first.filter(isThere)).toEqual([])
    const later = await join(at(1))
    await later.client.subscribeAsync('SPORTS/final', { qos: 1 })
    expect(await later.inbox.text()).toBe('2:1')

    const second = processes()
    expect(await cluster(['down', folder])).toMatchObject({
      status: 0,
      output: expect.stringMatching(/^stopped; what was stored stays/),
    })
    expect(await ended).toBe(0)
    expect(second.filter(isThere)).toEqual([])
    expect(await cluster(['down', folder])).toMatchObject({
      status: 0,
      output: expect.stringMatching(/^no cluster runs/),
    })
    for (const guest of [reader, writer, back, later]) guest.vanish()
  })

  test('a closed terminal stops it', async () => {
    await start()
    const all = processes()
    for (const out of [up.stdout!, up.stderr!]) out.destroy()
    up.kill('SIGHUP')
    expect(await ended).toBe(0)
    expect(all.filter(isThere)).toEqual([])
  })

  test('what cannot be its folder is said so, at once', async () => {
    const file = path.join(folder, 'file')
    fs.writeFileSync(file, '')
    for (const wrong of [file, ...(process.platform === 'linux' ? ['/proc/none'] : [])]) {
      const { status, output } = await cluster(['up', wrong, '--port', String(port)])
      expect(status).toBe(1)
      expect(output).toMatch(/cannot be written as the folder of a cluster: .*; name another/)
    }
  })

  test('without nats-server it says in one sentence what to do', async () => {
    const missing = { PARTYLINE_NATS_SERVER: process.execPath }
    const { status, output } = await cluster(['up', folder, '--port', String(port)], missing)
    expect(status).toBe(1)
    expect(output).toMatch(/^partyline cluster: nats-server 2\.12 or newer is not here; get it/)
    expect(output.trimEnd()).not.toContain('\n')
  })
})

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
