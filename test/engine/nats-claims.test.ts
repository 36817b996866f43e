// A session that two nodes ask for at once, over NATS: the servers may have granted it to a node that has not heard of
// that when the next one asks it to let go.

import { expect, test } from 'vitest'
import type { Intents } from '../../src/engine/nats/intents.ts'
import { Names } from '../../src/engine/nats/options.ts'
import type { Reader, Stored } from '../../src/engine/nats/reader.ts'
import { NatsSessions } from '../../src/engine/nats/sessions.ts'
import { ManualRuntime } from './contract.ts'

/** Servers that do at once what they are asked and answer when they are told to. */
class Servers {
  readonly newest = new Map<string, Stored>()
  answer: () => void = () => {}

  readonly reader = {
    api: {
      connection: { maxPayload: 1_000_000 },
      store: async (subject: string, data: Buffer) => {
        this.newest.set(subject, { seq: 7, subject, time: 0, id: '', data })
        await new Promise<void>((resolve) => {
          this.answer = resolve
        })
        return { seq: 7, duplicate: false }
      },
    },
    last: async (_: string, subject: string) => this.newest.get(subject) ?? null,
    lastOfLeader: async (_: string, subject: string) => this.newest.get(subject) ?? null,
  } as unknown as Reader
}

function sessionsOf(servers: Servers): NatsSessions {
  return new NatsSessions({
    reader: servers.reader,
    names: new Names({ runtime: new ManualRuntime() }),
    log: 'mine',
    nonce: () => 'once',
    now: () => 0,
    intents: {} as Intents,
    kick: async () => true,
    remind: () => {},
    lost: () => {},
    damaged: () => {},
    needs: () => {},
  })
}

test('a node that is asked to let go of what it was just granted hears of the grant first', async () => {
  const servers = new Servers()
  const sessions = sessionsOf(servers)
  const told: string[] = []
  const claim = sessions.claim('ann')
  void claim.then(() => told.push('granted'))
  while (servers.newest.size === 0) await new Promise((resolve) => setImmediate(resolve))
  const released = sessions.release('ann', 0, async () => {
    told.push('asked to let go')
  })
  await new Promise((resolve) => setImmediate(resolve))
  servers.answer()
  await released
  expect(told).toEqual(['granted', 'asked to let go'])
  const { epoch } = await claim
  await expect(sessions.save([{ id: 'ann', epoch }], null)).rejects.toMatchObject({
    fault: 'fenced',
  })
})
