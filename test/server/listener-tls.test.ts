// The same port when a certificate is there: what is said inside TLS, and beside it.

import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { afterEach, describe, expect, test } from 'vitest'
import { TlsDoor } from '../../src/server/tls.ts'
import { until } from '../net/wire.contract.ts'
import { atEnd, call, certificate, hangUp, open } from './echo-port.ts'

afterEach(hangUp)

describe('TLS', () => {
  const door = (name = 'first') =>
    new TlsDoor(certificate(`${name}.cert.pem`), certificate(`${name}.key.pem`), 10)

  test('everything is spoken inside, too', async () => {
    const { port, heard, counters } = await open({ tls: door() })
    const [mqtt, line, http] = [call(port, true), call(port, true), call(port, true)]
    mqtt.says('\x10\x00')
    line.says('HELP\n')
    http.says('GET /who HTTP/1.0\r\n\r\n')
    await mqtt.hears('mqtt<\x10\x00>')
    await line.hears('line<HELP\n>')
    await http.hears('http 127.0.0.1 true true')
    expect(heard[0]).toMatch(/^mqtt 127\.0\.0\.1:\d+ tls: /)
    line.says('more\n')
    await line.hears('line<more\n>')
    for (const each of [mqtt, line, http]) each.leaves()
    await until(() => counters.connectionsOpen === 0, 'all to be counted out')
  })

  test('plain callers are still welcome beside it', async () => {
    const { port } = await open({ tls: door() })
    const line = call(port)
    line.says('HELP\n')
    await line.hears('line<HELP\n>')
  })

  test('TLS within TLS is not a third layer', async () => {
    const { port } = await open({ tls: door() })
    const odd = call(port, true)
    odd.says('\x16\x03\x01')
    await odd.hears('line<\x16\x03\x01>')
  })

  test('a broken handshake is counted and closed', async () => {
    const { port, counters } = await open({ tls: door() })
    const broken = call(port)
    broken.says(`\x16\x03\x01\x00\x05hello${'x'.repeat(100)}`)
    await broken.isGone()
    await until(() => counters.connectionsOpen === 0, 'to be counted out')
    expect(counters.protocolErrors).toBe(1)
  })

  test('a new certificate is used after a reload, a wrong one is refused', async () => {
    const { copyFileSync, mkdtempSync, rmSync, writeFileSync } = await import('node:fs')
    const { tmpdir } = await import('node:os')
    const folder = mkdtempSync(join(tmpdir(), 'partyline-tls-'))
    atEnd(() => rmSync(folder, { recursive: true }))
    const install = (name: string): void => {
      copyFileSync(certificate(`${name}.cert.pem`), join(folder, 'cert.pem'))
      copyFileSync(certificate(`${name}.key.pem`), join(folder, 'key.pem'))
    }
    install('first')
    const tls = new TlsDoor(join(folder, 'cert.pem'), join(folder, 'key.pem'), 10)
    const { port } = await open({ tls })
    const nameOf = async (): Promise<string | string[] | undefined> => {
      const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false })
      await new Promise((resolve) => socket.once('secureConnect', resolve))
      const { subject } = socket.getPeerCertificate()
      socket.destroy()
      return subject.CN
    }
    expect(await nameOf()).toBe('first')
    install('second')
    tls.reload()
    expect(await nameOf()).toBe('second')
    copyFileSync(certificate('first.key.pem'), join(folder, 'key.pem'))
    expect(() => tls.reload()).toThrow(/cannot be used together/)
    expect(await nameOf()).toBe('second')
    writeFileSync(join(folder, 'cert.pem'), 'no certificate')
    expect(() => tls.reload()).toThrow(/cannot be used together/)
    rmSync(join(folder, 'key.pem'))
    expect(() => tls.reload()).toThrow(/key .* cannot be read/)
  })
})
