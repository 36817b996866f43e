// Reads values by the table of options: flags first, then the environment, then the default. Whatever is
// wrong is refused with the name it was given under, what was expected and what to write instead.

import { isIP } from 'node:net'
import type { Limits } from '../core/limits.ts'
import { filterFault } from '../core/topic.ts'
import {
  type EngineKind,
  OPTIONS,
  type Option,
  type OptionValue,
  type Settings,
} from './options.ts'

/** A setting that cannot be used. The message is for people and complete. */
export class ConfigError extends Error {
  /** Key of the option, such as `limits.packetBytes`. */
  readonly key: string
  constructor(key: string, message: string) {
    super(message)
    this.name = 'ConfigError'
    this.key = key
  }
}

/** Settings as code gives them: any of them may be missing. */
export type PartialSettings = Partial<Omit<Settings, 'limits'>> & {
  readonly limits?: Partial<Limits>
}

/** A raw value and the name it was given under, for errors. */
interface Raw {
  readonly value: unknown
  readonly name: string
}

/**
 * Settings of a server started from a shell. `flags` holds text, lists of text or true under each flag's
 * name, and the ports under `port`. Throws ConfigError.
 */
export function settingsFromShell(
  flags: Readonly<Record<string, unknown>>,
  env: Readonly<Record<string, string | undefined>>,
): Settings {
  const find = (option: Option): Raw | null => {
    const flag = flags[option.flag ?? 'port']
    const given = Array.isArray(flag) ? flag.length > 0 : flag !== undefined
    if (given) return { value: flag, name: option.flag === null ? 'port' : `--${option.flag}` }
    const value = env[option.env]
    return value === undefined || value === '' ? null : { value, name: option.env }
  }
  const settings = settle(find)
  refuseIdleFlags(settings, find)
  return settings
}

/**
 * Settings of an embedded server. What a program does not ask for is not written into its folder: without
 * `engine` and `data` everything stays in memory. Throws ConfigError.
 */
export function settingsFromCode(asked: PartialSettings): Settings {
  refuseUnknown(asked)
  const engine = asked.engine ?? (asked.data === undefined ? 'memory' : 'disk')
  const given = { ...asked, engine }
  return settle((option) => {
    const [first, second] = option.key.split('.') as [string, string | undefined]
    const whole = (given as Readonly<Record<string, unknown>>)[first]
    const value = second === undefined ? whole : (whole as Record<string, unknown>)?.[second]
    return value === undefined ? null : { value, name: option.key }
  })
}

/** Variables that begin like ours and are none of them: most likely misspelt. */
export function unknownVariables(env: Readonly<Record<string, string | undefined>>): string[] {
  const known = new Set(OPTIONS.map((option) => option.env))
  return Object.keys(env).filter((name) => name.startsWith('PARTYLINE_') && !known.has(name))
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}

function refuseUnknown(given: PartialSettings): void {
  const known = new Set(OPTIONS.map((option) => option.key as string))
  const names = Object.entries(given).flatMap(([key, value]) =>
    key === 'limits' ? Object.keys(value as object).map((name) => `limits.${name}`) : [key],
  )
  for (const name of names) {
    if (!known.has(name)) {
      throw new ConfigError(name, `${name} is no option; docs/configuration.md lists them all`)
    }
  }
}

function settle(find: (option: Option) => Raw | null): Settings {
  const flat: Record<string, unknown> = {}
  const limits: Record<string, unknown> = {}
  for (const option of OPTIONS) {
    const raw = find(option)
    const value = raw === null ? option.default : read(option, raw)
    if (option.key.startsWith('limits.')) limits[option.key.slice('limits.'.length)] = value
    else flat[option.key] = value
  }
  // Complete because the table is: a test compares it with the interfaces' keys.
  const settings = { ...flat, limits } as unknown as Settings
  checkTogether(settings)
  return settings
}

const ENGINE_WORDS: Readonly<Record<EngineKind, string>> = {
  memory: 'the memory engine',
  disk: 'the disk engine',
  cluster: 'a cluster (--engine nats://HOST:PORT,…)',
}

/** A flag is meant for this start: one that changes nothing is a mistake. A variable may be for other starts. */
function refuseIdleFlags(settings: Settings, find: (option: Option) => Raw | null): void {
  const { engine } = settings
  const kind = engine === 'memory' || engine === 'disk' ? engine : 'cluster'
  for (const option of OPTIONS) {
    const name = find(option)?.name
    if (!name?.startsWith('--') || option.engines.includes(kind)) continue
    const meant = option.engines.map((each) => ENGINE_WORDS[each]).join(' and ')
    throw new ConfigError(
      option.key,
      `${name} is for ${meant}, and means nothing with ${ENGINE_WORDS[kind]}; leave it out, or choose another --engine`,
    )
  }
}

