// A NATS server that was paused takes itself for the leader of a stream until it hears of another: where it has nothing,
// there may be something.

import { describe, expect, test } from 'vitest'
import { Intents } from '../../src/engine/nats/intents.ts'
import { Names } from '../../src/engine/nats/options.ts'
import { Reader, type Stored } from '../../src/engine/nats/reader.ts'
import { Replay } from '../../src/engine/nats/replay.ts'
import { ManualRuntime, message, record } from './contract.ts'

/** A stream as its leader tells of it, and the first answers as one tells that was the leader. */
class Leader extends Reader {
  readonly #stored: Stored[]
  #stale: number

  constructor(stored: Stored[], { stale }: { stale: number }) {
    const store = async () => ({ seq: 9, duplicate: true })
    super({ connection: { nc: { subscribe: () => {} } }, store } as never)
    this.#stored = stored
    this.#stale = stale
  }

  /** A replica that lags. */
  override async batch() {
    return { messages: [], pending: 0 }
  }

  override async nextOfLeader(_: string, seq: number): Promise<Stored | null> {
    if (this.#stale > 0) return null
    return this.#stored.find((one) => one.seq >= seq) ?? null
  }

  override async info(): Promise<never> {
    const isStale = this.#stale > 0
    this.#stale--
    const first_seq = isStale ? 1 : (this.#stored[0]?.seq ?? 10)
    return { config: {}, state: { messages: 0, bytes: 0, first_seq, last_seq: 9 } } as never
  }
}

const names = new Names({ runtime: new ManualRuntime() })
const found = (data: Buffer): Stored => ({ seq: 9, subject: 'l', time: 0, id: 'i', data })

describe('what the leader of a moment ago does not know', () => {
  const intents = (leader: Leader, at = 0) =>
    new Intents(
      leader,
      names,
      () => 0,
      () => 0,
    ).unfulfilled([{ group: 'i', packetIds: [7], after: 0, at }])

  test('is not passed over by who reads the log', async () => {
    const leader = new Leader([found(Buffer.from('x'))], { stale: 2 })
    const decoded = { ...record([message('say', 'x')]), first: 9 * 1024 }
    const replay = new Replay(leader, names, () => decoded)
    const read = await replay.read(9 * 1024 - 1, 9 * 1024)
    expect(read.records).toEqual([decoded])
  })

  test('is gone for who reads the log when the leader says so', async () => {
    const leader = new Leader([], { stale: 1 })
    const replay = new Replay(leader, names, () => null)
    expect(await replay.read(9 * 1024 - 1, 9 * 1024)).toEqual({ records: [], scanned: 9 * 1024 })
  })

  test('is not taken for a QoS 2 message that is stored', async () => {
    const nothing = new Leader([found(Buffer.alloc(0))], { stale: 2 })
    expect(await intents(nothing)).toEqual(new Set([7]))
    expect(await intents(new Leader([found(Buffer.from('x'))], { stale: 2 }))).toEqual(new Set())
  })

  test('is looked for again among what was stored long ago', async () => {
    const append = { ...found(Buffer.from('x')), seq: 4 }
    const isLost = async (log: Stored[], ends: Stored[][]) => {
      const leader = new Leader([found(Buffer.alloc(0))], { stale: 0 })
      leader.all = async function* () {
        yield* ends.shift() ?? log
      } as never
      return intents(leader, -60_000)
    }
    const empty = found(Buffer.alloc(0))
    expect(await isLost([append, empty], [[], []])).toEqual(new Set())
    expect(await isLost([empty], [[], []])).toEqual(new Set([7]))
  })
})
