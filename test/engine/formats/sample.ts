// What the kept folder of each released format holds. `npx tsx test/engine/formats/sample.ts N`
// writes the folder of the present format; a released one is never written again.

import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { LogRecord } from '../../../src/core/engine.ts'
import { Topic } from '../../../src/core/topics.ts'
import type { Message, SessionFlow, SessionProfile } from '../../../src/core/types.ts'
import { DiskEngine } from '../../../src/engine/disk.ts'
import { backUp } from '../../../src/engine/maintenance.ts'

const AT = 1_764_000_000_000
const topics = new Map<string, Topic>()

export function sampleTopic(bytes: Buffer, start: number, length: number): Topic {
  const name = bytes.toString('utf8', start, start + length)
  const known = topics.get(name)
  if (known) return known
  const topic = new Topic(Buffer.from(name), 0)
  topics.set(name, topic)
  return topic
}

function message(name: string, payload: string, more: Partial<Message>): Message {
  const bytes = Buffer.from(name)
  return {
    topic: sampleTopic(bytes, 0, bytes.length),
    payload: Buffer.from(payload),
    properties: Buffer.alloc(0),
    qos: 1,
    retain: false,
    at: AT,
    expires: Number.POSITIVE_INFINITY,
    publisher: '',
    ...more,
  }
}

/** The first record, at 1 024: three messages, the middle one not kept. */
export const MESSAGES: Message[] = [
  message('house/kitchen', 'warm', { publisher: 'probe', properties: Buffer.from([1, 1]) }),
  message('house/cellar', 'nobody wants this', {}),
  message('house/küche', '21.5', { qos: 2, at: AT + 5, expires: AT + 60_000, retain: true }),
]

export const PROFILE: SessionProfile = {
  expiry: Number.POSITIVE_INFINITY,
  user: 'ann',
  subscriptions: [
    {
      filter: 'house/+',
      qos: 2,
      identifier: 268_435_455,
      noLocal: true,
      retainAsPublished: true,
      from: 1023,
    },
  ],
  will: {
    topic: 'house/ann',
    payload: Buffer.from('gone'),
    properties: Buffer.from([1, 0]),
    qos: 2,
    retain: true,
    delay: 4_294_967_295,
    expiry: 60,
  },
}

export const FLOW: Omit<SessionFlow, 'log'> = {
  cursor: 1023,
  sending: [
    { packetId: 65_535, positions: [1024], state: 1 },
    { packetId: 1, positions: [1026], state: 3, retained: ['house/küche'] },
  ],
  receiving: [1, 2, 65_535],
  awaySince: AT,
}

/** An identifier too long to be a key. */
export const LONG_ID = 'ann'.repeat(1000)

async function write(target: string): Promise<void> {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'partyline-format-'))
  const engine = new DiskEngine({
    directory,
    runtime: { now: () => AT, random: Math.random, after: () => ({ cancel: () => {} }) },
    resolve: sampleTopic,
  })
  await engine.open({
    record: () => {},
    retained: () => {},
    cast: () => {},
    kick: () => Promise.resolve(),
    state: () => {},
  })
  const record: LogRecord = {
    first: 0,
    messages: MESSAGES,
    wanted: [true, false, true],
    saves: [],
    bytes: 0,
  }
  await engine.append(record)
  for (const id of ['ann', LONG_ID]) {
    const { epoch } = await engine.claim(id)
    await engine.save([{ id, epoch, profile: PROFILE, flow: { ...FLOW, log: engine.log } }])
  }
  await engine.close()
  await backUp(directory, target)
  fs.rmSync(directory, { recursive: true })
}

const [, script, format] = process.argv
if (script === fileURLToPath(import.meta.url) && format !== undefined) {
  await write(fileURLToPath(new URL(`./${format}`, import.meta.url)))
}
