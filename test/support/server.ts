// A whole Partyline inside the test's own process, on a free port of loopback: what every test that talks to
// a real server starts, and what keeps its warnings so that a test can say that there were none.
import type { IConnectPacket } from 'mqtt-packet'
import { afterAll, beforeAll } from 'vitest'
import { SILENT } from '../../src/core/activity.ts'
import type { Broker } from '../../src/core/broker.ts'
import type { Limits } from '../../src/core/limits.ts'
import { type PartialSettings, settingsFromCode } from '../../src/server/config.ts'
import { Server } from '../../src/server/server.ts'
import {
  type Address,
  type DialOptions,
  dial,
  type Heard,
  type RawClient,
  type SubscribeOptions,
} from './raw-client.ts'

export interface TestServer extends Address {
  readonly host: string
  readonly port: number
  readonly broker: Broker
  /** Warnings and errors it wrote for its operator. */
  readonly complaints: readonly string[]
  drain(): void
  stop(): Promise<void>
}

/**
 * Starts one. Whoever starts it stops it; `$SYS` topics are off unless asked for. `beyond` sets limits to what
 * no operator may, such as an idle timeout of one second.
 */
export async function startServer(
  settings: PartialSettings = {},
  beyond: Partial<Limits> = {},
): Promise<TestServer> {
  const complaints: string[] = []
  const complain = (sentence: string): void => {
    complaints.push(sentence)
  }
  const given = { ports: [0], hosts: ['127.0.0.1'], sysInterval: 0, ...settings }
  const checked = settingsFromCode(given)
  const server = new Server({
    settings: { ...checked, limits: { ...checked.limits, ...beyond } },
    notes: { info: () => {}, warn: complain, error: complain },
    activity: SILENT,
    failed: complain,
  })
  await server.start()
  const address = server.addresses[0]
  if (address === undefined) throw new Error('the server says it listens nowhere')
  return {
    host: address.address,
    port: address.port,
    broker: server.broker,
    complaints,
    drain: () => server.drain(),
    stop: () => server.stop(),
  }
}

/** A server for all tests of one `describe` or file; the returned function is for use inside tests. */
export function serverForTests(
  settings: PartialSettings = {},
  beyond: Partial<Limits> = {},
): () => TestServer {
  let server: TestServer | undefined
  beforeAll(async () => {
    server = await startServer(settings, beyond)
  })
  afterAll(() => server?.stop())
  return () => {
    if (server === undefined) throw new Error('the server is there only while tests run')
    return server
  }
}

/** A raw client that has been let in. */
export async function enter(
  server: Address,
  connect: Partial<IConnectPacket> & { clientId: string },
  options: DialOptions = { version: 5 },
): Promise<{ client: RawClient; connack: Heard<'connack'> }> {
  const client = await dial(server, options)
  client.connect(connect)
  return { client, connack: await client.hears('connack', { [codeName(client.version)]: 0 }) }
}

function codeName(version: 3 | 4 | 5): 'reasonCode' | 'returnCode' {
  return version === 5 ? 'reasonCode' : 'returnCode'
}

/** A subscription that was granted: its SUBACK is heard. */
export async function subscribed(
  client: RawClient,
  filter: string,
  options: SubscribeOptions = {},
): Promise<void> {
  client.subscribe(filter, options)
  const { granted } = await client.finds('suback')
  if (Number(granted[0]) > 2) throw new Error(`subscribing to ${filter} was refused: ${granted}`)
}

/** Waits for what happens within the server without a word to anybody; throws after five seconds. */
export async function until(ready: () => boolean, within = 5_000): Promise<void> {
  const end = performance.now() + within
  while (!ready()) {
    if (performance.now() > end) throw new Error(`waited ${within} ms in vain`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
