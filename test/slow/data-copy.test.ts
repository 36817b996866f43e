// From a server with a folder to a cluster: what the folder remembers for its clients they find at
// the cluster, each thing once and in order. Real nats-server, real clients.

import { createHash } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { copy } from '../../src/cli/data-copy.ts'
import type { StoredSession } from '../../src/core/types.ts'
import { DiskEngine } from '../../src/engine/disk.ts'
import { copyFolder } from '../../src/engine/nats/folder-copy.ts'
import { NodeRuntime } from '../../src/server/node-runtime.ts'
import { flowOf, Listener, message, PROFILE, record, resolveTopic } from '../engine/contract.ts'
import { NatsCluster } from '../support/nats.ts'
import { Node } from '../support/nats-nodes.ts'
import { describeWith } from '../support/programs.ts'
import type { RawClient } from '../support/raw-client.ts'
import { enter, startServer, subscribed, type TestServer } from '../support/server.ts'

const KEPT = { clean: false, properties: { sessionExpiryInterval: 3_600, receiveMaximum: 4 } }

describeWith(['nats-server'], 'data copy', (programs) => {
  let nats: NatsCluster
  let place: string
  let folder: string
  const servers: TestServer[] = []

  beforeAll(async () => {
    nats = await NatsCluster.start(programs['nats-server'], 1)
  })
  afterAll(() => nats.remove())
  beforeEach(() => {
    place = fs.mkdtempSync(path.join(os.tmpdir(), 'partyline-copy-'))
    folder = path.join(place, 'data')
  })
  afterEach(async () => {
    await Promise.all(servers.splice(0).map((server) => server.stop()))
    await nats.clear()
    fs.rmSync(place, { recursive: true })
  })

  const addresses = (): string => nats.addresses.map((address) => `nats://${address}`).join(',')
  const copied = (): Promise<string[]> => copy(folder, addresses(), {}, () => {})

  async function serve(settings: Parameters<typeof startServer>[0]): Promise<TestServer> {
    const server = await startServer(settings)
    servers.push(server)
    return server
  }

  async function stopped(server: TestServer): Promise<void> {
    servers.splice(servers.indexOf(server), 1)
    await server.stop()
  }

  /** Everything in the folder, byte by byte. */
  function contents(): Record<string, string> {
    const files = fs.readdirSync(folder).filter((name) => name !== 'lock.mdb')
    return Object.fromEntries(
      files.map((name) => {
        const bytes = fs.readFileSync(path.join(folder, name))
        return [name, createHash('sha256').update(bytes).digest('hex')]
      }),
    )
  }

  /** Messages that go to nobody's window, and a session that has seen the first `seen` of them. */
  async function fill(count: number, seen: number): Promise<StoredSession> {
    const engine = new DiskEngine({
      directory: folder,
      runtime: new NodeRuntime(),
      resolve: resolveTopic,
    })
    const heard = new Listener()
    await engine.open(heard)
    const texts = Array.from({ length: count }, (_, n) => record([message('count', String(n))]))
    await Promise.all(texts.map((text) => engine.append(text)))
    const { epoch } = await engine.claim('ann')
    const cursor = texts[seen - 1]?.first ?? 0
    const flow = { ...flowOf(engine.log, cursor), sending: [], awaySince: 1_234_567 }
    await engine.save([{ id: 'ann', epoch, profile: PROFILE, flow }])
    await engine.retain([
      { topic: 'lamp', message: message('lamp', 'on', { retain: true }), pos: 0 },
    ])
    await engine.close()
    return { id: 'ann', epoch, profile: PROFILE, flow }
  }

  async function received(client: RawClient, texts: readonly string[], dup: boolean) {
    for (const text of texts) {
      const { payload, dup: again } = await client.receives()
      expect([payload.toString(), again]).toEqual([text, dup])
    }
  }

  test('a subscriber in the middle of QoS 2 goes on at the cluster, exactly once and in order', async () => {
    const before = await serve({ engine: 'disk', data: folder })
    const { client: reader } = await enter(before, { clientId: 'reader', ...KEPT })
    await subscribed(reader, 'work/#', { qos: 2 })
    const { client: writer } = await enter(before, { clientId: 'writer', ...KEPT })
    const write = async (to: RawClient, text: string): Promise<void> => {
      const id = to.publish('work/x', text, { qos: 2 })
      await to.finds('pubrec')
      to.ack('pubrel', id)
      await to.finds('pubcomp')
    }
    for (const text of ['1', '2', '3', '4', '5', '6']) await write(writer, text)
    await received(reader, ['1'], false)
    const second = await reader.hears('publish')
    reader.ack('pubrec', second.messageId!)
    await reader.finds('pubrel')
    const third = await reader.finds('publish')
    expect([second.payload.toString(), third.payload.toString()]).toEqual(['2', '3'])
    reader.disconnect()
    await reader.closed()
    // Received here, released there.
    const half = writer.publish('work/x', '7', { qos: 2 })
    await writer.finds('pubrec')
    writer.disconnect()
    await writer.closed()
    await stopped(before)

    const files = contents()
    const said = await copied()
    expect(contents()).toEqual(files)
    expect(said.join('\n')).toMatch(/messages \d+, sessions 2, shared groups 0/)

    const after = await serve({ engine: addresses() })
    const { client: author, connack } = await enter(after, { clientId: 'writer', ...KEPT })
    expect(connack.sessionPresent).toBe(true)
    author.publish('work/x', '7', { qos: 2, id: half, dup: true })
    await author.hears('pubrec')
    author.ack('pubrel', half)
    await author.hears('pubcomp')
    const back = await enter(after, { clientId: 'reader', ...KEPT })
    expect(back.connack.sessionPresent).toBe(true)
    await back.client.hears('pubrel', { messageId: second.messageId! })
    back.client.ack('pubcomp', second.messageId!)
    await back.client.receives({ messageId: third.messageId!, dup: true })
    await received(back.client, ['4', '5'], true)
    await received(back.client, ['6', '7'], false)
    author.publish('work/x', '8', { qos: 1 })
    await received(back.client, ['8'], false)
    await back.client.hearsNothing()
  })

  test('retained messages and a shared group are there, removed ones are not', async () => {
    const before = await serve({ engine: 'disk', data: folder })
    const { client: member } = await enter(before, { clientId: 'member', ...KEPT })
    await subscribed(member, '$share/team/jobs/#', { qos: 1 })
    const { client: away } = await enter(before, { clientId: 'away', ...KEPT })
    await subscribed(away, 'gone', { qos: 1 })
    away.disconnect()
    await away.closed()
    const { client: boss } = await enter(before, { clientId: 'boss' })
    const publish = async (topic: string, text: string, retain: boolean): Promise<void> => {
      boss.publish(topic, text, { qos: 1, retain })
      await boss.finds('puback')
    }
    for (const n of ['1', '2', '3']) await publish('jobs/a', n, false)
    await received(member, ['1', '2'], false)
    member.disconnect()
    await member.closed()
    for (const n of ['4', '5', '6']) await publish('jobs/b', n, false)
    await publish('lamp', 'on', true)
    await publish('gone', 'soon', true)
    boss.publish('quick', 'now', { retain: true })
    boss.publish('gone', '', { retain: true })
    await boss.hearsNothing()
    await stopped(before)

    expect((await copied()).join('\n')).toMatch(
      /sessions 2, shared groups 1, retained messages 2$/m,
    )

    const after = await serve({ engine: addresses() })
    const { client: other } = await enter(after, { clientId: 'other' })
    await subscribed(other, '#', { qos: 1 })
    const kept = [await other.receives({ retain: true }), await other.receives({ retain: true })]
    expect(kept.map(({ topic, payload }) => `${topic} ${payload}`).sort()).toEqual([
      'lamp on',
      'quick now',
    ])
    await other.hearsNothing()
    const { client: back } = await enter(
      after,
      { clientId: 'member', ...KEPT },
      { version: 5, deadline: 10_000 },
    )
    const jobs: string[] = []
    while (jobs.length < 4) jobs.push((await back.receives()).payload.toString())
    expect(jobs).toEqual(['3', '4', '5', '6'])
    await back.hearsNothing()
    const { client: missed } = await enter(after, { clientId: 'away', ...KEPT })
    await received(missed, ['soon'], false)
  })

  test('positions, clocks and options of a session are what they were', async () => {
    const stored = await fill(5_000, 1_700)
    expect((await copied())[0]).toMatch(/messages 5000, sessions 1, .* retained messages 1$/)
    const node = new Node({ servers: nats.addresses })
    await node.engine.open(node)
    try {
      const { stored: there } = await node.engine.claim('ann')
      const from = expect.any(Number)
      expect(there?.profile).toEqual({
        ...stored.profile,
        subscriptions: stored.profile.subscriptions.map((one) => ({ ...one, from })),
      })
      expect(there?.flow).toEqual({
        ...stored.flow,
        cursor: there?.flow.cursor,
        log: node.engine.log,
      })
      let scanned = there!.flow.cursor
      const rest: string[] = []
      while (scanned < node.engine.bounds().last) {
        const part = await node.engine.read(scanned, node.engine.bounds().last)
        for (const { first, messages } of part.records) {
          rest.push(
            ...messages.filter((_, i) => first + i > scanned).map((one) => one.payload.toString()),
          )
        }
        scanned = part.scanned
      }
      expect(rest).toEqual(Array.from({ length: 3_300 }, (_, n) => String(1_700 + n)))
      expect(node.retainedOf('lamp')).toBe('on')
    } finally {
      await node.engine.close()
    }
  })

  test('a copy that was interrupted keeps servers out, and is made again', async () => {
    await fill(3_000, 1)
    const options = { servers: nats.addresses, runtime: new NodeRuntime() }
    const interrupted = copyFolder(folder, options, {
      progress: (part) => {
        if (part === 'sessions') throw new Error('the cable was pulled')
      },
      notify: () => {},
    })
    await expect(interrupted).rejects.toThrow('the cable was pulled')
    await expect(startServer({ engine: addresses() })).rejects.toThrow(
      /half a data folder lies in the stream MQ_LOG: finish it with `partyline data copy`/,
    )
    expect((await copied())[0]).toMatch(/messages 3000, sessions 1,/)
    await serve({ engine: addresses() })
  })

  test('streams in use, a folder in use and what is no cluster are refused', async () => {
    await fill(10, 1)
    await expect(copy(folder, 'disk', {}, () => {})).rejects.toThrow(/is copied to NATS servers/)
    const here = await serve({ engine: 'disk', data: folder })
    await expect(copied()).rejects.toThrow(/in use by process \d+: stop that server first/)
    await stopped(here)
    const there = await serve({ engine: addresses(), natsName: 'there' })
    await expect(copied()).rejects.toThrow(/the server there-\w+ runs on these streams: stop it/)
    await stopped(there)
    await copied()
    await expect(copied()).rejects.toThrow(
      /they hold 1 records of messages, 1 sessions and 1 retained messages, and the two cannot be merged/,
    )
    await copy(folder, addresses(), { 'nats-prefix': 'second' }, () => {})
  })
})