function checkTogether(settings: Settings): void {
  for (const origin of settings.allowOrigins) {
    if (origin === '*' || origin === 'null' || /^[a-z][a-z0-9+.-]*:\/\/[^/]+\/?$/i.test(origin))
      continue
    throw new ConfigError(
      'allowOrigins',
      `--allow-origin ${origin}: an origin is written as browsers do, https://example.org, and * is all of them`,
    )
  }
  for (const host of settings.allowHosts) {
    if (/^[^\s/?#@:\\]+$/.test(host)) continue
    throw new ConfigError(
      'allowHosts',
      `--allow-host ${host}: a name is wanted without scheme and port, such as example.org`,
    )
  }
  for (const filter of settings.denySubscribe) {
    const fault = filterFault(filter)
    if (fault !== null)
      throw new ConfigError('denySubscribe', `--deny-subscribe ${filter}: ${fault}`)
  }
  const open = settings.hosts.find((host) => !isLoopback(host))
  if (open === undefined || settings.users !== '' || settings.allowAnonymous) return
  throw new ConfigError(
    'hosts',
    `anybody who can reach ${open} could read and publish everything here; ` +
      'say who may with --users FILE (partyline passwd makes it), or let everybody in with --allow-anonymous',
  )
}

function read(option: Option, raw: Raw): OptionValue {
  if (!option.many) return readOne(option, raw)
  const values = Array.isArray(raw.value) ? raw.value : [raw.value]
  const parts = values.flatMap((v) => (typeof v === 'string' ? v.split(',') : [v]))
  return parts.map((value) => readOne(option, { ...raw, value })) as string[] | number[]
}

function readOne(option: Option, raw: Raw): string | number | boolean {
  switch (option.kind) {
    case 'yes':
      return readYes(option, raw)
    case 'text':
      if (typeof raw.value === 'string' && raw.value.trim() !== '') return raw.value.trim()
      return refuse(option, raw, 'wants a text')
    case 'choice':
      if (option.choices.includes(raw.value as string)) return raw.value as string
      return refuse(option, raw, `is one of ${option.choices.join(', ')}`)
    case 'engine':
      return readEngine(option, raw)
    default:
      return readNumber(option, raw)
  }
}

/** A name, or addresses of NATS servers: as one text with commas, or as a list in code. */
function readEngine(option: Option, raw: Raw): string {
  const parts = String(raw.value)
    .split(',')
    .map((part) => part.trim())
  const isCluster = parts.every((part) => /^(nats|tls):\/\/[^/]+$/.test(part) && URL.canParse(part))
  const text = parts.join(',')
  if (isCluster || text === 'memory' || text === 'disk') return text
  // Whoever writes a colon or a list means a cluster. A password in an address is for nobody's log.
  const example = /[:,]/.test(text) ? 'nats://localhost:4222' : exampleOf(option)
  const shown = { ...raw, value: text.replace(/\/\/[^@/]*@/g, '//') }
  return refuse(option, shown, `is one of ${option.choices.join(', ')}`, example)
}

function readYes(option: Option, raw: Raw): boolean {
  if (typeof raw.value === 'boolean') return raw.value
  const word = String(raw.value).toLowerCase()
  if (['1', 'true', 'yes', 'on'].includes(word)) return true
  if (['0', 'false', 'no', 'off'].includes(word)) return false
  return refuse(option, raw, 'is yes or no')
}

const UNITS: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  bytes: {
    '': 1,
    b: 1,
    k: 2 ** 10,
    kib: 2 ** 10,
    m: 2 ** 20,
    mib: 2 ** 20,
    g: 2 ** 30,
    gib: 2 ** 30,
  },
  seconds: { '': 1, s: 1, m: 60, min: 60, h: 3600, d: 86_400 },
  port: { '': 1 },
  count: { '': 1 },
}

/** A whole number with an optional unit: 65536, 64KiB, 4M, 10m, 30d. */
function readNumber(option: Option, raw: Raw): number {
  const match = /^(\d{1,16})\s*([a-z]*)$/i.exec(String(raw.value).trim())
  const factor = UNITS[option.kind]?.[match?.[2]?.toLowerCase() ?? '']
  const value = match === null || factor === undefined ? Number.NaN : Number(match[1]) * factor
  if (value >= option.min && value <= option.max) return value
  return refuse(option, raw, `is ${rangeOf(option)}`)
}

/** What values an option takes, in words: for errors, help and the docs. */
export function rangeOf(option: Option): string {
  const what = {
    bytes: 'a size (65536, 64KiB, 4MiB)',
    seconds: 'a time (90, 90s, 15m, 30d)',
    port: 'a port',
    count: 'a whole number',
  }[option.kind as 'bytes' | 'seconds' | 'port' | 'count']
  return `${what} from ${amount(option, option.min)} to ${amount(option, option.max)}`
}

/** A number as one would write it for this option, with the largest unit that divides it. */
export function amount(option: Option, value: number): string {
  const units: readonly (readonly [string, number])[] =
    option.kind === 'bytes'
      ? [
          ['GiB', 2 ** 30],
          ['MiB', 2 ** 20],
          ['KiB', 2 ** 10],
        ]
      : option.kind === 'seconds'
        ? [
            ['d', 86_400],
            ['h', 3600],
            ['m', 60],
            ['s', 1],
          ]
        : []
  const unit = value === 0 ? undefined : units.find(([, size]) => value % size === 0)
  return unit === undefined ? String(value) : `${value / unit[1]}${unit[0]}`
}

function refuse(
  option: Option,
  raw: Raw,
  expected: string,
  example: string = exampleOf(option),
): never {
  if (raw.name === 'port') {
    throw new ConfigError(
      option.key,
      `${JSON.stringify(raw.value)} is no port; ports go from 1 to 65535, and 0 takes a free one; try ${example}`,
    )
  }
  const write = raw.name.startsWith('--') ? `${raw.name} ${example}` : `${raw.name}=${example}`
  const hint = raw.name === option.key ? example : write
  throw new ConfigError(
    option.key,
    `${raw.name} ${expected}, not ${JSON.stringify(raw.value)}; try ${hint}`,
  )
}

function exampleOf(option: Option): string {
  const value = Array.isArray(option.default) ? option.default[0] : option.default
  if (typeof value === 'number') return amount(option, value)
  return value === undefined || value === '' ? option.placeholder : String(value)
}
