// Several nodes on one NATS cluster: all hear the same log, retained messages end the same everywhere, and servers
// that die cost time but no message. Who owns a session is in nats-owners.test.ts.

import { expect, test } from 'vitest'
import { EngineError } from '../../src/core/engine.ts'
import { Api } from '../../src/engine/nats/api.ts'
import { Connection, tooOld } from '../../src/engine/nats/connection.ts'
import { Intents } from '../../src/engine/nats/intents.ts'
import { Names } from '../../src/engine/nats/options.ts'
import { Reader } from '../../src/engine/nats/reader.ts'
import { lifetime } from '../../src/engine/nats/retained.ts'
import {
  faultOf,
  flowOf,
  message,
  PROFILE,
  payloads,
  readAll,
  record,
  resolveTopic,
} from '../engine/contract.ts'
import { Gate } from '../support/nats.ts'
import { type Node, nodesForTests, until } from '../support/nats-nodes.ts'
import { describeWith } from '../support/programs.ts'

const say = (text: string) => record([message('say', text)])

/** Appends numbered records one after the other until told to stop; says which were acknowledged. */
function publisher(node: Node, name: string): { stop(): Promise<string[]> } {
  const acknowledged: string[] = []
  let stopped = false
  const done = (async () => {
    for (let n = 1; !stopped; n++) {
      const text = `${name}${n}`
      await node.engine.append(say(text))
      acknowledged.push(text)
    }
  })()
  return {
    async stop() {
      stopped = true
      await done
      return acknowledged
    },
  }
}

/** Both nodes take the same sessions from each other and count in them; says what each came to. */
function wanderers(nodes: readonly Node[], ids: readonly string[]) {
  const counts = new Map(ids.map((id) => [id, 0]))
  let stopped = false
  let lost = 0
  const done = nodes.map(async ({ engine }) => {
    for (let n = 0; !stopped; n++) {
      const id = ids[n % ids.length]!
      const claim = await engine.claim(id).catch((error: unknown) => {
        // Held up, it yields to the other.
        if (error instanceof EngineError && error.fault === 'fenced') return null
        throw error
      })
      if (claim === null) continue
      const { epoch, stored } = claim
      const before = stored?.flow.cursor ?? 0
      if (before < counts.get(id)!) lost++
      const flow = flowOf(engine.log, before + 1)
      const fault = await faultOf(engine.save([{ id, epoch, profile: PROFILE, flow }]))
      if (fault !== 'fenced') counts.set(id, Math.max(counts.get(id)!, before + 1))
    }
  })
  return {
    async stop() {
      stopped = true
      await Promise.all(done)
      return { lost, counts: [...counts.values()] }
    },
  }
}

