// Makes a fresh clone runnable: installs the packages when the lock file or Node changed, compiles
// src/ into dist/ when the sources changed, and does nothing (in milliseconds) otherwise. It runs
// before any dependency exists, so it stands on Node built-ins alone. `npm start`, `npm test`,
// `npm run build` and `npm run check` all begin here; docs/decisions/0001 and 0002 say why.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

export const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const at = (...parts) => path.join(root, ...parts)

const FLOOR = [20, 19]
const INSTALL_STAMP = at('node_modules', '.partyline-stamp')
const BUILD_STAMP = at('dist', '.stamp')
const CACHE = at('.cache')

/** Everything dist/ is made from. A later part of the build (a dashboard, say) adds its folder. */
const SOURCES = ['src', 'tsconfig.json', 'tsconfig.build.json']

/** A failure to tell a person about: one sentence, no stack. `status` is the exit status. */
export class SetUpError extends Error {
  constructor(message, status = 1) {
    super(message)
    this.status = status
  }
}

const say = (line) => process.stderr.write(`${line}\n`)

/**
 * Installs and compiles what is out of date. Several processes may call it at once in one clone.
 * @param {{ build?: boolean, rebuild?: boolean }} [options] `build: false` installs only;
 *   `rebuild: true` compiles even when nothing changed.
 * @throws {SetUpError} with a sentence for the person who typed the command
 */
export async function setUp({ build = true, rebuild = false } = {}) {
  checkNode()
  const current = () => isInstalled() && (!build || (!rebuild && isBuilt()))
  if (current()) return
  await withLock('setup', current, async () => {
    if (!isInstalled()) await install()
    if (build && (rebuild || !isBuilt())) await compile()
  })
}

/** @throws {SetUpError} when this Node is older than the floor */
function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major > FLOOR[0] || (major === FLOOR[0] && minor >= FLOOR[1])) return
  throw new SetUpError(
    `Partyline needs Node.js ${FLOOR.join('.')} or newer, and this is ${process.versions.node}; ` +
      'install Node.js 24, then run the command again.',
  )
}

// ---- Is it current? ------------------------------------------------------------------------

function isInstalled() {
  return read(INSTALL_STAMP) === installKey()
}

function isBuilt() {
  return fs.existsSync(at('dist')) && read(BUILD_STAMP) === buildKey()
}

// Packages may carry binaries for one platform, so a folder shared between a laptop and a
// container must be installed again on the other side.
function installKey() {
  const lock = hash((h) => h.update(fs.readFileSync(at('package-lock.json'))))
  return `${lock} ${process.version} ${process.platform} ${process.arch}\n`
}

// Hashes and not times: a checkout of an older commit gives older files that are new to dist/.
function buildKey() {
  const { version, dependencies, exports } = JSON.parse(read(at('package.json')))
  return hash((h) => {
    h.update(JSON.stringify({ version, dependencies, exports }))
    for (const file of SOURCES.flatMap((source) => filesUnder(at(source)))) {
      h.update(`\0${path.relative(root, file)}\0`).update(fs.readFileSync(file))
    }
  })
}

function hash(fill) {
  const h = createHash('sha256')
  fill(h)
  return h.digest('hex')
}

