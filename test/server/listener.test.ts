// One port and all who may call at it: each test connects as somebody, says something, and looks at
// which door opened. Links and wires are the simplest that show what arrived.
import { createServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { afterEach, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { Counters } from '../../src/core/counters.ts'
import { DEFAULT_LIMITS } from '../../src/core/limits.ts'
import { createDoor } from '../../src/http/door.ts'
import type { Wire, WireReader } from '../../src/net/wire.ts'
import { ListenError, sentence } from '../../src/server/listen-error.ts'
import { Listener, type ListenerOptions, type SocketPeer } from '../../src/server/listener.ts'
import { TlsDoor } from '../../src/server/tls.ts'
import { acceptUpgrades } from '../../src/server/upgrades.ts'
import { HandTurnedTime, until } from '../net/wire.contract.ts'

const certificate = (name: string) => join(import.meta.dirname, 'certificates', name)

/** A link that answers with its name and everything it heard, and a goodbye with a goodbye. */
function echo(name: string, wire: Wire, heard: string[]): WireReader {
  const say = (text: string): void => wire.push(Buffer.from(text), 0, Buffer.byteLength(text))
  return {
    read: (chunk) => {
      heard.push(`${name} ${wire.peer} ${wire.transport}: ${chunk.toString('latin1')}`)
      say(`${name}<${chunk.toString('latin1')}>`)
    },
    ended: () => {
      say(`${name} says goodbye`)
      wire.end()
    },
    closed: () => heard.push(`${name} closed`),
    drained: () => {},
  }
}

/** The plainest TCP wire: no queue, no flow control. */
function plainWire(socket: Socket, peer: SocketPeer): Wire {
  let reader: WireReader | null = null
  socket.on('data', (chunk) => reader?.read(chunk))
  socket.on('end', () => reader?.ended())
  socket.on('close', () => reader?.closed())
  return {
    address: peer.address,
    peer: `${peer.address}:${peer.port}`,
    transport: peer.secure ? 'tls' : 'tcp',
    queued: 0,
    at: 0,
    attach: (next) => {
      reader = next
    },
    push: (bytes, start, end) => socket.write(bytes.subarray(start, end)),
    room: (size) => Buffer.alloc(size),
    commit: () => {},
    keep: () => {},
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    end: () => socket.end(),
    destroy: () => socket.destroy(),
  }
}

interface Options {
  limits?: Partial<typeof DEFAULT_LIMITS>
  connections?: number
  trustProxy?: string[]
  tls?: TlsDoor
}

const closers: (() => void)[] = []
afterEach(() => {
  for (const close of closers.splice(0)) close()
})

async function open({ limits, connections = 100, trustProxy = [], tls }: Options = {}) {
  const time = new HandTurnedTime()
  const counters = new Counters()
  const heard: string[] = []
  const http = createDoor(
    [
      {
        method: 'GET',
        path: '/who',
        answer: ({ request, response }) => {
          const { address, port, secure } = listener.peerOf(request.socket)
          response.end(`http ${address} ${port > 0} ${secure}`)
        },
      },
    ],
    { headers: 10 },
    (error) => heard.push(String(error)),
  )
  const options: ListenerOptions = {
    limits: { ...DEFAULT_LIMITS, ...limits },
    runtime: time,
    counters,
    connections,
    trustProxy,
    untrusted: (address) => heard.push(`untrusted ${address}`),
    tls: tls?.server ?? null,
    http,
    wire: plainWire,
    mqtt: (wire) => echo('mqtt', wire, heard),
    line: (wire) => echo('line', wire, heard),
  }
  const listener = new Listener(options)
  acceptUpgrades(http, {
    runtime: time,
    counters,
    congestion: 1024 * 1024,
    stallTimeout: 30,
    origins: { origins: [], hosts: [] },
    packetBytes: 1000,
    mqtt: options.mqtt,
    peerOf: (socket) => listener.peerOf(socket),
  })
  const [address] = await listener.listen(0, ['127.0.0.1'])
  closers.push(() => {
    void listener.stop()
    listener.destroy()
  })
  return { listener, counters, time, heard, port: (address as AddressInfo).port }
}

/** Somebody at the other end of a socket: says things, and waits to hear things. */
function call(port: number, secure = false) {
  const socket = secure
    ? connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false })
    : connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  let got = ''
  let gone = false
  socket.on('data', (chunk) => {
    got += chunk.toString('latin1')
  })
  socket.on('error', () => {})
  socket.on('close', () => {
    gone = true
  })
  socket.on('end', () => socket.end())
  closers.push(() => socket.destroy())
  return {
    socket,
    says: (text: string) => socket.write(Buffer.from(text, 'latin1')),
    hears: (text: string) =>
      until(() => got.includes(text), `${JSON.stringify(text)} in ${JSON.stringify(got)}`),
    leaves: () => socket.end(),
    isGone: () => until(() => gone, 'the connection to end'),
    get gone() {
      return gone
    },
    get got() {
      return got
    },
  }
}

