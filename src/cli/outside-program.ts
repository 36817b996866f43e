// Finds the programs of others that a cluster on this machine is made of: in a clone as its tests
// do (a variable, the PATH, .cache/), in an installed package by a variable and the PATH.

import { spawnSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import path from 'node:path'

export interface OutsideProgram {
  readonly path: string
  /** Laid over the environment it is started with. */
  readonly env: Readonly<Record<string, string>>
}

/** The program, or one sentence: why not, and what to do. */
export type Found = OutsideProgram | { readonly missing: string }

export type ProgramName = 'nats-server' | 'haproxy'

const FINDER = new URL('../../scripts/programs.mjs', import.meta.url)

/** nats-server before 2.12 cannot do what the engine needs; HAProxy before 2.6 cannot read our file. */
const ANSWERS: Readonly<Record<ProgramName, readonly [argument: string, answer: RegExp]>> = {
  'nats-server': ['--version', /nats-server: v(2\.(1[2-9]|[2-9]\d)|[3-9]|\d\d)/],
  haproxy: ['-v', /HAProxy version (2\.([6-9]|\d\d)|[3-9]|\d\d)/],
}

const ADVICE: Readonly<Record<ProgramName, string>> = {
  'nats-server':
    'nats-server 2.12 or newer is not here; get it from https://nats.io/download (macOS: brew install nats-server)',
  haproxy: 'HAProxy 2.6 or newer is not here (Debian: apt-get install haproxy)',
}

export async function findProgram(name: ProgramName): Promise<Found> {
  const found = existsSync(FINDER) ? await findInClone(name) : findOnPath(name)
  if (!('missing' in found)) return found
  const fetch = existsSync(FINDER)
    ? '; on Debian and Ubuntu `node scripts/programs.mjs nats-server haproxy` fetches both into this clone'
    : ''
  return { missing: `${ADVICE[name]}, or put its path into ${variableOf(name)}${fetch}` }
}

async function findInClone(name: ProgramName): Promise<Found> {
  const finder = (await import(FINDER.href)) as unknown as { find(name: ProgramName): Found }
  return finder.find(name)
}

function findOnPath(name: ProgramName): Found {
  const named = process.env[variableOf(name)]
  const folders = [
    ...(process.env.PATH ?? '').split(path.delimiter),
    '/usr/local/sbin',
    '/usr/sbin',
  ]
  const command = process.platform === 'win32' ? `${name}.exe` : name
  const places = named ? [named] : folders.map((folder) => path.join(folder, command))
  const place = places.find((file) => path.isAbsolute(file) && isFile(file) && answers(name, file))
  return place === undefined ? { missing: name } : { path: place, env: {} }
}

function answers(name: ProgramName, file: string): boolean {
  const [argument, answer] = ANSWERS[name]
  const { stdout, stderr } = spawnSync(file, [argument], { encoding: 'utf8', timeout: 20_000 })
  return answer.test(`${stdout}${stderr}`)
}

function isFile(file: string): boolean {
  try {
    return statSync(file).isFile()
  } catch {
    return false // Not there, or in a folder that this user may not enter.
  }
}

function variableOf(name: ProgramName): string {
  return `PARTYLINE_${name.toUpperCase().replaceAll('-', '_')}`
}
