// Each limit that refuses something: what the protocol says then, which counter says it too (the one the table of
// options promises), and that nobody else notices.
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Counters } from '../../src/core/counters.ts'
import { OPTIONS, type OptionKey } from '../../src/server/options.ts'
import { openLine, openRole } from '../support/line-client.ts'
import { type Guest, join } from '../support/mqtt-js.ts'
import { dial, type RawClient } from '../support/raw-client.ts'
import { enter, serverForTests, subscribed, until } from '../support/server.ts'

const server = serverForTests({
  limits: {
    packetBytes: 20_000,
    lineBytes: 100,
    topicBytes: 40,
    topicLevels: 4,
    subscriptionsPerSession: 3,
    subscriptions: 8,
    sessions: 6,
    groups: 1,
    retainedMessages: 4,
    retainedBytes: 5_000,
    receiveMaximum: 5,
    topicAliases: 2,
  },
})

let count = 0
const name = (): string => `limit-${++count}`

/** Two who talk to each other through every test. */
let pair: [Guest, Guest]
let clients: RawClient[] = []

beforeEach(async () => {
  pair = [await join(server()), await join(server(), { version: 4 })]
  await pair[1].client.subscribeAsync('pair', { qos: 2 })
})

afterEach(async () => {
  await pair[0].client.publishAsync('pair', 'still here', { qos: 2 })
  expect(await pair[1].inbox.text()).toBe('still here')
  await Promise.all(pair.map((one) => one.leave()))
  for (const one of clients) one.drop()
  clients = []
  await until(() => server().broker.sessions.size === 0)
})

/** Does it, and checks that the counter promised for this limit counted it. */
async function counts(key: OptionKey, once: () => Promise<void>): Promise<void> {
  const counter = OPTIONS.find((option) => option.key === key)?.counter as keyof Counters
  const before = server().broker.counters[counter]
  await once()
  expect([counter, server().broker.counters[counter]]).toEqual([counter, before + 1])
}

async function client(version: 4 | 5 = 5): Promise<RawClient> {
  const { client: entered } = await enter(server(), { clientId: name() }, { version })
  clients.push(entered)
  return entered
}

const endings = [
  ['limits.packetBytes', 0x95, (c: RawClient) => c.publish('x', Buffer.alloc(20_000))],
  ['limits.topicBytes', 0x90, (c: RawClient) => c.publish('t'.repeat(41), 'x')],
  ['limits.topicLevels', 0x90, (c: RawClient) => c.publish('a/b/c/d/e', 'x', { qos: 1 })],
  [
    'limits.topicAliases',
    0x94,
    (c: RawClient) => c.publish('x', 'x', { properties: { topicAlias: 3 } }),
  ],
  [
    'limits.receiveMaximum',
    0x93,
    (c: RawClient) => {
      for (let i = 0; i < 6; i++) c.publish('x', 'x', { qos: 2 })
    },
  ],
] as const

describe('ends the connection of who goes beyond', () => {
  it.for(endings)('%s', async ([key, reasonCode, exceed]) => {
    const c = await client()
    await counts(key, async () => {
      exceed(c)
      const said = await c.closed()
      expect(said.at(-1)).toMatchObject({ cmd: 'disconnect', reasonCode })
      expect(said.at(-1)).toHaveProperty('properties.reasonString', expect.stringMatching(/\w/))
    })
  })

  it.for(endings.slice(0, 3))('%s, without a word in 3.1.1', async ([key, , exceed]) => {
    const c = await client(4)
    await counts(key, async () => {
      exceed(c)
      expect(await c.closed()).toEqual([])
    })
  })

  it('what a WebSocket message may hold', async () => {
    const c = await dial(server(), { version: 5, websocket: '/' })
    c.connect({ clientId: name() })
    await c.hears('connack')
    await counts('limits.packetBytes', async () => {
      c.publish('x', Buffer.alloc(200_000))
      await c.closed()
    })
  })
})

describe('refuses a subscription', () => {
  const refusals = [
    ['limits.topicBytes', 0x8f, 'f'.repeat(41)],
    ['limits.topicLevels', 0x8f, 'a/+/c/d/#'],
  ] as const

  it.for(refusals)('%s', async ([key, code, filter]) => {
    for (const version of [4, 5] as const) {
      const c = await client(version)
      await counts(key, async () => {
        c.subscribe(filter)
        expect([...(await c.hears('suback')).granted]).toEqual([version === 5 ? code : 0x80])
      })
    }
  })

  it('limits.subscriptionsPerSession', async () => {
    const c = await client()
    await counts('limits.subscriptionsPerSession', async () => {
      c.subscribe(['1', '2', '3', '4'])
      expect([...(await c.hears('suback')).granted]).toEqual([0, 0, 0, 0x97])
    })
    c.subscribe(['3'], { qos: 1 })
    expect([...(await c.hears('suback')).granted]).toEqual([1])
    c.unsubscribe('1')
    await c.hears('unsuback')
    await subscribed(c, '4')
  })

  it('limits.subscriptions', async () => {
    for (const one of [await client(), await client()]) {
      for (const filter of ['1', '2', '3']) await subscribed(one, filter)
    }
    const last = await client()
    // One of the eight is the pair's.
    await subscribed(last, '1')
    await counts('limits.subscriptions', async () => {
      last.subscribe('2')
      expect([...(await last.hears('suback')).granted]).toEqual([0x97])
    })
  })

  it('limits.groups', async () => {
    const c = await client()
    await subscribed(c, '$share/one/x')
    await counts('limits.groups', async () => {
      c.subscribe('$share/two/x')
      expect([...(await c.hears('suback')).granted]).toEqual([0x97])
    })
    c.unsubscribe('$share/one/x')
    await c.hears('unsuback')
    await subscribed(c, '$share/two/x')
  })
})

