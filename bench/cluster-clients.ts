// Clients of the cluster benchmark that measure time and not throughput: how long until a session is
// served at another node, and how long nobody is acknowledged while NATS elects.
import type net from 'node:net'
import { connectPacket, each, open, packet, packets, text } from './stored-sessions.ts'

const CONNACK = 0x20
const PUBACK = 0x40
/** Publishers whose acknowledgements are watched, one message under way each. */
const WATCHED = 20

export interface Entered {
  readonly socket: net.Socket
  /** Whether the broker had a session for it. */
  readonly present: boolean
}

/** Dials, connects and resolves at CONNACK. Rejects when the node is not there or refuses. */
export function enter(port: number, id: string): Promise<Entered> {
  return new Promise((resolve, reject) => {
    open(port).then((socket) => {
      const gone = (): void => reject(new Error(`${id} was cut off before CONNACK`))
      socket.on('error', reject)
      socket.once('close', gone)
      packets(socket, (first, bytes, body) => {
        if (first !== CONNACK) return
        if (bytes[body + 1] !== 0) return reject(new Error(`${id} was refused: ${bytes[body + 1]}`))
        socket.off('close', gone)
        socket.off('error', reject)
        socket.on('error', () => {})
        resolve({ socket, present: bytes[body] === 1 })
      })
      socket.write(connectPacket(id, false))
    }, reject)
  })
}

/** Milliseconds until a session that is connected to one node is served at the other; one at a time. */
export async function takeovers(from: number, to: number, count: number): Promise<number[]> {
  const times: number[] = []
  for (let n = 0; n < count; n++) {
    const id = `taken-${n}`
    await enter(from, id)
    const begun = performance.now()
    const { socket, present } = await enter(to, id)
    times.push(performance.now() - begun)
    if (!present) throw new Error(`${id} found no session at the other node`)
    socket.end(Buffer.from([0xe0, 0]))
  }
  return times
}

/**
 * Connects so many clients to a node, has it killed, and lets each dial the other node the moment it is cut off:
 * milliseconds from the kill to CONNACK with session present, of each.
 */
export async function failovers(
  from: number,
  to: number,
  count: number,
  kill: () => void,
): Promise<number[]> {
  const ids = Array.from({ length: count }, (_, n) => `survivor-${n}`)
  const there: Promise<Entered>[] = []
  await each(ids, async (id) => {
    const { socket } = await enter(from, id)
    there.push(
      new Promise<void>((cut) => socket.once('close', () => cut())).then(() => enter(to, id)),
    )
  })
  const begun = performance.now()
  const times: number[] = []
  for (const one of there) {
    void one.then(
      () => times.push(performance.now() - begun),
      () => {},
    )
  }
  kill()
  for (const { socket, present } of await Promise.all(there)) {
    if (!present) throw new Error('a client found no session at the other node')
    socket.end(Buffer.from([0xe0, 0]))
  }
  return times
}

export interface Watch {
  /** Longest time in milliseconds in which nobody was acknowledged, and how many messages were in all. */
  stop(): Promise<{ readonly longest: number; readonly acknowledged: number }>
}

/** Clients that publish at QoS 1, each the next when the last is acknowledged. */
export async function watchAcknowledgements(port: number): Promise<Watch> {
  let last = performance.now()
  let longest = 0
  let acknowledged = 0
  let stopped = false
  const sockets = await Promise.all(
    Array.from({ length: WATCHED }, async (_, n) => {
      const { socket } = await enter(port, `watch-${n}`)
      let id = 0
      const publish = (): void => {
        id = (id % 65_535) + 1
        const packetId = Buffer.from([id >> 8, id & 255])
        socket.write(packet(0x32, text(`bench/watch/${n}`), packetId, Buffer.alloc(64)))
      }
      packets(socket, (first) => {
        if (first !== PUBACK) return
        const now = performance.now()
        longest = Math.max(longest, now - last)
        last = now
        acknowledged++
        if (!stopped) publish()
      })
      publish()
      return socket
    }),
  )
  last = performance.now()
  longest = 0
  return {
    async stop() {
      stopped = true
      longest = Math.max(longest, performance.now() - last)
      for (const socket of sockets) socket.end(Buffer.from([0xe0, 0]))
      return { longest, acknowledged }
    },
  }
}
