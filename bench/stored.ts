// The rows about what is on disk: the disk's own speed, sessions that are away while others publish, the replay of what they
// missed after a restart, and how long a server with much in its folder takes to start.
import {
  closeSync,
  fdatasyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeSync,
} from 'node:fs'
import path from 'node:path'
import type { LogRecord, SessionSave } from '../src/core/engine.ts'
import { Topic } from '../src/core/topics.ts'
import { NO_BYTES } from '../src/core/types.ts'
import { DiskEngine } from '../src/engine/disk.ts'
import { NodeRuntime } from '../src/server/node-runtime.ts'
import type { Ready } from './contenders.ts'
import type { Figures, Sizes } from './measure.ts'
import { cache, cpuSeconds, type Server } from './processes.ts'
import { endSessions, fill, leaveSessions, replay, sessionNames } from './stored-sessions.ts'
import type { Workload } from './workloads.ts'

const SYNC_SECONDS = 0.5
const SYNC_BYTES = 4096
const BATCH = 1000
const TOPIC = 'bench/stored/x'
/** Sessions that replay at once are owed less each, so that a row does not take minutes. */
const SHARE = 40

/** A folder on the disk that is measured; the caller removes it. */
export function dataFolder(): string {
  mkdirSync(cache, { recursive: true })
  return mkdtempSync(path.join(cache, 'data-'))
}

/** How often a second this disk takes 4 KiB and says that it has them. */
export function syncRate(): number {
  const folder = dataFolder()
  const file = openSync(path.join(folder, 'file'), 'w')
  const bytes = Buffer.alloc(SYNC_BYTES, 7)
  try {
    const begun = performance.now()
    let count = 0
    for (; performance.now() - begun < SYNC_SECONDS * 1000; count++) {
      writeSync(file, bytes)
      fdatasyncSync(file)
    }
    return count / ((performance.now() - begun) / 1000)
  } finally {
    closeSync(file)
    rmSync(folder, { recursive: true })
  }
}

/** Runs something while so many sessions are away that are owed all of it, and ends them afterwards. */
export async function whileAway<T>(
  { port }: Server,
  count: number,
  run: () => Promise<T>,
): Promise<T> {
  const ids = sessionNames(count)
  await leaveSessions(port, ids, 'bench/#')
  try {
    return await run()
  } finally {
    await endSessions(port, ids)
  }
}

type StartIn = NonNullable<Ready['startIn']>

/** What sessions missed, from the disk: the server was started anew since. */
export async function measureReplay(
  workload: Workload,
  startIn: StartIn,
  sizes: Sizes,
): Promise<Figures> {
  const ids = sessionNames(workload.away ?? 1)
  const count = ids.length === 1 ? sizes.stored.messages : Math.ceil(sizes.stored.messages / SHARE)
  const folder = dataFolder()
  let server = await startIn(folder)
  try {
    await leaveSessions(server.port, ids, TOPIC)
    await fill(server.port, TOPIC, count)
    await server.stop()
    server = await startIn(folder)
    const broker = cpuSeconds(server.pid)
    const own = process.cpuUsage()
    const { seconds, received, disordered } = await replay(server.port, ids, count, 5)
    const { user, system } = process.cpuUsage(own)
    const used = (cpuSeconds(server.pid) ?? 0) - (broker ?? 0)
    const lost = count * ids.length - received
    return {
      metrics: { rate: received / seconds },
      generatorBound: (user + system) / 1e6 > used,
      faults: [lost > 0 && `${lost} lost`, disordered > 0 && `${disordered} out of order or twice`]
        .filter(Boolean)
        .join(', '),
    }
  } finally {
    await server.stop()
    rmSync(folder, { recursive: true })
  }
}

/** A folder with so many retained messages and stored sessions, closed in order. */
export async function fullFolder({ stored }: Sizes): Promise<string> {
  const directory = dataFolder()
  const topic = (n: number) => new Topic(Buffer.from(`bench/${n % 1000}/${n}`), n)
  const engine = new DiskEngine({ directory, runtime: new NodeRuntime(), resolve: () => topic(0) })
  await engine.open({
    record: () => {},
    retained: () => {},
    cast: () => {},
    kick: () => Promise.resolve(),
    state: (state, why) => {
      throw new Error(`the disk engine is ${state}: ${why}`)
    },
  })
  for (let n = 0; n < stored.retained; n += BATCH) await engine.append(retainedRecord(n, topic))
  for (let n = 0; n < stored.sessions; n += BATCH) {
    const ids = Array.from({ length: BATCH }, (_, i) => `session-${n + i}`)
    const saves = ids.map(async (id): Promise<SessionSave> => {
      const { epoch } = await engine.claim(id)
      return savedSession(id, epoch, engine.log)
    })
    await engine.save(await Promise.all(saves))
  }
  await engine.close()
  return directory
}

function retainedRecord(from: number, topic: (n: number) => Topic): LogRecord {
  const payload = Buffer.alloc(64, 'r')
  const messages = Array.from({ length: BATCH }, (_, i) => ({
    topic: topic(from + i),
    payload,
    properties: NO_BYTES,
    qos: 1 as const,
    retain: true,
    at: Date.now(),
    expires: Number.POSITIVE_INFINITY,
    publisher: 'bench',
  }))
  const wanted = messages.map(() => false)
  return { first: 0, messages, wanted, saves: [], bytes: BATCH * payload.length }
}

function savedSession(id: string, epoch: number, log: string): SessionSave {
  const options = { qos: 1 as const, identifier: 0, noLocal: false, retainAsPublished: false }
  return {
    id,
    epoch,
    profile: {
      expiry: 30 * 24 * 3600,
      user: '',
      will: null,
      subscriptions: [{ filter: `bench/+/${id}`, ...options, from: 0 }],
    },
    flow: { cursor: 0, sending: [], receiving: [], awaySince: Date.now(), log },
  }
}

/** Seconds until it accepts connections: after an orderly stop, and after `kill -9`, when all is read and verified first. */
export async function measureStart(folder: string, startIn: StartIn): Promise<Figures> {
  const timed = async () => {
    const begun = performance.now()
    const server = await startIn(folder)
    return { server, seconds: (performance.now() - begun) / 1000 }
  }
  const clean = await timed()
  process.kill(clean.server.pid, 'SIGKILL')
  await clean.server.stop()
  const killed = await timed()
  await killed.server.stop()
  const metrics = { stopped: clean.seconds, killed: killed.seconds }
  return { metrics, generatorBound: false, faults: '' }
}
