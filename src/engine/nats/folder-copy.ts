// Copies a data folder into the streams of a cluster: messages, then sessions and groups, then
// retained messages, each position translated. The folder is only read. Nothing counts until all is
// there; a copy that was interrupted is made again from the beginning.

import { EngineError } from '../../core/engine.ts'
import { begunAfter } from '../../core/loan-record.ts'
import { groupOfRecord, isGroupRecord } from '../../core/share.ts'
import { Topic } from '../../core/topics.ts'
import {
  type Message,
  type Pos,
  RECORD_BYTES_MAX,
  RECORD_MESSAGES_MAX,
  type SessionProfile,
  type StoredSession,
} from '../../core/types.ts'
import { DataFolder } from '../folder.ts'
import { MovedPositions, movedFlow, movedProfile, positionsOf } from '../moved-positions.ts'
import { RecordCodec } from '../record.ts'
import type { Inspection } from '../scan.ts'
import { scanInChild } from '../scan-process.ts'
import { SessionTable } from '../session-table.ts'
import { FIRST_KEY, firstPosition, recordSequence, Store, type Table } from '../store.ts'
import { Target, type TargetOptions } from './target.ts'

/** Sessions or retained messages stored at once. */
const AT_ONCE = 128
/** Topics whose messages share one object, so that a record names each once. */
const TOPICS_MAX = 100_000

export type Part = 'messages' | 'sessions' | 'retained messages'

/** What is told meanwhile. */
export interface CopyEvents {
  progress(part: Part, done: number, all: number): void
  /** What an operator should know, one sentence each. */
  notify(sentence: string): void
}

export interface Copied {
  readonly messages: number
  readonly sessions: number
  readonly groups: number
  readonly retained: number
  /** Sessions whose place in the log was not known in the folder either. */
  readonly lost: number
}

/** Throws an Error for people; then nothing of the copy counts. */
export async function copyFolder(
  directory: string,
  options: Omit<TargetOptions, 'notify'>,
  events: CopyEvents,
): Promise<Copied> {
  const folder = new DataFolder(directory)
  folder.checkStored()
  folder.lock()
  try {
    const found = await sound(folder)
    const notify = (sentence: string): void => events.notify(sentence)
    const target = await Target.open({ ...options, notify })
    try {
      await admit(target, found)
      await target.begin(found.log)
      return await copyInto(target, folder, found, events)
    } finally {
      await target.close()
    }
  } finally {
    folder.forgetReaders()
    folder.unlock()
  }
}

async function sound(folder: DataFolder): Promise<Inspection> {
  const result = await scanInChild(folder)
  const wrong =
    'unreadable' in result
      ? result.unreadable
      : result.found.damaged > 0
        ? `${result.found.damaged} values in it are not what was written`
        : null
  if (wrong === null && 'found' in result) return result.found
  const { directory } = folder
  throw new Error(
    `${directory} is damaged: ${wrong}; see \`partyline data check ${directory}\`, then copy a backup, or leave out what is damaged with \`partyline data compact ${directory}\``,
  )
}

async function refuseServers(target: Target): Promise<void> {
  const node = await target.livingNode()
  if (node === null) return
  throw new Error(
    `the server ${node} runs on these streams: stop it and copy again, or choose another --nats-prefix`,
  )
}

/** Refuses streams that somebody uses. */
async function admit(target: Target, found: Inspection): Promise<void> {
  const way = 'choose another --nats-prefix'
  await refuseServers(target)
  if (target.unfinished !== null && target.unfinished !== found.log) {
    throw new Error(`half of another folder lies in ${target.streams}: finish that copy, or ${way}`)
  }
  if (target.unfinished === null) {
    const { records, sessions, retained } = await target.holdings()
    if (records + sessions + retained > 0) {
      throw new Error(
        `${target.streams} are in use: they hold ${records} records of messages, ${sessions} sessions and ${retained} retained ` +
          `messages, and the two cannot be merged; remove these streams, or ${way}`,
      )
    }
  }
  if (found.sizes.log > target.cap) {
    throw new Error(
      `the log of the folder takes ${found.sizes.log} bytes and the one on the servers may hold ${target.cap}: ` +
        `remove ${target.streams}, then copy with a larger --log-bytes`,
    )
  }
}

