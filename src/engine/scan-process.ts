// Looks through a data folder in a child process, so that damage that ends a process ends that
// one. Used before a folder is opened that nobody closed, and by `partyline data`.

import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { DataFolder } from './folder.ts'
import type { Inspection } from './scan.ts'

/** How a look through the folder ended: what is in it, or why nobody can tell. */
export type ScanResult = { readonly found: Inspection } | { readonly unreadable: string }

export async function scanInChild(folder: DataFolder): Promise<ScanResult> {
  const fault = folder.sizeFault()
  if (fault) return { unreadable: fault }
  const { code, signal, output, errors } = await run(folder.directory)
  if (code === 0) {
    const found: Inspection = JSON.parse(output)
    return { found }
  }
  if (signal) return { unreadable: `reading it ended the process that tried (${signal})` }
  const reason = errors.match(/^(?:\w*Error): (.*)$/m)?.[1] ?? `exit code ${code}`
  return { unreadable: `it cannot be read: ${reason}` }
}

/** Throws one sentence when the folder is not sound. */
export async function scanBeforeOpening(
  folder: DataFolder,
  notify: (message: string) => void,
): Promise<void> {
  notify(`${folder.directory} was not closed in order: looking through it first`)
  const result = await scanInChild(folder)
  if ('found' in result && result.found.damaged === 0) return
  const what =
    'found' in result
      ? `damaged values, ${result.found.damaged} of them`
      : `damage: ${result.unreadable}`
  throw new Error(
    `${folder.directory} has ${what}; see \`partyline data check ${folder.directory}\`, then put back a copy made with \`partyline data backup\`, or keep what is sound with \`partyline data compact ${folder.directory}\``,
  )
}

interface Ending {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly output: string
  readonly errors: string
}

function run(directory: string): Promise<Ending> {
  // From a source tree the child needs the same loader of TypeScript as this process.
  const source = import.meta.url.endsWith('.ts')
  const script = new URL(source ? './scan-child.ts' : './scan-child.js', import.meta.url)
  const loader = source ? ['--import', 'tsx'] : []
  const child = spawn(process.execPath, [...loader, fileURLToPath(script), directory], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  let errors = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-4096)
  })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code, signal, output, errors }))
  })
}
