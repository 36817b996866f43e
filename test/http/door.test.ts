// The page, health and figures; and answers for whatever is none of them.
import { afterEach, describe, expect, test } from 'vitest'
import { OPEN_ACCESS } from '../../src/core/access.ts'
import { Counters } from '../../src/core/counters.ts'
import { LoopDelay } from '../../src/http/loop-delay.ts'
import { renderPage } from '../../src/http/page.ts'
import { until } from '../net/wire.contract.ts'
import { openWorld, type World } from './world.ts'

let world: World
afterEach(() => world?.close())

describe('health', () => {
  test('alive is alive; ready is not draining, stored to, and in time', async () => {
    world = await openWorld()
    const ask = async (path: string) => {
      const response = await fetch(`${world.url}${path}`)
      return [response.status, await response.json()]
    }
    expect(await ask('/healthz')).toEqual([200, { status: 'ok' }])
    expect(await ask('/readyz')).toEqual([200, { ready: true }])
    world.state.draining = true
    expect(await ask('/readyz')).toEqual([503, { ready: false, why: 'the server is draining' }])
    expect(await ask('/healthz')).toEqual([200, { status: 'ok' }])
    world.state.draining = false
    world.state.p99 = 1.5
    expect(await ask('/readyz')).toEqual([
      503,
      { ready: false, why: 'the event loop is 1.5 s behind (p99), more than 1 s' },
    ])
    world.state.p99 = 0
    await world.broker.close('the end')
    expect(await ask('/readyz')).toEqual([
      503,
      { ready: false, why: 'the memory engine is closed' },
    ])
  })

  test('the delay of the event loop is measured without the interval of the measuring', async () => {
    const delay = new LoopDelay()
    // Samples come every 50 ms; a busy machine may need some before most of them were in time.
    await until(() => delay.read().p99 > 0, 'a sample')
    await until(() => delay.read().p50 < 0.05, 'a median below the interval')
    delay.stop()
  })

  test('a loop that was held shows', async () => {
    const delay = new LoopDelay()
    await new Promise((resolve) => setTimeout(resolve, 60))
    const held = performance.now() + 200
    while (performance.now() < held) Math.sqrt(held)
    await new Promise((resolve) => setTimeout(resolve, 60))
    const { p99 } = delay.read()
    delay.stop()
    expect(p99).toBeGreaterThan(0.1)
  })
})

describe('figures', () => {
  test('every counter and gauge, in the format of Prometheus', async () => {
    world = await openWorld()
    await fetch(`${world.url}/topics/a?retain=true`, { method: 'POST', body: 'goal' })
    const response = await fetch(`${world.url}/metrics`)
    expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
    const text = await response.text()
    for (const line of text.trimEnd().split('\n')) {
      expect(line).toMatch(
        /^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{([a-z]+="[^"]*",?)+\})? ([0-9.e+-]+|\+Inf))$/,
      )
    }
    const names = text.split('\n').filter((line) => line.startsWith('# TYPE'))
    expect(new Set(names).size).toBe(names.length)
    expect(names.filter((line) => line.endsWith(' counter'))).toHaveLength(
      Object.keys(new Counters()).length - 1,
    )
    expect(text).toContain('\npartyline_messages_in_total 1\n')
    expect(text).toContain('\npartyline_retained_messages 1\n')
    const others = names.filter((line) => !line.startsWith('# TYPE partyline_'))
    for (const line of others) expect(line).toMatch(/^# TYPE (process|nodejs)_/)
    expect(text).toContain('\npartyline_ready 1\n')
    expect(text).toContain('\npartyline_info{version="1.2.3",engine="memory"} 1\n')
    expect(text).toContain('\npartyline_event_loop_delay_seconds{quantile="0.99"} 0.001\n')
  })
})

describe('everything else', () => {
  test.each([
    ['GET', '/nothing', 404, /nothing at \/nothing/],
    ['GET', '/topics', 404, /nothing at/],
    ['DELETE', '/', 405, /takes GET only/],
    ['PUT', '/topics/a', 405, /takes GET, POST, OPTIONS only/],
    ['GET', '/%ff', 400, /no encoding/],
  ])('%s %s is %i in JSON', async (method, path, status, why) => {
    world = await openWorld()
    const response = await fetch(`${world.url}${path}`, { method })
    expect(response.status).toBe(status)
    expect(response.headers.get('content-type')).toBe('application/json')
    expect(((await response.json()) as { error: string }).error).toMatch(why)
  })

  test('a fault of ours is 500, told to the log and not to the asker', async () => {
    const connect = () => {
      throw new Error('the details')
    }
    world = await openWorld({ access: { ...OPEN_ACCESS, connect } })
    const response = await fetch(`${world.url}/topics/a`)
    expect(response.status).toBe(500)
    expect(await response.text()).not.toContain('the details')
    expect(String(world.state.faults[0])).toContain('the details')
  })

  test('HEAD is answered without a body', async () => {
    world = await openWorld()
    const response = await fetch(`${world.url}/`, { method: 'HEAD' })
    expect([response.status, await response.text()]).toEqual([200, ''])
  })
})

describe('the page', () => {
  test('offers the address it was called by, and may load nothing else', async () => {
    world = await openWorld()
    const response = await fetch(`${world.url}/`)
    expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8')
    const policy = response.headers.get('content-security-policy') ?? ''
    expect(policy).toContain("default-src 'none'")
    expect(policy).not.toContain('unsafe')
    expect(policy).toContain(`connect-src 'self' ws://127.0.0.1:${world.port}`)
    const html = await response.text()
    expect(html).toContain(`nc 127.0.0.1 ${world.port}`)
    expect(html).not.toMatch(/(src|href)="https?:/)
    const handlers = html.match(/ on[a-z]+=/g)
    expect(handlers).toBeNull()
    expect(html).not.toContain(' style=')
  })

  test('shows nothing of a strange Host', async () => {
    world = await openWorld()
    const { request } = await import('node:http')
    const html = await new Promise<string>((resolve) => {
      const asked = request(
        { port: world.port, host: '127.0.0.1', headers: { Host: 'evil.example' } },
        (response) => {
          let text = ''
          response.on('data', (chunk) => {
            text += chunk
          })
          response.on('end', () => resolve(text))
        },
      )
      asked.end()
    })
    expect(html).not.toContain('evil')
    expect(html).toContain(`nc 127.0.0.1 ${world.port}`)
  })

  test('what is put in is text', () => {
    const html = renderPage({ host: '<b>&"x', port: 1, secure: false }, '<i>')
    expect(html).not.toMatch(/<b>&"x|<i>/)
    expect(renderPage({ host: '::1', port: 5000, secure: false }, '1')).toContain('nc ::1 5000')
    expect(renderPage({ host: '::1', port: 5000, secure: false }, '1')).toContain(
      'mqtt://[::1]:5000',
    )
    expect(renderPage({ host: 'a', port: 1, secure: true }, '1')).toContain('s_client -quiet')
  })
})
