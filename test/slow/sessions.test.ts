// Sessions that outlive connections, takeover, and wills, as a user of MQTT.js or of bare packets sees them. Tests
// that need a second of real time, because the standard counts in seconds, run side by side.
import { describe, expect, it } from 'vitest'
import { join, type Version } from '../support/mqtt-js.ts'
import { enter, serverForTests, subscribed, until } from '../support/server.ts'

const server = serverForTests()

/** What makes a session last in each version. */
function lasting(version: Version, clientId: string) {
  return {
    version,
    clientId,
    clean: false,
    ...(version === 5 && { properties: { sessionExpiryInterval: 3600 } }),
  }
}

const versions = [3, 4, 5] as const

describe.for(versions)('a persistent session in MQTT %i', (version) => {
  const name = `keeper${version}`

  it('is there again, with its subscriptions and what it missed, in order', async () => {
    const first = await join(server(), lasting(version, name))
    expect(first.connack.sessionPresent).toBe(false)
    await first.client.subscribeAsync({ [`kept/${version}/1`]: { qos: 1 } })
    await first.client.subscribeAsync({ [`kept/${version}/2`]: { qos: 2 } })
    await first.leave()
    const writer = await join(server())
    for (const qos of [0, 1, 2] as const) {
      await writer.client.publishAsync(`kept/${version}/1`, `a${qos}`, { qos })
      await writer.client.publishAsync(`kept/${version}/2`, `b${qos}`, { qos })
    }
    await writer.leave()
    const again = await join(server(), lasting(version, name))
    // 3.1 has no session present flag.
    if (version > 3) expect(again.connack.sessionPresent).toBe(true)
    const arrived = await again.inbox.take(4)
    expect(arrived.map(({ payload, packet }) => `${payload} ${packet.qos}`)).toEqual([
      'a1 1',
      'b1 1',
      'a2 1',
      'b2 2',
    ])
    await again.leave()
    expect(again.inbox.size).toBe(0)
  })

  it('is forgotten by who asks for a clean one', async () => {
    const clean = await join(server(), { version, clientId: name, clean: true })
    expect(clean.connack.sessionPresent).toBe(false)
    const writer = await join(server())
    await writer.client.publishAsync(`kept/${version}/1`, 'nobody there', { qos: 1 })
    await Promise.all([clean.leave(), writer.leave()])
    expect(clean.inbox.size).toBe(0)
    expect(server().broker.sessions.get(name)).toBeNull()
  })

  it('gets again what it had not acknowledged, marked as sent before', async () => {
    const half = version === 5 ? { properties: { sessionExpiryInterval: 60 } } : {}
    const connect = { clientId: `half${version}`, clean: false, ...half }
    const one = (await enter(server(), connect, { version })).client
    await subscribed(one, `half/${version}`, { qos: 2 })
    const writer = await join(server())
    for (const qos of [1, 2] as const) {
      await writer.client.publishAsync(`half/${version}`, `at ${qos}`, { qos })
    }
    const at1 = await one.hears('publish', { qos: 1, dup: false })
    const at2 = await one.hears('publish', { qos: 2, dup: false })
    const [id1, id2] = [at1.messageId ?? 0, at2.messageId ?? 0]
    one.ack('pubrec', id2)
    await one.hears('pubrel')
    one.drop()
    const two = (await enter(server(), connect, { version })).client
    await two.hears('publish', { qos: 1, dup: true, messageId: id1 })
    await two.hears('pubrel', { messageId: id2 })
    two.ack('puback', id1)
    two.ack('pubcomp', id2)
    await two.hearsNothing()
    two.drop()
    await writer.leave()
  })

  it('belongs to who came last', async () => {
    const id = `twin${version}`
    const older = (await enter(server(), { clientId: id }, { version })).client
    const newer = (await enter(server(), { clientId: id }, { version })).client
    const said = await older.closed()
    expect(said.map((p) => ('reasonCode' in p ? p.reasonCode : p.cmd))).toEqual(
      version === 5 ? [0x8e] : [],
    )
    await newer.hearsNothing()
    newer.drop()
  })
})

