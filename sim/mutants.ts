// `npm run sim:mutants`: deliberate faults, each put into a copy of the source, each of which the
// simulation must find. What it cannot find, it does not protect.

import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { World } from './world.ts'

export interface Mutant {
  readonly what: string
  readonly file: string
  /** Stands exactly once in the file. */
  readonly from: string
  readonly to: string
  /** Looked for over a simulated disk. */
  readonly disk?: true
}

export const MUTANTS: readonly Mutant[] = [
  {
    what: 'a session that falls behind skips one message',
    file: 'core/cursor.ts',
    from: 'this.scan = next - 1',
    to: 'this.scan = next',
  },
  {
    what: 'one more is sent than the client takes',
    file: 'core/window.ts',
    from: 'this.#inFlight < limit &&',
    to: 'this.#inFlight <= limit &&',
  },
  {
    what: 'wildcards see topics that begin with $',
    file: 'core/trie.ts',
    from: '    if (hidden) return\n',
    to: '',
  },
  {
    what: 'a topic does not notice that its subscriptions changed',
    file: 'core/router.ts',
    from: 'touched = matches(this.#changed[i % CHANGES] as string, topic.name)',
    to: 'touched = false',
  },
  {
    what: 'a QoS 2 message sent again is taken for a new one',
    file: 'protocol/mqtt/ingress.ts',
    from: 'if (qos === 2 && session.isReceiving(packetId)) {',
    to: 'if (qos === 3 && session.isReceiving(packetId)) {',
  },
  {
    what: 'QoS 2 is sent before the session remembers it',
    file: 'core/outbox.ts',
    from: 'if (qos === 2 && this.#session.persistent) {',
    to: 'if (qos > 2 && this.#session.persistent) {',
  },
  {
    what: 'messages are sent again in the wrong order',
    file: 'core/outbox.ts',
    from: 'this.#resending = [...this.#window.entries()]',
    to: 'this.#resending = [...this.#window.entries()].reverse()',
  },
  {
    what: 'what a member of a group did not acknowledge is forgotten',
    file: 'core/outbox.ts',
    from: 'for (const [group, pos] of returned) group.returned(pos)',
    to: 'returned.length = 0',
  },
  {
    what: 'the link that was there is not closed at a takeover',
    file: 'core/sessions.ts',
    from: '    this.#takeOver(clientId)\n',
    to: '',
  },
  {
    what: 'a will is published although its client came back',
    file: 'core/sessions.ts',
    from: '    this.#wills.clear(session) // [MQTT-3.1.2-26]\n',
    to: '',
  },
  {
    what: 'a retained QoS 0 message comes back after it was removed',
    file: 'protocol/mqtt/ingress.ts',
    from: 'if (message.retain && this.#later !== null) this.#supersede(topic)',
    to: '',
  },
  {
    what: 'No Local is not respected',
    file: 'core/session.ts',
    from: 'if (delivery.noLocal && message.publisher === this.id)',
    to: "if (delivery.noLocal && message.publisher === '')",
  },
  {
    what: 'a session is saved under an epoch that is over',
    file: 'core/saver.ts',
    from: '      if (session.claiming) continue\n',
    to: '',
  },
  {
    what: 'keep alive runs on while the client is not read',
    file: 'protocol/mqtt/link.ts',
    from: 'const heard = this.#stopped === null ? this.#heardAt : now',
    to: 'const heard = this.#heardAt',
  },
  {
    what: 'the messages of a group are not kept when its first member is not durable',
    file: 'core/audience.ts',
    from: 'let a = wanted ? WANTED : 0',
    to: 'let a = 0',
  },
  {
    what: 'stored messages lie in memory that the socket reads into again',
    file: 'protocol/mqtt/ingress.ts',
    from: 'if (this.#added === null) this.#wire.keep()',
    to: '',
  },
  {
    what: 'an acknowledgement does not wait for the sync',
    file: 'engine/commits.ts',
    from: 'await this.#store.commit(group.changes)',
    to: 'this.#store.commit(group.changes).catch(() => {})',
    disk: true,
  },
  {
    what: 'a failed sync is taken for a good one',
    file: 'engine/commits.ts',
    from: "if (refusal.fault === 'failed') this.#fault = refusal",
    to: "if (refusal.fault === 'failed') refusal = null",
    disk: true,
  },
  {
    what: 'a full disk refuses nobody',
    file: 'engine/commits.ts',
    from: "if (refusal.fault === 'failed') this.#fault = refusal",
    to: "if (refusal.fault === 'failed') this.#fault = refusal\n      else refusal = null",
    disk: true,
  },
  {
    what: 'what needs no disk overtakes what waits for it',
    file: 'engine/commits.ts',
    from: 'else if (this.#current) this.#current.waiting.push({ who, writes: false })',
    to: '',
    disk: true,
  },
  {
    what: 'positions that an earlier run may have used are used again',
    file: 'engine/disk.ts',
    from: 'await store.commit([this.#stateChange(mark)])',
    to: 'await store.commit([this.#stateChange(this.#next)])',
    disk: true,
  },
  {
    what: 'the packet identifier of QoS 2 is not stored with its message',
    file: 'engine/disk.ts',
    from: 'record.saves.length > 0 ? this.#sessions.changes(record.saves) : []',
    to: '([] as Change[])',
    disk: true,
  },
  {
    what: 'a session of an earlier run is nobody’s',
    file: 'engine/disk.ts',
    from: '      this.#owners.found(session)\n',
    to: '',
    disk: true,
  },
  {
    what: 'the log forgets one record too many',
    file: 'engine/log-table.ts',
    from: 'return end <= position ? sequence + 1 : sequence',
    to: 'return sequence + 1',
    disk: true,
  },
  {
    what: 'one damaged record ends the reading',
    file: 'engine/log-table.ts',
    from: 'if (!(error instanceof DamageError)) throw error',
    to: 'throw error',
    disk: true,
  },
  {
    what: 'checksums are not looked at',
    file: 'engine/sealed.ts',
    from: 'if (stored !== actual) {',
    to: 'if (value.length === 0) {',
    disk: true,
  },
  {
    what: 'what is retained is not stored with its message',
    file: 'engine/retained-table.ts',
    from: 'if (!message.retain || message.qos === 0) continue\n      const { key }',
    to: 'if (message.retain) continue\n      const { key }',
    disk: true,
  },
]