const turns = async (count = 20): Promise<void> => {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve))
}

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
    closers.push(() => {
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

async function bare(): Promise<ListenerOptions> {
  return {
    limits: DEFAULT_LIMITS,
    runtime: new HandTurnedTime(),
    counters: new Counters(),
    connections: 100,
    trustProxy: [],
    untrusted: () => {},
    tls: null,
    http: createServer(),
    wire: plainWire,
    mqtt: (wire) => echo('mqtt', wire, []),
    line: (wire) => echo('line', wire, []),
  }
}

describe('TLS', () => {
  const door = (name = 'first') =>
    new TlsDoor(certificate(`${name}.cert.pem`), certificate(`${name}.key.pem`), 10)

  test('everything is spoken inside, too', async () => {
    const { port, heard, counters } = await open({ tls: door() })
    const [mqtt, line, http] = [call(port, true), call(port, true), call(port, true)]
    mqtt.says('\x10\x00')
    line.says('HELP\n')
    http.says('GET /who HTTP/1.0\r\n\r\n')
    await mqtt.hears('mqtt<\x10\x00>')
    await line.hears('line<HELP\n>')
    await http.hears('http 127.0.0.1 true true')
    expect(heard[0]).toMatch(/^mqtt 127\.0\.0\.1:\d+ tls: /)
    line.says('more\n')
    await line.hears('line<more\n>')
    for (const each of [mqtt, line, http]) each.leaves()
    await until(() => counters.connectionsOpen === 0, 'all to be counted out')
  })

  test('plain callers are still welcome beside it', async () => {
    const { port } = await open({ tls: door() })
    const line = call(port)
    line.says('HELP\n')
    await line.hears('line<HELP\n>')
  })

  test('TLS within TLS is not a third layer', async () => {
    const { port } = await open({ tls: door() })
    const odd = call(port, true)
    odd.says('\x16\x03\x01')
    await odd.hears('line<\x16\x03\x01>')
  })

  test('a broken handshake is counted and closed', async () => {
    const { port, counters } = await open({ tls: door() })
    const broken = call(port)
    broken.says(`\x16\x03\x01\x00\x05hello${'x'.repeat(100)}`)
    await broken.isGone()
    await until(() => counters.connectionsOpen === 0, 'to be counted out')
    expect(counters.protocolErrors).toBe(1)
  })

  test('a new certificate is used after a reload, a wrong one is refused', async () => {
    const { copyFileSync, mkdtempSync, rmSync, writeFileSync } = await import('node:fs')
    const { tmpdir } = await import('node:os')
    const folder = mkdtempSync(join(tmpdir(), 'partyline-tls-'))
    closers.push(() => rmSync(folder, { recursive: true }))
    const install = (name: string): void => {
      copyFileSync(certificate(`${name}.cert.pem`), join(folder, 'cert.pem'))
      copyFileSync(certificate(`${name}.key.pem`), join(folder, 'key.pem'))
    }
    install('first')
    const tls = new TlsDoor(join(folder, 'cert.pem'), join(folder, 'key.pem'), 10)
    const { port } = await open({ tls })
    const nameOf = async (): Promise<string | string[] | undefined> => {
      const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false })
      await new Promise((resolve) => socket.once('secureConnect', resolve))
      const { subject } = socket.getPeerCertificate()
      socket.destroy()
      return subject.CN
    }
    expect(await nameOf()).toBe('first')
    install('second')
    tls.reload()
    expect(await nameOf()).toBe('second')
    copyFileSync(certificate('first.key.pem'), join(folder, 'key.pem'))
    expect(() => tls.reload()).toThrow(/cannot be used together/)
    expect(await nameOf()).toBe('second')
    writeFileSync(join(folder, 'cert.pem'), 'no certificate')
    expect(() => tls.reload()).toThrow(/cannot be used together/)
    rmSync(join(folder, 'key.pem'))
    expect(() => tls.reload()).toThrow(/key .* cannot be read/)
  })
})

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
    closers.push(() => socket.destroy())
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

describe('WebSocket', () => {
  const dial = (port: number, protocols: string[], headers: Record<string, string> = {}) => {
    const client = new WebSocket(`ws://127.0.0.1:${port}/any/path`, protocols, { headers })
    closers.push(() => client.terminate())
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
