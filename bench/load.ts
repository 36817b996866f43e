// The load generator in JavaScript, for machines without a C compiler or without epoll. Same options and same JSON as
// bench/load; it is slower than a good broker, so the report marks what it measured.
import net from 'node:net'
import type { Duplex } from 'node:stream'
import { parseArgs } from 'node:util'
import WebSocket, { createWebSocketStream } from 'ws'
import {
  churn,
  get48,
  greeting,
  HEADER,
  type Listener,
  type ProtocolName,
  parse,
  publication,
  put48,
  type Settings,
  subscription,
} from './load-protocols.ts'

type Role = 'subscriber' | 'stalled' | 'churner' | 'publisher' | 'latecomer'

const { values } = parseArgs({
  options: {
    ...Object.fromEntries(
      [
        ...['port', 'pid', 'protocol', 'publishers', 'subscribers', 'stalled', 'churners', 'churn'],
        ...['size', 'qos', 'window', 'topics', 'base', 'spread', 'seconds', 'rate', 'patience'],
        'subscriber-port',
      ].map((name) => [name, { type: 'string' as const }]),
    ),
    ...Object.fromEntries(
      ['wildcard', 'shared', 'retain', 'properties', 'echo', 'hold', 'mixed', 'websocket'].map(
        (name) => [name, { type: 'boolean' as const }],
      ),
    ),
  },
})
const number = (name: string, usual: number) => Number(values[name] ?? usual)
const port = number('port', 0)
const subscriberPort = number('subscriber-port', port)
const protocol = String(values.protocol ?? 'mqtt4') as ProtocolName
const subscribers = number('subscribers', 1)
const publishers = values.hold ? 0 : number('publishers', 1)
const churners = number('churners', 0)
const topics = number('topics', 1)
const spread = number('spread', 0)
const window = number('window', 20)
const rate = number('rate', 0)
const churnRate = number('churn', 0)
const seconds = number('seconds', 1)
const patience = number('patience', 2)
const settings: Settings = {
  size: number('size', 64),
  qos: number('qos', 0),
  base: number('base', 0),
  wildcard: values.wildcard === true || spread > 0,
  shared: values.shared === true,
  retain: values.retain === true,
  properties: values.properties === true,
}
const nowUs = () => Number(process.hrtime.bigint() / 1000n)

const counts = {
  ...{ sent: 0, acked: 0, received: 0, expected: 0, disordered: 0, stray: 0, malformed: 0 },
  ...{ cut: 0, churned: 0, churn_acked: 0, retained: 0, stale: 0 },
}
const latencies: number[] = []
let running = false
let lastProgress = 0

function fail(reason: string): never {
  process.stdout.write(`${JSON.stringify({ generator: 'javascript', error: reason })}\n`)
  process.exit(3)
}

/** One connection. Resolves `ready` when it may publish, or when its subscription has been confirmed. */
class Client implements Listener {
  readonly role: Role
  readonly index: number
  readonly ready: Promise<void>
  readonly #protocol: ProtocolName
  readonly #orders = new Map<number, { next: number; skipped: number }>()
  #stream: Duplex | undefined
  #rest = Buffer.alloc(0)
  #stage: 'greeting' | 'subscribing' | 'ready' = 'greeting'
  #tellReady: () => void = () => {}
  #packetId = 0
  sent = 0
  acked = 0
  echoed = 0
  #payload = Buffer.alloc(settings.size, 'abcdefghijklmnopqrstuvwxyz')

  constructor(role: Role, index: number, speaks: ProtocolName) {
    this.role = role
    this.index = index
    this.#protocol = speaks
    this.ready = new Promise((resolve) => {
      this.#tellReady = resolve
    })
  }