function read(file) {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

/** Every file under a file or folder, in a fixed order; nothing when it does not exist. */
function filesUnder(place) {
  if (!fs.existsSync(place)) return []
  if (!fs.statSync(place).isDirectory()) return [place]
  return fs
    .readdirSync(place)
    .sort()
    .flatMap((name) => filesUnder(path.join(place, name)))
}

// ---- The two steps -------------------------------------------------------------------------

// Never `npm ci`: it refuses the lock where a registry lacks another platform's optional binary.
// `--include=dev` because NODE_ENV=production would leave the compiler out; `--ignore-scripts`
// because no dependency of ours needs its install script and none should run unasked.
async function install() {
  say('Partyline sets itself up: fetching packages and compiling. This takes about 20 s, once.')
  const key = installKey()
  const flags = ['--no-save', '--include=dev', '--ignore-scripts', '--no-audit', '--no-fund']
  const { status, output } = await runNpm(['install', ...flags, '--loglevel=warn'])
  if (status !== 0) {
    say(output.trimEnd())
    throw new SetUpError(
      'Partyline could not install its packages; npm gave the reason above. Check that this machine ' +
        'reaches its package registry (`npm ping` must succeed), then run the same command again.',
    )
  }
  fs.writeFileSync(INSTALL_STAMP, key)
}

async function compile() {
  if (isBuilt() || fs.existsSync(BUILD_STAMP))
    say('Compiling Partyline, which takes a few seconds.')
  const key = buildKey()
  const fresh = path.join(CACHE, `build-${process.pid}`)
  fs.rmSync(fresh, { recursive: true, force: true })
  try {
    const tsc = at('node_modules', 'typescript', 'bin', 'tsc')
    const args = [tsc, '-p', at('tsconfig.build.json'), '--outDir', fresh]
    const { status, output } = await run(process.execPath, args)
    if (status !== 0) {
      say(output.trimEnd())
      throw new SetUpError(
        'Partyline does not compile; the compiler gave the reason above. Correct the file it names ' +
          '(or return to a clean checkout), then run the same command again.',
      )
    }
    moveInto(fresh, at('dist'))
    const main = at('dist', 'cli', 'main.js')
    if (fs.existsSync(main)) fs.chmodSync(main, 0o755) // `npx partyline` runs it by its first line.
    fs.writeFileSync(BUILD_STAMP, key)
  } finally {
    fs.rmSync(fresh, { recursive: true, force: true })
  }
}

// A server may be running out of dist/, so no file is ever half written: each arrives whole, by
// rename, and only when its bytes changed. Files that no source makes any more go last.
function moveInto(fresh, dist) {
  fs.rmSync(BUILD_STAMP, { force: true }) // Half-moved must not pass for built if we die here.
  const names = filesUnder(fresh).map((file) => path.relative(fresh, file))
  for (const name of names) {
    const from = path.join(fresh, name)
    const to = path.join(dist, name)
    if (fs.existsSync(to) && fs.readFileSync(to).equals(fs.readFileSync(from))) continue
    fs.mkdirSync(path.dirname(to), { recursive: true })
    renameOver(from, to)
  }
  const kept = new Set(names)
  for (const file of filesUnder(dist)) {
    if (!kept.has(path.relative(dist, file))) fs.rmSync(file, { force: true })
  }
}

// Windows refuses to rename over a file which a virus scanner or a reader holds for a moment.
function renameOver(from, to) {
  for (let tries = 0; ; tries++) {
    try {
      return fs.renameSync(from, to)
    } catch (error) {
      if (tries === 20 || !['EPERM', 'EACCES', 'EBUSY'].includes(error.code)) throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100)
    }
  }
}

// ---- Child processes -----------------------------------------------------------------------

// npm names its own script in npm_execpath; running that with this Node needs no shell, which
// Windows would otherwise ask for. Called by hand there is no such variable.
function runNpm(args) {
  const script = process.env.npm_execpath
  if (script && path.basename(script) === 'npm-cli.js') {
    return run(process.execPath, [script, ...args])
  }
  return run('npm', args, { shell: process.platform === 'win32' })
}

/** Runs to the end and collects both outputs. A signal to us ends the child, then us. */
async function run(command, args, options = {}) {
  // A colour code or a progress bar would only litter a report that is shown on failure.
  const env = { ...process.env, npm_config_progress: 'false', NO_COLOR: '1' }
  const child = spawn(command, args, {
    cwd: root,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    ...options,
  })
  const pieces = []
  child.stdout.on('data', (piece) => pieces.push(piece))
  child.stderr.on('data', (piece) => pieces.push(piece))
  let stoppedBy
  const stop = (signal) => {
    stoppedBy = signal
    child.kill('SIGTERM')
  }
  process.on('SIGINT', stop).on('SIGTERM', stop)
  try {
    const status = await new Promise((resolve, reject) => {
      child.on('error', reject).on('close', (code) => resolve(code ?? 1))
    })
    if (stoppedBy) throw new SetUpError('Set-up was stopped; it starts over next time.', 130)
    return { status, output: Buffer.concat(pieces).toString() }
  } catch (error) {
    if (error instanceof SetUpError) throw error
    throw new SetUpError(`${command} could not be run (${error.message}); is it installed?`)
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop)
  }
}

