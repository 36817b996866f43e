// Whom a topic goes to: against the plain rule, under any order of subscribing and publishing.

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { matches } from '../../src/core/topic.ts'
import type { QoS } from '../../src/core/types.ts'
import { type FakeLink, House } from './house.ts'

const TOPICS = ['a', 'a/b', 'b', 'b/c', '$x/a']
const FILTERS = ['a', 'a/#', 'a/+', '+', '#', '+/c', 'b/c', '$x/#', '+/a']
const CLIENTS = ['p', 'q', 'r']

interface Step {
  readonly what: 'subscribe' | 'unsubscribe' | 'publish' | 'flood'
  readonly client: number
  readonly filter: number
  readonly topic: number
  readonly qos: QoS
  readonly identifier: number
}

const step: fc.Arbitrary<Step> = fc.record({
  what: fc.constantFrom('subscribe', 'subscribe', 'unsubscribe', 'publish', 'publish', 'flood'),
  client: fc.nat(CLIENTS.length - 1),
  filter: fc.nat(FILTERS.length - 1),
  topic: fc.nat(TOPICS.length - 1),
  qos: fc.constantFrom<QoS>(0, 1, 2),
  identifier: fc.nat(3),
})

describe('the audience of a topic', () => {
  it('is what the plain rule says, whatever changed since it was looked up', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 60 }),
        fc.constantFrom(2, 4, 1_000_000),
        async (steps, topicsRemembered) => {
          const house = await House.open({ limits: { topicsRemembered } })
          const links: FakeLink[] = []
          for (const id of CLIENTS) links.push(await house.comes(id))
          const plain = new Map<string, { filter: string; qos: QoS; identifier: number }>()
          for (const s of steps) {
            const link = links[s.client] as FakeLink
            const filter = FILTERS[s.filter] as string
            const topic = house.broker.topics.named(TOPICS[s.topic] as string)
            if (topic === null || link.session === null) throw new Error('impossible')
            if (s.what === 'subscribe') {
              const { qos, identifier } = s
              house.subscribes(link, filter, qos, { identifier })
              plain.set(`${link.clientId} ${filter}`, { filter, qos, identifier })
            } else if (s.what === 'unsubscribe') {
              const known = house.broker.unsubscribe(link.session, filter)
              expect(known).toBe(plain.delete(`${link.clientId} ${filter}`))
            } else if (s.what === 'flood') {
              // More changes than the router remembers.
              for (let i = 0; i < 70; i++) {
                house.subscribes(link, `flood/${i}/+`)
                house.broker.unsubscribe(link.session, `flood/${i}/+`)
              }
            } else {
              const { members } = house.broker.router.audience(topic)
              const found = members.map(({ session, qos, identifiers }) => [
                session.id,
                qos,
                identifiers,
              ])
              const expected = CLIENTS.flatMap((id) => {
                const mine = [...plain].filter(
                  ([key, { filter }]) => key.startsWith(`${id} `) && matches(filter, topic.name),
                )
                if (mine.length === 0) return []
                const ids = mine.flatMap(([, w]) => (w.identifier === 0 ? [] : [w.identifier]))
                ids.sort((a, b) => a - b)
                const qos = Math.max(...mine.map(([, w]) => w.qos))
                return [[id, qos, ids.length > 0 ? ids : null]]
              })
              expect(found.sort()).toEqual(expected.sort())
            }
          }
        },
      ),
      { numRuns: 150 },
    )
  })

  it('is one object for all topics that go to the same, and is let go when none does', async () => {
    const house = await House.open()
    const link = await house.comes('a')
    const { router, topics } = house.broker
    house.subscribes(link, 't/+')
    const [one, two] = ['t/1', 't/2'].map((n) => topics.named(n))
    if (!one || !two || !link.session) throw new Error('impossible')
    expect(router.audience(one)).toBe(router.audience(two))
    expect(router.audienceCount).toBe(1)
    house.broker.unsubscribe(link.session, 't/+')
    router.audience(one)
    router.audience(two)
    expect(router.audienceCount).toBe(0)
  })

  it('leaves nothing behind of topics that the table has forgotten', async () => {
    const house = await House.open({ limits: { topicsRemembered: 2 } })
    const link = await house.comes('a')
    for (let i = 0; i < 50; i++) house.subscribes(link, `t/${i}`, 0, { identifier: i + 1 })
    const { router, topics } = house.broker
    const all = Array.from({ length: 50 }, (_, i) => topics.named(`t/${i}`))
    for (const topic of all) if (topic) router.audience(topic)
    for (const topic of all) if (topic) router.audience(topic)
    expect(router.audienceCount).toBeLessThanOrEqual(4)
  })
})

describe('a run to very many', () => {
  it('is cut into turns, and later ones do not overtake it', async () => {
    const house = await House.open()
    const links: FakeLink[] = []
    for (let i = 0; i < 1_500; i++) links.push((await soon(house, `c${i}`)) as FakeLink)
    for (const link of links) house.subscribes(link, 'wide', 0)
    void house.says('wide', '1', 0)
    void house.says('wide', '2', 0)
    const served = links.filter((link) => link.sent.length > 0).length
    expect(served).toBe(1_000)
    await house.turns()
    expect(links.every((link) => link.hears().join() === '1,2')).toBe(true)
  })
})

/** Memory engine: a client is served without time passing. */
async function soon(house: House, id: string): Promise<FakeLink> {
  return (await house.asks(id)).link
}
