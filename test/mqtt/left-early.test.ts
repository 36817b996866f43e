// A CONNECT whose client has gone before it was read: a node that stood still finds many of them. The client is at
// another node by then, and must not lose its session, nor be mourned.

import { generate, type Packet } from 'mqtt-packet'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { MqttDoor } from '../../src/protocol/mqtt/door.ts'
import type { FakeLink } from '../core/house.ts'
import { Nodes } from '../support/nodes.ts'
import { type PairWire, wirePair } from '../support/pair.ts'

const CONNECT = {
  cmd: 'connect',
  clientId: 'ann',
  clean: false,
  keepalive: 0,
  will: { topic: 'will/ann', payload: Buffer.from('old'), qos: 1, retain: false },
} as const

describe('a CONNECT that is read when its client has left', () => {
  let nodes: Nodes
  let watcher: FakeLink
  let ann: FakeLink
  let door: MqttDoor

  beforeEach(async () => {
    nodes = await Nodes.start(2)
    watcher = await nodes.comes(1, 'watcher')
    nodes.subscribe(1, watcher, '#', 1)
    ann = await nodes.comes(1, 'ann', { will: {} })
    door = new MqttDoor(nodes.broker(0))
  })
  afterEach(() => {
    door.stop()
    nodes.stop()
  })

  function dial(...packets: Packet[]): PairWire {
    const [near, far] = wirePair({ runtime: nodes.node(0).runtime })
    door.open(near)
    for (const packet of packets) {
      const bytes = generate(packet)
      far.push(bytes, 0, bytes.length)
    }
    return far
  }

  test('takes no session from another node', async () => {
    dial(CONNECT).end()
    await nodes.pass(60_000)
    expect(ann.closed).toEqual([])
    expect(watcher.hears()).toEqual([])
  })

  test('takes it where the client is still there', async () => {
    dial(CONNECT)
    await nodes.pass(1_000)
    expect(ann.closed).toEqual(['session-taken-over'])
  })

  test('is obeyed when more was sent behind it', async () => {
    const said = { cmd: 'publish', topic: 'said', payload: 'x', qos: 1, messageId: 1 } as const
    dial(CONNECT, { ...said, dup: false, retain: false }, { cmd: 'disconnect' }).end()
    await nodes.pass(1_000)
    expect(ann.closed).toEqual(['session-taken-over'])
    expect(watcher.hears()).toEqual(['will of ann', 'x'])
  })
})