// ---- One at a time -------------------------------------------------------------------------

const POLL = 200 // ms
const BEAT = 1000 // ms between two signs of life of the holder
const PATIENCE = 75 // polls (15 s) without a sign of life before a holder counts as dead

/**
 * Runs `action` while holding the named lock of this clone; not at all when, waiting for another
 * holder, `done()` became true: then the other one did the work.
 */
export async function withLock(name, done, action) {
  const release = await takeLock(path.join(CACHE, `${name}.lock`), done)
  if (!release) return
  try {
    if (!done()) await action()
  } finally {
    release()
  }
}

async function takeLock(file, done) {
  fs.mkdirSync(CACHE, { recursive: true })
  let lastBeat
  let silent = 0
  for (let waited = 0; ; waited++) {
    if (tryCreate(file)) return holdLock(file)
    if (done()) return undefined
    if (waited === 5) say('Another Partyline command is setting up this folder; waiting for it.')
    // The holder's clock is not ours (a container, a network folder), so we count how often we
    // have seen no change rather than compare times.
    const beat = fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs
    silent = beat === lastBeat ? silent + 1 : 0
    lastBeat = beat
    if (silent > PATIENCE || isDead(read(file))) breakLock(file, beat)
    await sleep(POLL)
  }
}

function tryCreate(file) {
  try {
    fs.writeFileSync(file, `${process.pid} ${os.hostname()}\n`, { flag: 'wx' })
    return true
  } catch (error) {
    // A file just being deleted gives EPERM on Windows.
    if (error.code === 'EEXIST' || (process.platform === 'win32' && error.code === 'EPERM'))
      return false
    throw new SetUpError(
      `Partyline cannot write into ${path.dirname(file)} (${error.code}); run the command as the ` +
        'user who owns this folder, or clone it anew as yourself.',
    )
  }
}

function holdLock(file) {
  const beat = setInterval(() => {
    const now = new Date()
    fs.utimes(file, now, now, () => {})
  }, BEAT)
  beat.unref()
  return () => {
    clearInterval(beat)
    fs.rmSync(file, { force: true })
  }
}

/** Whether the holder ran on this machine and no longer does. Ids of other machines say nothing. */
function isDead(holder) {
  const [pid, host] = (holder ?? '').trim().split(' ')
  if (!pid || host !== os.hostname()) return false
  try {
    process.kill(Number(pid), 0)
    return false
  } catch (error) {
    return error.code === 'ESRCH'
  }
}

// Two waiters may both find the lock dead; without a second lock the slower of them would delete
// the fresh lock of the faster one.
function breakLock(file, seen) {
  const breaking = `${file}.breaking`
  try {
    fs.mkdirSync(breaking)
  } catch {
    const age = Date.now() - (fs.statSync(breaking, { throwIfNoEntry: false })?.mtimeMs ?? 0)
    if (age > 60_000) fs.rmSync(breaking, { recursive: true, force: true })
    return
  }
  try {
    if (fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs === seen) fs.rmSync(file)
  } finally {
    fs.rmSync(breaking, { recursive: true, force: true })
  }
}

/** Prints a SetUpError as its sentence and ends the process; anything else is thrown on. */
export function endWith(error) {
  if (!(error instanceof SetUpError)) throw error
  say(error.message)
  process.exit(error.status)
}

if (process.argv[1] && fs.realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const flags = new Set(process.argv.slice(2))
  const options = { build: !flags.has('--no-build'), rebuild: flags.has('--rebuild') }
  await setUp(options).catch(endWith)
}
