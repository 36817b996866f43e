// What deploy/ says is what the server understands: options that exist, settings it takes, times that fit
// each other. The programs that read the files check them in test/slow/deploy.test.ts.

import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { validate } from 'dockerfile-utils'
import { expect, test } from 'vitest'
import { settingsFromShell } from '../src/server/config.ts'
import { OPTIONS } from '../src/server/options.ts'

const folder = fileURLToPath(new URL('../deploy/', import.meta.url))
const files = fs.readdirSync(folder).filter((name) => fs.statSync(path.join(folder, name)).isFile())
const read = (name: string): string => fs.readFileSync(path.join(folder, name), 'utf8')

/** Seconds between the drain and the end of the process, at most. */
const GOODBYES = 5

function occurrences(text: string, pattern: RegExp): string[] {
  return [...new Set([...text.matchAll(pattern)].map((match) => match[1] ?? match[0]))].sort()
}

test('every file is in the list of the folder', () => {
  const listed = occurrences(read('README.md'), /^\| \[([^\]]+)\]/gm)
  const own = ['README.md', 'Dockerfile.dockerignore', '.env', 'users.txt']
  expect(listed).toEqual(files.filter((name) => !own.includes(name)).sort())
})

test.each([...files, '../docs/cluster.md'])('%s names only options that there are', (name) => {
  const text = read(name)
  const variables = occurrences(text, /\bPARTYLINE_[A-Z_]+\b/g)
  expect(variables.filter((each) => !OPTIONS.some(({ env }) => env === each))).toEqual([])
  const joined = text.replaceAll(/ \\\n\s*/g, ' ')
  const commands = joined.split('\n').filter((line) => line.includes('partyline serve'))
  const flags = commands.flatMap((line) => occurrences(line, /--([a-z-]+)/g))
  expect(flags.filter((each) => !OPTIONS.some(({ flag }) => flag === each))).toEqual([])
})

test('HAProxy: each variable that it reads is described, and the compose file sets no others', () => {
  const text = read('haproxy.cfg')
  const numbered = (name: string): string => name.replace(/_\d$/, '')
  const used = occurrences(text, /(?:\$\{|defined\()(LB_\w+)/g).map(numbered)
  const described = occurrences(text, /^#\s+(LB_\w+)/gm).map(numbered)
  expect([...new Set(described)]).toEqual([...new Set(used)])
  const set = occurrences(read('compose.yaml'), /\bLB_\w+/g)
  expect(set.filter((name) => !text.includes(`\${${name}-`))).toEqual([])
})

test('the unit: a node for everybody who is in the users file, and time enough to say goodbye', () => {
  const text = read('partyline.service')
  const lines = occurrences(text, /^Environment=(\S+=\S+)$/gm)
  const env = Object.fromEntries(lines.map((line) => line.split(/=(.*)/s).slice(0, 2)))
  const settings = settingsFromShell({}, env)
  expect(settings).toMatchObject({ hosts: ['0.0.0.0'], users: '%d/users.txt', engine: 'disk' })
  expect(text).toContain(`LoadCredential=users.txt:/etc/partyline/users.txt`)
  expect(text).toContain('AssertPathExists=/etc/partyline/users.txt')
  const stop = Number(/^TimeoutStopSec=(\d+)s$/m.exec(text)?.[1])
  expect(stop).toBeGreaterThan(settings.drain + GOODBYES)
})

test('the image: as Docker reads it, not as root, and for everybody who is in the users file', () => {
  const text = read('Dockerfile')
  expect(validate(text)).toEqual([])
  // The last stage is what runs.
  const last = text.slice(text.lastIndexOf('\nFROM '))
  expect(last).toMatch(/^USER node$/m)
  const env = Object.fromEntries(
    [...last.matchAll(/\b(PARTYLINE_\w+)=(\S+)/g)].map(([, name, value]) => [name, value]),
  )
  expect(settingsFromShell({}, env)).toMatchObject({
    hosts: ['0.0.0.0'],
    users: '/etc/partyline/users.txt',
    data: '/data',
  })
  const copied = [...text.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, what]) =>
    what!.split(' '),
  )
  const root = path.join(folder, '..')
  expect(copied.filter((each) => !fs.existsSync(path.join(root, each)))).toEqual([])
  const allowed = read('Dockerfile.dockerignore').split('\n')
  expect(copied.filter((each) => !allowed.includes(`!${each}`))).toEqual([])
})
