// Runs every case at once against one target and turns the outcomes into a verdict for each statement.
import { readFileSync } from 'node:fs'
import { type Case, NotHere, Talk, type Target, type Version } from './case.ts'
import { cases } from './cases.ts'
import { untestable } from './untestable.ts'

export interface Statement {
  version: Version
  id: string
  text: string
}

export interface Verdict extends Statement {
  /** `not tested here`: the target lacks what the statement is about, or was not set up for it. */
  verdict: 'passed' | 'failed' | 'not testable' | 'not tested here'
  /** Why it failed, or why it was not tested; empty when it passed. */
  reason: string
}

const files: Record<Version, string> = { 4: 'statements-3.1.1.tsv', 5: 'statements-5.0.tsv' }
const caseDeadline = 60_000
const talkingAtOnce = 48

/** Every numbered statement of one version, in the standard's order. */
export function statements(version: Version): Statement[] {
  const lines = readFileSync(new URL(files[version], import.meta.url), 'utf8')
    .trim()
    .split('\n')
  return lines.slice(1).map((line) => {
    const [id = '', text = ''] = line.split('\t')
    return { version, id, text }
  })
}

/** The statements that some case proves, by version and identifier. */
export function testedIds(version: Version): Set<string> {
  return new Set(cases.filter((c) => c.version === version).flatMap((c) => c.ids))
}

/** Runs all cases of these versions whose title or identifiers contain `only`. */
export async function conformance(
  target: Target,
  versions: readonly Version[] = [4, 5],
  only = '',
): Promise<Verdict[]> {
  const chosen = cases.filter((c) => versions.includes(c.version) && matches(c, only))
  const outcomes = await runAll(target, chosen)
  const asked = (s: Statement) => only === '' || chosen.some((c) => proves(c, s))
  return versions
    .flatMap(statements)
    .filter(asked)
    .map((s) => judge(s, outcomes))
}

function matches(c: Case, only: string): boolean {
  return only === '' || c.title.includes(only) || c.ids.some((id) => id.endsWith(only))
}

function proves(c: Case, s: Statement): boolean {
  return c.version === s.version && c.ids.includes(s.id)
}

interface Outcome {
  case: Case
  error?: Error
}

async function runAll(target: Target, chosen: Case[]): Promise<Outcome[]> {
  const outcomes: Outcome[] = []
  const run = Date.now().toString(36).slice(-6)
  let next = 0
  const worker = async () => {
    while (next < chosen.length) {
      const index = next++
      const c = chosen[index]!
      const talk = new Talk(target, c.version, `x${run}n${index}n`)
      outcomes.push(await runOne(c, talk))
    }
  }
  await Promise.all(Array.from({ length: talkingAtOnce }, worker))
  return outcomes
}

async function runOne(c: Case, talk: Talk): Promise<Outcome> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('took too long')), caseDeadline)
  })
  const outcome: Outcome = { case: c }
  try {
    await Promise.race([c.run(talk), late])
  } catch (error) {
    outcome.error = error as Error
  }
  clearTimeout(timer)
  try {
    await talk.end()
  } catch (error) {
    outcome.error ??= error as Error
  }
  return outcome
}

function judge(s: Statement, outcomes: Outcome[]): Verdict {
  const excuse = untestable[s.version][s.id]
  if (excuse !== undefined) return { ...s, verdict: 'not testable', reason: excuse }
  const mine = outcomes.filter((o) => proves(o.case, s))
  const failed = mine.find((o) => o.error && !(o.error instanceof NotHere))
  if (failed)
    return { ...s, verdict: 'failed', reason: `${failed.case.title}: ${failed.error!.message}` }
  const missing = mine.find((o) => o.error)
  // Where one of several cases lacked its condition, the others have proved the statement.
  if (missing && !mine.some((o) => !o.error))
    return { ...s, verdict: 'not tested here', reason: missing.error!.message }
  if (mine.length === 0) return { ...s, verdict: 'failed', reason: 'no case proves it' }
  return { ...s, verdict: 'passed', reason: '' }
}
