// The TCP wire: the contract of all wires.
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { Deadlines } from '../../src/core/deadlines.ts'
import { ReadBuffers } from '../../src/net/read-buffers.ts'
import { TcpWire } from '../../src/net/tcp.ts'
import { type ContractSettings, wireContract } from './wire.contract.ts'

/** Whoever looks at memory that is used again sees it. */
const spoil = (buffer: Buffer): void => {
  buffer.fill(0xdb)
}

async function pair(settings: ContractSettings) {
  const server = createServer({ allowHalfOpen: true, noDelay: true })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve))
  const { port } = server.address() as AddressInfo
  const client = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const received: Buffer[] = []
  client.on('data', (chunk) => received.push(chunk))
  client.on('error', () => {})
  let asleep = false
  // Node tells a paused socket of the end, too; who sleeps does not answer it.
  client.on('end', () => {
    if (!asleep) client.end()
  })
  const gone = new Promise<void>((resolve) => client.on('close', () => resolve()))
  const socket = await accepted
  const stalls = new Deadlines<TcpWire>(settings.runtime, 500, (wire) => wire.stalled())
  const peer = { address: '127.0.0.1', port: socket.remotePort ?? 0, secure: false }
  const wire = new TcpWire(socket, peer, {
    ...settings,
    stalls,
    reads: new ReadBuffers(settings.runtime, spoil),
  })
  return {
    wire,
    far: {
      received,
      gone,
      send: (bytes: Buffer) => client.write(bytes),
      pause: () => {
        asleep = true
        client.pause()
      },
      resume: () => {
        asleep = false
        client.resume()
      },
      end: () => client.end(),
      vanish: () => client.resetAndDestroy(),
    },
    close: () => {
      client.destroy()
      server.close()
      wire.destroy()
      stalls.stop()
    },
  }
}

wireContract({ name: 'TCP', halfOpen: true, pair })
