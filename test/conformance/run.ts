// `npm run conformance`: prints the conformance table of Partyline, or of any broker given by --target.
import { once } from 'node:events'
import { connect } from 'node:net'
import { parseArgs } from 'node:util'
import type { Target, Version } from './case.ts'
import { type Running, startPartyline } from './partyline.ts'
import { conformance } from './suite.ts'
import { count, summary, table } from './table.ts'

const help = `npm run conformance -- [options]

Tests the numbered statements of MQTT 3.1.1 and 5.0 and prints a verdict for each.

  --target HOST:PORT         test this broker instead of Partyline
  --websocket PATH           it speaks MQTT over WebSocket there, on the same port
  --user NAME:PASSWORD       credentials it accepts, while another password is refused
  --refused-topic TOPIC      a topic it lets nobody publish to
  --refused-filter FILTER    a filter it lets nobody subscribe to
  --other-protocols          its TCP port also speaks what does not begin like a CONNECT
  --version 3.1.1|5.0        one version only
  --only TEXT                only cases whose title contains TEXT or whose identifier ends with it
  --failures                 print failures and counts only
`

const OPTIONS = {
  target: { type: 'string' },
  websocket: { type: 'string' },
  user: { type: 'string' },
  'refused-topic': { type: 'string' },
  'refused-filter': { type: 'string' },
  'other-protocols': { type: 'boolean', default: false },
  version: { type: 'string' },
  only: { type: 'string', default: '' },
  failures: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const

const values = flags()

function flags() {
  try {
    return parseArgs({ options: OPTIONS }).values
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${help}`)
    process.exit(2)
  }
}

/** What the flags say about a broker that is not ours. */
function foreign(address: string): Target {
  const at = address.lastIndexOf(':')
  const port = Number(address.slice(at + 1))
  if (at < 1 || !Number.isInteger(port))
    throw new Error(`"${address}" is not HOST:PORT; write for example --target 127.0.0.1:1883`)
  const [name, password] = values.user?.split(':') ?? []
  return {
    host: address.slice(0, at),
    port,
    mqttOnly: !values['other-protocols'],
    ...(values.websocket !== undefined && { websocket: values.websocket }),
    ...(name && password && { user: { name, password } }),
    ...(values['refused-topic'] && { refusedTopic: values['refused-topic'] }),
    ...(values['refused-filter'] && { refusedFilter: values['refused-filter'] }),
  }
}

function chosenVersions(): Version[] {
  if (values.version === undefined) return [4, 5]
  if (values.version === '3.1.1') return [4]
  if (values.version === '5.0') return [5]
  throw new Error(`--version is 3.1.1 or 5.0, not ${values.version}`)
}

/** Rejects with one sentence where every case would fail for the same reason. */
async function answers({ host, port }: Target): Promise<void> {
  const socket = connect({ host, port, timeout: 5_000 })
  try {
    await Promise.race([
      once(socket, 'connect'),
      once(socket, 'timeout').then(() => Promise.reject(new Error('no answer'))),
    ])
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw new Error(`no broker at ${host}:${port} (${code ?? message}); start it first`)
  } finally {
    socket.destroy()
  }
}

async function main(): Promise<void> {
  if (values.help) {
    process.stdout.write(help)
    return
  }
  const versions = chosenVersions()
  const running: Running = values.target
    ? { target: foreign(values.target), stop: async () => {} }
    : await startPartyline()
  if (values.target) await answers(running.target)
  const from = performance.now()
  const verdicts = await conformance(running.target, versions, values.only).finally(running.stop)
  const shown = values.failures ? verdicts.filter((v) => v.verdict === 'failed') : verdicts
  for (const version of versions) process.stdout.write(`${table(version, shown)}\n`)
  for (const version of versions) process.stdout.write(`${summary(version, verdicts)}\n`)
  process.stdout.write(`in ${((performance.now() - from) / 1000).toFixed(1)} s\n`)
  if (count(verdicts).failed > 0) process.exitCode = 1
}

try {
  await main()
} catch (error) {
  process.stderr.write(`conformance: ${(error as Error).message}\n`)
  process.exit(2)
}
