// Packet identifiers of messages under way: handed out in order, round the end, through a record.

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { SendState } from '../../src/core/types.ts'
import { Window } from '../../src/core/window.ts'

describe('the window', () => {
  it('hands out 1 … 65 535 and begins again, skipping none', () => {
    const window = new Window()
    const handedOut = Array.from({ length: 70_000 }, (_, i) => {
      const id = window.add(i, SendState.published, null)
      window.finish(id)
      return id
    })
    expect(handedOut.findIndex((id, i) => id !== (i % 65_535) + 1)).toBe(-1)
  })

  it('has no room beyond the limit, nor four times the limit behind one that is not acknowledged', () => {
    const window = new Window()
    const stuck = window.add(1, SendState.published, null)
    expect(window.room(1)).toBe(false)
    expect(window.room(2)).toBe(true)
    let added = 0
    while (window.room(2)) {
      window.finish(window.add(2, SendState.published, null))
      added++
    }
    expect(added).toBe(7)
    window.finish(stuck)
    expect(window.room(2)).toBe(true)
  })

  it('does not know an identifier that is not in use', () => {
    const window = new Window()
    expect(window.state(1)).toBe(SendState.done)
    window.add(10, SendState.published, null)
    expect(window.state(2)).toBe(SendState.done)
    expect(window.finish(1)).toEqual({ pos: 10, origin: null })
    expect(window.finish(1)).toEqual({ pos: 0, origin: null })
    expect(window.inFlight).toBe(0)
  })

  it('needs the log from its oldest message on that is neither released nor lost', () => {
    const window = new Window()
    const [a, b] = [10, 20, 30].map((pos) => window.add(pos, SendState.transmitted, null))
    expect(window.floor).toBe(10)
    window.advance(a as number, SendState.released)
    expect(window.floor).toBe(20)
    window.lose(25)
    expect(window.floor).toBe(30)
    expect(window.state(b as number)).toBe(SendState.transmitted)
    window.add(5, SendState.published, { retained: 'a topic' })
    expect(window.floor).toBe(30)
  })

  it('is after any course of events as if it had been a plain map, also once stored and restored', () => {
    const event = fc.record({
      finish: fc.boolean(),
      which: fc.nat(),
      state: fc.constantFrom(SendState.published, SendState.transmitted),
      retained: fc.boolean(),
    })
    fc.assert(
      fc.property(fc.nat(65_534), fc.array(event, { maxLength: 80 }), (start, events) => {
        const first = start + 1
        let window = Window.from([{ packetId: first, positions: [1], state: SendState.published }])
        const plain = new Map<number, { pos: number; state: number; topic: string | null }>()
        plain.set(first, { pos: 1, state: SendState.published, topic: null })
        let pos = 1
        for (const { finish, which, state, retained } of events) {
          const ids = [...plain.keys()]
          if (finish && ids.length > 0) {
            const id = ids[which % ids.length] as number
            expect(window.finish(id).pos).toBe(plain.get(id)?.pos)
            plain.delete(id)
          } else {
            pos++
            const topic = retained ? `t/${pos}` : null
            const origin = topic === null ? null : { retained: topic }
            plain.set(window.add(pos, state, origin), { pos, state, topic })
          }
          if (plain.size > 0) window = Window.from(window.runs())
          const entries = [...window.entries()].map(({ packetId, pos, state, origin }) => [
            packetId,
            { pos, state, topic: origin !== null && 'retained' in origin ? origin.retained : null },
          ])
          expect(entries).toEqual([...plain])
          expect(window.inFlight).toBe(plain.size)
        }
      }),
    )
  })
})
