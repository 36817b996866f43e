// The files of deploy/, each read by the program that it is for; and that a file with a mistake would be noticed.

import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { settingsFromShell } from '../../src/server/config.ts'
import { message, record } from '../engine/contract.ts'
import { freePorts } from '../support/free-ports.ts'
import { Node, until } from '../support/nats-nodes.ts'
import { describeWith, type Program, skipSuite } from '../support/programs.ts'

const folder = fileURLToPath(new URL('../../deploy/', import.meta.url))
const file = (name: string): string => path.join(folder, name)
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'partyline-deploy-'))
afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }))

/** A copy under the same name with one thing replaced, which must be there. */
function changed(name: string, what: string | RegExp, by: string): string {
  const text = fs.readFileSync(file(name), 'utf8')
  expect(text).toMatch(what)
  const copy = path.join(fs.mkdtempSync(path.join(scratch, 'copy-')), name)
  fs.writeFileSync(copy, text.replace(what, by), { mode: 0o644 })
  return copy
}

interface Answer {
  readonly status: number | null
  readonly said: string
}

function run(
  program: Program,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Answer {
  const { status, stdout, stderr }: SpawnSyncReturns<string> = spawnSync(program.path, args, {
    env: { ...process.env, ...program.env, ...env },
    encoding: 'utf8',
  })
  return { status, said: `${stdout}${stderr}` }
}

describeWith(['haproxy'], 'haproxy.cfg', ({ haproxy }) => {
  const check = (name: string, env = {}): Answer => run(haproxy, ['-c', '-f', name], env)

  test('is valid without and with every variable', () => {
    expect(check(file('haproxy.cfg'))).toMatchObject({ status: 0 })
    const env = {
      LB_BIND: '127.0.0.1:5000,127.0.0.1:1883',
      LB_HEALTH: '127.0.0.1:8405',
      LB_MAXCONN: '1000',
      LB_DNS: '127.0.0.53:53',
      LB_LOG: '127.0.0.1:514',
      ...Object.fromEntries(
        Array.from({ length: 9 }, (_, n) => [`LB_BROKER_${n + 1}`, `10.0.0.${n + 1}:5000`]),
      ),
    }
    const answer = check(file('haproxy.cfg'), env)
    expect(answer).toEqual({
      status: 0,
      said: expect.stringMatching(/^Configuration file is valid/),
    })
  })

  test('a mistake would be noticed', () => {
    expect(check(changed('haproxy.cfg', 'leastconn', 'leastcon')).status).toBe(1)
  })
})

describeWith(['keepalived'], 'keepalived.conf', ({ keepalived }) => {
  // It wants the interface to be there, and to run scripts as whoever checks.
  const device = Object.keys(os.networkInterfaces()).find((name) => name !== 'lo') ?? 'lo'
  const check = (name: string): Answer => {
    const copy = name.replace(/$/, '.here')
    const text = fs
      .readFileSync(name, 'utf8')
      .replaceAll('eth0', device)
      .replace('script_user nobody', `script_user ${os.userInfo().username}`)
      .replace('/usr/bin/curl', '/bin/sh')
    fs.writeFileSync(copy, text, { mode: 0o644 })
    return run(keepalived, ['--config-test', `--use-file=${copy}`])
  }

  test('is valid', () => {
    expect(check(changed('keepalived.conf', 'eth0', 'eth0'))).toEqual({ status: 0, said: '' })
  })

  test('a mistake would be noticed', () => {
    const { status, said } = check(changed('keepalived.conf', 'unicast_peer', 'unicast_pear'))
    expect(status).not.toBe(0)
    expect(said).toContain('unicast_pear')
  })
})

describeWith(['nats-server'], 'nats.conf', (programs) => {
  const variables = (n: number, routes: readonly number[]): Record<string, string> => ({
    NATS_NAME: `nats-${n}`,
    NATS_STORE: path.join(scratch, `nats-${n}`),
    // What a careless parser would take for a number.
    NATS_PASSWORD: '"1e5"',
    ...Object.fromEntries(
      routes.map((port, i) => [`NATS_ROUTE_${i + 1}`, `nats://route:1e5@127.0.0.1:${port}`]),
    ),
  })
  const check = (name: string): Answer =>
    run(programs['nats-server'], ['-t', '-c', name], variables(1, [6221, 6222, 6223]))

  test('is valid', () => {
    expect(check(file('nats.conf'))).toEqual({
      status: 0,
      said: expect.stringContaining('configuration file'),
    })
  })

  test('a mistake would be noticed', () => {
    const { status, said } = check(changed('nats.conf', 'sync_interval', 'sync_intervall'))
    expect(status).not.toBe(0)
    expect(said).toContain('sync_intervall')
  })

  test('three servers with it are a cluster that a node may use, and that syncs always', async () => {
    const ports = await freePorts(9)
    const clients = ports.slice(0, 3)
    const routes = ports.slice(3, 6)
    const monitors = ports.slice(6)
    const { path: command, env } = programs['nats-server']
    const servers = clients.map((port, n) => {
      const copy = path.join(scratch, `nats-${n}.conf`)
      const text = fs
        .readFileSync(file('nats.conf'), 'utf8')
        .replace('0.0.0.0:4222', `127.0.0.1:${port}`)
        .replace('0.0.0.0:6222', `127.0.0.1:${routes[n]}`)
        .replace('0.0.0.0:8222', `127.0.0.1:${monitors[n]}`)
      fs.writeFileSync(copy, text)
      const more = { ...process.env, ...env, ...variables(n + 1, routes) }
      return spawn(command, ['-c', copy], { env: more, stdio: 'ignore' })
    })
    const gone = servers.map((server) => new Promise((resolve) => server.once('exit', resolve)))
    try {
      const healthy = async (port: number): Promise<boolean> =>
        (await fetch(`http://127.0.0.1:${port}/healthz`).catch(() => null))?.ok === true
      await until('all to be well', async () =>
        (await Promise.all(monitors.map(healthy))).every(Boolean),
      )
      const node = new Node({
        servers: clients.map((port) => `nats://127.0.0.1:${port}`),
        user: 'partyline',
        password: '1e5',
        monitor: monitors.map((port) => `http://127.0.0.1:${port}`),
      })
      await node.engine.open(node)
      await node.engine.append(record([message('a', 'stored')]))
      expect(node.heard).toEqual(['stored'])
      // Nothing about too few copies, or about servers that do not sync.
      expect(node.notes).toEqual([])
      await node.engine.close()
    } finally {
      for (const server of servers) server.kill('SIGKILL')
      await Promise.all(gone)
    }
  })
})

interface Composed {
  readonly services: Readonly<
    Record<
      string,
      {
        readonly environment: Readonly<Record<string, string>>
        readonly stop_grace_period?: string
        readonly user?: string
      }
    >
  >
}

describeWith(['docker-compose'], 'compose.yaml', (programs) => {
  const check = (name: string, env: Readonly<Record<string, string>> = {}): Answer => {
    const args = ['--project-directory', folder, '--file', name, 'config', '--format', 'json']
    return run(programs['docker-compose'], args, { NATS_PASSWORD: 'secret', ...env })
  }

  test('is valid, and its brokers understand what it tells them', () => {
    const { status, said } = check(file('compose.yaml'))
    expect(status).toBe(0)
    const { services } = JSON.parse(said) as Composed
    expect(Object.keys(services).sort()).toEqual([
      ...['broker-1', 'broker-2', 'haproxy-1', 'haproxy-2', 'nats-1', 'nats-2', 'nats-3'],
    ])
    for (const name of ['broker-1', 'broker-2']) {
      const { environment, stop_grace_period } = services[name]!
      const settings = settingsFromShell({}, environment)
      expect(settings.engine.split(',')).toHaveLength(3)
      expect(settings).toMatchObject({ natsName: name, natsUser: 'partyline', replicas: 0 })
      expect(Number.parseInt(stop_grace_period!, 10)).toBeGreaterThan(settings.drain + 5)
    }
  })

  test('without a password for NATS it says what to do', () => {
    const { status, said } = check(file('compose.yaml'), { NATS_PASSWORD: '' })
    expect(status).not.toBe(0)
    expect(said).toContain('put NATS_PASSWORD=… into deploy/.env')
  })

  test('a mistake would be noticed', () => {
    const answer = check(changed('compose.yaml', 'stop_grace_period', 'stop_grace_time'))
    expect(answer.status).not.toBe(0)
  })
})

const analyze: Program = { path: 'systemd-analyze', env: {} }
const isSystemd = /^systemd (\d+)/m.exec(run(analyze, ['--version']).said)
if (isSystemd === null || Number(isSystemd[1]) < 250) {
  skipSuite('partyline.service', 'systemd-analyze 250 or newer is not here')
} else {
  // Where node is installed differs.
  const here = (name: string): string => {
    const unit = fs.readFileSync(name, 'utf8').replace('/usr/bin/node', process.execPath)
    const copy = path.join(fs.mkdtempSync(path.join(scratch, 'unit-')), 'partyline.service')
    fs.writeFileSync(copy, unit)
    return copy
  }

  test('partyline.service is valid', () => {
    expect(run(analyze, ['verify', here(file('partyline.service'))])).toEqual({
      status: 0,
      said: '',
    })
  })

  test('partyline.service leaves little to whoever breaks in', () => {
    const unit = here(file('partyline.service'))
    const { said } = run(analyze, ['security', '--offline=true', unit])
    expect(Number(/exposure level for partyline.service: ([\d.]+)/.exec(said)?.[1])).toBeLessThan(2)
  })

  test('a mistake in partyline.service would be noticed', () => {
    const wrong = here(changed('partyline.service', 'StateDirectory=', 'StateDirektory='))
    expect(run(analyze, ['verify', wrong]).said).toContain('StateDirektory')
  })
}