describeWith(['nats-server'], 'nats nodes', (programs) => {
  const field = nodesForTests(programs['nats-server'], 3)
  const { start } = field

  /** Both heard the same records at the same places, each once, and all that was acknowledged. */
  async function same(a: Node, b: Node, acknowledged: readonly string[]): Promise<void> {
    await until('both nodes heard everything', () => {
      const heard = new Set(b.heard)
      return a.records.length > 0 && acknowledged.every((text) => heard.has(text))
    })
    await until('both are at the same place', () => a.positions.length === b.positions.length)
    expect(b.heard).toEqual(a.heard)
    expect(b.positions).toEqual(a.positions)
    expect(new Set(a.heard).size).toBe(a.heard.length)
    expect([...a.positions].sort((x, y) => x - y)).toEqual(a.positions)
    const order = new Map(a.heard.map((text, n) => [text, n]))
    const places = acknowledged.map((text) => order.get(text)!)
    expect([...places].sort((x, y) => x - y)).toEqual(places)
    expect(payloads(await readAll(a.engine))).toEqual(a.heard)
  }

  test('each hears every record of both, in one order', async () => {
    const [a, b] = [await start('a'), await start('b')]
    const appends = Array.from({ length: 200 }, (_, n) => [
      a.engine.append(say(`a${n}`)),
      b.engine.append(say(`b${n}`)),
    ])
    await Promise.all(appends.flat())
    const all = Array.from({ length: 200 }, (_, n) => n)
    await same(
      a,
      b,
      all.map((n) => `a${n}`),
    )
    await same(
      a,
      b,
      all.map((n) => `b${n}`),
    )
    expect(a.heard).toHaveLength(400)
    expect(a.engine.bounds().last).toBe(b.engine.bounds().last)
    expect(a.engine.log).toBe(b.engine.log)
  })

  test('records lost on their way are read, also the last', async () => {
    const a = await start('a')
    const b = await start('b', { lossy: (seq) => seq % 3 === 0 || seq > 25 })
    for (let n = 1; n <= 30; n++) await a.engine.append(say(String(n)))
    await same(
      a,
      b,
      Array.from({ length: 30 }, (_, n) => String(n + 1)),
    )
    expect(b.engine.repaired).toBeGreaterThan(9)
    expect(a.engine.repaired).toBe(0)
  })

  test('what a node retained last is never undone by the echo of what it retained before', async () => {
    const a = await start('a')
    // As core does it: by position.
    let kept = { text: '', pos: 0 }
    const undone: string[] = []
    const quick: Promise<void>[] = []
    a.record = ({ messages, first }) => {
      kept = { text: `${messages[0]!.payload}, quick`, pos: first }
      const one = message('t', kept.text, { qos: 0, retain: true })
      quick.push(a.engine.retain([{ topic: 't', message: one, pos: first }]))
    }
    const told: string[] = []
    a.retained = ({ message: now, pos }) => {
      const text = now!.payload.toString()
      told.push(text)
      if (pos >= kept.pos && text !== kept.text) undone.push(`${kept.text} by ${text}`)
    }
    for (let n = 1; n <= 20; n++) {
      await a.engine.append(record([message('t', String(n), { retain: true })]))
    }
    await Promise.all(quick)
    expect(undone).toEqual([])
    expect(told.at(-1)).toBe('20, quick')
    expect((await start('b')).retainedOf('t')).toBe('20, quick')
  })

  test('retained messages end the same everywhere: the highest position', async () => {
    const [a, b] = [await start('a'), await start('b')]
    const keep = (text: string) => record([message('t', text, { retain: true })])
    const all: Promise<void>[] = []
    for (let n = 0; n < 40; n++) {
      all.push(a.engine.append(keep(`a${n}`)), b.engine.append(keep(`b${n}`)))
    }
    await Promise.all(all)
    const last = a.heard[a.heard.length - 1]
    const c = await start('c')
    expect(c.retainedOf('t')).toBe(last)
    // Of QoS 0, and so in no record: others are told.
    const pos = a.engine.bounds().last
    const change = { topic: 'u', message: message('u', 'x', { qos: 0, retain: true }), pos }
    await a.engine.retain([change])
    await until('the others know', () => b.retainedOf('u') === 'x' && c.retainedOf('u') === 'x')
    await b.engine.retain([{ topic: 'u', message: null, pos }])
    await until('the others know', () => c.retainedOf('u') === null)
    // The servers forget by themselves what expires.
    const brief = message('v', 'x', { retain: true, expires: 1_700_000_060_000 })
    expect(lifetime(brief)).toEqual({ ttl: '3660s' })
    await a.engine.retain([{ topic: 'v', message: brief, pos }])
    await until('the others know', () => b.retainedOf('v') === 'x')
    // What is older than the stored one is not stored.
    await b.engine.retain([{ topic: 't', message: message('t', 'old', { qos: 0 }), pos: 1 }])
    const d = await start('d')
    expect([d.retainedOf('t'), d.retainedOf('u')]).toEqual([last, null])
  })

  test('what is cast reaches the others and not the sender', async () => {
    const [a, b, c] = [await start('a'), await start('b'), await start('c')]
    a.engine.cast(null, Buffer.from('all'))
    a.engine.cast(b.engine.node, Buffer.from('you'))
    await until('they hear', () => b.casts.length === 2 && c.casts.length === 1)
    const { node } = a.engine
    expect([a.casts, b.casts, c.casts]).toEqual([
      [],
      [`${node} all`, `${node} you`],
      [`${node} all`],
    ])
  })

  test('a QoS 2 message whose node died before it was appended is not taken for a repetition', async () => {
    const a = await start('a', { logBytes: 64 * 1024 })
    const { epoch } = await a.engine.claim('ann')
    const receiving = (...packetIds: number[]) => [
      { id: 'ann', epoch, flow: { ...flowOf(a.engine.log, 1), receiving: packetIds } },
    ]
    const two = (text: string) => [message('t', text, { qos: 2 })]
    await a.engine.append(record(two('1'), [true], receiving(1)))
    const large = 'x'.repeat(50_000)
    await a.engine.append(record([message('t', large)]))
    // Saved, but there was no room for the message; then the node is gone.
    expect(await faultOf(a.engine.append(record(two(large), [true], receiving(1, 2))))).toBe('full')
    await field.ends(a)
    const b = await start('b', { logBytes: 64 * 1024 })
    expect((await b.engine.claim('ann')).stored?.flow.receiving).toEqual([1])
  })

  test('whether an append happened is found out, and that it never will is made sure', async () => {
    const a = await start('a')
    await a.engine.append(say('1'))
    const options = { prefix: field.prefix, runtime: { now: Date.now, random: Math.random } }
    const connection = await Connection.open(
      { servers: field.cluster.addresses, resolve: resolveTopic, ...options },
      'asks',
    )
    const reader = new Reader(new Api(connection))
    const names = new Names(options)
    const lost = (group: string, at = Date.now()) =>
      new Intents(reader, names, Date.now, () => 0).unfulfilled([
        { group, packetIds: [7], after: 0, at },
      ])
    const { value: stored } = await reader.all(names.log, names.subject('l', '*')).next()
    const old = Date.now() - 50_000
    expect(await lost(stored.id)).toEqual(new Set())
    expect(await lost(stored.id, old)).toEqual(new Set())
    expect(await lost('never')).toEqual(new Set([7]))
    // Asked again, and looked for later: the empty record is not mistaken for the append.
    expect(await lost('never')).toEqual(new Set([7]))
    expect(await lost('never', old)).toEqual(new Set([7]))
    expect(await lost('neither', old)).toEqual(new Set([7]))
    // Should it still come, it is refused.
    const late = reader.api.store(names.subject('l', 'a'), Buffer.from('late'), {
      'Nats-Msg-Id': 'never',
    })
    expect((await late).duplicate).toBe(true)
    await a.engine.append(say('2'))
    expect(payloads(await readAll(a.engine))).toEqual(['1', '2'])
    await connection.close()
  })

  test('what one node forgets, another may still need', async () => {
    const [a, b] = [await start('a'), await start('b')]
    for (let n = 1; n <= 5; n++) await a.engine.append(say(String(n)))
    await until('both know each other', () => a.nodes.length === 1 && b.nodes.length === 1)
    await until('b heard all', () => b.heard.length === 5)
    await a.engine.truncate(4096)
    await b.engine.truncate(2048)
    await until('the least of both is forgotten', () => a.engine.bounds().first > 1)
    // The last record that may go stays where it is only a part of what is stored.
    expect(payloads(await readAll(a.engine))).not.toContain('1')
    expect(payloads(await readAll(a.engine))).toEqual(expect.arrayContaining(['3', '4', '5']))
    await until('all know', () => b.engine.bounds().first > 1)
  })

  test('kill -9 of servers: nothing lost, nothing twice, in order', async () => {
    const [a, b] = [await start('a'), await start('b')]
    const loud = publisher(a, 'a')
    const sessions = wanderers([a, b], ['s1', 's2', 's3'])
    const victims = [
      () => field.cluster.leader(`${field.prefix.toUpperCase()}_LOG`),
      async () => field.cluster.at(b.engine.servers.tail),
      async () => field.cluster.at(a.engine.servers.work),
      async () => {
        const leader = await field.cluster.leader(`${field.prefix.toUpperCase()}_LOG`)
        return field.cluster.servers.find((one) => one !== leader)!
      },
    ]
    for (const choose of victims) {
      const before = a.heard.length
      await until('it goes on', () => a.heard.length > before + 20)
      const victim = await choose()
      await victim.kill()
      const reached = a.heard.length
      await until('it goes on without that server', () => a.heard.length > reached + 20)
      victim.start()
      await field.cluster.ready()
    }
    const { lost, counts } = await sessions.stop()
    expect(lost).toBe(0)
    expect(Math.min(...counts)).toBeGreaterThan(10)
    await same(a, b, await loud.stop())
  })

  test('all servers away for 10 s: down is said, then up, and nothing is lost', async () => {
    const [a, b] = [await start('a'), await start('b')]
    const loud = publisher(a, 'a')
    await until('it goes on', () => a.heard.length > 20)
    await Promise.all(field.cluster.servers.map((server) => server.kill()))
    await until('a says so', () => a.states.length === 1, 5_000)
    expect(a.states[0]).toMatch(/^down: no NATS server can be reached/)
    await new Promise((resolve) => setTimeout(resolve, 9_000))
    for (const server of field.cluster.servers) server.start()
    await until('both are back', () => a.states.length === 2 && b.states.length === 2)
    expect(a.states[1]).toMatch(/^up/)
    const reached = a.heard.length
    await until('it goes on', () => a.heard.length > reached + 20)
    await same(a, b, await loud.stop())
    // Nobody was taken for dead: the outage was everybody's.
    expect([...a.nodes, ...b.nodes].filter((what) => what.endsWith('down'))).toEqual([])
  })

  test('a node cut off knows it before the others say so; what it might need is not forgotten', async () => {
    const gate = await Gate.open(field.cluster.servers[0]!.address)
    const a = await start('a')
    const b = await start('b', { servers: [gate.address], learn: false })
    const { epoch } = await b.engine.claim('ann')
    await b.engine.save([{ id: 'ann', epoch, profile: PROFILE, flow: flowOf(b.engine.log, 0) }])
    for (let n = 1; n <= 3; n++) await a.engine.append(say(String(n)))
    await until('a knows b', () => a.nodes.length === 1)
    gate.cut()
    await until('b says that it is down', () => b.states.length === 1, 5_000)
    await until('b lapses', () => b.lapses === 1, 16_000)
    expect(a.nodes).toEqual([`${b.engine.node} up`])
    await until('a takes b for dead', () => a.nodes.length === 2, 12_000)
    expect(a.nodes[1]).toBe(`${b.engine.node} down`)
    await a.engine.truncate(a.engine.bounds().last)
    await new Promise((resolve) => setTimeout(resolve, 3_000))
    expect(payloads(await readAll(a.engine))).toEqual(['1', '2', '3'])
    expect((await a.engine.claim('ann')).stored?.profile).toEqual(PROFILE)
    // Nothing is left of it: now it holds nobody up.
    await a.engine.truncate(a.engine.bounds().last)
    await until('all is forgotten', async () => (await readAll(a.engine)).length === 0)
    gate.mend()
    await until('b is back', () => b.states.length === 2)
    expect(b.proofs).toBe(1)
    expect(await faultOf(b.engine.save([{ id: 'ann', epoch, profile: PROFILE }]))).toBe('fenced')
    await until('b hears what it missed', () => b.heard.length === 3)
    await field.ends(b)
    await gate.close()
  })

  test('says what is wrong with where it is asked to work', async () => {
    await expect(start('a', { servers: ['127.0.0.1:1'] })).rejects.toThrow(
      /start nats-server there/,
    )
    await expect(start('a', { servers: ['http://x'] })).rejects.toThrow(/write nats:\/\/host:4222/)
    await expect(start('a b')).rejects.toThrow(/letters, digits/)
    expect(tooOld('2.11.9')).toMatch(/update nats-server/)
    expect(tooOld('2.12.0')).toBeNull()
    const monitored = await start('a', {
      monitor: field.cluster.servers.map(({ monitor }) => monitor),
    })
    expect(monitored.notes).toEqual([])
    const alone = await start('b')
    expect(alone.notes.join()).toMatch(/^not verified/)
  })
})