describe('refuses a connection', () => {
  it('limits.sessions', async () => {
    await Promise.all(Array.from({ length: 4 }, () => client()))
    for (const version of [4, 5] as const) {
      await counts('limits.sessions', async () => {
        const c = await dial(server(), { version })
        c.connect({ clientId: name() })
        const code = version === 5 ? { reasonCode: 0x97 } : { returnCode: 3 }
        expect(await c.closed()).toMatchObject([{ cmd: 'connack', ...code }])
      })
    }
  })
})

describe('refuses a retained message', () => {
  it('limits.retainedMessages', async () => {
    const c = await client()
    for (let i = 0; i < 4; i++) {
      c.publish(`kept/${i}`, 'x', { qos: 1, retain: true })
      await c.hears('puback', { reasonCode: 0 })
    }
    for (const qos of [0, 1, 2] as const) {
      await counts('limits.retainedMessages', async () => {
        c.publish('kept/5', 'x', { qos, retain: true })
        if (qos === 0) await c.hearsNothing()
        else await c.hears(qos === 1 ? 'puback' : 'pubrec', { reasonCode: 0x97 })
      })
    }
    expect(server().broker.retained.get('kept/5')).toBeNull()
    // One that is there may be replaced, and removing makes room.
    c.publish('kept/0', 'newer', { qos: 1, retain: true })
    await c.hears('puback', { reasonCode: 0 })
    for (let i = 0; i < 4; i++) {
      c.publish(`kept/${i}`, '', { qos: 1, retain: true })
      await c.hears('puback', { reasonCode: 0 })
    }
    expect(server().broker.retained.count).toBe(0)
  })

  it('limits.retainedMessages, also one left as a will', async () => {
    const c = await client()
    for (let i = 0; i < 4; i++) c.publish(`kept/${i}`, 'x', { retain: true })
    await c.hearsNothing()
    const will = { topic: 'pair', payload: Buffer.from('will'), qos: 1 as const, retain: true }
    const { client: dying } = await enter(server(), { clientId: name(), will })
    await counts('limits.retainedMessages', async () => {
      dying.drop()
      expect(await pair[1].inbox.text()).toBe('will')
    })
    expect(server().broker.retained.count).toBe(4)
    for (let i = 0; i < 4; i++) c.publish(`kept/${i}`, '', { retain: true })
    await c.hearsNothing()
    expect(server().broker.retained.count).toBe(0)
  })

  it('limits.retainedBytes', async () => {
    const c = await client()
    c.publish('kept/large', Buffer.alloc(4_000), { qos: 1, retain: true })
    await c.hears('puback', { reasonCode: 0 })
    await counts('limits.retainedBytes', async () => {
      c.publish('kept/too', Buffer.alloc(2_000), { qos: 1, retain: true })
      await c.hears('puback', { reasonCode: 0x97 })
    })
    await counts('limits.retainedBytes', async () => {
      c.publish('kept/large', Buffer.alloc(6_000), { qos: 1, retain: true })
      await c.hears('puback', { reasonCode: 0x97 })
    })
    c.publish('kept/large', Buffer.alloc(4_900), { qos: 1, retain: true })
    await c.hears('puback', { reasonCode: 0 })
    c.publish('kept/large', '', { qos: 1, retain: true })
    await c.hears('puback', { reasonCode: 0 })
  })
})

describe('tells a line client', () => {
  it('limits.lineBytes, and goes on with the next line', async () => {
    const c = await openRole(server(), 'PUBLISHER pair')
    await counts('limits.lineBytes', async () => {
      c.says('x'.repeat(101))
      expect(await c.hears()).toMatch(/^ERR a line may have 100 bytes/)
    })
    c.says('y'.repeat(100))
    expect(await pair[1].inbox.text()).toBe('y'.repeat(100))
    c.says('terminate')
    await c.hearsThat('OK goodbye')
  })

  it.for([
    ['limits.topicLevels', 'PUB a/b/c/d/e text'],
    ['limits.topicBytes', `PUB ${'t'.repeat(41)} text`],
    ['limits.topicLevels', 'SUBSCRIBER a/b/c/d/e'],
    ['limits.topicBytes', `SUBSCRIBER ${'t'.repeat(41)}`],
    ['limits.subscriptionsPerSession', 'SUBSCRIBER 1 2 3 4'],
  ] as const)('%s: %s', async ([key, line]) => {
    const c = await openLine(server())
    await counts(key, async () => {
      c.says(line)
      await c.hearsThat('ERR ')
    })
    c.end()
    await c.hearsThat('OK goodbye')
  })
})
