// Style as a test: the layering, what core may not touch, names, sizes, and that the floor of
// Node holds for every package. What a formatter or a linter can check is left to Biome.
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { accepts } from './support/node-range.ts'
import { codeOf } from './support/source-text.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const FLOOR = '20.19.0'

// A layer may import itself and those named here. cli → server → the four → core, one way;
// protocols and the HTTP door write to wires, so they may look at net, and nothing else sideways.
const LAYERS: Record<string, readonly string[]> = {
  core: [],
  engine: ['core'],
  net: ['core'],
  protocol: ['net', 'core'],
  http: ['net', 'core'],
  server: ['http', 'protocol', 'net', 'engine', 'core'],
  cli: ['server', 'http', 'protocol', 'net', 'engine', 'core'],
}

// Where time and chance come through the constructor, so that a seed replays a fault.
const PURE = ['core', 'protocol']
const IMPURE =
  /\b(Date\.now|new Date\(\)|Math\.random|performance\.now|setTimeout|setImmediate|setInterval|process\.hrtime)\b/

const MAX_LINES = 450
// A longer file, and why it is one: 'src/….ts': 'reason'.
const LONGER: Record<string, string> = {}

interface Source {
  readonly name: string
  readonly text: string
  readonly code: string
}

function walk(folder: string): string[] {
  if (!fs.existsSync(folder)) return []
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const place = path.join(folder, entry.name)
    return entry.isDirectory() ? walk(place) : [place]
  })
}

function sources(...folders: string[]): Source[] {
  return folders
    .flatMap((folder) => walk(path.join(root, folder)))
    .filter((file) => /\.(ts|tsx)$/.test(file))
    .map((file) => {
      const text = fs.readFileSync(file, 'utf8')
      return { name: path.relative(root, file).replaceAll('\\', '/'), text, code: codeOf(text) }
    })
}

const src = sources('src')
const ours = [...src, ...sources('test', 'sim', 'bench', 'examples')]

/** `file:line` of every line of code that matches. */
function places(files: readonly Source[], pattern: RegExp): string[] {
  return files.flatMap(({ name, code }) =>
    code.split('\n').flatMap((line, index) => (pattern.test(line) ? [`${name}:${index + 1}`] : [])),
  )
}

const layerOf = (name: string): string => name.split('/')[1]!