describe.concurrent('what counts in seconds', () => {
  it('a session ends when its expiry interval has passed', async ({ expect }) => {
    const short = { clientId: 'short', properties: { sessionExpiryInterval: 1 } }
    const one = await join(server(), { ...short, clean: false })
    await one.client.subscribeAsync('short', { qos: 1 })
    await one.leave()
    expect(server().broker.sessions.get('short')).not.toBeNull()
    await until(() => server().broker.sessions.get('short') === null)
    const again = await join(server(), { ...short, clean: false })
    expect(again.connack.sessionPresent).toBe(false)
    await again.leave()
  })

  it('DISCONNECT may give another expiry interval', async ({ expect }) => {
    const { client } = await enter(server(), {
      clientId: 'changed',
      properties: { sessionExpiryInterval: 3600 },
    })
    client.disconnect(0, { sessionExpiryInterval: 0 })
    await client.closed()
    expect(server().broker.sessions.get('changed')).toBeNull()
  })

  it('a will waits for its delay, and its client may come back before', async ({ expect }) => {
    const witness = await join(server())
    await witness.client.subscribeAsync('wills/delayed/#', { qos: 1 })
    const willing = (clientId: string) => ({
      clientId,
      clean: false,
      properties: { sessionExpiryInterval: 60 },
      will: {
        topic: `wills/delayed/${clientId}`,
        payload: Buffer.from(clientId),
        qos: 1 as const,
        retain: false,
        properties: { willDelayInterval: 1 },
      },
    })
    const [gone, back] = await Promise.all([
      join(server(), willing('gone')),
      join(server(), willing('back')),
    ])
    const start = performance.now()
    gone.vanish()
    back.vanish()
    const again = await join(server(), { ...willing('back') })
    expect(await witness.inbox.text()).toBe('gone')
    expect(performance.now() - start).toBeGreaterThan(900)
    await Promise.all([again.leave(), witness.leave()])
    expect(witness.inbox.size).toBe(0)
  })

  it('a session that ends takes its waiting will along at once', async ({ expect }) => {
    const witness = await join(server())
    await witness.client.subscribeAsync('wills/ending', { qos: 0 })
    const dying = await join(server(), {
      will: {
        topic: 'wills/ending',
        payload: Buffer.from('now'),
        qos: 0,
        retain: false,
        properties: { willDelayInterval: 3600 },
      },
    })
    dying.vanish()
    expect(await witness.inbox.text()).toBe('now')
    await witness.leave()
  })

  it('silence of one and a half keep alives is the end', async ({ expect }) => {
    const { client } = await enter(server(), { clientId: 'silent', keepalive: 1 })
    const before = server().broker.counters.keepAliveClosed
    const start = performance.now()
    const said = await client.closed(4000)
    expect(said).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x8d }])
    expect(performance.now() - start).toBeGreaterThan(1400)
    expect(server().broker.counters.keepAliveClosed).toBe(before + 1)
  })

  it('pings keep a connection', async ({ expect }) => {
    const pinging = await join(server(), { keepalive: 1 })
    await new Promise((resolve) => setTimeout(resolve, 3000))
    expect(pinging.client.connected).toBe(true)
    await pinging.leave()
  })
})

describe.for(versions)('a will in MQTT %i', (version) => {
  const will = (topic: string, qos: 0 | 1 | 2, retain = false) => ({
    topic,
    payload: Buffer.from('farewell'),
    qos,
    retain,
  })

  it.for([0, 1, 2] as const)('is published at QoS %i when a connection is lost', async (qos) => {
    const witness = await join(server(), { version })
    const topic = `wills/${version}/${qos}`
    await witness.client.subscribeAsync(topic, { qos: 2 })
    const { client } = await enter(
      server(),
      { clientId: `willing${version}${qos}`, will: will(topic, qos) },
      { version },
    )
    client.drop()
    const { payload, packet } = await witness.inbox.next()
    expect([payload.toString(), packet.qos, packet.retain]).toEqual(['farewell', qos, false])
    await witness.leave()
  })

  it('may be retained', async () => {
    const topic = `wills/retained/${version}`
    const { client } = await enter(
      server(),
      { clientId: `retaining${version}`, will: will(topic, 1, true) },
      { version },
    )
    client.drop()
    await until(() => server().broker.retained.get(topic) !== null)
    const later = await join(server(), { version })
    await later.client.subscribeAsync(topic, { qos: 1 })
    expect((await later.inbox.next()).packet.retain).toBe(true)
    await later.leave()
  })

  it('is not published after a proper goodbye', async () => {
    const witness = await join(server(), { version })
    await witness.client.subscribeAsync(`wills/none/${version}`, { qos: 1 })
    const leaver = await join(server(), { version, will: will(`wills/none/${version}`, 1) })
    await leaver.leave()
    await witness.client.publishAsync(`wills/none/${version}`, 'first', { qos: 1 })
    expect(await witness.inbox.text()).toBe('first')
    await witness.leave()
  })

  it('is published when somebody else takes the session over', async () => {
    const witness = await join(server(), { version })
    const topic = `wills/taken/${version}`
    await witness.client.subscribeAsync(topic, { qos: 1 })
    const id = `taken${version}`
    const { client } = await enter(server(), { clientId: id, will: will(topic, 1) }, { version })
    const taker = await join(server(), { version, clientId: id })
    expect(await witness.inbox.text()).toBe('farewell')
    await client.closed()
    await Promise.all([taker.leave(), witness.leave()])
  })
})

it('DISCONNECT with will message publishes the will', async () => {
  const witness = await join(server())
  await witness.client.subscribeAsync('wills/asked', { qos: 1 })
  const { client } = await enter(server(), {
    clientId: 'asking',
    will: { topic: 'wills/asked', payload: Buffer.from('yes'), qos: 1, retain: false },
  })
  client.disconnect(0x04)
  expect(await witness.inbox.text()).toBe('yes')
  await witness.leave()
})
