// What the server says about itself, heard as a subscriber would: retained, every so often, only when new.
import { afterEach, describe, expect, test } from 'vitest'
import { Broker } from '../../src/core/broker.ts'
import { MemoryEngine } from '../../src/engine/memory.ts'
import { SysTopics } from '../../src/server/sys.ts'
import { HandTurnedTime } from '../net/wire.contract.ts'

let close: () => void = () => {}
afterEach(() => close())

async function open(interval: number) {
  const time = new HandTurnedTime()
  const broker = new Broker({ engine: new MemoryEngine(time), runtime: time })
  await broker.open()
  const sys = new SysTopics({ broker, version: '1.2.3', interval })
  close = () => sys.stop()
  const says = (name: string) =>
    broker.retained.get(`$SYS/broker/${name}`)?.message.payload.toString()
  return { time, broker, sys, says }
}

describe('$SYS', () => {
  test('speaks at once, and again after the interval', async () => {
    const { time, broker, says } = await open(10)
    expect(says('version')).toBe('partyline 1.2.3')
    expect(says('uptime')).toBe('0 seconds')
    broker.counters.messagesIn = 41
    time.pass(9_000)
    expect(says('messages/received')).toBe('0')
    time.pass(2_000)
    expect(says('messages/received')).toBe('41')
    expect(says('uptime')).toBe('10 seconds')
  })

  test('its own messages are not counted, and what has not changed is not said again', async () => {
    const { time, broker, says } = await open(10)
    const before = broker.retained.get('$SYS/broker/version')?.message
    time.pass(30_000)
    expect(says('publish/messages/received')).toBe('0')
    expect(broker.retained.get('$SYS/broker/version')?.message).toBe(before)
  })

  test('0 says nothing, and stop is the end of it', async () => {
    expect((await open(0)).says('version')).toBeUndefined()
    const { time, sys, says } = await open(10)
    sys.stop()
    time.pass(60_000)
    expect(says('uptime')).toBe('0 seconds')
    expect(time.pending).toBe(0)
  })
})
