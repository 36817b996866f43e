// One port and all who may call at it: each test connects as somebody, says something, and looks at which door opened.

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { ListenError, sentence } from '../../src/server/listen-error.ts'
import { Listener } from '../../src/server/listener.ts'
import { until } from '../net/wire.contract.ts'
import { atEnd, bare, call, hangUp, open, turns } from './echo-port.ts'

afterEach(hangUp)

describe('who is calling', () => {
  test('MQTT, a line and HTTP find their doors on one port', async () => {
    const { port, counters } = await open()
    const [mqtt, line, http] = [call(port), call(port), call(port)]
    mqtt.says('\x10\x0c\x00\x04MQTT')
    line.says('SUBSCRIBER SPORTS\n')
    http.says('GET /who HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
    await mqtt.hears('mqtt<\x10\x0c\x00\x04MQTT>')
    await line.hears('line<SUBSCRIBER SPORTS\n>')
    await http.hears('http 127.0.0.1 true false')
    await http.isGone()
    expect(counters.connectionsAccepted).toBe(3)
    await until(() => counters.connectionsOpen === 2, 'one to be counted out')
  })

  test('a link hears what comes later, and the goodbye', async () => {
    const { port, heard } = await open()
    const line = call(port)
    line.says('PUBLISHER\n')
    await line.hears('line<PUBLISHER\n>')
    line.says('goal\n')
    await line.hears('line<goal\n>')
    line.leaves()
    await line.hears('line says goodbye')
    await line.isGone()
    await until(() => heard.includes('line closed'), 'closed')
  })

  test('bytes and goodbye in one go lose neither', async () => {
    const { port } = await open()
    const line = call(port)
    line.socket.end('PUBLISHER SPORTS\ngoal\n')
    await line.hears('line<PUBLISHER SPORTS\ngoal\n>')
    await line.hears('line says goodbye')
    await line.isGone()
  })

  test('a request in single bytes is still a request', async () => {
    const { port } = await open()
    const http = call(port)
    for (const byte of 'GET /who HTTP/1.0\r\n\r\n') {
      http.says(byte)
      await turns(3)
    }
    await http.hears('http 127.0.0.1')
  })

  test('half a request that ends is a line, with its goodbye', async () => {
    const { port } = await open()
    const line = call(port)
    line.socket.end('GET the milk')
    await line.hears('line<GET the milk>')
    await line.hears('line says goodbye')
    await line.isGone()
  })

  test('half a request that hesitates becomes a line after the connect timeout', async () => {
    const { port, time } = await open()
    const line = call(port)
    line.says('DELETE all')
    await turns()
    time.pass(9_000)
    await turns()
    expect(line.got).toBe('')
    time.pass(2_000)
    await line.hears('line<DELETE all>')
    line.says(' of it\n')
    await line.hears('line< of it\n>')
  })

  test('someone who says nothing may stay for the idle timeout', async () => {
    const { port, time, counters } = await open()
    const silent = call(port)
    await until(() => counters.connectionsOpen === 1, 'the connection')
    time.pass(599_000)
    await turns()
    expect(silent.gone).toBe(false)
    time.pass(2_000)
    await silent.isGone()
    await until(() => counters.connectionsOpen === 0, 'to be counted out')
    expect(counters.limitsReached).toBe(1)
    expect(time.pending).toBe(0)
  })

  test('someone who leaves without a word is let go', async () => {
    const { port, time, counters } = await open()
    const silent = call(port)
    silent.leaves()
    await silent.isGone()
    await until(() => counters.connectionsOpen === 0, 'to be counted out')
    expect(time.pending).toBe(0)
  })

  test('a request whose headers never end is answered and closed', async () => {
    // The HTTP server keeps its own clock; a short limit shows that it runs without listening.
    const http = createServer({
      headersTimeout: 50,
      requestTimeout: 60,
      connectionsCheckingInterval: 20,
    })
    http.emit('listening')
    const own = new Listener({ ...(await bare()), http })
    const [address] = await own.listen(0, ['127.0.0.1'])
    atEnd(() => {
      void own.stop()
      own.destroy()
      http.close()
    })
    const slow = call((address as AddressInfo).port)
    slow.says('GET /who HTTP/1.1\r\nHost: x\r\n')
    await slow.hears('408')
    await slow.isGone()
  })
})

describe('how many', () => {
  test('connections from one address are bounded, refusals counted', async () => {
    const { port, counters } = await open({ limits: { connectionsPerAddress: 2 } })
    const [first, second] = [call(port), call(port)]
    await until(() => counters.connectionsOpen === 2, 'two')
    const third = call(port)
    await third.isGone()
    expect(counters.connectionsRefused).toBe(1)
    expect(counters.limitsReached).toBe(1)
    first.leaves()
    await first.isGone()
    await until(() => counters.connectionsOpen === 1, 'room')
    const fourth = call(port)
    fourth.says('HELP\n')
    await fourth.hears('line<HELP\n>')
    expect(second.gone).toBe(false)
  })

  test('connections in all are bounded, refusals counted', async () => {
    const { port, counters } = await open({ connections: 2 })
    const both = [call(port), call(port)]
    await until(() => counters.connectionsOpen === 2, 'two')
    await call(port).isGone()
    await call(port).isGone()
    expect(counters.connectionsRefused).toBe(2)
    expect(both.every((each) => !each.gone)).toBe(true)
  })
})

describe('listening', () => {
  test('localhost is IPv4 and, where there is one, IPv6, on one port', async () => {
    const listener = new Listener(await bare())
    const addresses = await listener.listen(0)
    expect(addresses[0]?.address).toBe('127.0.0.1')
    expect(new Set(addresses.map(({ port }) => port)).size).toBe(1)
    if (addresses.length > 1) expect(addresses[1]?.address).toBe('::1')
    await listener.stop()
  })

  test('a port in use is one sentence with the command for another', async () => {
    const { port } = await open()
    const listener = new Listener(await bare())
    const error = await listener.listen(port, ['127.0.0.1']).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(ListenError)
    expect((error as ListenError).code).toBe('EADDRINUSE')
    expect((error as Error).message).toContain(`port ${port} on 127.0.0.1 is already in use`)
    expect((error as Error).message).toContain(`partyline serve ${port + 1}`)
  })

  test('an address that is not ours, a port that is none', async () => {
    const listener = new Listener(await bare())
    await expect(listener.listen(0, ['192.0.2.1'])).rejects.toThrow(
      /not an address of this machine/,
    )
    await expect(listener.listen(70_000, ['127.0.0.1'])).rejects.toThrow(/not a port/)
  })

  test('AirPlay is named where it is likely', () => {
    expect(sentence('EADDRINUSE', '::1', 5000, 'darwin')).toContain('AirPlay Receiver')
    expect(sentence('EADDRINUSE', '::1', 5001, 'darwin')).not.toContain('AirPlay')
    expect(sentence('EADDRINUSE', '::1', 5000, 'linux')).not.toContain('AirPlay')
    expect(sentence('EACCES', '::1', 80, 'linux')).toContain('above 1023')
  })

  test('stop accepts nobody, lets go of the undecided and waits for links', async () => {
    const { listener, port, counters } = await open()
    const [silent, line] = [call(port), call(port)]
    line.says('HELP\n')
    await line.hears('line<HELP\n>')
    await until(() => counters.connectionsOpen === 2, 'both')
    let stopped = false
    const stopping = listener.stop().then(() => {
      stopped = true
    })
    await silent.isGone()
    expect(line.gone).toBe(false)
    expect(stopped).toBe(false)
    await call(port).isGone()
    line.leaves()
    await stopping
  })
})
