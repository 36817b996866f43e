// Retained messages of one client end as it sent them, whatever their QoS.

import { generate, type IPublishPacket } from 'mqtt-packet'
import { describe, expect, it } from 'vitest'
import { MqttDoor } from '../../src/protocol/mqtt/door.ts'
import { House } from '../core/house.ts'
import { wirePair } from '../support/pair.ts'

async function says(...packets: [qos: 0 | 1, payload: string][]): Promise<string | null> {
  const house = await House.open({ engine: { commitMs: 5 } })
  const [near, far] = wirePair({ runtime: house.runtime })
  new MqttDoor(house.broker).open(near)
  const frames = packets.map(([qos, payload], i) => {
    const packet: IPublishPacket = {
      cmd: 'publish',
      topic: 'r',
      payload,
      qos,
      retain: true,
      dup: false,
    }
    return generate(qos === 0 ? packet : { ...packet, messageId: i + 1 })
  })
  const connect = generate({ cmd: 'connect', clientId: 'c', clean: true, keepalive: 0 })
  far.push(connect, 0, connect.length)
  await house.passes(50)
  const all = Buffer.concat(frames)
  far.push(all, 0, all.length)
  await house.passes(100)
  return house.broker.retained.get('r')?.message.payload.toString() ?? null
}

describe('what a topic retains', () => {
  it('is the QoS 0 message that came behind one that had to be stored', async () => {
    expect(await says([1, 'a'], [0, 'b'])).toBe('b')
  })

  it('is not the QoS 0 message that came before one that had to be stored', async () => {
    expect(await says([1, 'a'], [0, 'b'], [1, 'c'])).toBe('c')
  })

  it('is nothing once it was removed, whatever came in between', async () => {
    expect(await says([1, 'a'], [0, 'b'], [0, 'c'], [1, ''])).toBeNull()
  })

  it('is the last of several', async () => {
    expect(await says([1, 'a'], [1, ''], [0, 'b'], [0, 'c'])).toBe('c')
  })
})
