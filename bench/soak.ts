// `npm run soak [seconds]`: the disk engine as a queue for minutes. Records of 300 B to 256 KiB go in,
// a slow reader follows, the log is trimmed behind it, sessions are saved all the while. Fails when
// the file grows beyond 1.5 times its peak live bytes, anonymous memory grows, or anything errs.

import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { EngineEvents, LogRecord } from '../src/core/engine.ts'
import { Topic } from '../src/core/topics.ts'
import { type Message, NO_BYTES, type Pos } from '../src/core/types.ts'
import { DiskEngine } from '../src/engine/disk.ts'

const seconds = Number(process.argv[2] ?? 300)
if (!(seconds > 0)) throw new Error(`npm run soak -- [seconds], not ${process.argv[2]}`)
/** Bytes the slow reader may be behind before it catches up. */
const BACKLOG = 96 * 1024 * 1024
/** How much of the run only warms up: memory is compared from here on. */
const WARM_UP = 0.3
const SESSIONS = 200
const GROWTH_MAX = 1.5
const MEMORY_SLACK = 48 * 1024 * 1024

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'partyline-soak-'))
const topic = new Topic(Buffer.from('soak/topic'), 0)
const events: EngineEvents = {
  record: () => {},
  retained: () => {},
  cast: () => {},
  kick: () => Promise.resolve(),
  state: (state, why) => {
    throw new Error(`engine ${state}: ${why}`)
  },
}
let seed = 42
const random = (): number => {
  seed = (seed * 48_271) % 2_147_483_647
  return seed / 2_147_483_647
}
const engine = new DiskEngine({
  directory: folder,
  runtime: {
    now: () => Date.now(),
    random: Math.random,
    after: (ms, call) => {
      const timer = setTimeout(call, ms)
      return { cancel: () => clearTimeout(timer) }
    },
  },
  resolve: () => topic,
})

const totals = { records: 0, bytes: 0, read: 0, saves: 0 }
/** Positions appended and their payloads' first byte, for the reader to check. */
const expected: { pos: Pos; mark: number; length: number }[] = []
let running = true
let unread = 0
let peakLive = 0
let peakFile = 0

/** Mostly small, sometimes 256 KiB: sizes an order of magnitude apart share the free pages. */
function someLength(): number {
  return Math.floor(300 * ((256 * 1024) / 300) ** (random() ** 2))
}

function someRecord(): LogRecord {
  const mark = totals.records % 251
  const payload = Buffer.alloc(someLength(), mark)
  const message: Message = {
    topic,
    payload,
    properties: NO_BYTES,
    qos: 1,
    retain: false,
    at: Date.now(),
    expires: Number.POSITIVE_INFINITY,
    publisher: 'soak',
  }
  return { first: 0, messages: [message], wanted: [true], saves: [], bytes: payload.length }
}

async function write(): Promise<void> {
  while (running) {
    if (unread > 2 * BACKLOG) {
      await sleep(5)
      continue
    }
    const batch = Array.from({ length: 1 + Math.floor(random() * 8) }, someRecord)
    const done = batch.map((record) => {
      const appended = engine.append(record)
      const { length } = record.messages[0]!.payload
      expected.push({ pos: record.first, mark: record.messages[0]!.payload[0]!, length })
      totals.records++
      totals.bytes += length
      unread += length
      return appended
    })
    await Promise.all(done)
  }
}

/** Reads nothing until it is far behind, then everything: the queue breathes. */
async function readSlowly(): Promise<void> {
  let scan = 0
  while (running) {
    if (unread < BACKLOG) {
      await sleep(20)
      continue
    }
    while (unread > BACKLOG / 4) {
      const { records, scanned } = await engine.read(scan, engine.bounds().last)
      for (const { first, messages } of records) verify(first, messages[0]!)
      scan = scanned
      await engine.truncate(scan)
    }
  }
}

function verify(first: Pos, { payload }: Message): void {
  const next = expected[totals.read++]!
  const whole = next.pos === first && next.length === payload.length
  if (!whole || payload[0] !== next.mark || payload[payload.length - 1] !== next.mark) {
    throw new Error(`position ${first} is not what was written at ${next.pos}`)
  }
  unread -= payload.length
  if (totals.read > 100_000) expected.splice(0, totals.read)
  if (totals.read > 100_000) totals.read = 0
}

async function save(): Promise<void> {
  const owners = await Promise.all(
    Array.from({ length: SESSIONS }, (_, n) => engine.claim(`session-${n}`)),
  )
  while (running) {
    const saves = owners.map(({ epoch }, n) => ({
      id: `session-${n}`,
      epoch,
      flow: {
        cursor: engine.bounds().last,
        sending: [],
        receiving: [],
        awaySince: 0,
        log: engine.log,
      },
    }))
    await engine.save(saves)
    totals.saves += saves.length
    await sleep(100)
  }
}

function anonymousMemory(): number {
  try {
    const status = fs.readFileSync('/proc/self/status', 'utf8')
    return Number(/RssAnon:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024
  } catch {
    return process.memoryUsage().rss
  }
}

async function watch(): Promise<{ warm: number; end: number }> {
  const began = Date.now()
  const warm: number[] = []
  const late: number[] = []
  while (Date.now() - began < seconds * 1000) {
    await sleep(200)
    const { live, file } = engine.sizes()
    peakLive = Math.max(peakLive, live)
    peakFile = Math.max(peakFile, file)
    const part = (Date.now() - began) / (seconds * 1000)
    if (part > 1 - WARM_UP) late.push(anonymousMemory())
    else if (part > WARM_UP && part < 2 * WARM_UP) warm.push(anonymousMemory())
  }
  running = false
  return { warm: median(warm), end: median(late) }
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1] ?? 0
}

const mib = (bytes: number): string => `${(bytes / 1024 / 1024).toFixed(0)} MiB`

await engine.open(events)
const [memory] = await Promise.all([watch(), write(), readSlowly(), save()])
await engine.close()
fs.rmSync(folder, { recursive: true })

const growth = peakFile / peakLive
console.log(
  `${totals.records} records, ${mib(totals.bytes)}, ${totals.saves} saves in ${seconds} s; ` +
    `file ${mib(peakFile)} at most, ${growth.toFixed(2)} times its ${mib(peakLive)} of live bytes; ` +
    `anonymous memory ${mib(memory.warm)} warm, ${mib(memory.end)} at the end`,
)
const faults = [
  ...(growth > GROWTH_MAX
    ? [`the file grew to ${growth.toFixed(2)} times its peak live bytes`]
    : []),
  ...(memory.end > memory.warm + MEMORY_SLACK ? ['anonymous memory grew'] : []),
  ...(engine.damaged > 0 ? [`${engine.damaged} values were damaged`] : []),
  ...(totals.bytes < 4 * BACKLOG ? ['the run was too short to prove anything'] : []),
]
for (const fault of faults) console.error(`soak: ${fault}`)
process.exitCode = faults.length > 0 ? 1 : 0