async function copyInto(
  target: Target,
  folder: DataFolder,
  found: Inspection,
  events: CopyEvents,
): Promise<Copied> {
  const store = Store.open(folder.directory, true)
  try {
    const copy = new FolderCopy(store, target, found, events)
    return await copy.run()
  } finally {
    await store.close()
  }
}

class FolderCopy {
  readonly #store: Store
  readonly #target: Target
  readonly #found: Inspection
  readonly #events: CopyEvents
  readonly #sessions: SessionTable
  readonly #topics = new Map<string, Topic>()
  readonly #codec: RecordCodec
  /** Positions of retained messages that a session has under way, by topic. */
  readonly #retainedAt = new Map<string, Pos>()
  #floor: Pos = Number.POSITIVE_INFINITY
  #before: Pos = 0

  constructor(store: Store, target: Target, found: Inspection, events: CopyEvents) {
    this.#store = store
    this.#target = target
    this.#found = found
    this.#events = events
    this.#sessions = new SessionTable(store, unsound, () => found.log)
    this.#codec = new RecordCodec((bytes, start, length) => this.#topic(bytes, start, length))
  }

  async run(): Promise<Copied> {
    this.#before = await this.#target.before()
    const moved = new MovedPositions(await this.#named(), this.#before)
    const messages = await this.#copyLog(moved)
    const { sessions, groups, lost } = await this.#copySessions(moved)
    const retained = await this.#copyRetained(moved)
    await this.#verify({ sessions: sessions + groups, retained })
    // One that was starting while we began did not see the mark.
    await refuseServers(this.#target)
    await this.#target.finish(Math.min(this.#floor, moved.last + 1))
    return { messages, sessions, groups, retained, lost }
  }

  /** Every position that means something to somebody. */
  async #named(): Promise<Set<Pos>> {
    const named = new Set<Pos>()
    const topics = new Set<string>()
    for await (const { profile, flow } of this.#sessions.all()) {
      for (const pos of positionsOf(profile, flow)) named.add(pos)
      for (const { retained = [] } of flow.sending) for (const topic of retained) topics.add(topic)
    }
    await this.#each(this.#store.retained, async (entries) => {
      for (const { key, value } of entries) {
        const { message, pos } = this.#codec.decodeRetained(key, value)
        named.add(pos)
        if (topics.has(message.topic.name)) this.#retainedAt.set(message.topic.name, pos)
      }
    })
    return named
  }

  // ---- The log -------------------------------------------------------------------------------

  async #copyLog(moved: MovedPositions): Promise<number> {
    let messages: Message[] = []
    let positions: Pos[] = []
    let bytes = 0
    let copied = 0
    const store = async (): Promise<void> => {
      if (messages.length === 0) return
      const first = await this.#target.append(messages)
      positions.forEach((pos, i) => {
        moved.copied(pos, first + i)
      })
      copied += messages.length
      this.#events.progress('messages', copied, this.#found.messages)
      messages = []
      positions = []
      bytes = 0
    }
    await this.#each(this.#store.log, async (entries) => {
      for (const { key, value } of entries) {
        const record = this.#codec.decode(key, value, firstPosition(recordSequence(key)))
        for (let i = 0; i < record.messages.length; i++) {
          if (!record.wanted[i]) continue
          const message = record.messages[i]!
          const size = message.payload.length + message.properties.length
          const full = messages.length >= RECORD_MESSAGES_MAX || bytes + size > RECORD_BYTES_MAX
          if (full) await store()
          messages.push(message)
          positions.push(record.first + i)
          bytes += size
        }
      }
    })
    await store()
    moved.end()
    return copied
  }

  // ---- Sessions ------------------------------------------------------------------------------

  async #copySessions(
    moved: MovedPositions,
  ): Promise<{ sessions: number; groups: number; lost: number }> {
    const done = { sessions: 0, groups: 0, lost: 0 }
    const isRetained = (topic: string, pos: Pos): boolean => this.#retainedAt.get(topic) === pos
    const lot = new Lot()
    for await (const session of this.#sessions.all()) {
      const { id, epoch, profile, flow } = session
      const known = flow.log === this.#found.log
      if (!known) done.lost++
      if (isGroupRecord(id)) done.groups++
      else done.sessions++
      const there: StoredSession = {
        id,
        epoch,
        profile: isGroupRecord(id) ? begunAt(id, this.#before) : movedProfile(profile, moved),
        // Positions of another log mean nothing here either: it begins anew, and says so.
        flow: known ? movedFlow(flow, moved, this.#target.log, isRetained) : flow,
      }
      this.#needs(there)
      await lot.add(this.#target.save(there))
      const { sessions, groups } = done
      this.#events.progress('sessions', sessions + groups, this.#found.sessions)
    }
    await lot.settled()
    return done
  }

  /** Nothing may be forgotten that a session still wants. */
  #needs({ flow }: StoredSession): void {
    this.#floor = Math.min(this.#floor, flow.log === this.#target.log ? flow.cursor + 1 : 1)
    for (const { positions } of flow.sending) {
      for (const pos of positions) this.#floor = Math.min(this.#floor, pos)
    }
  }

  // ---- Retained messages ---------------------------------------------------------------------

  async #copyRetained(moved: MovedPositions): Promise<number> {
    let copied = 0
    const lot = new Lot()
    await this.#each(this.#store.retained, async (entries) => {
      for (const { key, value } of entries) {
        const { message, pos } = this.#codec.decodeRetained(key, value)
        await lot.add(this.#target.retain(message, moved.of(pos)))
        this.#events.progress('retained messages', ++copied, this.#found.retained)
      }
    })
    await lot.settled()
    return copied
  }

  // ---- In the end ----------------------------------------------------------------------------

  /** Counts what the servers hold. */
  async #verify(written: { sessions: number; retained: number }): Promise<void> {
    const there = await this.#target.holdings()
    const { records } = this.#target
    const right =
      there.records === records &&
      there.sessions === written.sessions &&
      there.retained === written.retained
    if (right) return
    throw new EngineError(
      'failed',
      `the servers hold ${there.records} records, ${there.sessions} sessions and ${there.retained} retained messages where ` +
        `${records}, ${written.sessions} and ${written.retained} were written: is somebody else writing there? Copy again`,
    )
  }

  async #each(
    table: Table,
    visit: (entries: readonly { key: Buffer; value: Buffer }[]) => Promise<void>,
  ): Promise<void> {
    let from: Buffer | null = FIRST_KEY
    while (from !== null) {
      const chunk = this.#store.chunk(table, from)
      await visit(chunk.entries)
      from = chunk.next
      await new Promise<void>((resolve) => setImmediate(resolve))
    }
  }

  #topic(bytes: Buffer, start: number, length: number): Topic {
    const name = bytes.toString('latin1', start, start + length)
    let topic = this.#topics.get(name)
    if (topic === undefined) {
      topic = new Topic(Buffer.from(bytes.subarray(start, start + length)), 0)
      if (this.#topics.size >= TOPICS_MAX) this.#topics.clear()
      this.#topics.set(name, topic)
    }
    return topic
  }
}

/** A group's profile: its members asked for nothing earlier than this, so its cursor alone says where it is. */
function begunAt(id: string, before: Pos): SessionProfile {
  const key = groupOfRecord(id)
  return begunAfter(before, key.slice(key.indexOf('/') + 1))
}

/** The folder was found sound a moment ago. */
function unsound(what: string): void {
  throw new Error(`the folder changed while it was copied: ${what}`)
}

/** So many writes at a time, in no order. */
class Lot {
  #writes: Promise<void>[] = []

  async add(write: Promise<void>): Promise<void> {
    write.catch(() => {})
    this.#writes.push(write)
    if (this.#writes.length >= AT_ONCE) await this.settled()
  }

  /** Rejects with the first fault. */
  async settled(): Promise<void> {
    const writes = this.#writes
    this.#writes = []
    await Promise.all(writes)
  }
}
