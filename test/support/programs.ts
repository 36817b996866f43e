// The outside programs for tests: where they are, and what happens to a suite whose program is
// not there. scripts/programs.mjs does the looking; nothing is fetched from here, so a test run
// by hand never touches the network.
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

export type ProgramName =
  | 'mosquitto'
  | 'mosquitto_pub'
  | 'mosquitto_sub'
  | 'mosquitto_rr'
  | 'paho'
  | 'nc'
  | 'strace'
  | 'nats-server'
  | 'haproxy'
  | 'keepalived'
  | 'docker-compose'
  | 'chromium'

/** How to start one: `spawn(path, args, { env: { ...process.env, ...env } })`. */
export interface Program {
  readonly path: string
  readonly env: Readonly<Record<string, string>>
}

type Answer = Program | { readonly missing: string }

const finder = fileURLToPath(new URL('../../scripts/programs.mjs', import.meta.url))
const answers = new Map<ProgramName, Answer>()

function look(name: ProgramName): Answer {
  const known = answers.get(name)
  if (known) return known
  const json = execFileSync(process.execPath, [finder, '--json', name], { encoding: 'utf8' })
  const answer = (JSON.parse(json) as Record<string, Answer>)[name]!
  answers.set(name, answer)
  return answer
}

/** The program, or null when this machine lacks it; `paho` is a Python that can import it. */
export function program(name: ProgramName): Program | null {
  const answer = look(name)
  return 'missing' in answer ? null : answer
}

/** Why `program(name)` is null, and what to do about it, in one sentence. */
export function whyMissing(name: ProgramName): string {
  const answer = look(name)
  return 'missing' in answer ? answer.missing : `${path.basename(answer.path)} is here`
}

/**
 * A `describe` that needs outside programs: `describeWith(['nc'], 'title', ({ nc }) => { … })`.
 * Where one is missing the suite is skipped with the reason in its title; with CI=true it fails,
 * because a skip nobody reads is a test nobody runs.
 */
export function describeWith<N extends ProgramName>(
  names: readonly N[],
  title: string,
  body: (programs: Record<N, Program>) => void,
): void {
  const missing = names.filter((name) => program(name) === null)
  if (missing.length === 0) {
    describe(title, () => body(Object.fromEntries(names.map((n) => [n, program(n)])) as never))
    return
  }
  const reason = missing.map(whyMissing).join('; ')
  if (process.env.CI === 'true') {
    describe(title, () => {
      it('finds its outside programs', () => expect.fail(reason))
    })
    return
  }
  skipSuite(title, reason)
}

/**
 * Skips a suite for a reason other than a program, such as the operating system. The words
 * `[skipped: …]` are what the summary of `npm test` counts and `.ci/run` insists on.
 */
export function skipSuite(title: string, reason: string): void {
  process.stderr.write(`skipped: ${title}: ${reason}\n`)
  describe.skip(`${title} [skipped: ${reason}]`, () => {
    it('is not run here', () => {})
  })
}
