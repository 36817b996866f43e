// The outside programs that some tests talk to: Mosquitto and its clients, Paho for Python,
// OpenBSD's netcat, strace, nats-server, HAProxy, keepalived, docker-compose, Chromium. It finds
// them (an environment variable, the PATH, then .cache/) and, where apt-get exists, fetches what is
// missing into .cache/ as any user, touching nothing of the system. docs/decisions/0004 says why.
//
//   node scripts/programs.mjs [name …]         fetch what is missing, say what there is
//   node scripts/programs.mjs --json [name …]  only look, answer in JSON (what the tests read)
import { spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { endWith, root, withLock } from './setup.mjs'

const CACHE = path.join(root, '.cache')
const TREE = path.join(CACHE, 'programs') // what `dpkg -x` unpacked, laid out as under /
const APT = path.join(CACHE, 'apt')

/**
 * @typedef {object} Wanted
 * @property {string} package the Debian package that holds it
 * @property {string[]} [commands] the names it goes by; default: its own
 * @property {string[]} [probe] arguments which make it answer at once
 * @property {RegExp} [answer] what the answer must match for it to be the right one
 * @property {string} [needs] said when the answer does not match
 * @property {boolean} [newer] fetched from Debian's newer suite: the stable one is too old
 * @property {boolean} [named] fetched only when it is asked for by name
 * @property {boolean} [system] does not run unpacked: only root, through apt-get install
 */

// nats-server before 2.12 never synced before it acknowledged, or let two writers win.
const NATS_FLOOR = /nats-server: v(2\.(1[2-9]|[2-9]\d)|[3-9]|\d\d)/

/** @type {Record<string, Wanted>} */
const PROGRAMS = {
  mosquitto: { package: 'mosquitto', probe: ['-h'], answer: /mosquitto version/ },
  mosquitto_pub: { package: 'mosquitto-clients', probe: ['--version'], answer: /mosquitto_pub/ },
  mosquitto_sub: { package: 'mosquitto-clients', probe: ['--version'], answer: /mosquitto_sub/ },
  mosquitto_rr: { package: 'mosquitto-clients', probe: ['--version'], answer: /mosquitto_rr/ },
  paho: {
    package: 'python3-paho-mqtt',
    commands: ['python3'],
    probe: ['-c', 'import paho.mqtt.client; print("paho is here")'],
    answer: /paho is here/,
    needs: 'a python3 that can `import paho.mqtt.client`',
  },
  nc: {
    package: 'netcat-openbsd',
    commands: ['nc.openbsd', 'nc'],
    probe: ['-h'],
    answer: /OpenBSD/,
    needs: "OpenBSD's netcat",
  },
  strace: { package: 'strace', probe: ['-V'], answer: /strace -- version/ },
  'nats-server': {
    package: 'nats-server',
    probe: ['--version'],
    answer: NATS_FLOOR,
    needs: 'nats-server 2.12 or newer',
    newer: true,
  },
  haproxy: { package: 'haproxy', probe: ['-v'], answer: /HAProxy version/i },
  // Reads a compose file without an engine; the stable suite's is the one before, in Python.
  'docker-compose': {
    package: 'docker-compose',
    probe: ['version'],
    answer: /Docker Compose version v?([2-9]|\d\d)\./,
    needs: 'docker-compose 2 or newer',
    newer: true,
  },
  keepalived: { package: 'keepalived', probe: ['--version'], answer: /Keepalived v/ },
  // A peer of the benchmark, which no test needs.
  'redis-server': {
    package: 'redis-server',
    probe: ['--version'],
    answer: /Redis server/,
    named: true,
  },
  chromium: {
    package: 'chromium',
    commands: ['chromium', 'chromium-browser', 'google-chrome'],
    probe: ['--version'],
    answer: /Chrom/,
    system: true,
  },
}

export const programNames = Object.keys(PROGRAMS)

/** The environment variable that names a program outright, e.g. PARTYLINE_NATS_SERVER. */
const variable = (name) => `PARTYLINE_${name.toUpperCase().replaceAll('-', '_')}`

// ---- Finding -------------------------------------------------------------------------------

/**
 * @param {string} name one of programNames
 * @returns {{ path: string, env: Record<string, string> } | { missing: string }} how to start it
 *   (`env` is laid over the caller's environment), or one sentence: why not, and what to do
 */
export function find(name) {
  const wanted = PROGRAMS[name]
  if (!wanted) throw new Error(`no program "${name}"; known are ${programNames.join(', ')}`)
  const named = process.env[variable(name)]
  if (named) {
    const found = { path: named, env: {} }
    return answers(wanted, found)
      ? found
      : {
          missing: `${variable(name)}=${named} is not ${wanted.needs ?? name}; correct or unset it`,
        }
  }
  return candidates(wanted, name).find((one) => answers(wanted, one)) ?? { missing: advice(name) }
}

function* everyPlace(wanted, name) {
  for (const command of wanted.commands ?? [name]) {
    // Debian keeps servers in sbin, which is not on everybody's PATH.
    const folders = [
      ...(process.env.PATH ?? '').split(path.delimiter),
      '/usr/local/sbin',
      '/usr/sbin',
    ]
    for (const folder of folders) yield { path: path.join(folder, command), env: {} }
    for (const folder of ['usr/bin', 'usr/sbin', 'bin']) {
      yield { path: path.join(TREE, folder, command), env: unpackedEnv() }
    }
    // A module unpacked into .cache/ for a Python that the system has.
    if (name === 'paho') {
      for (const folder of folders) yield { path: path.join(folder, command), env: pythonEnv() }
    }
  }
}

const candidates = (wanted, name) =>
  [...everyPlace(wanted, name)].filter((one) => path.isAbsolute(one.path) && isFile(one.path))

function isFile(file) {
  try {
    return fs.statSync(file).isFile()
  } catch {
    return false // Not there, or in a folder of the PATH that this user may not enter.
  }
}

function unpackedEnv() {
  const lib = path.join(TREE, 'usr', 'lib')
  const libraries = [lib, path.join(TREE, 'lib')]
    .filter((folder) => fs.existsSync(folder))
    .flatMap((folder) => [folder, ...triplets(folder)])
  return { ...pythonEnv(), LD_LIBRARY_PATH: libraries.join(':') }
}

/** Folders such as x86_64-linux-gnu, where Debian puts libraries. */
function triplets(folder) {
  return fs
    .readdirSync(folder)
    .filter((name) => /-linux-gnu/.test(name))
    .map((name) => path.join(folder, name))
}

function pythonEnv() {
  return { PYTHONPATH: path.join(TREE, 'usr', 'lib', 'python3', 'dist-packages') }
}

function answers(wanted, { path: file, env }) {
  const options = { env: { ...process.env, ...env }, encoding: 'utf8', timeout: 20_000 }
  const { stdout, stderr, error } = spawnSync(file, wanted.probe, options)
  return !error && wanted.answer.test(`${stdout}${stderr}`)
}

function advice(name) {
  const { package: pkg, needs = name, newer, system } = PROGRAMS[name]
  const how = newer
    ? `put a newer one on the PATH or its path into ${variable(name)}`
    : `install it (Debian: apt-get install ${pkg}${system ? ', as root' : ''}) or put its path into ${variable(name)}`
  return `${needs} is not here; ${how}`
}

// ---- Fetching ------------------------------------------------------------------------------

/**
 * Fetches the named programs that are missing. Never fails for a machine that cannot: what stays
 * missing says so itself through find(). Several processes may call it at once in one clone.
 * @param {string[]} names
 * @param {(line: string) => void} say
 */
export async function fetchMissing(names, say) {
  const missing = () =>
    names.filter((name) => 'missing' in find(name) && !process.env[variable(name)])
  if (process.platform !== 'linux' || !onPath('apt-get') || !onPath('dpkg')) return
  if (missing().length === 0) return
  await withLock(
    'programs',
    () => missing().length === 0,
    () => fetchAll(missing(), say),
  )
}

async function fetchAll(missing, say) {
  say(`fetching into .cache/: ${missing.join(', ')}`)
  const packages = (filter) => {
    const chosen = missing.map((name) => PROGRAMS[name]).filter(filter)
    return [...new Set(chosen.map((one) => one.package))]
  }
  await attempt(async () => {
    await apt(['update'])
    await unpackAll(
      packages((one) => !one.newer && !one.system),
      say,
    )
    for (const pkg of packages((one) => one.newer)) await unpackNewer(pkg, say)
  }, say)
  for (const pkg of packages((one) => one.system)) await installAsRoot(pkg, say)
}

function onPath(command) {
  return (process.env.PATH ?? '').split(':').some((folder) => isFile(path.join(folder, command)))
}

/** Settings under which apt-get keeps its lists and downloads here, and works as any user. */
function aptSettings(lists) {
  for (const folder of [`${lists}/partial`, `${APT}/cache/archives/partial`, `${APT}/debs`]) {
    fs.mkdirSync(path.join(folder), { recursive: true })
  }
  const settings = [`Dir::State::lists=${lists}`, `Dir::Cache=${APT}/cache`]
  settings.push('Acquire::Languages=none', 'Acquire::Retries=2')
  // Root's apt-get would otherwise download as a user who may not enter this folder.
  if (process.getuid?.() === 0) settings.push('APT::Sandbox::User=root')
  return settings
}

/** Resolves to what it printed; rejects with its last complaint. */
function apt(args, settings = aptSettings(`${APT}/lists`)) {
  const options = settings.flatMap((setting) => ['-o', setting])
  return must('apt-get', [...options, ...args], { cwd: `${APT}/debs` })
}

async function must(command, args, options = {}) {
  const env = { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' }
  const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'], ...options })
  let output = ''
  let complaints = ''
  child.stdout.setEncoding('utf8').on('data', (piece) => (output += piece))
  child.stderr.setEncoding('utf8').on('data', (piece) => (complaints += piece))
  const status = await new Promise((resolve, reject) =>
    child.on('error', reject).on('close', resolve),
  )
  if (status === 0) return output
  const reason = complaints.split('\n').findLast((line) => /^E:/.test(line))
  const what = args.findLast((arg) => !arg.startsWith('-'))
  throw new Error(`${command} … ${what}: ${reason ?? `status ${status}`}`)
}

async function unpackAll(packages, say) {
  if (packages.length === 0) return
  try {
    await unpack(await withNeeds(packages))
  } catch {
    // One of them may be the trouble; the others should not go missing with it.
    for (const pkg of packages) await attempt(async () => unpack(await withNeeds([pkg])), say)
  }
}

async function attempt(action, say) {
  try {
    await action()
  } catch (error) {
    say(`  ${error.message}`)
  }
}

/**
 * The packages and what they need that this system lacks. A package the system has already is
 * fetched too when it was asked for: then its program was found wanting.
 */
async function withNeeds(packages) {
  const plan = await apt(['-s', 'install', '--no-install-recommends', ...packages])
  const planned = [...plan.matchAll(/^Inst (\S+)/gm)].map((match) => match[1])
  // Another libc than the system's own loader belongs to would crash every program.
  const safe = planned.filter((pkg) => !/^(libc6|libc-bin)(:|$)/.test(pkg))
  return [...new Set([...packages, ...safe])]
}

async function unpack(packages, settings) {
  const debs = `${APT}/debs`
  fs.rmSync(debs, { recursive: true, force: true })
  fs.mkdirSync(debs, { recursive: true })
  await apt(['download', ...packages], settings)
  fs.mkdirSync(TREE, { recursive: true })
  for (const deb of fs.readdirSync(debs).filter((file) => file.endsWith('.deb'))) {
    await must('dpkg', ['-x', path.join(debs, deb), TREE])
  }
  fs.rmSync(debs, { recursive: true, force: true })
}

// The mirror of the newer suite is whichever this machine already uses for its own.
async function unpackNewer(pkg, say) {
  await attempt(async () => {
    const targets = ['indextargets', '--format', '$(COMPONENT) $(RELEASE) $(REPO_URI)']
    const mirror = (await apt(targets))
      .split('\n')
      .map((line) => line.split(' '))
      .find(([component, release]) => component === 'main' && !/-|\//.test(release))?.[2]
    if (!mirror) throw new Error(`${pkg}: apt-get names no mirror of Debian's main archive`)
    const folder = path.join(APT, 'newer')
    fs.mkdirSync(folder, { recursive: true })
    const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg'
    const signed = fs.existsSync(keyring) ? `[signed-by=${keyring}] ` : ''
    fs.writeFileSync(path.join(folder, 'sources.list'), `deb ${signed}${mirror} forky main\n`)
    const settings = [
      ...aptSettings(path.join(folder, 'lists')),
      `Dir::Etc::sourcelist=${path.join(folder, 'sources.list')}`,
      'Dir::Etc::sourceparts=/dev/null',
      `Dir::Cache::pkgcache=`,
      `Dir::Cache::srcpkgcache=`,
    ]
    await apt(['update'], settings)
    await unpack([pkg], settings)
  }, say)
}

async function installAsRoot(pkg, say) {
  if (process.getuid?.() !== 0) return
  await attempt(async () => {
    await must('apt-get', ['update'])
    await must('apt-get', ['install', '-y', '--no-install-recommends', pkg])
  }, say)
}

// ---- By hand and for the tests -------------------------------------------------------------

// Only a machine that exists to run the checks gets something installed into its system.
function isFetchedUnasked(name) {
  if (PROGRAMS[name].named) return false
  return !PROGRAMS[name].system || process.env.CI === 'true'
}

async function main(args) {
  const names = args.filter((arg) => arg !== '--json')
  const asked = names.length > 0 ? names : programNames.filter(isFetchedUnasked)
  if (args.includes('--json')) {
    const answer = Object.fromEntries(asked.map((name) => [name, find(name)]))
    process.stdout.write(`${JSON.stringify(answer)}\n`)
    return
  }
  await fetchMissing(asked, (line) => console.log(line))
  for (const name of asked) {
    const found = find(name)
    console.log('missing' in found ? `${name}: ${found.missing}` : `${name}: ${found.path}`)
  }
}

if (process.argv[1] && fs.realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  await main(process.argv.slice(2)).catch(endWith)
}
