// The short form of `npm run chaos`: every kind of fault that is quick, one of the long ones in turn, then all
// nodes restarted in order; nothing acknowledged lost, nothing of QoS 2 doubled, also in a shared group with members
// at all nodes. And the judges themselves.

import { beforeAll, describe, expect, test } from 'vitest'
import { describeWith } from '../support/programs.ts'
import { FAULTS, type Fault, UPGRADE } from './chaos/faults.ts'
import { Frames, payloadOf } from './chaos/frames.ts'
import { Owners } from './chaos/owners.ts'
import { chaosRun, type Outcome } from './chaos/run.ts'
import { judgeWills } from './chaos/wills.ts'
import { HARMS, harmed } from './crash/harm.ts'
import { judge } from './crash/history.ts'

/** Each costs an election of NATS or more, which takes it 4 to 9 s: one of them a day. */
const SLOW = [
  'NATS leader killed',
  'NATS follower killed',
  'two of three NATS servers killed',
  'NATS server paused',
  'NATS away',
]
const today = Math.floor(Date.now() / 86_400_000)

function named(names: readonly string[]): Fault[] {
  return FAULTS.filter(({ name }) => names.includes(name))
}

describeWith(['nats-server', 'haproxy'], 'a cluster to which everything happens', (programs) => {
  const quick = FAULTS.filter(({ name }) => !SLOW.includes(name))
  const slow = named([SLOW[today % SLOW.length]!])
  let outcome: Outcome

  beforeAll(async () => {
    outcome = await chaosRun({
      programs,
      seed: today,
      faults: [...quick, ...slow, ...UPGRADE],
      long: false,
      groups: true,
      rate: 2_000,
      acknowledged: 20_000,
      say: () => {},
    })
  }, 240_000)

  test('breaks no promise', () => {
    expect(outcome.faults, `seed ${today}`).toEqual([])
  })

  test('met every fault it was to meet, and was busy enough to prove something', () => {
    const met = outcome.costs.map(({ fault }) => fault)
    expect(met, `seed ${today}`).toEqual([...quick, ...slow, ...UPGRADE].map(({ name }) => name))
    expect(outcome.acknowledged).toBeGreaterThanOrEqual(20_000)
    expect(outcome.acknowledgedQos2 / outcome.acknowledged).toBeGreaterThan(0.3)
    expect(outcome.moves).toBeGreaterThan(5)
    expect(outcome.records).toBeGreaterThan(100)
  })

  test('restarted node by node in order, nobody was without service for long', () => {
    const upgrades = outcome.costs.filter(({ fault }) => fault === UPGRADE[0]!.name)
    expect(upgrades).toHaveLength(3)
    expect(upgrades.flatMap(({ reconnects }) => reconnects).length).toBeGreaterThan(3)
    expect(Math.max(...upgrades.flatMap(({ gaps }) => gaps))).toBeLessThan(10_000)
  })

  test.each(HARMS)('is judged guilty for %s', (_what, harm) => {
    const { history } = outcome
    expect(judge(harmed(history, harm))).toHaveLength(judge(history).length + 1)
  })
})

describe('the judge of owners', () => {
  const session = Buffer.from('ann').toString('base64url')
  const version = (seq: number, node: string, epoch: number) => ({ seq, node, epoch })

  test('sees a session that moves, in whatever order it hears of it', () => {
    const owners = new Owners()
    for (const one of [
      version(1, 'a', 1),
      version(4, 'b', 4),
      version(2, 'a', 1),
      version(5, 'b', 4),
    ])
      owners.add(session, one)
    expect(owners.faults()).toEqual([])
    expect(owners.moves).toBe(1)
  })

  test('finds a zombie that saved what was another’s by then', () => {
    const owners = new Owners()
    for (const one of [version(1, 'a', 1), version(4, 'b', 4), version(5, 'a', 1)])
      owners.add(session, one)
    expect(owners.faults()).toHaveLength(1)
  })

  test('finds two owners of one epoch', () => {
    const owners = new Owners()
    for (const one of [version(1, 'a', 1), version(2, 'b', 1)]) owners.add(session, one)
    expect(owners.faults()).toHaveLength(1)
  })
})

describe('the judge of wills', () => {
  const lost = { number: 1, began: 0, ended: 50, by: 'server' } as const
  const left = { number: 2, began: 60, ended: 70, by: 'client' } as const
  const lasts = { number: 3, began: 80, ended: 0, by: '' } as const
  const clients = [{ client: 'ann', connections: [lost, left, lasts] }]
  const trouble = { from: 40, to: 90, name: 'NATS away' }

  test('lets a will pass whose client was lost', () => {
    expect(judgeWills(['ann:1', 'ann:2'], clients, [])).toEqual([])
    expect(judgeWills(['ann:2'], clients, [trouble])).toEqual([])
  })

  test('finds one whose client is connected, one because NATS was away, and one that came twice', () => {
    expect(judgeWills(['ann:3'], clients, [])).toHaveLength(1)
    expect(judgeWills(['ann:1'], clients, [trouble])).toHaveLength(1)
    expect(judgeWills(['ann:1', 'ann:1'], clients, [])).toHaveLength(1)
  })
})

test('frames of the NATS protocol are found wherever the bytes are cut', () => {
  const bytes = Buffer.from(
    'INFO {"a":1}\r\nHMSG s 1 r 12 17\r\nNATS/1.0\r\n\r\nhel\r\n\r\nMSG t 2 0\r\n\r\nPING\r\n',
  )
  for (let cut = 0; cut <= bytes.length; cut++) {
    const frames = new Frames()
    const found = [...frames.push(bytes.subarray(0, cut)), ...frames.push(bytes.subarray(cut))]
    expect(found.map(({ verb }) => verb)).toEqual(['INFO', 'HMSG', 'MSG', 'PING'])
    expect(payloadOf(found[1]!).toString()).toBe('hel\r\n')
    expect(Buffer.concat(found.map((frame) => frame.bytes))).toEqual(bytes)
  }
})
