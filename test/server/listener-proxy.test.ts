// The same port behind load balancers: whose PROXY headers are believed, and what they say.

import { connect } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { afterEach, describe, expect, test } from 'vitest'
import { Listener } from '../../src/server/listener.ts'
import { TlsDoor } from '../../src/server/tls.ts'
import { until } from '../net/wire.contract.ts'
import { atEnd, bare, call, certificate, hangUp, open, turns } from './echo-port.ts'

afterEach(hangUp)

describe('behind a proxy', () => {
  const header = 'PROXY TCP4 192.0.2.7 10.0.0.1 50000 5000\r\n'

  test('the address is the one the trusted proxy names', async () => {
    const { port, heard } = await open({ trustProxy: ['127.0.0.0/8'] })
    const [together, apart, http] = [call(port), call(port), call(port)]
    together.says(`${header}HELP\n`)
    await together.hears('line<HELP\n>')
    apart.says(header.slice(0, 3))
    await turns(3)
    apart.says(header.slice(3))
    await turns(3)
    apart.says('\x10\x00')
    await apart.hears('mqtt<\x10\x00>')
    expect(heard.slice(0, 2)).toEqual([
      'line 192.0.2.7:50000 tcp: HELP\n',
      'mqtt 192.0.2.7:50000 tcp: \x10\x00',
    ])
    http.says(`${header}GET /who HTTP/1.0\r\n\r\n`)
    await http.hears('http 192.0.2.7 true false')
  })

  test('a request cut after the header is pieced together', async () => {
    const { port } = await open({ trustProxy: ['127.0.0.1'] })
    const http = call(port)
    http.says(`${header}GET /wh`)
    await turns()
    http.says('o HTTP/1.0\r\n\r\n')
    await http.hears('http 192.0.2.7 true false')
  })

  test('TLS behind the header keeps the name', async () => {
    const tls = new TlsDoor(certificate('first.cert.pem'), certificate('first.key.pem'), 10)
    const { port, heard } = await open({ trustProxy: ['127.0.0.1'], tls })
    const socket = connect({ port, host: '127.0.0.1' })
    atEnd(() => socket.destroy())
    socket.write(header)
    const inside = connectTls({ socket, rejectUnauthorized: false })
    inside.on('error', () => {})
    inside.write('HELP\n')
    await until(() => heard.length > 0, 'the line')
    expect(heard[0]).toBe('line 192.0.2.7:50000 tls: HELP\n')
  })

  test('who is not trusted cannot pretend: it is turned away, and the operator told', async () => {
    const { port, heard, counters } = await open({ trustProxy: ['10.0.0.0/8'] })
    const v2 = '\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\xc3\x50\x13\x88'
    for (const lie of [header, v2]) {
      const liar = call(port)
      liar.says(`${lie}HELP\n`)
      await liar.isGone()
    }
    expect(heard).toEqual(['untrusted 127.0.0.1', 'untrusted 127.0.0.1'])
    expect(counters.protocolErrors).toBe(2)
    const chatty = call(port)
    chatty.says('PROXY is a word, too\n')
    await chatty.hears('line<PROXY is')
  })

  test('the proxy itself may come without a header', async () => {
    const { port } = await open({ trustProxy: ['127.0.0.1'] })
    const line = call(port)
    line.says('HELP\n')
    await line.hears('line<HELP\n>')
  })

  test('a header that cannot be read closes the connection', async () => {
    const { port, counters } = await open({ trustProxy: ['127.0.0.1'] })
    const broken = call(port)
    broken.says('PROXY TCP4 nonsense\r\n')
    await broken.isGone()
    expect(counters.protocolErrors).toBe(1)
  })

  test('the bound per address counts who is behind the proxy, not the proxy', async () => {
    const { port, counters } = await open({
      trustProxy: ['127.0.0.1'],
      limits: { connectionsPerAddress: 1 },
    })
    const first = call(port)
    first.says(`${header}HELP\n`)
    await first.hears('line<HELP\n>')
    const second = call(port)
    second.says(`${header}HELP\n`)
    await second.isGone()
    const other = call(port)
    other.says(`${header.replace('192.0.2.7', '192.0.2.8')}HELP\n`)
    await other.hears('line<HELP\n>')
    expect(counters.connectionsRefused).toBe(1)
    first.leaves()
    await first.isGone()
    await until(() => counters.connectionsOpen === 1, 'the first to be counted out')
    const again = call(port)
    again.says(`${header}HELP\n`)
    await again.hears('line<HELP\n>')
  })

  test('a network that is none is refused with an example', async () => {
    const options = await bare()
    expect(() => new Listener({ ...options, trustProxy: ['10.0.0.0/33'] })).toThrow(
      /10\.0\.0\.0\/8/,
    )
    expect(() => new Listener({ ...options, trustProxy: ['balancer'] })).toThrow(/balancer/)
  })
})
