// Publishing and reading over HTTP, as curl and fetch do it.
import { connect } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import type { Access, AccessClass } from '../../src/core/access.ts'
import { RuleSet } from '../../src/server/rules.ts'
import { openWorld, type World, type WorldOptions } from './world.ts'

let world: World
afterEach(() => world.close())

async function open(options: WorldOptions = {}): Promise<World> {
  world = await openWorld(options)
  return world
}

const post = (path: string, body: string | Buffer, headers: Record<string, string> = {}) =>
  fetch(`${world.url}${path}`, { method: 'POST', body: new Uint8Array(Buffer.from(body)), headers })

const basic = (name: string, password: string) => ({
  Authorization: `Basic ${Buffer.from(`${name}:${password}`).toString('base64')}`,
})

/** Two users: alice may publish to sensors and read everything below home; bob may do all. */
function guarded(): Access {
  const alice = new RuleSet([
    { allows: 'publish', filter: 'sensors/#' },
    { allows: 'subscribe', filter: 'home/#' },
  ])
  const all: AccessClass = { mayPublish: () => true, maySubscribe: () => true }
  return {
    connect: async ({ username, password, address, door }) => {
      if (username === 'busy') return { refused: 'busy', why: 'later' }
      if (address !== '127.0.0.1' || door !== 'http') return { refused: 'banned', why: 'who' }
      if (String(password) !== 'secret:1') return { refused: 'credentials', why: 'wrong' }
      return { user: username ?? '', access: username === 'alice' ? alice : all }
    },
    classOf: () => null,
  }
}

describe('publishing', () => {
  test('a message goes in, is shown, and is answered with what was done', async () => {
    const { shown, broker } = await open()
    const response = await post('/topics/SPORTS', 'goal')
    expect(response.status).toBe(200)
    expect(await response.json()).toEqual({ topic: 'SPORTS', bytes: 4, retain: false })
    expect(shown).toEqual(['http SPORTS: goal'])
    expect(broker.counters.messagesIn).toBe(1)
    expect((await fetch(`${world.url}/topics/SPORTS`)).status).toBe(404)
  })

  test('retained, it can be read, replaced and removed', async () => {
    await open()
    await post('/topics/home/kitchen%20light?retain=true', 'on')
    const response = await fetch(`${world.url}/topics/home/kitchen%20light`)
    expect([response.status, await response.text()]).toEqual([200, 'on'])
    expect(response.headers.get('content-type')).toBe('text/plain; charset=utf-8')
    expect(response.headers.get('x-content-type-options')).toBe('nosniff')
    expect(response.headers.get('content-security-policy')).toContain('sandbox')
    await post('/topics/home/kitchen%20light?retain=true', '')
    expect((await fetch(`${world.url}/topics/home/kitchen%20light`)).status).toBe(404)
  })

  test('bytes that are no text stay bytes', async () => {
    await open()
    const bytes = Buffer.from([0, 255, 254, 10])
    await post('/topics/raw?retain=true', bytes)
    const response = await fetch(`${world.url}/topics/raw`)
    expect(response.headers.get('content-type')).toBe('application/octet-stream')
    expect(Buffer.from(await response.arrayBuffer())).toEqual(bytes)
  })

  test.each([
    ['a wildcard', '/topics/a/%23', 400, /wildcards/],
    ['no topic', '/topics/', 400, /at least one character/],
    ['a zero', '/topics/a%00', 400, /U\+0000/],
    ['a broken encoding', '/topics/a%zz', 400, /no encoding/],
    ['another truth', '/topics/a?retain=yes', 400, /true or false/],
    ['the topics of the server', '/topics/$SYS/broker/uptime', 403, /may not publish/],
  ])('refuses %s', async (_name, path, status, why) => {
    await open()
    const response = await post(path, 'x')
    expect(response.status).toBe(status)
    expect(((await response.json()) as { error: string }).error).toMatch(why)
    expect(world.broker.counters.messagesIn).toBe(0)
  })

  test('a foreign page gets 403, our own and a program do not', async () => {
    await open()
    const foreign = await post('/topics/a', 'x', { Origin: 'https://evil.example' })
    expect(foreign.status).toBe(403)
    expect(((await foreign.json()) as { error: string }).error).toContain('--allow-origin')
    expect((await post('/topics/a', 'x', { Origin: world.url })).status).toBe(200)
    expect(world.broker.counters.messagesIn).toBe(1)
  })

  test('more than a packet may hold is refused, announced or not', async () => {
    await open({ limits: { packetBytes: 1000 } })
    expect((await post('/topics/a', Buffer.alloc(900))).status).toBe(200)
    expect((await post('/topics/a', Buffer.alloc(1000))).status).toBe(413)
    const heard = await talk(
      `POST /topics/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n` +
        `${'400\r\n'}${'x'.repeat(1024)}\r\n`,
    )
    expect(heard).toMatch(/^HTTP\/1\.1 413 /)
    expect(heard).toMatch(/Connection: close/)
  })

  test('a body that breaks off publishes nothing', async () => {
    await open()
    const socket = connect(world.port, '127.0.0.1')
    const closed = new Promise((resolve) => {
      world.http.once('request', (request) => {
        request.once('data', () => socket.destroy())
        request.once('close', resolve)
      })
    })
    socket.write('POST /topics/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf')
    await closed
    expect((await fetch(`${world.url}/healthz`)).status).toBe(200)
    expect(world.broker.counters.messagesIn).toBe(0)
    expect(world.state.faults).toEqual([])
  })

  test('no room is 503 and a time to come back', async () => {
    await open({ limits: { intakeBytes: 3 } })
    const response = await post('/topics/a', 'goal')
    expect(response.status).toBe(503)
    expect(response.headers.get('retry-after')).toBe('5')
    expect(world.broker.counters.refusedFull).toBe(1)
  })
})

