// `npm run bench:micro`: nanoseconds and allocated bytes per message on the hot path, without sockets: cutting frames,
// routing, and the whole way from a read to the wires. The figures stand in micro.json, so that a regression shows in
// review: run it with --save after a change that is meant to move them. Without, it ends with status 1 when a case
// allocates clearly more than it did; times are shown but not judged, because machines differ.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { PerformanceObserver } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { generate, type Packet } from 'mqtt-packet'
import { Broker } from '../src/core/broker.ts'
import { MemoryEngine } from '../src/engine/memory.ts'
import type { Wire, WireReader } from '../src/net/wire.ts'
import { MqttDoor } from '../src/protocol/mqtt/door.ts'
import { FrameReader } from '../src/protocol/mqtt/frame.ts'
import { NodeRuntime } from '../src/server/node-runtime.ts'
import { median } from './statistics.ts'

const READ_BYTES = 64 * 1024
const PAYLOAD = Buffer.alloc(64, 'x')
const ROUNDS = 9
const MESSAGES_PER_ROUND = 200_000
const OBSERVER_DELAY_MS = 20

/** A wire that takes everything and keeps nothing. */
class SinkWire implements Wire {
  readonly address = '127.0.0.1'
  readonly peer = '127.0.0.1:1'
  readonly transport = 'tcp'
  readonly queued = 0
  readonly at = 0
  reader: WireReader | undefined
  bytes = 0
  readonly #block = Buffer.alloc(READ_BYTES)

  attach(reader: WireReader): void {
    this.reader = reader
  }

  push(_bytes: Buffer, start: number, end: number): void {
    this.bytes += end - start
  }

  room(size: number): Buffer {
    return size <= this.#block.length ? this.#block : Buffer.alloc(size)
  }

  commit(size: number): void {
    this.bytes += size
  }

  keep(): void {}
  pause(): void {}
  resume(): void {}
  end(): void {}
  destroy(): void {}
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

type Version = 4 | 5

async function connect(door: MqttDoor, clientId: string, version: Version): Promise<SinkWire> {
  const wire = new SinkWire()
  door.open(wire)
  wire.reader!.read(
    generate({ cmd: 'connect', clientId, protocolVersion: version, clean: true, keepalive: 0 }),
  )
  for (let i = 0; i < 100 && wire.bytes === 0; i++) await turn()
  if (wire.bytes === 0) throw new Error(`${clientId} was not let in`)
  return wire
}

async function subscribe(wire: SinkWire, topic: string, version: Version, qos: 0 | 1) {
  const before = wire.bytes
  const packet: Packet = { cmd: 'subscribe', messageId: 1, subscriptions: [{ topic, qos }] }
  wire.reader!.read(generate(packet, { protocolVersion: version }))
  for (let i = 0; i < 100 && wire.bytes === before; i++) await turn()
}

/** One read's worth of PUBLISH packets over so many topics. */
function chunkOf(topics: number, version: Version = 4, qos: 0 | 1 = 0) {
  const packets: Buffer[] = []
  for (let size = 0, i = 0; size < READ_BYTES - 128; i++) {
    const topic = `bench/t${(i * 7919) % topics}/x`
    const packet: Packet = {
      cmd: 'publish',
      topic,
      payload: PAYLOAD,
      qos,
      dup: false,
      retain: false,
    }
    if (qos > 0) packet.messageId = i + 1
    const bytes = generate(packet, { protocolVersion: version })
    packets.push(bytes)
    size += bytes.length
  }
  return { bytes: Buffer.concat(packets), count: packets.length }
}

interface Case {
  readonly name: string
  /** Messages that one call of `run` handles. */
  readonly messages: number
  readonly run: () => void | Promise<void>
}

async function cutting(): Promise<Case> {
  const { bytes, count } = chunkOf(1)
  const frames = new FrameReader()
  const sink = { frame: () => true, alike: (_bytes: Buffer, at: number) => at }
  const run = () => frames.read(bytes, sink, READ_BYTES)
  return { name: 'decode: cut frames out of a read', messages: count, run }
}

async function newDoor(): Promise<MqttDoor> {
  const runtime = new NodeRuntime()
  const broker = new Broker({ engine: new MemoryEngine(runtime), runtime })
  await broker.open()
  return new MqttDoor(broker)
}

async function routing(topics: number): Promise<Case> {
  const { broker } = await doorWith([{ version: 4, filter: 'bench/+/x' }])
  const names = Array.from({ length: topics }, (_, i) => Buffer.from(`bench/t${i}/x`))
  const run = () => {
    for (const name of names) broker.router.audience(broker.topics.find(name, 0, name.length)!)
  }
  return { name: `route: find the audience, topics in turn: ${topics}`, messages: topics, run }
}

interface Reader {
  readonly version: Version
  readonly filter: string
  readonly qos?: 0 | 1
}

async function doorWith(readers: readonly Reader[]) {
  const door = await newDoor()
  for (const [i, { version, filter, qos }] of readers.entries()) {
    await subscribe(await connect(door, `reader${i}`, version), filter, version, qos ?? 0)
  }
  return { door, broker: door.broker }
}

async function walk(
  name: string,
  topics: number,
  readers: readonly Reader[],
  version: Version = 4,
): Promise<Case> {
  const { door } = await doorWith(readers)
  const wire = await connect(door, 'publisher', version)
  const { bytes, count } = chunkOf(topics, version)
  const before = door.broker.counters.messagesOut
  wire.reader!.read(bytes)
  const passed = door.broker.counters.messagesOut - before
  if (passed !== count * readers.length) throw new Error(`${name}: ${passed} messages went out`)
  return { name, messages: count, run: () => wire.reader!.read(bytes) }
}

async function acknowledged(): Promise<Case> {
  const name = 'QoS 1 in, stored in memory, nobody reads'
  const wire = await connect(await newDoor(), 'publisher', 4)
  const { bytes, count } = chunkOf(1, 4, 1)
  const before = wire.bytes
  const run = async () => {
    const wanted = wire.bytes + 4 * count
    wire.reader!.read(bytes)
    while (wire.bytes < wanted) await turn()
  }
  await run()
  if (wire.bytes !== before + 4 * count) throw new Error(`${name}: not all was acknowledged`)
  return { name, messages: count, run }
}

const all4 = { version: 4, filter: 'bench/+/x' } as const
const all5 = { version: 5, filter: 'bench/+/x' } as const

const cases: readonly (() => Promise<Case>)[] = [
  cutting,
  () => routing(1),
  () => routing(1000),
  () => routing(100_000),
  () => walk('QoS 0, read to wire, 1 → 1, one topic', 1, [all4]),
  () => walk('QoS 0, read to wire, 1 → 1, 1 000 topics', 1000, [all4]),
  () =>
    walk(
      'QoS 0, read to wires, 1 → 10',
      1,
      Array.from({ length: 10 }, () => all4),
    ),
  () => walk('QoS 0, 3.1.1 to 5.0: encode anew', 1, [all5]),
  () => walk('QoS 0, 5.0 to 5.0', 1, [all5], 5),
  acknowledged,
]

interface Figures {
  readonly ns: number
  readonly bytes: number
}

// When the last garbage collection began; the observer hears of it some turns later.
let lastCollection = 0
const observer = new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    if (entry.startTime > lastCollection) lastCollection = entry.startTime
  }
})
observer.observe({ entryTypes: ['gc'] })

