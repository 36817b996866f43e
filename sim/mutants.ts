// `npm run sim:mutants`: deliberate faults, each put into a copy of the source, each of which the
// simulation must find. What it cannot find, it does not protect.

import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Cluster } from './cluster.ts'
import { World } from './world.ts'

export interface Mutant {
  readonly what: string
  readonly file: string
  /** Stands exactly once in the file. */
  readonly from: string
  readonly to: string
  /** Looked for over a simulated disk. */
  readonly disk?: true
  /** Looked for over several nodes. */
  readonly cluster?: true
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
  {
    what: 'a node saves a session under an epoch that is over',
    file: '../test/support/shared-log.ts',
    from: 'return owned === undefined || owned.node !== node || owned.epoch !== epoch',
    to: 'return owned === undefined',
    cluster: true,
  },
  {
    what: 'a client stays at a node whose session another node took',
    file: 'core/moves.ts',
    from: '      session.leaving = true\n      this.#inside.takeOver(id)\n',
    to: '      session.leaving = true\n',
    cluster: true,
  },
  {
    what: 'a session goes on where another node took it',
    file: 'core/moves.ts',
    from: '        this.#inside.forget(session)\n      }\n    }',
    to: '      }\n    }',
    cluster: true,
  },
  {
    what: 'a node that may be taken for dead publishes the wills of its clients',
    file: 'core/moves.ts',
    from: "      this.#inside.forget(session)\n      link?.close('engine-lost'",
    to: "      if (session.will !== null) this.#broker.publishWill(session.will, session.id)\n      this.#inside.forget(session)\n      link?.close('engine-lost'",
    cluster: true,
  },
  {
    what: 'a node that ends in order publishes the wills of its clients',
    file: 'core/sessions.ts',
    from: "this.disconnect(session, link, { will: 'keep' })",
    to: "this.disconnect(session, link, { will: 'publish' })",
    cluster: true,
  },
  {
    what: 'a node that was long away never takes part again',
    file: 'core/broker.ts',
    from: '        this.sweep.resumed()\n',
    to: '',
    cluster: true,
  },
  {
    what: 'a record whose copy was lost is not read',
    file: '../test/support/shared-engine.ts',
    from: 'if (this.#heard < servers.count) this.wake()',
    to: 'this.#heard = servers.count',
    cluster: true,
  },
  {
    what: 'what a publisher sent since overtakes a record that was lost',
    file: 'core/intake.ts',
    from: 'if (!this.#flying.has(publisher)) this.#flying.set(publisher, [])',
    to: '',
    cluster: true,
  },
  {
    what: 'what a dead node had of a group is nobody’s',
    file: 'core/lender.ts',
    from: 'const remote = this.#remotes.get(node)\n    if (remote === undefined) return\n    remote.members = 0\n',
    to: 'const remote = this.#remotes.get(node)\n    if (remote === undefined || remote.room >= 0) return\n    remote.members = 0\n',
    cluster: true,
  },
  {
    what: 'a node gives back what its members have',
    file: 'core/lending.ts',
    from: '    const held = this.#group.held()\n',
    to: '    const held = new Set<Pos>()\n',
    cluster: true,
  },
  {
    what: 'what members are done with is lent again',
    file: 'core/lending.ts',
    from: 'done: new Set(this.#done.keys()),',
    to: 'done: new Set<Pos>(),',
    cluster: true,
  },
  {
    what: 'a group is done with what nobody has acknowledged',
    file: 'core/lender.ts',
    from: 'else if (!held.has(pos)) this.#takeBack(pos)',
    to: 'else if (!held.has(pos)) this.finish(pos, node)',
    cluster: true,
  },
  {
    what: 'a group begins anew with each owner',
    file: 'core/lender.ts',
    from: 'this.scan = known?.flow.cursor ?? this.begin',
    to: 'this.scan = broker.log.last',
    cluster: true,
  },
]

/** Seeds after which a fault counts as missed; several nodes take ten times as long. */
const SEEDS = 2_500
const CLUSTER_SEEDS = 200
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
  fs.cpSync(path.join(root, 'test/support'), path.join(place, 'test/support'), { recursive: true })
  const file = path.join(place, 'src', mutant.file)
  fs.writeFileSync(file, mutated(mutant, fs.readFileSync(file, 'utf8')))
  const run = path.join(place, 'sim', mutant.cluster ? 'run-cluster.ts' : 'run.ts')
  const seeds = mutant.cluster ? CLUSTER_SEEDS : SEEDS
  const args = ['--import', 'tsx', run, '--seeds', String(seeds), '--failures', '1']
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
  if (mutant.cluster) await new Cluster(Number(seed)).run()
  else await new World(Number(seed), mutant.disk ? 'disk' : 'any').run()
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
  const mutants = MUTANTS.filter(({ what, disk, cluster }) => {
    if (word === 'disk') return disk
    return word === 'cluster' ? cluster : what.includes(word)
  })
  const missed = await huntAll((line) => console.log(line), mutants)
  console.log(`${mutants.length - missed.length} of ${mutants.length} caught`)
  process.exitCode = missed.length > 0 ? 1 : 0
}
