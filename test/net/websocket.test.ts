// The WebSocket wire: the contract of all wires, and what is particular to messages.
import { createServer, type Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { Counters } from '../../src/core/counters.ts'
import { WebSocketWire } from '../../src/net/websocket.ts'
import {
  type ContractSettings,
  HandTurnedTime,
  NotingReader,
  until,
  wireContract,
} from './wire.contract.ts'

/** A server side WebSocket wire and a plain `ws` client, connected over loopback. */
async function pair(settings: ContractSettings) {
  const server: Server = createServer()
  const upgrades = new WebSocketServer({ noServer: true, perMessageDeflate: false })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const accepted = new Promise<WebSocketWire>((resolve) => {
    server.on('upgrade', (request, socket, head) => {
      const { remoteAddress = '', remotePort = 0 } = socket as Socket
      upgrades.handleUpgrade(request, socket, head, (webSocket) => {
        const peer = { address: remoteAddress, port: remotePort, secure: false }
        resolve(new WebSocketWire(webSocket, peer, settings))
      })
    })
  })
  const client = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}/`, 'mqtt')
  const received: Buffer[] = []
  client.on('message', (data: Buffer) => received.push(data))
  client.on('error', () => {})
  const gone = new Promise<void>((resolve) => client.on('close', () => resolve()))
  const wire = await accepted
  await new Promise((resolve) => client.once('open', resolve))
  return {
    wire,
    client,
    far: {
      received,
      gone,
      send: (bytes: Buffer) => client.send(bytes),
      pause: () => client.pause(),
      resume: () => client.resume(),
      end: () => client.close(1000),
      vanish: () => client.terminate(),
    },
    close: () => {
      client.terminate()
      server.close()
      wire.destroy()
    },
  }
}

wireContract({ name: 'WebSocket', halfOpen: false, pair })

describe('messages', () => {
  let close = (): void => {}
  afterEach(() => close())

  async function open() {
    const time = new HandTurnedTime()
    const counters = new Counters()
    const settings = { runtime: time, counters, congestion: 1024 * 1024, stallTimeout: 30 }
    const opened = await pair(settings)
    close = opened.close
    const reader = new NotingReader()
    opened.wire.attach(reader)
    return { ...opened, reader, time, counters }
  }

  test('all pushes of a turn share one message', async () => {
    const { wire, far } = await open()
    for (let index = 0; index < 100; index++) wire.push(Buffer.from('goal '), 0, 5)
    await until(() => far.received.length > 0, 'a message')
    expect(far.received.map((message) => message.length)).toEqual([500])
  })

  test('64 KiB do not wait for the end of the turn', async () => {
    const { wire, far } = await open()
    for (let index = 0; index < 80; index++) wire.push(Buffer.alloc(1024), 0, 1024)
    await until(() => far.received.length === 2, 'two messages')
    expect(far.received.map((message) => message.length)).toEqual([64 * 1024, 16 * 1024])
  })

  test('a packet larger than the window is one message in fragments', async () => {
    const { wire, far } = await open()
    const packet = Buffer.alloc(1_000_000)
    for (let index = 0; index < packet.length; index++) packet[index] = index % 241
    wire.push(packet, 0, packet.length)
    await until(() => far.received.length === 1, 'one message')
    expect(far.received[0]?.equals(packet)).toBe(true)
  })

  test('what one network read brings is read as one, up to what is no message of ours', async () => {
    const { client, reader } = await open()
    const socket = Reflect.get(client, '_socket') as Socket
    socket.cork()
    for (const word of ['many ', 'small ', 'packets']) client.send(Buffer.from(word))
    client.send('and a text')
    socket.uncork()
    await until(() => reader.closings === 1, 'closed')
    expect(reader.chunks.map(String)).toEqual(['many small packets'])
  })

  test('a text message is refused with close code 1003 [MQTT-6.0.0-1]', async () => {
    const { client, reader, counters } = await open()
    const code = new Promise((resolve) => client.on('close', resolve))
    client.send('CONNECT please')
    expect(await code).toBe(1003)
    await until(() => reader.closings === 1, 'closed')
    expect(reader.fault?.message).toMatch(/text message/)
    expect(reader.chunks).toEqual([])
    expect(counters.protocolErrors).toBe(1)
  })

  test('an address of IPv6 is bracketed in the name of the peer', async () => {
    const { client } = await open()
    const settings = {
      runtime: new HandTurnedTime(),
      counters: new Counters(),
      congestion: 1,
      stallTimeout: 1,
    }
    const wire = new WebSocketWire(client, { address: '::1', port: 7, secure: true }, settings)
    expect([wire.peer, wire.transport]).toEqual(['[::1]:7', 'wss'])
  })
})
