// MQTT over WebSocket on the same port: who may upgrade, and with which subprotocol.

import { afterEach, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { atEnd, hangUp, open } from './echo-port.ts'

afterEach(hangUp)

describe('WebSocket', () => {
  const dial = (port: number, protocols: string[], headers: Record<string, string> = {}) => {
    const client = new WebSocket(`ws://127.0.0.1:${port}/any/path`, protocols, { headers })
    atEnd(() => client.terminate())
    return new Promise<{ client?: WebSocket; status?: number; body?: string }>((resolve) => {
      client.on('error', () => {})
      client.on('open', () => resolve({ client }))
      client.on('unexpected-response', (_request, response) => {
        let body = ''
        response.on('data', (chunk) => {
          body += chunk
        })
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body }))
      })
    })
  }

  test('MQTT on any path', async () => {
    const { port, heard } = await open()
    const { client } = await dial(port, ['chat', 'mqtt'])
    expect(client?.protocol).toBe('mqtt')
    const answer = new Promise((resolve) => client?.once('message', resolve))
    client?.send(Buffer.from('\x10\x00'))
    expect(String(await answer)).toBe('mqtt<\x10\x00>')
    expect(heard[0]).toMatch(/^mqtt 127\.0\.0\.1:\d+ ws: /)
  })

  test('a foreign Origin gets 403, our own does not', async () => {
    const { port, counters } = await open()
    const foreign = await dial(port, ['mqtt'], { Origin: 'https://evil.example' })
    expect(foreign.status).toBe(403)
    expect(foreign.body).toContain('--allow-origin https://evil.example')
    expect(counters.connectionsRefused).toBe(1)
    const rebound = await dial(port, ['mqtt'], { Host: `evil.example:${port}` })
    expect(rebound.status).toBe(403)
    const own = await dial(port, ['mqtt'], { Origin: `http://127.0.0.1:${port}` })
    expect(own.client?.protocol).toBe('mqtt')
  })

  test('another subprotocol gets 400 and the one to ask for', async () => {
    const { port } = await open()
    const other = await dial(port, ['chat'])
    expect(other.status).toBe(400)
    expect(other.body).toContain("new WebSocket(url, 'mqtt')")
    expect((await dial(port, [])).status).toBe(400)
  })

  test('a message larger than a packet may be closes the connection', async () => {
    const { port, counters } = await open()
    const { client } = await dial(port, ['mqtt'])
    const code = new Promise((resolve) => client?.on('close', resolve))
    client?.send(Buffer.alloc(1000 + 64 * 1024 + 1))
    expect(await code).toBe(1009)
    expect(counters.protocolErrors).toBe(1)
  })
})
