// The set-up script in a folder of its own, with an npm and a compiler that write down that they
// were called. What the real ones do is seen by everybody who starts a fresh clone.
import { spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

const script = fileURLToPath(new URL('../../scripts/setup.mjs', import.meta.url))

const NPM = `
import fs from 'node:fs'
fs.appendFileSync('calls', 'npm ' + process.argv.slice(2).join(' ') + '\\n')
if (fs.existsSync('npm-fails')) { console.error('npm says: no such host'); process.exit(1) }
setTimeout(() => {
  fs.mkdirSync('node_modules/typescript/bin', { recursive: true })
  fs.copyFileSync('compiler.cjs', 'node_modules/typescript/bin/tsc')
}, 300)
`
const COMPILER = `
const fs = require('node:fs')
fs.appendFileSync('calls', 'tsc\\n')
const out = process.argv[process.argv.indexOf('--outDir') + 1]
fs.mkdirSync(out + '/cli', { recursive: true })
for (const name of fs.readdirSync('src')) fs.copyFileSync('src/' + name, out + '/cli/' + name)
if (fs.existsSync('does-not-compile')) { console.log('src/main.js(1,1): wrong'); process.exit(2) }
`

let clone: string

beforeEach(() => {
  clone = fs.mkdtempSync(path.join(os.tmpdir(), 'partyline-setup-'))
  for (const folder of ['scripts', 'src', 'npm']) fs.mkdirSync(path.join(clone, folder))
  fs.copyFileSync(script, path.join(clone, 'scripts', 'setup.mjs'))
  write('package.json', '{"version":"1.0.0","type":"module"}')
  write('package-lock.json', '{}')
  write('npm/npm-cli.js', NPM)
  write('compiler.cjs', COMPILER)
  write('src/main.js', 'first')
})

afterEach(() => fs.rmSync(clone, { recursive: true, force: true }))

function write(name: string, text: string): void {
  fs.writeFileSync(path.join(clone, name), text)
}

function read(name: string): string {
  return fs.readFileSync(path.join(clone, name), 'utf8')
}

/** What was called since the last look. */
function calls(): string[] {
  const file = path.join(clone, 'calls')
  const lines = fs.existsSync(file) ? fs.readFileSync(file, 'utf8').trim().split('\n') : []
  fs.rmSync(file, { force: true })
  return lines
}

const env = (): NodeJS.ProcessEnv => ({
  ...process.env,
  NODE_ENV: 'production',
  npm_execpath: path.join(clone, 'npm', 'npm-cli.js'),
})

function setUp(...flags: string[]): { status: number | null; says: string } {
  const args = [path.join('scripts', 'setup.mjs'), ...flags]
  const ran = spawnSync(process.execPath, args, { cwd: clone, env: env(), encoding: 'utf8' })
  return { status: ran.status, says: ran.stderr }
}

function setUpMeanwhile(): Promise<number | null> {
  const child = spawn(process.execPath, ['scripts/setup.mjs'], { cwd: clone, env: env() })
  return new Promise((resolve) => child.on('close', resolve))
}

describe('setting up a clone', () => {
  it('installs and compiles once, in one line, and is silent ever after', () => {
    const first = setUp()
    expect(first.status).toBe(0)
    expect(first.says.trim().split('\n')).toHaveLength(1)
    expect(first.says).toMatch(/about 20 s, once/)
    const [npm, tsc, ...more] = calls()
    expect(npm).toMatch(/^npm install --no-save --include=dev --ignore-scripts /)
    expect([tsc, ...more]).toEqual(['tsc'])
    expect(read('dist/cli/main.js')).toBe('first')

    expect(setUp()).toEqual({ status: 0, says: '' })
    expect(calls()).toEqual([])
  })

  it('compiles again when a source changed, and drops what no source makes any more', () => {
    write('src/old.js', 'old')
    setUp()
    calls()
    write('src/main.js', 'second')
    fs.rmSync(path.join(clone, 'src/old.js'))
    expect(setUp().status).toBe(0)
    expect(calls()).toEqual(['tsc'])
    expect(read('dist/cli/main.js')).toBe('second')
    expect(fs.existsSync(path.join(clone, 'dist/cli/old.js'))).toBe(false)
  })

  it('installs again when the lock file changed', () => {
    setUp()
    calls()
    write('package-lock.json', '{ }')
    setUp()
    expect(calls()).toEqual([expect.stringMatching(/^npm install/)])
  })

  it('lets a running server keep the files that did not change', () => {
    write('src/same.js', 'same')
    setUp()
    const before = fs.statSync(path.join(clone, 'dist/cli/same.js')).ino
    write('src/main.js', 'second')
    setUp()
    expect(fs.statSync(path.join(clone, 'dist/cli/same.js')).ino).toBe(before)
  })

  it('does the work once when several commands start together', async () => {
    const statuses = await Promise.all([setUpMeanwhile(), setUpMeanwhile(), setUpMeanwhile()])
    expect(statuses).toEqual([0, 0, 0])
    expect(calls().map((line) => line.split(' ')[0])).toEqual(['npm', 'tsc'])
    expect(fs.readdirSync(path.join(clone, '.cache'))).toEqual([])
  })

  it('does not wait for a command that was killed', () => {
    const dead = spawnSync(process.execPath, ['-e', '']).pid
    fs.mkdirSync(path.join(clone, '.cache'))
    write('.cache/setup.lock', `${dead} ${os.hostname()}\n`)
    expect(setUp().status).toBe(0)
    expect(calls()).toHaveLength(2)
  })

  it('shows what npm said only when it failed, with what to do', () => {
    write('npm-fails', '')
    const { status, says } = setUp()
    expect(status).toBe(1)
    expect(says).toContain('npm says: no such host')
    expect(says).toMatch(/could not install .*`npm ping`.* again\.\n$/)
    fs.rmSync(path.join(clone, 'npm-fails'))
    expect(setUp().status).toBe(0)
  })

  it('keeps the last build when the sources do not compile', () => {
    setUp()
    write('src/main.js', 'wrong')
    write('does-not-compile', '')
    const { status, says } = setUp()
    expect(status).toBe(1)
    expect(says).toContain('src/main.js(1,1): wrong')
    expect(read('dist/cli/main.js')).toBe('first')
  })

  it('refuses a Node below the floor with a sentence', () => {
    write('old.mjs', "Object.defineProperty(process.versions, 'node', { value: '20.18.3' })")
    const args = ['--import', './old.mjs', 'scripts/setup.mjs']
    const ran = spawnSync(process.execPath, args, { cwd: clone, env: env(), encoding: 'utf8' })
    expect(ran.status).toBe(1)
    expect(ran.stderr).toBe(
      'Partyline needs Node.js 20.19 or newer, and this is 20.18.3; ' +
        'install Node.js 24, then run the command again.\n',
    )
    expect(calls()).toEqual([])
  })
})
