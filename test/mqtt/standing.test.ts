// What topics have in common is noted beside their names, so that most frames need no look at the topic. What
// subscribers hear must not show it: whoever subscribes, leaves, or is forbidden in between, it is as if each
// frame had been looked up alone.

import fc from 'fast-check'
import { generate } from 'mqtt-packet'
import { expect, it } from 'vitest'
import type { AccessClass } from '../../src/core/access.ts'
import { EVERYTHING } from '../../src/core/access.ts'
import { Standings } from '../../src/core/standings.ts'
import { matches } from '../../src/core/topic.ts'
import { MqttDoor } from '../../src/protocol/mqtt/door.ts'
import { type FakeLink, House } from '../core/house.ts'
import { wirePair } from '../support/pair.ts'

const TOPICS = [
  'a',
  'b',
  'a/a',
  'a/b',
  'b/a',
  'b/b',
  'a/a/a',
  'kitchen/temperature',
  'kitchen/humid',
]
const FILTERS = ['#', 'a/#', '+/b', '+', 'kitchen/+', ...TOPICS]
const NOT_BELOW_A: AccessClass = {
  mayPublish: (topic) => !topic.startsWith('a/'),
  maySubscribe: () => true,
}
const CLASSES = [EVERYTHING, NOT_BELOW_A]

interface Publish {
  readonly kind: 'publish'
  readonly who: number
  readonly topics: readonly string[]
  /** Retained ones are taken apart when a run ends, which looks their topics up again. */
  readonly retain: boolean
}
type Event =
  | Publish
  | { readonly kind: 'subscribe'; readonly who: number; readonly filter: string }
  | { readonly kind: 'unsubscribe'; readonly who: number; readonly filter: string }
  | { readonly kind: 'rules'; readonly who: number; readonly rules: number }

const who = fc.nat(1)
const filter = fc.constantFrom(...FILTERS)
const event: fc.Arbitrary<Event> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('publish' as const),
      who,
      topics: fc.array(fc.constantFrom(...TOPICS), { minLength: 1, maxLength: 20 }),
      retain: fc.boolean(),
    }),
  },
  fc.record({ kind: fc.constant('subscribe' as const), who, filter }),
  fc.record({ kind: fc.constant('unsubscribe' as const), who, filter }),
  fc.record({ kind: fc.constant('rules' as const), who, rules: fc.nat(1) }),
)

const FORBIDDEN_TO_ONE: Event[] = [
  { kind: 'subscribe', who: 0, filter: '#' },
  { kind: 'rules', who: 1, rules: 1 },
  { kind: 'publish', who: 0, topics: ['b', 'a/b', 'b', 'a/b'], retain: false },
  { kind: 'publish', who: 1, topics: ['b', 'a/b', 'b', 'a/b'], retain: false },
]

/** With room for four topics, a run that is taken apart pushes out those of the run that begins. */
const PUSHED_OUT: Event[] = [
  { kind: 'subscribe', who: 0, filter: 'a' },
  { kind: 'publish', who: 0, topics: ['a'], retain: false },
  { kind: 'publish', who: 0, topics: ['b', 'a/a/a', 'a', 'b', 'a'], retain: true },
]

it('whoever comes, goes and is forbidden: subscribers hear what matches', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(event, { minLength: 4, maxLength: 40 }),
      fc.constantFrom(4, 8, 1_000),
      async (events, topicsRemembered) => {
        const house = await House.open({ limits: { topicsRemembered } })
        const door = new MqttDoor(house.broker)
        const publishers = [await publisher(house, door, 'p0'), await publisher(house, door, 'p1')]
        const subscribers = [await house.comes('s0'), await house.comes('s1')]
        const filters = [new Set<string>(), new Set<string>()]
        const rules = [EVERYTHING, EVERYTHING]
        let n = 0
        for (const event of events) {
          if (event.kind === 'rules') {
            rules[event.who] = CLASSES[event.rules]!
            house.broker.sessions.get(`p${event.who}`)!.access = rules[event.who]!
          } else if (event.kind === 'subscribe') {
            filters[event.who]!.add(event.filter)
            house.subscribes(subscribers[event.who]!, event.filter, 0)
            await house.turns()
            heard(subscribers[event.who]!)
          } else if (event.kind === 'unsubscribe') {
            filters[event.who]!.delete(event.filter)
            house.broker.unsubscribe(subscribers[event.who]!.session!, event.filter)
          } else {
            const sent = event.topics.map((topic) => ({ topic, payload: `${n++}` }))
            publishers[event.who]!(sent, event.retain)
            await house.turns()
            const allowed = sent.filter(({ topic }) => rules[event.who]!.mayPublish(topic))
            for (const [i, subscriber] of subscribers.entries()) {
              const mine = ({ topic }: Sent): boolean =>
                [...filters[i]!].some((filter) => matches(filter, topic))
              expect(heard(subscriber)).toEqual(allowed.filter(mine))
            }
          }
        }
        door.stop()
      },
    ),
    {
      numRuns: 100,
      examples: [
        [FORBIDDEN_TO_ONE, 1_000],
        // Twice: topics without audience have something in common when there are two, in whatever broker.
        [PUSHED_OUT, 4],
        [PUSHED_OUT, 4],
      ],
    },
  )
})

it('when all numbers are given the topics forget theirs, and counting begins anew', async () => {
  const house = await House.open()
  const everybody = await house.comes('everybody')
  house.subscribes(everybody, '#', 0)
  const { router, topics } = house.broker
  const [one, two] = [topics.named('one')!, topics.named('two')!]
  const audience = router.audience(one)
  expect(router.audience(two)).toBe(audience)
  let forgotten = 0
  const standings = new Standings(() => forgotten++, 3)
  const given: number[] = []
  for (let i = 0; i < 5; i++) {
    given.push(standings.of(audience, EVERYTHING))
    standings.change()
  }
  expect(given).toEqual([1, 2, 3, 1, 2])
  expect(forgotten).toBe(1)

  const row = topics.row(one.bytes, 0, one.bytes.length)
  topics.stand(row, 7)
  expect(topics.standing(row)).toBe(7)
  topics.forgetStandings()
  expect(topics.standing(row)).toBe(0)
})

interface Sent {
  readonly topic: string
  readonly payload: string
}

/** A client that sends all of it in one read. */
async function publisher(house: House, door: MqttDoor, clientId: string) {
  const [near, far] = wirePair({ runtime: house.broker.runtime })
  far.attach({ read: () => {}, ended: () => {}, closed: () => {}, drained: () => {} })
  door.open(near)
  const says = (bytes: Buffer): void => far.push(bytes, 0, bytes.length)
  says(
    generate({
      cmd: 'connect',
      clientId,
      protocolId: 'MQTT',
      protocolVersion: 4,
      clean: true,
      keepalive: 0,
    }),
  )
  await house.turns()
  return (all: readonly Sent[], retain: boolean): void => {
    const frames = all.map(({ topic, payload }) =>
      generate({ cmd: 'publish', topic, payload, qos: 0, dup: false, retain }),
    )
    says(Buffer.concat(frames))
  }
}

function heard(link: FakeLink): Sent[] {
  return link.sent.splice(0).map(({ topic, payload }) => ({ topic, payload }))
}