/** What a file imports, as written: statements, re-exports and `import()`. */
function importsOf({ text, code }: Source): string[] {
  // The scanner blanks strings, so a match counts only where code remained at the keyword.
  return [...text.matchAll(/\b(?:from|import)\s*\(?\s*(['"])([^'"\n]+)\1/g)]
    .filter((match) => code.startsWith(match[0].slice(0, 4), match.index))
    .map((match) => match[2]!)
}

/** The path within the repository that a relative import means. */
function resolved(from: string, specifier: string): string {
  return path.posix.join(path.posix.dirname(from), specifier)
}

function layerFault(source: Source, specifier: string): string | undefined {
  const layer = layerOf(source.name)
  const fault = `${source.name} imports ${specifier}`
  if (!specifier.startsWith('.')) {
    return layer === 'core' && specifier !== 'node:assert' ? fault : undefined
  }
  const target = resolved(source.name, specifier)
  const allowed = [layer, ...(LAYERS[layer] ?? [])]
  return target.startsWith('src/') && allowed.includes(layerOf(target)) ? undefined : fault
}

describe('layers', () => {
  it('has a row in the table for every folder of src, and no files beside them', () => {
    const strangers = src.filter(({ name }) => !(layerOf(name) in LAYERS))
    expect(strangers.map(({ name }) => name)).toEqual([])
  })

  it('imports one way, and core imports nothing but itself', () => {
    const faults = src.flatMap((source) =>
      importsOf(source).map((specifier) => layerFault(source, specifier)),
    )
    expect(faults.filter((fault) => fault !== undefined)).toEqual([])
  })

  it('notices an import that goes up, sideways or out', () => {
    const inCore = { name: 'src/core/trie.ts', text: '', code: '' }
    expect(layerFault(inCore, '../net/wire.ts')).toBeDefined()
    expect(layerFault(inCore, 'node:fs')).toBeDefined()
    expect(layerFault(inCore, '../../test/x.ts')).toBeDefined()
    expect(layerFault(inCore, './topic.ts')).toBeUndefined()
    expect(layerFault(inCore, 'node:assert')).toBeUndefined()
    const inEngine = { name: 'src/engine/disk.ts', text: '', code: '' }
    expect(layerFault(inEngine, '../http/api.ts')).toBeDefined()
    expect(layerFault(inEngine, '../core/types.ts')).toBeUndefined()
    const text = "import { a } from '../cli/b.ts'\n// from './no.ts'\nawait import('ws')\n"
    const found = importsOf({ name: 'src/net/x.ts', text, code: codeOf(text) })
    expect(found).toEqual(['../cli/b.ts', 'ws'])
  })
})

describe('words that may not be used', () => {
  it('takes time and chance through the constructor in core and the protocols', () => {
    const pure = src.filter(({ name }) => PURE.includes(layerOf(name)))
    expect(places(pure, IMPURE)).toEqual([])
  })

  it('formats nothing with ICU, whose first use stops a server for 15 to 30 ms', () => {
    expect(places(src, /\.toLocale\w+\(|\bIntl\b|\.localeCompare\(/)).toEqual([])
  })

  it('has no any, no enum, no namespace', () => {
    expect(places(ours, /(:\s*|\bas\s+|<|\|\s*)any\b/)).toEqual([])
    expect(places(ours, /^\s*(export\s+)?(declare\s+)?(const\s+)?enum\s+\w/)).toEqual([])
    expect(places(ours, /^\s*(export\s+)?(declare\s+)?namespace\s+\w/)).toEqual([])
  })

  it('has no default exports outside the configuration of tools', () => {
    expect(places(ours, /\bexport\s+default\b|\bexport\s*\{[^}]*\bas\s+default\b/)).toEqual([])
  })

  it('leaves nothing for later and runs no test alone', () => {
    const pattern = new RegExp(['TO', 'DO\\b|FIX', 'ME\\b|\\bX', 'XX\\b'].join(''))
    const marked = ours.filter(({ text }) => pattern.test(text))
    expect(marked.map(({ name }) => name)).toEqual([])
    expect(places(ours, /\b(it|test|describe)\.only\b/)).toEqual([])
  })

  it('looks at code, not at comments, strings and patterns', () => {
    const text = [
      'const a = 1 // Date.now',
      "const b = 'Math.random' /* setTimeout",
      '   setInterval */',
      // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source text
      'const c = `${x} setTimeout`',
      'const d = /["\\/]setTimeout/.test(b) // it',
      'const e = a / 2 / setTimeout',
    ].join('\n')
    expect(codeOf(text).split('\n')).toHaveLength(6)
    expect(places([{ name: 'x', text, code: codeOf(text) }], IMPURE)).toEqual(['x:6'])
  })
})

describe('files', () => {
  it('stay short enough to be read at one sitting', () => {
    const lengths = src.map(({ name, text }) => [name, text.split('\n').length - 1] as const)
    const long = lengths.filter(([name, lines]) => lines > MAX_LINES && !(name in LONGER))
    expect(long).toEqual([])
  })

  it('excuse only files that exist and are long', () => {
    const long = src.filter(({ text }) => text.split('\n').length - 1 > MAX_LINES)
    const names = long.map(({ name }) => name)
    expect(Object.keys(LONGER).filter((name) => !names.includes(name))).toEqual([])
  })

  it('open by saying what they are', () => {
    const silent = src.filter(({ text }) => !/^(#!.*\n)?\/[/*]/.test(text))
    expect(silent.map(({ name }) => name)).toEqual([])
  })

  it('are named after what they hold', () => {
    const vague = /(^|\/)(utils?|helpers?|index|misc|common)\.tsx?$/
    expect(ours.filter(({ name }) => vague.test(name)).map(({ name }) => name)).toEqual([])
  })

  it('import each other with their extension', () => {
    const bare = ours.flatMap((source) =>
      importsOf(source)
        .filter((specifier) => /^\.\.?\//.test(specifier) && !path.extname(specifier))
        .map((specifier) => `${source.name}: ${specifier}`),
    )
    expect(bare).toEqual([])
  })
})

describe('the repository', () => {
  const OUTSIDE =
    /^(node_modules|dist|coverage|partyline-data|partyline-cluster|\.cache|\.git)(\/|$)/
  const PLACES = new RegExp(
    [
      'registry\\.npm' + 'js\\.',
      'deb\\.deb' + 'ian\\.org',
      '(^|[\\s"\'`(=:])/(work|root)/',
      '/(home|Us' + 'ers)/[a-z]\\w*/',
    ].join('|'),
  )

  function tracked(): string[] {
    return fs
      .readdirSync(root, { withFileTypes: true })
      .filter((entry) => !OUTSIDE.test(entry.name))
      .flatMap((entry) =>
        entry.isDirectory() ? walk(path.join(root, entry.name)) : [path.join(root, entry.name)],
      )
      .filter((file) => !/\.(png|jpg|gif|ico|woff2?|tgz|gz|bin|cpuprofile)$/.test(file))
  }

  it('names no package registry, no mirror and no path of one machine', () => {
    const faults = tracked().filter((file) => PLACES.test(fs.readFileSync(file, 'utf8')))
    expect(faults.map((file) => path.relative(root, file))).toEqual([])
  })

  it(`locks only packages that run on Node ${FLOOR}`, () => {
    const lock = JSON.parse(fs.readFileSync(path.join(root, 'package-lock.json'), 'utf8')) as {
      packages: Record<string, { version: string; engines?: { node?: string } }>
    }
    const tooNew = Object.entries(lock.packages)
      .filter(([, { engines }]) => engines?.node && !accepts(engines.node, FLOOR))
      .map(([name, { version, engines }]) => `${name}@${version} wants ${engines?.node}`)
    expect(tooNew).toEqual([])
  })

  it.each([
    ['>=18', true],
    ['>= 20.19', true],
    ['^20.19.0 || >=22.12.0', true],
    ['^20.0.0 || ^22.0.0 || >=24', true],
    ['>=0.10', true],
    ['18.x || 20.x', true],
    ['*', true],
    ['18 - 20', true],
    ['>=16 <21', true],
    ['~20.19', true],
    ['>=22', false],
    ['^18.0.0', false],
    ['>20.19.0', false],
    ['<20', false],
    ['20.20.x', false],
    ['^20.20.0 || >=22', false],
  ])('reads the range %s', (range, answer) => {
    expect(accepts(range, FLOOR)).toBe(answer)
  })
})
