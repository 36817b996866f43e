// Does the load generator notice what it is there to notice? A tiny broker forwards each message faithfully, or
// loses, repeats, swaps or misdelivers some; both generators must say so, and must count what went well.
import net from 'node:net'
import { afterAll, describe, expect, test } from 'vitest'
import { type Generator, prepareGenerator, runLoad } from '../../bench/generator.ts'
import { root } from '../../bench/processes.ts'
import type { LoadOptions } from '../../bench/workloads.ts'

/** What becomes of one publish: the packets that each subscriber gets instead of it. */
type Fate = (publish: Buffer, number: number) => readonly Buffer[]

const faithful: Fate = (publish) => [publish]
const everyThird = (then: Fate): Fate => {
  return (publish, number) => (number % 3 === 2 ? then(publish, number) : [publish])
}

const servers: net.Server[] = []
afterAll(() => {
  for (const server of servers) server.close()
})

/** Starts a broker for MQTT 3.1.1 at QoS 0 and 1, one topic; resolves to its port. */
async function broker(fate: Fate, acknowledges = true): Promise<number> {
  const subscribers = new Set<net.Socket>()
  let number = 0
  const answer = (socket: net.Socket, packet: Buffer, body: Buffer) => {
    const type = packet[0]! >> 4
    if (type === 1) socket.write(Buffer.from([0x20, 2, 0, 0]))
    if (type === 8) {
      socket.write(Buffer.from([0x90, 3, body[0]!, body[1]!, 0]))
      subscribers.add(socket)
    }
    if (type !== 3) return
    const at = 2 + body.readUInt16BE(0)
    if (packet[0]! & 2 && acknowledges)
      socket.write(Buffer.from([0x40, 2, body[at]!, body[at + 1]!]))
    for (const one of fate(packet, number++)) for (const to of subscribers) to.write(one)
  }
  const server = net.createServer((socket) => {
    let rest = Buffer.alloc(0)
    socket.on('error', () => {})
    socket.on('close', () => subscribers.delete(socket))
    socket.on('data', (bytes) => {
      rest = Buffer.concat([rest, bytes])
      // Every packet of this test is shorter than 128 bytes, so its length is one byte.
      while (rest.length >= 2 && rest.length >= 2 + rest[1]!) {
        const end = 2 + rest[1]!
        answer(socket, rest.subarray(0, end), rest.subarray(2, end))
        rest = rest.subarray(end)
      }
    })
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as net.AddressInfo).port
}

const script: Generator = {
  kind: 'javascript',
  file: process.execPath,
  args: ['--import', 'tsx', `${root}/bench/load.ts`],
}
const usual = prepareGenerator()
if (usual.note) console.log(`the C generator is not tested: ${usual.note}`)

describe.each(usual.kind === 'c' ? [usual, script] : [script])(
  'the $kind generator',
  (generator) => {
    const load = (port: number, more: LoadOptions = {}) =>
      runLoad(generator, {
        port,
        protocol: 'mqtt4',
        rate: 200,
        seconds: 0.1,
        patience: 0.3,
        ...more,
      })

    test('finds nothing wrong where nothing is, at QoS 0 and 1, with several subscribers', async () => {
      const port = await broker(faithful)
      const expected = { ok: true, lost: 0, disordered: 0, malformed: 0 }
      const report = await load(port, { subscribers: 3 })
      expect(report).toMatchObject(expected)
      expect(report.received).toBe(3 * report.sent)
      expect(report.sent).toBeGreaterThan(10)
      expect(report.latency_us!.count).toBe(report.received)
      const acked = await load(port, { qos: 1, window: 5 })
      expect(acked).toMatchObject({ ...expected, acked: acked.sent, received: acked.sent })
    })

    test('counts what was lost', async () => {
      const report = await load(await broker(everyThird(() => [])))
      expect(report.ok).toBe(false)
      expect(report.lost).toBe(Math.floor(report.sent / 3))
      expect(report.disordered).toBe(0)
    })

    test('notices a message that comes twice', async () => {
      const report = await load(await broker(everyThird((publish) => [publish, publish])))
      expect(report).toMatchObject({ ok: false, lost: 0, disordered: Math.floor(report.sent / 3) })
    })

    test('notices messages that changed places', async () => {
      let kept = Buffer.alloc(0)
      const swap: Fate = (publish, number) => {
        if (number === 3) kept = Buffer.from(publish)
        return number === 3 ? [] : number === 4 ? [publish, kept] : [publish]
      }
      expect(await load(await broker(swap))).toMatchObject({ ok: false, lost: 0, disordered: 1 })
    })

    test('notices a message that is too short', async () => {
      const cut: Fate = (publish) => [
        Buffer.concat([Buffer.from([publish[0]!, publish[1]! - 1]), publish.subarray(2, -1)]),
      ]
      const report = await load(await broker(everyThird(cut)))
      expect(report).toMatchObject({ ok: false, malformed: Math.floor(report.sent / 3) })
    })

    test('notices a subscriber that gets what it did not ask for', async () => {
      const report = await load(await broker(faithful), {
        publishers: 2,
        subscribers: 2,
        topics: 2,
      })
      expect(report.ok).toBe(false)
      expect(report.stray).toBe(report.sent)
    })

    test('notices acknowledgements that do not come', async () => {
      const report = await load(await broker(faithful, false), { qos: 1 })
      expect(report).toMatchObject({ ok: false, acked: 0, lost: 0 })
    })

    test('says so when the broker hangs up', async () => {
      const server = net.createServer((socket) => socket.destroy())
      servers.push(server)
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      const { port } = server.address() as net.AddressInfo
      await expect(load(port)).rejects.toThrow('the broker closed the connection of subscriber 0')
    })
  },
)