function allocated(): number {
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

async function measure({ messages, run }: Case): Promise<Figures> {
  const calls = Math.max(1, Math.round(MESSAGES_PER_ROUND / messages))
  const times: number[] = []
  const bytes: number[] = []
  for (let round = 0; round < ROUNDS + 2; round++) {
    globalThis.gc!()
    const begun = performance.now()
    const before = allocated()
    const start = process.hrtime.bigint()
    for (let i = 0; i < calls; i++) {
      const waits = run()
      if (waits) await waits
    }
    const ns = Number(process.hrtime.bigint() - start) / (calls * messages)
    const grown = (allocated() - before) / (calls * messages)
    await new Promise((resolve) => setTimeout(resolve, OBSERVER_DELAY_MS))
    if (round < 2) continue // Not compiled yet.
    times.push(ns)
    // A collection in between has taken back what was allocated, so such a round says nothing of it.
    if (lastCollection < begun) bytes.push(Math.max(0, grown))
  }
  return { ns: median(times), bytes: bytes.length > 0 ? median(bytes) : Number.NaN }
}

const file = path.join(path.dirname(fileURLToPath(import.meta.url)), 'micro.json')
type Saved = Record<string, Figures>

const known = (): Saved => (existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {})
const grew = (now: Figures, was: Figures | undefined) =>
  was !== undefined && now.bytes > was.bytes * 1.5 + 16

async function main(): Promise<void> {
  if (!globalThis.gc) throw new Error('run it as npm run bench:micro: it needs node --expose-gc')
  const saved = known()
  const fresh: Saved = {}
  const more: string[] = []
  console.log(
    'ns and allocated bytes per message received (in brackets: as saved in bench/micro.json)',
  )
  for (const make of cases) {
    const one = await make()
    const now = await measure(one)
    const was = saved[one.name]
    const rounded = { ns: Number(now.ns.toFixed(1)), bytes: Number(now.bytes.toFixed(1)) }
    fresh[one.name] = rounded
    const cell = (figure: number, before?: number) =>
      `${figure.toFixed(1)}${before === undefined ? '' : ` (${before.toFixed(1)})`}`.padStart(18)
    console.log(one.name.padEnd(46), cell(now.ns, was?.ns), cell(now.bytes, was?.bytes))
    if (grew(now, was)) more.push(one.name)
  }
  if (process.argv.includes('--save')) writeFileSync(file, `${JSON.stringify(fresh, null, 2)}\n`)
  else if (more.length > 0) {
    console.error(`allocates more than saved: ${more.join('; ')}. Meant so? Run it with --save.`)
    process.exitCode = 1
  }
  observer.disconnect()
}

await main()
process.exit()
