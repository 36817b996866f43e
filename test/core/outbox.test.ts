// QoS 2 towards a client is exactly once only if what is sent is remembered first: no PUBLISH and
// no PUBREL leaves before the save that says so, also when the client asks twice or comes back.

import { describe, expect, it } from 'vitest'
import { SendState } from '../../src/core/types.ts'
import { type FakeLink, House } from './house.ts'

/** Longest time a commit takes: long enough for a client to say something meanwhile. */
const COMMIT_MS = 1_000

/** What the disk says of the first message on its way to the client. */
function saved(house: House): SendState | undefined {
  return house.disk.sessions.get('a')?.flow.sending[0]?.state
}

/** Lets time pass until that is so, and calls back after each millisecond. */
async function until(house: House, done: () => boolean, look: () => void): Promise<void> {
  for (let ms = 0; !done(); ms++) {
    if (ms > 10 * COMMIT_MS) throw new Error('it never came to that')
    await house.passes(1)
    look()
  }
}

/** A client with a stored session and one QoS 2 message, which it has got. */
async function served(): Promise<{ house: House; link: FakeLink }> {
  const house = await House.open({ engine: { commitMs: COMMIT_MS } })
  const link = await house.comes('a', { expiry: 100 })
  house.subscribes(link, 't', 2)
  void house.says('t', 'x', 2)
  await until(
    house,
    () => link.sent.length > 0,
    () => {
      if (link.sent.length > 0) expect(saved(house)).toBe(SendState.transmitted)
    },
  )
  return { house, link }
}

describe('PUBREL', () => {
  it('waits until it is saved, also when the client repeats its PUBREC', async () => {
    const { house, link } = await served()
    link.session?.received(1, false)
    await house.turns()
    link.session?.received(1, false)
    await until(
      house,
      () => saved(house) === SendState.released,
      () => {
        if (saved(house) !== SendState.released) expect(link.released).toEqual([])
      },
    )
    await house.passes(3 * COMMIT_MS)
    expect(link.released).toEqual([1, 1])
  })

  it('waits until it is saved, also for a client that comes back meanwhile', async () => {
    const { house, link } = await served()
    link.session?.received(1, false)
    await house.turns()
    house.leaves(link)
    let back: FakeLink | null = null
    house.asks('a', { expiry: 100 }).then(({ link: next }) => {
      back = next
    })
    await until(
      house,
      () => back !== null && back.released.length > 0,
      () => {
        if (back !== null) expect(saved(house)).toBe(SendState.released)
      },
    )
    expect(link.released).toEqual([])
  })
})
