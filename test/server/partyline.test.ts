import { afterEach, expect, test } from 'vitest'
import {
  createBroker,
  type EmbeddedBroker,
  type ReceivedMessage,
} from '../../src/server/partyline.ts'

const running: EmbeddedBroker[] = []

async function started(): Promise<EmbeddedBroker> {
  const broker = createBroker({ ports: [0], hosts: ['127.0.0.1'], sysInterval: 0 })
  running.push(broker)
  await broker.start()
  return broker
}

/** Collects what a handler is called with; `next` waits for one more. */
function inbox(): { handle: (message: ReceivedMessage) => void; next(): Promise<ReceivedMessage> } {
  const arrived: ReceivedMessage[] = []
  const waiting: ((message: ReceivedMessage) => void)[] = []
  return {
    handle: (message) => {
      const hear = waiting.shift()
      if (hear === undefined) arrived.push(message)
      else hear(message)
    },
    next: () => {
      const message = arrived.shift()
      return message ? Promise.resolve(message) : new Promise((resolve) => waiting.push(resolve))
    },
  }
}

afterEach(async () => {
  for (const broker of running.splice(0)) await broker.stop()
})

test.each([0, 1, 2] as const)('a program publishes to itself at QoS %i', async (qos) => {
  const broker = await started()
  const sports = inbox()
  await broker.subscribe('SPORTS/#', sports.handle, { qos })
  await broker.publish('SPORTS/football', 'goal', {
    qos,
    contentType: 'text/plain',
    userProperties: [['minute', '90']],
  })
  const message = await sports.next()
  expect(message.topic).toBe('SPORTS/football')
  expect(message.payload.toString()).toBe('goal')
  expect(message.qos).toBe(qos)
  expect(message.contentType).toBe('text/plain')
  expect(message.userProperties).toEqual([['minute', '90']])
})

test('a named subscription misses nothing while nobody listens', async () => {
  const broker = await started()
  const before = await broker.subscribe('jobs', () => {}, { name: 'worker' })
  before.unsubscribe()
  await broker.publish('jobs', 'one', { qos: 1 })
  await broker.publish('jobs', 'two', { qos: 2 })
  const jobs = inbox()
  await broker.subscribe('jobs', jobs.handle, { name: 'worker' })
  expect((await jobs.next()).payload.toString()).toBe('one')
  expect((await jobs.next()).payload.toString()).toBe('two')
})

test('a handler that takes its time is served one window at a time', async () => {
  const broker = await started()
  const started_: string[] = []
  const release: (() => void)[] = []
  await broker.subscribe('slow', ({ payload }) => {
    started_.push(payload.toString())
    return new Promise((resolve) => release.push(resolve))
  })
  await Promise.all(
    Array.from({ length: 250 }, (_, i) => broker.publish('slow', String(i), { qos: 1 })),
  )
  await new Promise((resolve) => setImmediate(resolve))
  await new Promise((resolve) => setImmediate(resolve))
  expect(started_.length).toBe(100)
  while (started_.length < 250 || release.length > 0) {
    release.shift()?.()
    await new Promise((resolve) => setImmediate(resolve))
  }
  expect(started_).toEqual(Array.from({ length: 250 }, (_, i) => String(i)))
})

test('a retained message greets a new subscription', async () => {
  const broker = await started()
  await broker.publish('light', 'on', { retain: true })
  const light = inbox()
  await broker.subscribe('light', light.handle)
  expect(await light.next()).toMatchObject({ topic: 'light', retain: true })
})

test('wrong topics and filters are refused in words', async () => {
  const broker = await started()
  await expect(broker.publish('a/#', 'x')).rejects.toThrow('must not contain wildcards')
  await expect(broker.subscribe('a/#/b', () => {})).rejects.toThrow(
    '"#" must be the last character',
  )
})

test('a handler that fails is reported and does not stop the others', async () => {
  const heard: string[] = []
  const broker = createBroker({
    ports: [0],
    hosts: ['127.0.0.1'],
    sysInterval: 0,
    notes: { info: () => {}, warn: () => {}, error: (sentence) => heard.push(sentence) },
  })
  running.push(broker)
  await broker.start()
  const good = inbox()
  await broker.subscribe('x', () => Promise.reject(new Error('out of coffee')))
  await broker.subscribe('x', good.handle)
  await broker.publish('x', '1', { qos: 1 })
  await broker.publish('x', '2', { qos: 1 })
  expect((await good.next()).payload.toString()).toBe('1')
  expect((await good.next()).payload.toString()).toBe('2')
  expect(heard).toEqual([
    'a handler of x failed: Error: out of coffee',
    'a handler of x failed: Error: out of coffee',
  ])
})
