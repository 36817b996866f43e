// QoS 2 messages of several sessions in one append, one of which is another node's by now: the others' are
// appended again, and their records say with which append.

import { expect, test } from 'vitest'
import type { LogRecord, SessionSave } from '../../src/core/engine.ts'
import { RECORD_BYTES_MAX } from '../../src/core/types.ts'
import type { Api } from '../../src/engine/nats/api.ts'
import { ApiError, ErrCode } from '../../src/engine/nats/api.ts'
import { Appends } from '../../src/engine/nats/appends.ts'
import type { Intents } from '../../src/engine/nats/intents.ts'
import { Names } from '../../src/engine/nats/options.ts'
import type { Reader, Stored } from '../../src/engine/nats/reader.ts'
import {
  decodeSession,
  encodeSession,
  NOBODYS,
  tokenOf,
} from '../../src/engine/nats/session-record.ts'
import { NatsSessions } from '../../src/engine/nats/sessions.ts'
import { RecordCodec } from '../../src/engine/record.ts'
import { flowOf, ManualRuntime, message, PROFILE, record, resolveTopic } from './contract.ts'

const LOG = 'mine'

/** What the servers hold: the newest version of each record, and which appends. */
class Servers {
  readonly newest = new Map<string, Stored>()
  readonly appended: string[] = []
  /** Subjects whose writes wait until the next turn. */
  readonly slow = new Set<string>()
  /** Told before an append is stored. */
  onAppend: () => void = () => {}
  #seq = 0

  readonly reader = {
    api: {
      connection: { maxPayload: 1_000_000 },
      store: (subject: string, bytes: Buffer, fields: Record<string, string>) =>
        this.#store(subject, bytes, fields),
    },
    last: async (_: string, subject: string) => this.newest.get(subject) ?? null,
    lastOfLeader: async (_: string, subject: string) => this.newest.get(subject) ?? null,
  } as unknown as Reader

  async #store(subject: string, data: Buffer, fields: Record<string, string>) {
    if (this.slow.has(subject)) await new Promise((resolve) => setImmediate(resolve))
    const id = fields['Nats-Msg-Id'] ?? ''
    if (id !== '') {
      this.onAppend()
      this.appended.push(id)
    }
    const expected = fields['Nats-Expected-Last-Subject-Sequence']
    if (expected !== undefined && Number(expected) !== (this.newest.get(subject)?.seq ?? 0)) {
      throw new ApiError({ code: 400, err_code: ErrCode.wrongLastSequence })
    }
    const seq = ++this.#seq
    this.newest.set(subject, { seq, subject, time: 0, id, data })
    return { seq, duplicate: false }
  }
}

/** One node of them. */
class Node {
  readonly servers = new Servers()
  readonly names = new Names({ runtime: new ManualRuntime() })
  readonly sessions: NatsSessions
  readonly #appends: Appends
  #identities = 0

  constructor() {
    const { servers, names } = this
    const identity = (): string => `i${++this.#identities}`
    this.sessions = new NatsSessions({
      reader: servers.reader,
      names,
      log: LOG,
      nonce: identity,
      now: () => 0,
      intents: {
        made: (group: string, packetIds: number[]) => ({ group, packetIds, after: 0, at: 0 }),
      } as unknown as Intents,
      kick: async () => true,
      remind: () => {},
      lost: () => {},
      damaged: () => {},
      needs: () => {},
    })
    this.#appends = new Appends({
      api: servers.reader.api as Api,
      subject: names.subject('l', names.node),
      codec: new RecordCodec(resolveTopic),
      identity,
      save: (saves, group) => this.sessions.save(saves, group),
      stored: (group) => {
        group.wasDelivered = true
        group.deliver()
      },
      isVoid: async () => false,
      settled: (saves, group, stored) => this.sessions.settled(saves, group, stored),
      landed: (group) => this.sessions.landed(group),
    })
  }

  subjectOf(id: string): string {
    return this.names.subject('s', tokenOf(Buffer.from(id)))
  }

  /** What the servers hold of a session: identifiers in doubt, each with the append it is of. */
  doubts(id: string): [string, readonly number[]][] {
    const { data } = this.servers.newest.get(this.subjectOf(id)) as Stored
    const { intents } = decodeSession(tokenOf(Buffer.from(id)), data)
    return intents.map(({ group, packetIds }) => [group, packetIds])
  }

  /** Another node writes the session's record. */
  takenByOther(id: string): void {
    const subject = this.subjectOf(id)
    const data = encodeSession(tokenOf(Buffer.from(id)), id, { ...NOBODYS, node: 'other' })
    const { seq } = this.servers.newest.get(subject) as Stored
    this.servers.newest.set(subject, { seq: seq + 1_000, subject, time: 0, id: '', data })
  }

  async owns(id: string): Promise<SessionSave> {
    const { epoch } = await this.sessions.claim(id)
    await this.sessions.save([{ id, epoch, profile: PROFILE, flow: flowOf(LOG, 1) }], null)
    return { id, epoch }
  }

  append(text: string, saves: readonly (SessionSave & { receives: number })[]): Promise<void> {
    const all: SessionSave[] = saves.map(({ id, epoch, receives }) => ({
      id,
      epoch,
      flow: { ...flowOf(LOG, 1), receiving: [receives] },
    }))
    const appended: LogRecord = record([message('t', text, { qos: 2 })], undefined, all)
    return this.#appends.append(appended)
  }
}

for (const slow of [false, true]) {
  test(`messages appended again are saved for that append${slow ? ', however slow the servers' : ''}`, async () => {
    const node = new Node()
    const ann = await node.owns('ann')
    const bob = await node.owns('bob')
    node.takenByOther('ann')
    if (slow) {
      // What is saved with the append waits for an earlier save.
      node.servers.slow.add(node.subjectOf('bob'))
      void node.sessions.save([{ ...bob, flow: flowOf(LOG, 2) }], null)
    }
    const doubts: [string, readonly number[]][] = []
    node.servers.onAppend = () => doubts.push(...node.doubts('bob'))
    const before = node.append('of somebody else', [])
    const both = node.append('of both', [
      { ...ann, receives: 1 },
      { ...bob, receives: 2 },
    ])
    // Too large to go along.
    const behind = node.append('x'.repeat(RECORD_BYTES_MAX), [])
    // The rest is appended again as soon as it was refused, as core does, while what went along is on its way.
    let again: Promise<void> = Promise.resolve()
    const refused = both.catch((error: unknown) => {
      again = node.append('of bob', [{ ...bob, receives: 2 }])
      throw error
    })
    await expect(refused).rejects.toMatchObject({ fault: 'fenced' })
    await Promise.all([before, behind, again])
    await new Promise((resolve) => setImmediate(resolve))
    const [first, , last] = node.servers.appended
    expect(first).not.toBe(last)
    expect(node.doubts('bob')).toEqual([[last, [2]]])
    // Whoever takes his session before that does not believe that the first append has his message.
    expect(doubts.map(([group]) => group)).not.toContain(first)
    // Stored: nothing is in doubt any more.
    await node.sessions.save([{ ...bob, flow: { ...flowOf(LOG, 1), receiving: [2] } }], null)
    expect(node.doubts('bob')).toEqual([])
  })
}
