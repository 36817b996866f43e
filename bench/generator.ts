// The load generator as the harness sees it: built from bench/load/*.c on first use, or the JavaScript one where there
// is no C compiler or no epoll; started with options, answering with one JSON object.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, renameSync, statSync } from 'node:fs'
import path from 'node:path'
import { cache, root } from './processes.ts'
import type { LoadOptions } from './workloads.ts'

export interface Latency {
  readonly p50: number
  readonly p99: number
  readonly p999: number
  readonly max: number
  readonly count: number
}

/** What one run of the generator says. Rates are messages a second, latencies microseconds, CPU seconds. */
export interface LoadReport {
  readonly generator: 'c' | 'javascript'
  readonly sent: number
  readonly acked: number
  readonly received: number
  readonly expected: number
  readonly lost: number
  readonly disordered: number
  readonly stray: number
  readonly malformed: number
  /** Everything arrived once and in order. */
  readonly ok: boolean
  readonly seconds: number
  readonly per_second: number
  readonly sent_per_second: number
  readonly connect_seconds: number
  readonly generator_cpu: number
  readonly broker_cpu: number
  /** Subscribers that never read and were closed by the broker. */
  readonly cut: number
  readonly churned: number
  readonly churn_acked: number
  readonly retained: number
  readonly retained_expected: number
  readonly stale: number
  readonly latency_us?: Latency
}

export interface Generator {
  readonly kind: 'c' | 'javascript'
  readonly file: string
  readonly args: readonly string[]
  /** Said in the report when it is not the usual one. */
  readonly note?: string
}

/** Builds the C generator and the floor when they are older than their sources, and says which generator there is. */
export function prepareGenerator(): Generator {
  const folder = path.join(root, 'bench', 'load')
  const sources = readdirSync(folder).map((name) => path.join(folder, name))
  const built = process.platform === 'linux' ? compile('load', sources) : 'it needs Linux (epoll)'
  if (typeof built === 'object') return { kind: 'c', file: built.file, args: [] }
  const script = path.join(root, 'bench', 'load.ts')
  return {
    kind: 'javascript',
    file: process.execPath,
    args: ['--import', 'tsx', script],
    note: `the C generator could not be built (${built}); the JavaScript one is slower than a good broker, so these figures say little about throughput`,
  }
}

/** Compiles C sources into .cache/bench/<name>. Returns the program, or why there is none. */
export function compile(name: string, sources: readonly string[]): { file: string } | string {
  const file = path.join(cache, name)
  const newest = Math.max(...sources.map((source) => statSync(source).mtimeMs))
  if (existsSync(file) && statSync(file).mtimeMs > newest) return { file }
  mkdirSync(cache, { recursive: true })
  const fresh = `${file}.${process.pid}`
  const code = sources.filter((source) => source.endsWith('.c'))
  try {
    execFileSync('cc', ['-O2', '-o', fresh, ...code], { stdio: ['ignore', 'ignore', 'pipe'] })
  } catch (error) {
    const failure = error as NodeJS.ErrnoException & { stderr?: Buffer }
    if (failure.code === 'ENOENT') return 'there is no cc on the PATH'
    return `cc failed: ${failure.stderr?.toString().split('\n')[0] ?? failure.message}`
  }
  renameSync(fresh, file)
  return { file }
}

/** Command-line arguments for the generator: `{ qos: 1, wildcard: true }` becomes `--qos 1 --wildcard`. */
export function loadArguments(options: LoadOptions): string[] {
  return Object.entries(options).flatMap(([name, value]) =>
    value === true ? [`--${name}`] : [`--${name}`, String(value)],
  )
}

/**
 * Reads what the generator printed. Throws an Error with the generator's own sentence when it reports one, and one that
 * shows the text when that is not a report.
 */
export function parseReport(text: string): LoadReport {
  const line = text.trim().split('\n').at(-1) ?? ''
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    throw new Error(`the generator printed no report but ${JSON.stringify(line.slice(0, 120))}`)
  }
  if (typeof value !== 'object' || value === null) throw new Error('the report is not an object')
  if ('error' in value) throw new Error(String(value.error))
  if (!('per_second' in value) || !('received' in value)) {
    throw new Error(`the report lacks its figures: ${line.slice(0, 120)}`)
  }
  return value as LoadReport
}

const RUN_LIMIT_MS = 300_000

/** Runs the generator once. Rejects when it could not run; lost messages are in the report, not a rejection. */
export async function runLoad(generator: Generator, options: LoadOptions): Promise<LoadReport> {
  const run = startLoad(generator, options)
  return parseReport(await run.output)
}

export interface LoadRun {
  readonly child: ChildProcess
  /** All of standard output, once the generator has ended. */
  readonly output: Promise<string>
  /** The first line of standard output. */
  readonly firstLine: Promise<string>
}

/** Starts the generator without waiting for it: for the flood beside a pair, and for connections that are held. */
export function startLoad(generator: Generator, options: LoadOptions): LoadRun {
  const args = [...generator.args, ...loadArguments(options)]
  const child = spawn(generator.file, args, { cwd: root, stdio: ['pipe', 'pipe', 'pipe'] })
  const limit = setTimeout(() => child.kill('SIGKILL'), RUN_LIMIT_MS)
  let text = ''
  let complaint = ''
  let tellFirst: (line: string) => void = () => {}
  const firstLine = new Promise<string>((resolve) => {
    tellFirst = resolve
  })
  child.stdout!.setEncoding('utf8').on('data', (piece: string) => {
    text += piece
    if (text.includes('\n')) tellFirst(text.slice(0, text.indexOf('\n')))
  })
  child.stderr!.setEncoding('utf8').on('data', (piece: string) => {
    complaint += piece
  })
  const output = new Promise<string>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => {
      clearTimeout(limit)
      tellFirst(text)
      if (signal || code === 2) {
        reject(new Error(`the generator ended with ${signal ?? 'status 2'}: ${complaint.trim()}`))
      } else resolve(text)
    })
  })
  return { child, output, firstLine }
}
