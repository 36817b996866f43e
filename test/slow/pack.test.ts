// The package as a stranger gets it: packed, installed into an empty folder without install
// scripts, and run there. This is the only test that needs the package registry.
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const manifest = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8')) as {
  name: string
  version: string
  exports: Record<string, unknown>
}

/** One npm command line; Windows starts npm and npx through its shell. */
function npm(command: 'npm' | 'npx', args: string[], cwd: string): string {
  // The settings of the npm that runs these tests must not leak into the stranger's.
  const own = Object.entries(process.env).filter(
    ([key]) => !/^npm_(config_local|package)/.test(key),
  )
  const env = { ...Object.fromEntries(own), NODE_ENV: 'production' }
  const shell = process.platform === 'win32'
  return execFileSync(command, args, { cwd, env, shell, encoding: 'utf8', stdio: 'pipe' })
}

describe('the packed package', () => {
  let folder: string
  let files: string[]

  beforeAll(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'partyline-pack-'))
    // dist/ was built before the tests; --ignore-scripts keeps prepack from doing it again.
    const args = ['pack', '--json', '--ignore-scripts', '--pack-destination', folder]
    const answer = JSON.parse(npm('npm', args, root)) as unknown
    // npm up to 11 answers with a list, npm 12 with an object keyed by the package's name.
    const [packed] = Object.values(answer as object) as {
      filename: string
      files: { path: string }[]
    }[]
    files = packed!.files.map((file) => file.path)
    fs.writeFileSync(path.join(folder, 'package.json'), '{ "private": true }')
    const install = ['install', '--ignore-scripts', '--no-audit', '--no-fund']
    npm('npm', [...install, path.join(folder, path.basename(packed!.filename))], folder)
  })

  afterAll(() => fs.rmSync(folder, { recursive: true, force: true }))

  it('holds the program, its papers and nothing else', () => {
    const ours =
      /^(bin\/partyline\.mjs|deploy\/[^.].*|dist\/[^.].*|package\.json|README\.md|CHANGELOG\.md|LICENSE)$/
    const strangers = files.filter((file) => !ours.test(file))
    expect(strangers).toEqual([])
    expect(files).toEqual(
      expect.arrayContaining(['LICENSE', 'README.md', 'dist/cli/main.js', 'deploy/haproxy.cfg']),
    )
  })

  it('runs where it was installed', () => {
    const answer = npm('npx', ['--no-install', 'partyline', '--version'], folder)
    expect(answer.trim()).toBe(manifest.version)
  })

  it('can be imported by every door it declares', () => {
    for (const door of Object.keys(manifest.exports)) {
      if (door.endsWith('.json')) continue
      const name = manifest.name + door.slice(1)
      const code = `import(${JSON.stringify(name)}).then((m) => console.log(Object.keys(m).length))`
      const answer = execFileSync(process.execPath, ['-e', code], { cwd: folder, encoding: 'utf8' })
      expect(Number(answer)).toBeGreaterThan(0)
    }
  })
})
