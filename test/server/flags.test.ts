// The flags of `partyline serve` as commander sees them: every option of the table, read back as given.

import { Command } from 'commander'
import { describe, expect, it } from 'vitest'
import { addServerOptions, givenFlags, keptByNpm } from '../../src/cli/options.ts'
import { settingsFromShell } from '../../src/server/config.ts'
import { OPTIONS } from '../../src/server/options.ts'

function settings(...words: string[]) {
  const command = addServerOptions(new Command('serve')).exitOverride()
  let ports: string[] = []
  command.action((given: string[]) => {
    ports = given
  })
  command.parse(words, { from: 'user' })
  return settingsFromShell(givenFlags(command, ports), {})
}

describe('the flags of the server', () => {
  it('are all there, in groups, with their default', () => {
    const help = addServerOptions(new Command('serve')).helpInformation().replace(/\s+/g, ' ')
    for (const option of OPTIONS) {
      if (option.flag !== null) expect(help).toContain(`--${option.flag}`)
      expect(help).toContain(option.doc)
    }
    for (const group of new Set(OPTIONS.filter((o) => o.flag !== null).map((o) => o.group))) {
      expect(help).toContain(`${group}:`)
    }
    expect(help).toContain('(default: 4MiB)')
  })

  it('reach the settings, several times where that makes sense, before and after the ports', () => {
    const words = '--host 127.0.0.1 5001 5002 --host ::1 --limit-packet 1MiB --allow-anonymous'
    expect(settings(...words.split(' '), '--log-level', 'warn')).toMatchObject({
      ports: [5001, 5002],
      hosts: ['127.0.0.1', '::1'],
      allowAnonymous: true,
      logLevel: 'warn',
      limits: { packetBytes: 1024 * 1024 },
    })
    expect(settings()).toEqual(settingsFromShell({}, {}))
  })

  it('knows no --port, and says what to write instead', () => {
    const command = addServerOptions(new Command('serve')).exitOverride()
    command.configureOutput({ writeErr: () => {} })
    expect(() => command.parse(['--port', '1883'], { from: 'user' })).toThrow(
      'a port needs no flag: partyline serve 1883',
    )
  })

  it('notices those that npm kept, which takes `npm start --users=FILE` for a wish of its own', () => {
    const env = { npm_config_users: 'FILE', npm_config_limit_packet: '4k', npm_config_cache: '/x' }
    expect(keptByNpm({ ...env, npm_lifecycle_event: 'start' })).toEqual(['users', 'limit-packet'])
    expect(keptByNpm(env)).toEqual([])
  })
})
