// One port with doors behind it that echo, and callers: links and wires are the simplest that show what arrived.

import { createServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { Counters } from '../../src/core/counters.ts'
import { DEFAULT_LIMITS } from '../../src/core/limits.ts'
import { createDoor } from '../../src/http/door.ts'
import type { Wire, WireReader } from '../../src/net/wire.ts'
import { Listener, type ListenerOptions, type SocketPeer } from '../../src/server/listener.ts'
import type { TlsDoor } from '../../src/server/tls.ts'
import { acceptUpgrades } from '../../src/server/upgrades.ts'
import { HandTurnedTime, until } from '../net/wire.contract.ts'

export const certificate = (name: string) => join(import.meta.dirname, 'certificates', name)

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

/** Called at the end of the test, by `hangUp`. */
export function atEnd(close: () => void): void {
  closers.push(close)
}

/** Ends every connection and every port; each file calls it after each of its tests. */
export function hangUp(): void {
  for (const close of closers.splice(0)) close()
}

/** A port of loopback; what its doors hear is written down. */
export async function open({ limits, connections = 100, trustProxy = [], tls }: Options = {}) {
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
  atEnd(() => {
    void listener.stop()
    listener.destroy()
  })
  return { listener, counters, time, heard, port: (address as AddressInfo).port }
}

/** Somebody at the other end of a socket: says things, and waits to hear things. */
export function call(port: number, secure = false) {
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
  atEnd(() => socket.destroy())
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

export const turns = async (count = 20): Promise<void> => {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve))
}

/** The least a listener needs. */
export async function bare(): Promise<ListenerOptions> {
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