/** Says something by hand and hears the answer. */
function talk(request: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(world.port, '127.0.0.1')
    let heard = ''
    socket.on('data', (chunk) => {
      heard += chunk
    })
    socket.on('close', () => resolve(heard))
    socket.on('error', () => {})
    socket.write(request)
  })
}

describe('with users', () => {
  test('nobody in particular is asked who he is', async () => {
    await open({ access: guarded() })
    const response = await post('/topics/sensors/a', 'x')
    expect(response.status).toBe(401)
    expect(response.headers.get('www-authenticate')).toMatch(/^Basic realm=/)
    expect(world.broker.counters.authenticationsFailed).toBe(1)
  })

  test('rules hold for publishing and for reading', async () => {
    await open({ access: guarded() })
    const alice = basic('alice', 'secret:1')
    const bob = basic('bob', 'secret:1')
    expect((await post('/topics/sensors/a', 'x', alice)).status).toBe(200)
    expect((await post('/topics/home/a', 'x', alice)).status).toBe(403)
    expect((await post('/topics/home/a?retain=true', 'on', bob)).status).toBe(200)
    expect((await post('/topics/private?retain=true', 'p', bob)).status).toBe(200)
    const get = (path: string) => fetch(`${world.url}${path}`, { headers: alice })
    expect(await (await get('/topics/home/a')).text()).toBe('on')
    expect((await get('/topics/private')).status).toBe(403)
    expect(world.broker.counters.publishesDenied).toBe(1)
    expect(world.broker.counters.subscribesDenied).toBe(1)
  })

  test('wrong, unreadable and too many are told apart', async () => {
    await open({ access: guarded() })
    expect((await post('/topics/a', 'x', basic('alice', 'wrong'))).status).toBe(401)
    expect((await post('/topics/a', 'x', { Authorization: 'Bearer abc' })).status).toBe(401)
    expect((await post('/topics/a', 'x', { Authorization: 'Basic YWJj' })).status).toBe(401)
    expect((await post('/topics/a', 'x', basic('busy', 'x'))).status).toBe(429)
  })
})

describe('a page from an allowed origin', () => {
  const page = { Origin: 'https://dash.example' }
  const ask = (headers: Record<string, string>) =>
    fetch(`${world.url}/topics/a`, { method: 'OPTIONS', headers })

  test('may ask beforehand, publish, and see the answer', async () => {
    await open({ origins: { origins: ['https://dash.example'], hosts: [] } })
    const before = await ask({ ...page, 'Access-Control-Request-Method': 'POST' })
    expect(before.status).toBe(204)
    expect(before.headers.get('access-control-allow-origin')).toBe('https://dash.example')
    expect(before.headers.get('access-control-allow-headers')).toContain('Authorization')
    const response = await post('/topics/a?retain=true', 'x', page)
    expect(response.status).toBe(200)
    expect(response.headers.get('access-control-allow-origin')).toBe('https://dash.example')
    expect(response.headers.get('vary')).toBe('Origin')
  })

  test('of all others none sees an answer', async () => {
    await open()
    await post('/topics/a?retain=true', 'x')
    expect((await ask(page)).status).toBe(403)
    const read = await fetch(`${world.url}/topics/a`, { headers: page })
    expect(read.headers.get('access-control-allow-origin')).toBeNull()
    expect(read.headers.get('cross-origin-resource-policy')).toBe('same-origin')
  })
})

test('a name that is not ours may not read either', async () => {
  await open()
  await post('/topics/a?retain=true', 'secret')
  const heard = await talk(
    'GET /topics/a HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n',
  )
  expect(heard).toMatch(/^HTTP\/1\.1 403 /)
  expect(heard).not.toContain('secret')
})
