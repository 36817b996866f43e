// The HTTP door while the server goes down: what is in flight is answered, and nothing holds the end up.
import { connect } from 'node:net'
import { expect, test } from 'vitest'
import { until } from '../net/wire.contract.ts'
import { enter, startServer, subscribed } from '../support/server.ts'

test('a request in flight is answered and its connection closed', async () => {
  const server = await startServer()
  const socket = connect(server.port, server.host)
  let heard = ''
  socket.on('data', (chunk) => {
    heard += chunk
  })
  const closed = new Promise((resolve) => socket.once('close', resolve))
  socket.write(
    'POST /topics/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n',
  )
  await until(() => heard.includes('100 Continue'), 'the request to be read')
  const started = performance.now()
  const stopping = server.stop()
  socket.write('goal')
  await closed
  await stopping
  expect(heard).toMatch(/HTTP\/1\.1 (200|503) /)
  expect(heard).toMatch(/Connection: close/)
  expect(performance.now() - started).toBeLessThan(2_000)
  expect(server.complaints).toEqual([])
})

test('a connection kept for later requests does not hold the end up', async () => {
  const server = await startServer()
  const response = await fetch(`http://${server.host}:${server.port}/healthz`)
  expect(response.status).toBe(200)
  await response.text()
  const started = performance.now()
  await server.stop()
  expect(performance.now() - started).toBeLessThan(2_000)
})

test('while it drains, balancers are told to look elsewhere, and who is there is served', async () => {
  const server = await startServer()
  const ready = async (): Promise<[number, unknown]> => {
    const response = await fetch(`http://${server.host}:${server.port}/readyz`)
    return [response.status, await response.json()]
  }
  expect(await ready()).toEqual([200, { ready: true }])
  server.drain()
  expect(await ready()).toEqual([503, { ready: false, why: 'the server is draining' }])
  const late = await enter(server, { clientId: 'late' })
  await subscribed(late.client, 'news')
  late.client.publish('news', 'still here')
  await late.client.receives({ topic: 'news' })
  await server.stop()
  await late.client.finds('disconnect')
})