/** Seeds after which a fault counts as missed. */
const SEEDS = 2_500
const root = fileURLToPath(new URL('..', import.meta.url))

/** The source with the fault in it; throws when the place is not there, or not the only one. */
export function mutated(mutant: Mutant, text: string): string {
  const parts = text.split(mutant.from)
  if (parts.length !== 2) {
    throw new Error(
      `"${mutant.what}": the text to replace stands ${parts.length - 1} times in src/${mutant.file}; change sim/mutants.ts`,
    )
  }
  return parts.join(mutant.to)
}

/** Runs the simulation on a copy with the fault in it. Resolves with what it found, null when nothing. */
async function hunt(mutant: Mutant, place: string): Promise<string | null> {
  fs.cpSync(path.join(root, 'src'), path.join(place, 'src'), { recursive: true })
  fs.cpSync(path.join(root, 'sim'), path.join(place, 'sim'), { recursive: true })
  const file = path.join(place, 'src', mutant.file)
  fs.writeFileSync(file, mutated(mutant, fs.readFileSync(file, 'utf8')))
  const run = path.join(place, 'sim', 'run.ts')
  const args = ['--import', 'tsx', run, '--seeds', String(SEEDS), '--failures', '1']
  if (mutant.disk) args.push('--disk')
  const child = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
  let told = ''
  child.stdout.on('data', (chunk: Buffer) => {
    told += chunk
  })
  child.stderr.on('data', (chunk: Buffer) => {
    told += chunk
  })
  const status = await new Promise<number | null>((resolve) => child.on('close', resolve))
  if (status === 0) return null
  const found = (told.split('\n')[0] as string).replace(/ +\(npm run.*/, '')
  await checkSound(mutant, found)
  return found
}

/** A seed that fails without the fault as well has caught nothing. */
async function checkSound(mutant: Mutant, found: string): Promise<void> {
  const seed = /^seed (\d+):/.exec(found)?.[1]
  if (seed === undefined) throw new Error(`the simulation did not run: ${found}`)
  await new World(Number(seed), mutant.disk ? 'disk' : 'any').run()
}

/** Hunts all of them, two at a time. Resolves with those that got away. */
export async function huntAll(
  report: (line: string) => void,
  mutants: readonly Mutant[] = MUTANTS,
): Promise<string[]> {
  const cache = path.join(root, '.cache')
  fs.mkdirSync(cache, { recursive: true })
  const folder = fs.mkdtempSync(path.join(cache, 'mutants-'))
  const missed: string[] = []
  const left = [...mutants.entries()]
  const worker = async (): Promise<void> => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      const [i, mutant] = next
      const found = await hunt(mutant, path.join(folder, String(i)))
      if (found === null) missed.push(mutant.what)
      report(`${found === null ? 'MISSED' : 'caught'}  ${mutant.what}: ${found ?? 'nothing found'}`)
    }
  }
  try {
    await Promise.all([worker(), worker()])
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
  return missed
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [word = ''] = process.argv.slice(2)
  const mutants = MUTANTS.filter(({ what, disk }) => (word === 'disk' ? disk : what.includes(word)))
  const missed = await huntAll((line) => console.log(line), mutants)
  console.log(`${mutants.length - missed.length} of ${mutants.length} caught`)
  process.exitCode = missed.length > 0 ? 1 : 0
}
