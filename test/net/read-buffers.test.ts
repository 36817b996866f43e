// Memory that busy sockets read into: used again, and never while somebody needs it.
import { createHash, randomBytes } from 'node:crypto'
import { type AddressInfo, connect, createServer } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { Broker } from '../../src/core/broker.ts'
import { Deadlines } from '../../src/core/deadlines.ts'
import { MemoryEngine } from '../../src/engine/memory.ts'
import { READ_BYTES, ReadBuffers } from '../../src/net/read-buffers.ts'
import { TcpWire } from '../../src/net/tcp.ts'
import { MqttDoor } from '../../src/protocol/mqtt/door.ts'
import { NodeRuntime } from '../../src/server/node-runtime.ts'
import { dial } from '../support/raw-client.ts'

describe('the buffers', () => {
  function turns() {
    const waiting: (() => void)[] = []
    return {
      nextTurn: (call: () => void) => waiting.push(call),
      pass: () => {
        for (const call of waiting.splice(0)) call()
      },
    }
  }

  test('come back once the next turn is over', () => {
    const time = turns()
    const reads = new ReadBuffers(time)
    const buffer = reads.next(READ_BYTES)
    reads.used(buffer)
    expect(reads.next(READ_BYTES)).not.toBe(buffer)
    time.pass()
    expect(reads.next(READ_BYTES)).not.toBe(buffer)
    time.pass()
    expect(reads.next(READ_BYTES)).toBe(buffer)
  })

  test('are let go when a slice is kept', () => {
    const time = turns()
    const reads = new ReadBuffers(time)
    const buffer = reads.next(READ_BYTES)
    reads.used(buffer)
    reads.keep(buffer.subarray(10, 20))
    time.pass()
    time.pass()
    expect(reads.next(READ_BYTES)).not.toBe(buffer)
  })

  test('wait as long as ever when others were kept meanwhile', () => {
    const time = turns()
    const reads = new ReadBuffers(time)
    const kept = reads.next(READ_BYTES)
    reads.used(kept)
    reads.keep(kept)
    const buffer = reads.next(READ_BYTES)
    reads.used(buffer)
    time.pass()
    expect(reads.next(READ_BYTES)).not.toBe(buffer)
    time.pass()
    expect(reads.next(READ_BYTES)).toBe(buffer)
  })

  test('are for the busy: what others read is copied out of memory that all share', () => {
    const reads = new ReadBuffers(turns())
    const quiet = reads.next(100)
    expect(quiet).toBe(reads.next(7_000))
    quiet.write('first')
    const chunk = reads.copied(5)
    quiet.write('later')
    expect(chunk.toString()).toBe('first')
    expect(reads.next(READ_BYTES)).not.toBe(quiet)
  })

  test('are so many and no more, whoever holds them and stays silent', () => {
    const reads = new ReadBuffers(turns())
    const held: Buffer[] = []
    for (let buffer = reads.next(20_000); buffer !== reads.shared; buffer = reads.next(20_000)) {
      held.push(buffer)
    }
    // Those who fill what they are given still get some.
    for (let buffer = reads.next(READ_BYTES); buffer !== reads.shared; ) {
      held.push(buffer)
      buffer = reads.next(READ_BYTES)
    }
    expect(new Set(held).size).toBe(256)
    const closed = held.pop() as Buffer
    reads.unused(closed)
    reads.unused(reads.shared)
    expect(reads.next(READ_BYTES)).toBe(closed)
    expect(reads.next(READ_BYTES)).toBe(reads.shared)
  })
})

describe('a broker whose memory is spoilt as soon as it is used again', () => {
  const stops: (() => void)[] = []
  let spoilt = 0

  async function start() {
    const runtime = new NodeRuntime()
    // With a window of one, nearly everything is sent in a later turn than it was read in.
    const limits = { sendWindow: 1 }
    const broker = new Broker({ engine: new MemoryEngine(runtime), runtime, limits })
    await broker.open()
    const door = new MqttDoor(broker)
    const stalls = new Deadlines<TcpWire>(runtime, 500, (wire) => wire.stalled())
    const reads = new ReadBuffers(runtime, (buffer) => {
      spoilt++
      buffer.fill(0xdb)
    })
    const settings = {
      runtime,
      counters: broker.counters,
      congestion: broker.limits.queueBytes,
      stallTimeout: 30,
      stalls,
      reads,
    }
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      const peer = { address: '127.0.0.1', port: socket.remotePort ?? 0, secure: false }
      door.open(new TcpWire(socket, peer, settings))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    stops.push(() => {
      door.stop()
      stalls.stop()
      server.close()
    })
    return { broker, port: (server.address() as AddressInfo).port }
  }

  afterEach(() => {
    for (const stop of stops.splice(0)) stop()
  })

  /** A PUBLISH whose payload begins with the digest of the rest. */
  function frame(qos: number, packetId: number, size: number): Buffer {
    const body = randomBytes(size)
    const payload = Buffer.concat([createHash('sha1').update(body).digest(), body])
    const id = qos > 0 ? Buffer.from([packetId >> 8, packetId & 255]) : Buffer.alloc(0)
    const rest = Buffer.concat([Buffer.from([0, 3, 0x61, 0x2f, 0x62]), id, payload])
    const length: number[] = []
    for (let left = rest.length; ; left >>= 7) {
      length.push(left > 127 ? (left & 127) | 128 : left)
      if (left < 128) break
    }
    return Buffer.concat([Buffer.from([0x30 | (qos << 1), ...length]), rest])
  }

  const SIZES = [10, 70, 1_000, 16_384, 60_000, 70_000, 300_000]

  test.each([0, 1, 2])('delivers every byte at QoS %i, to fast and slow readers', async (qos) => {
    const { broker, port } = await start()
    const target = { host: '127.0.0.1', port }
    const frames: Buffer[] = []
    for (let i = 1; i <= 91; i++) frames.push(frame(qos, i, SIZES[i % SIZES.length] as number))
    const total = frames.length

    const check = (payload: Buffer): boolean =>
      createHash('sha1').update(payload.subarray(20)).digest().equals(payload.subarray(0, 20))
    const subscribers = await Promise.all(
      [0, 1, 2].map(async (i) => {
        const client = await dial(target)
        client.connect({ clientId: `reader-${qos}-${i}` })
        await client.hears('connack')
        client.subscribe('a/#', { qos: qos as 0 | 1 | 2 })
        await client.hears('suback')
        return client
      }),
    )

    const publisher = connect({ port, host: '127.0.0.1' })
    publisher.on('data', () => {})
    publisher.write(Buffer.from('101000044d5154540402000000047075626c', 'hex'))
    const all = Buffer.concat(frames)
    // Cut where it hurts: in the middle of headers, topics and payloads.
    for (let at = 0; at < all.length; at += 150_001) publisher.write(all.subarray(at, at + 150_001))

    for (const [i, client] of subscribers.entries()) {
      for (let n = 0; n < total; n++) {
        const message = await client.receives()
        if (!check(message.payload as Buffer))
          throw new Error(`reader ${i}: message ${n} is spoilt`)
      }
      client.drop()
    }
    publisher.destroy()
    expect(broker.counters.droppedSlow).toBe(0)
    // What is stored is kept, so only QoS 0 leaves memory to use again.
    if (qos === 0) expect(spoilt).toBeGreaterThan(0)
  })
})
