// `npm test`: set-up, outside programs, types, lint and format, the fast tests, the slow tests;
// seconds per part, the reason for every skip, and one closing line `N passed, N failed`.
// A failing part does not stop the later ones: one run tells everything there is to know.
//
// CI=true turns a skip without a reason into a failure (missing programs fail by themselves).
// PARTYLINE_SUMMARY=FILE writes the closing line into FILE instead of printing it (.ci/run).
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { endWith, root, setUp } from './setup.mjs'

const bin = (...parts) => path.join(root, 'node_modules', ...parts)
const vitest = bin('vitest', 'vitest.mjs')
const cache = path.join(root, '.cache')
fs.mkdirSync(cache, { recursive: true })
const reports = fs.mkdtempSync(path.join(cache, 'test-'))
const report = (project) => path.join(reports, `${project}.json`)

const strict = process.env.CI === 'true'
const totals = { passed: 0, failed: 0, skipped: 0 }
const skips = []
const parts = []

/** Runs one part, remembers how it went and how long it took. */
async function part(name, action) {
  console.log(`\n── ${name} ${'─'.repeat(Math.max(0, 70 - name.length))}`)
  const began = performance.now()
  const ok = await action()
  parts.push({ name, ok, seconds: (performance.now() - began) / 1000 })
}

let child
function node(...args) {
  child = spawn(process.execPath, args, { cwd: root, stdio: 'inherit' })
  return new Promise((resolve) => {
    child.on('error', () => resolve(false)).on('close', (code) => resolve(code === 0))
  })
}
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    child?.kill('SIGTERM')
    fs.rmSync(reports, { recursive: true, force: true })
    process.exit(130)
  })
}

async function tests(project) {
  const outputs = ['--reporter=default', '--reporter=json', `--outputFile.json=${report(project)}`]
  const ok = await node(vitest, 'run', '--project', project, ...outputs)
  const counted = count(project)
  return ok && counted
}

/** Adds a project's report to the totals; false when there is none to add, or a bad skip in it. */
function count(project) {
  if (!fs.existsSync(report(project))) {
    console.log(`the ${project} tests ended without a report`)
    return false
  }
  const { testResults } = JSON.parse(fs.readFileSync(report(project), 'utf8'))
  let ok = true
  for (const file of testResults) {
    const name = path.relative(root, file.name)
    // A file that cannot even be loaded has no tests to fail.
    if (file.status === 'failed' && file.assertionResults.every((one) => one.status !== 'failed')) {
      totals.failed++
    }
    for (const { status, fullName, meta } of file.assertionResults) {
      if (status === 'passed') totals.passed++
      else if (status === 'failed') totals.failed++
      else ok = skipped(name, fullName, meta?.skipped) && ok
    }
  }
  return ok
}

/** A reason stands in the title when it was known before the tests ran, else in the test's meta. */
function skipped(file, fullName, found) {
  totals.skipped++
  const reason = found ?? /\[skipped: (.*?)\]/.exec(fullName)?.[1]
  skips.push(`${file}: ${reason ?? `NO REASON GIVEN for "${fullName}"`}`)
  if (reason || !strict) return true
  totals.failed++
  return false
}

function summary() {
  if (skips.length > 0) console.log(`\n${skips.length} skipped:`)
  for (const [line, times] of tally(skips)) {
    console.log(`  ${line}${times > 1 ? ` (${times} tests)` : ''}`)
  }
  console.log('')
  for (const { name, ok, seconds } of parts) {
    console.log(`${seconds.toFixed(1).padStart(7)} s  ${ok ? 'ok    ' : 'FAILED'}  ${name}`)
  }
  // A part without tests of its own (types, say) counts as one failure when it fails.
  totals.failed += parts.filter(({ name, ok }) => !ok && !name.endsWith('tests')).length
  if (parts.some(({ ok }) => !ok) && totals.failed === 0) totals.failed = 1
  const { passed, failed, skipped } = totals
  const line = `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`
  if (process.env.PARTYLINE_SUMMARY) fs.writeFileSync(process.env.PARTYLINE_SUMMARY, `${line}\n`)
  else console.log(`\n${line}`)
}

function tally(lines) {
  const times = new Map()
  for (const line of lines) times.set(line, (times.get(line) ?? 0) + 1)
  return times
}

await part('set-up', () => setUp().then(() => true)).catch(endWith)
await part('outside programs', () => node('scripts/programs.mjs'))
await part('types', () => node(bin('typescript', 'bin', 'tsc'), '--noEmit'))
await part('lint and format', () => node(bin('@biomejs', 'biome', 'bin', 'biome'), 'check', '.'))
await part('fast tests', () => tests('fast'))
await part('slow tests', () => tests('slow'))
summary()
fs.rmSync(reports, { recursive: true, force: true })
process.exitCode = totals.failed > 0 ? 1 : 0
