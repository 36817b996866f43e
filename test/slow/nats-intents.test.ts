// Exactly once from a publisher while NATS or a node is away: what was saved as received and is not in the
// log is not taken for a repetition, by whoever has the session next, and nothing is stored that must not be.

import { connect, headers } from '@nats-io/transport-node'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Api, ApiError } from '../../src/engine/nats/api.ts'
import { Connection } from '../../src/engine/nats/connection.ts'
import { Intents } from '../../src/engine/nats/intents.ts'
import { Names } from '../../src/engine/nats/options.ts'
import { Reader } from '../../src/engine/nats/reader.ts'
import { NatsSessions } from '../../src/engine/nats/sessions.ts'
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
import { nodesForTests, until } from '../support/nats-nodes.ts'
import { describeWith } from '../support/programs.ts'

const LOG = 'mine'

describeWith(['nats-server'], 'QoS 2 messages in doubt', (programs) => {
  const field = nodesForTests(programs['nats-server'], 1)
  const { start } = field

  test('an append whose place was taken is refused, also to those it was none of', async () => {
    const [a, b] = [await start('a'), await start('b')]
    await a.engine.append(record([message('t', 'first')]))
    // As another node does that takes over a session whose message may be under way.
    const nc = await connect({ servers: field.cluster.addresses })
    const fields = headers()
    fields.set('Nats-Msg-Id', `${a.engine.node}.2`)
    await nc.request(`${field.prefix}.l.${b.engine.node}`, '', { headers: fields, timeout: 5_000 })
    await nc.close()
    expect(await faultOf(a.engine.append(record([message('t', 'void')])))).toBe('down')
    await a.engine.append(record([message('t', 'last')]))
    await until('b heard it', () => b.heard.includes('last'))
    expect(a.heard).toEqual(['first', 'last'])
    expect(b.heard).toEqual(a.heard)
    expect(payloads(await readAll(a.engine))).toEqual(a.heard)
  })

  describeSessions()

  function describeSessions(): void {
    let connection: Connection
    let sessions: NatsSessions
    let reader: Reader
    let names: Names
    let nonces = 0

    beforeEach(async () => {
      const runtime = { now: Date.now, random: Math.random }
      const { prefix, cluster } = field
      const options = { servers: cluster.addresses, prefix, resolve: resolveTopic, runtime }
      await start('maker')
      connection = await Connection.open(options, 'test')
      reader = new Reader(new Api(connection))
      names = new Names(options)
      sessions = new NatsSessions({
        reader,
        names,
        log: LOG,
        nonce: () => `${names.node}.${++nonces}`,
        now: Date.now,
        intents: new Intents(reader, names, Date.now, () => 0),
        kick: async () => true,
        remind: () => {},
        lost: () => {},
        damaged: () => {},
        needs: () => {},
      })
    })
    afterEach(() => connection.close())

    /** `ann` is saved as having received these, the last with an append of that identity. */
    async function receives(packetIds: readonly number[], group: string) {
      const { epoch } = await sessions.claim('ann')
      const flow = { ...flowOf(LOG, 1), receiving: packetIds }
      const saves = [{ id: 'ann', epoch, profile: PROFILE, flow }]
      await sessions.save(saves, group)
      return saves
    }

    async function found(): Promise<readonly number[] | undefined> {
      return (await sessions.claim('ann')).stored?.flow.receiving
    }

    test('a node that gave its sessions up and takes one again asks what became of its messages', async () => {
      const group = `${names.node}.never`
      const saves = await receives([7], group)
      sessions.settled(saves, group, false)
      sessions.landed(group)
      sessions.lapsed()
      expect(await found()).toEqual([])
      // Nobody saved it yet: whoever claims it now finds the same.
      sessions.lapsed()
      expect(await found()).toEqual([])
    })

    test('who claims it there next, before anybody used it, hears the same', async () => {
      const group = `${names.node}.dropped`
      const saves = await receives([6], group)
      sessions.settled(saves, group, false)
      sessions.landed(group)
      sessions.lapsed()
      expect(await found()).toEqual([])
      expect(await found()).toEqual([])
    })

    test('when that could not be found out, the next claim asks again', async () => {
      const group = `${names.node}.unknown`
      const saves = await receives([9], group)
      sessions.settled(saves, group, false)
      sessions.landed(group)
      sessions.lapsed()
      const { api } = reader
      const store = api.store.bind(api)
      api.store = (subject, bytes, fields) => {
        if (bytes.length === 0) throw new ApiError({ code: 500 })
        return store(subject, bytes, fields)
      }
      await expect(found()).rejects.toThrow(ApiError)
      api.store = store
      expect(await found()).toEqual([])
    })

    test('it waits for an append of its own that is under way', async () => {
      const group = `${names.node}.late`
      const saves = await receives([8], group)
      sessions.lapsed()
      const again = found()
      await reader.api.store(names.subject('l', names.node), Buffer.from('late'), {
        'Nats-Msg-Id': group,
      })
      sessions.settled(saves, group, true)
      sessions.landed(group)
      expect(await again).toEqual([8])
    })
  }
})
