// MQTT 3.1.1 clients of the rows about stored messages: sessions that are left behind and come back, and a publisher that
// fills their log. They say no more than those rows need, so that counting a million messages costs little.
import net from 'node:net'

/** Payload bytes; the first six hold the number of the message. */
export const PAYLOAD = 64
const OPENERS = 64
/** What a client of MQTT 3.1.1 that says nothing about it is sent at once: the usual send window of our server. */
export const WINDOW = 1024

/** A string as MQTT writes it. */
export const text = (value: string): Buffer => {
  const bytes = Buffer.from(value)
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes])
}

export function packet(first: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  if (body.length > 127) throw new Error('the packets of this benchmark are short')
  return Buffer.concat([Buffer.from([first, body.length]), body])
}

export const connectPacket = (id: string, clean: boolean) =>
  packet(0x10, Buffer.from([0, 4, 0x4d, 0x51, 0x54, 0x54, 4, clean ? 2 : 0, 0, 0]), text(id))
const subscribePacket = (filter: string) =>
  packet(0x82, Buffer.from([0, 1]), text(filter), Buffer.from([1]))
const disconnectPacket = Buffer.from([0xe0, 0])

/** Calls back for each whole packet in what arrives: its first byte, and where its body begins and ends. */
export function packets(
  socket: net.Socket,
  take: (first: number, bytes: Buffer, body: number, end: number) => void,
  readDone: () => void = () => {},
): void {
  let rest: Buffer = Buffer.alloc(0)
  socket.on('data', (chunk: Buffer) => {
    const bytes = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk
    let at = 0
    while (at + 2 <= bytes.length) {
      const end = at + 2 + (bytes[at + 1] as number)
      if (end > bytes.length) break
      take(bytes[at] as number, bytes, at + 2, end)
      at = end
    }
    rest = Buffer.from(bytes.subarray(at))
    readDone()
  })
}

export function open(port: number): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true })
    socket.once('error', reject)
    socket.once('connect', () => resolve(socket))
  })
}

export async function each(
  ids: readonly string[],
  act: (id: string) => Promise<void>,
): Promise<void> {
  const queue = [...ids]
  const worker = async () => {
    for (let id = queue.shift(); id !== undefined; id = queue.shift()) await act(id)
  }
  await Promise.all(Array.from({ length: OPENERS }, worker))
}

/** Connects, subscribes where there is a filter, and leaves properly. */
function visit(port: number, id: string, clean: boolean, filter: string | null): Promise<void> {
  return new Promise((resolve, reject) => {
    open(port).then((socket) => {
      const leave = () => socket.end(disconnectPacket)
      socket.on('error', reject)
      socket.on('close', () => resolve())
      packets(socket, (first) => {
        if (first === 0x20 && filter !== null) socket.write(subscribePacket(filter))
        else if (first === 0x20 || first === 0x90) leave()
      })
      socket.write(connectPacket(id, clean))
    }, reject)
  })
}

export const sessionNames = (count: number): string[] =>
  Array.from({ length: count }, (_, n) => `stored-${n}`)

/** Leaves sessions behind that are owed at QoS 1 what matches. */
export function leaveSessions(port: number, ids: readonly string[], filter: string): Promise<void> {
  return each(ids, (id) => visit(port, id, false, filter))
}

/** Ends them, and with them what they are owed. */
export function endSessions(port: number, ids: readonly string[]): Promise<void> {
  return each(ids, (id) => visit(port, id, true, null))
}

/** Publishes so many numbered messages at QoS 1; resolves when all are acknowledged. */
export async function fill(port: number, topic: string, count: number): Promise<void> {
  const socket = await open(port)
  const message = packet(0x32, text(topic), Buffer.alloc(2), Buffer.alloc(PAYLOAD))
  const idAt = 4 + topic.length
  let sent = 0
  let acked = 0
  await new Promise<void>((resolve, reject) => {
    const more = () => {
      const n = Math.min(count - sent, WINDOW - (sent - acked))
      if (n <= 0) return
      const block = Buffer.allocUnsafe(n * message.length)
      for (let i = 0; i < n; i++, sent++) {
        message.copy(block, i * message.length)
        block.writeUInt16BE((sent % 65_535) + 1, i * message.length + idAt)
        block.writeUIntBE(sent, i * message.length + idAt + 2, 6)
      }
      socket.write(block)
    }
    socket.on('error', reject)
    socket.on('close', () => reject(new Error('the broker closed the connection of the publisher')))
    packets(
      socket,
      (first) => {
        if (first === 0x40) acked++
      },
      () => {
        if (acked === count) resolve()
        else more()
      },
    )
    socket.write(connectPacket('filler', true))
  })
  socket.removeAllListeners('close').end(disconnectPacket)
}

export interface Replayed {
  readonly seconds: number
  readonly received: number
  /** Not in the order of their numbers, or twice. */
  readonly disordered: number
}

/** All sessions come back at once and take what they are owed, `count` messages each, acknowledging every one. */
export async function replay(
  port: number,
  ids: readonly string[],
  count: number,
  patience: number,
): Promise<Replayed> {
  const sockets = await Promise.all(ids.map(() => open(port)))
  let received = 0
  let disordered = 0
  let last = performance.now()
  const begun = last
  await new Promise<void>((resolve, reject) => {
    const watch = setInterval(() => {
      if (performance.now() - last < patience * 1000) return
      clearInterval(watch)
      resolve() // What has not come by now is missing; the caller counts.
    }, 100)
    sockets.forEach((socket, n) => {
      let next = 0
      const acks: number[] = []
      socket.on('error', reject)
      packets(
        socket,
        (first, bytes, body) => {
          if (first >> 4 !== 3) return
          const id = body + 2 + bytes.readUInt16BE(body)
          if (bytes.readUIntBE(id + 2, 6) !== next++) disordered++
          acks.push(bytes[id] as number, bytes[id + 1] as number)
          received++
        },
        () => {
          last = performance.now()
          const block = Buffer.allocUnsafe(acks.length * 2)
          for (let i = 0, at = 0; i < acks.length; i += 2) {
            block[at++] = 0x40
            block[at++] = 2
            block[at++] = acks[i] as number
            block[at++] = acks[i + 1] as number
          }
          acks.length = 0
          if (block.length > 0) socket.write(block)
          if (received < count * ids.length) return
          clearInterval(watch)
          resolve()
        },
      )
      socket.write(connectPacket(ids[n] as string, false))
    })
  })
  for (const socket of sockets) socket.destroy()
  return { seconds: (last - begun) / 1000, received, disordered }
}