  open(): Promise<void> {
    const to = this.role === 'publisher' ? port : subscriberPort
    if (values.websocket) {
      const names = this.#protocol === 'nats' ? [] : ['mqtt']
      const url = `ws://127.0.0.1:${to}/${names[0] ?? ''}`
      const socket = new WebSocket(url, names, { perMessageDeflate: false })
      socket.once('open', () => this.#connected(createWebSocketStream(socket)))
      socket.once('error', (error) => fail(error.message))
    } else {
      const socket = net.connect({ port: to, host: '127.0.0.1', noDelay: true })
      socket.once('connect', () => this.#connected(socket))
      socket.once('error', (error) => this.#gone(error.message))
    }
    return this.ready
  }

  #connected(stream: Duplex): void {
    this.#stream = stream
    stream.on('data', (bytes: Buffer) => this.#read(bytes))
    stream.on('close', () => this.#gone('closed'))
    stream.on('error', () => {})
    const id = `load${process.pid}-${this.role.slice(0, 2)}-${this.index}`
    const topic = this.index % topics
    const words = greeting(this.#protocol, settings, this.role === 'publisher', id, topic)
    if (words === undefined) this.greeted()
    else stream.write(words)
  }

  #gone(reason: string): void {
    if (this.role === 'stalled') counts.cut++
    else fail(`the broker closed the connection of ${this.role} ${this.index}: ${reason}`)
  }

  #read(bytes: Buffer): void {
    const all = this.#rest.length > 0 ? Buffer.concat([this.#rest, bytes]) : bytes
    const used = parse(this.#protocol, all, this)
    this.#rest = Buffer.from(all.subarray(used))
  }

  greeted(): void {
    if (this.role === 'publisher' || this.role === 'churner') {
      this.#becomeReady()
      return
    }
    this.#stage = 'subscribing'
    this.#stream!.write(subscription(this.#protocol, settings, this.index % topics))
  }

  // NATS and the line protocol answer a greeting and a subscription with the same word.
  subscribed(): void {
    if (this.#stage === 'greeting') this.greeted()
    else if (this.#stage === 'subscribing') this.#becomeReady()
    else counts.churn_acked++
  }

  #becomeReady(): void {
    this.#stage = 'ready'
    if (this.role === 'stalled') this.#stream!.pause()
    this.#tellReady()
  }

  acknowledged(): void {
    this.acked++
    counts.acked++
    lastProgress = nowUs()
  }

  reply(bytes: Buffer): void {
    this.#stream!.write(bytes)
  }

  refused(reason: string): void {
    fail(reason)
  }

  message(payload: Buffer, retained: boolean): void {
    if (payload.length !== settings.size) {
      counts.malformed++
      return
    }
    const sequence = get48(payload, 8)
    if (this.role === 'latecomer' && retained) {
      counts.retained++
      lastProgress = nowUs()
      if (sequence < all.publisher[0]!.sent - spread) counts.stale++
    }
    if (retained || this.role !== 'subscriber') return
    this.#count(payload, sequence, all.publisher[get48(payload, 16)])
  }

  #count(payload: Buffer, sequence: number, from: Client | undefined): void {
    if (!from || !running) {
      counts.stray++
      return
    }
    if (!settings.wildcard && from.index % topics !== this.index % topics) counts.stray++
    if (!this.#isNew(from.index, sequence)) return
    counts.received++
    from.echoed++
    lastProgress = nowUs()
    if (rate > 0) latencies.push(lastProgress - get48(payload, 0))
  }

  /** False for a message that has come before. One that comes late is new, but out of order. */
  #isNew(publisher: number, sequence: number): boolean {
    const order = this.#orders.get(publisher) ?? { next: 0, skipped: 0 }
    this.#orders.set(publisher, order)
    if (sequence >= order.next) {
      order.skipped += sequence - order.next
      order.next = sequence + 1
      return true
    }
    counts.disordered++
    if (order.skipped === 0) return false
    order.skipped--
    return true
  }

  get mayPublish(): boolean {
    if (this.#stream!.writableLength > 65_536) return false
    if (values.echo) return this.sent === this.echoed
    if (settings.qos > 0) return this.sent - this.acked < window
    return counts.expected - counts.received < mostAhead
  }

  publish(stampUs: number): void {
    const topic = spread ? (this.sent * 7919 + this.index) % spread : this.index % topics
    put48(this.#payload, 0, stampUs)
    put48(this.#payload, 8, this.sent)
    put48(this.#payload, 16, this.index)
    this.#packetId = (this.#packetId % 65_535) + 1
    const packet = publication(this.#protocol, settings, topic, this.#packetId, this.#payload)
    this.#stream!.write(packet)
    this.sent++
    counts.sent++
    counts.expected += fanout[this.index]!
  }

  cork(action: () => void): void {
    this.#stream!.cork()
    action()
    this.#stream!.uncork()
  }

  churn(step: number, add: boolean): void {
    this.#stream!.write(churn(this.#protocol, step, add))
    counts.churned++
    if (this.#protocol === 'nats') counts.churn_acked++
  }
}

const make = (role: Role, count: number) =>
  Array.from({ length: count }, (_, index) => {
    const newer = values.mixed === true && role === 'subscriber' && index % 2 === 1
    return new Client(role, index, newer ? 'mqtt5' : protocol)
  })
const all = {
  subscriber: make('subscriber', subscribers),
  stalled: make('stalled', number('stalled', 0)),
  churner: make('churner', churners),
  publisher: make('publisher', publishers),
}
const fanout = all.publisher.map(({ index }) => {
  if (settings.shared) return 1
  if (settings.wildcard) return subscribers
  return all.subscriber.filter((one) => one.index % topics === index % topics).length
})
const mostAhead = Math.max(
  subscribers,
  (Math.min(subscribers, 16) * 2 ** 20) / (settings.size + 40),
)

async function openAll(clients: readonly Client[]): Promise<void> {
  const queue = [...clients]
  const worker = async () => {
    for (let one = queue.shift(); one; one = queue.shift()) await one.open()
  }
  await Promise.all(Array.from({ length: 64 }, worker))
}

const BATCH = 256

/** One turn of sending. Paced messages carry the time they were due, as in bench/load. */
function publishSome(begun: number): void {
  if (rate > 0) {
    for (;;) {
      const due = begun + Math.round((counts.sent * 1e6) / rate)
      if (due > nowUs()) return
      all.publisher[counts.sent % publishers]!.publish(due)
    }
  }
  for (const one of all.publisher) {
    one.cork(() => {
      const most = values.echo ? 1 : BATCH
      for (let i = 0; i < most && one.mayPublish; i++) one.publish(nowUs())
    })
  }
}

let churnSteps = 0
function churnSome(begun: number): void {
  while (churnRate > 0 && begun + (churnSteps * 1e6) / churnRate <= nowUs()) {
    all.churner[churnSteps % churners]!.churn(churnSteps, true)
    const old = churnSteps - 16
    if (old >= 0) all.churner[old % churners]!.churn(old, false)
    churnSteps++
  }
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))
let stopped = false
process.once('SIGTERM', () => {
  stopped = true
})

async function run(): Promise<{ begun: number; ended: number }> {
  running = true
  const begun = nowUs()
  lastProgress = begun
  const until = begun + seconds * 1e6
  for (;;) {
    const sending = nowUs() < until && !stopped
    if (sending) {
      publishSome(begun)
      churnSome(begun)
    }
    await turn()
    const arrived = counts.received >= counts.expected
    const acked = settings.qos === 0 || counts.acked >= counts.sent
    if (!sending && ((arrived && acked) || nowUs() > lastProgress + patience * 1e6)) break
  }
  const ended = lastProgress > begun ? lastProgress : nowUs()
  // What comes twice may come after all has come once.
  await new Promise((resolve) => setTimeout(resolve, 10))
  return { begun, ended }
}

async function checkRetained(): Promise<number> {
  if (!settings.retain) return 0
  const wanted = Math.min(counts.sent, spread)
  await new Client('latecomer', 0, protocol).open()
  lastProgress = nowUs()
  while (counts.retained < wanted && nowUs() < lastProgress + patience * 1e6) await turn()
  return wanted
}

function quantiles() {
  if (latencies.length === 0) return {}
  const sorted = latencies.sort((a, b) => a - b)
  const at = (q: number) => sorted[Math.max(0, Math.ceil(sorted.length * q) - 1)]
  const figures = { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1) }
  return { latency_us: { ...figures, count: sorted.length } }
}

async function main(): Promise<void> {
  if (port === 0 || settings.size < HEADER) {
    process.stderr.write('--port is needed, and --size must be at least 24\n')
    process.exit(2)
  }
  const start = nowUs()
  await openAll([...all.subscriber, ...all.stalled, ...all.churner])
  const connectSeconds = (nowUs() - start) / 1e6
  if (values.hold) {
    hold(connectSeconds)
    return
  }
  await openAll(all.publisher)
  const cpu = process.cpuUsage()
  const { begun, ended } = await run()
  const { user, system } = process.cpuUsage(cpu)
  const retainedExpected = await checkRetained()
  const { sent, acked, received, expected, disordered, stray, malformed, retained, stale } = counts
  const lost = Math.max(0, expected - received)
  const faults = lost + disordered + stray + malformed + stale + (retainedExpected - retained)
  const elapsed = (ended - begun) / 1e6
  const ok = faults === 0 && received === expected && (settings.qos === 0 || acked === sent)
  const report = {
    ...{ generator: 'javascript', ...counts, lost, retained_expected: retainedExpected, ok },
    ...{ seconds: elapsed, per_second: received / elapsed, sent_per_second: sent / elapsed },
    ...{ connect_seconds: connectSeconds, generator_cpu: (user + system) / 1e6, broker_cpu: 0 },
    ...quantiles(),
  }
  process.stdout.write(`${JSON.stringify(report)}\n`, () => process.exit(ok ? 0 : 1))
}

function hold(connectSeconds: number): void {
  const say = (event: string, more: object) =>
    process.stdout.write(`${JSON.stringify({ generator: 'javascript', event, ...more })}\n`)
  say('ready', { connections: subscribers, connect_seconds: connectSeconds })
  process.stdin.resume().once('end', () => {
    say('done', { connections: subscribers })
    process.exit(0)
  })
}

await main()
