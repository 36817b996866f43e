// The clients people have: Mosquitto's command-line tools and Debian's python3-paho-mqtt (what Home Assistant uses), in
// every QoS and version, against a server in this process.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { describeWith, type Program } from '../support/programs.ts'
import { serverForTests, until } from '../support/server.ts'

const server = serverForTests()
const paho = fileURLToPath(new URL('paho-client.py', import.meta.url))
const levels = [0, 1, 2] as const
const texts = ['one', 'two with spaces', 'drei ü']

interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

function start({ path, env }: Program, args: readonly string[], input?: string): ChildProcess {
  const child = spawn(path, args, { env: { ...process.env, ...env } })
  child.stdin.end(input)
  return child
}

async function ended(child: ChildProcess): Promise<Ended> {
  const said = { out: '', err: '' }
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    said.out += text
  })
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said.err += text
  })
  await once(child, 'close')
  return { code: child.exitCode, ...said }
}

const mosquittoRows = ['mqttv31', 'mqttv311', 'mqttv5'].flatMap((version) =>
  levels.map((qos) => ({ version, qos })),
)

describeWith(
  ['mosquitto_pub', 'mosquitto_sub'],
  'mosquitto_pub and mosquitto_sub',
  ({ mosquitto_pub, mosquitto_sub }) => {
    const at = () => ['-h', server().host, '-p', `${server().port}`]

    it.for(mosquittoRows)('$version at QoS $qos', async ({ version, qos }) => {
      const common = [...at(), '-V', version, '-q', `${qos}`, '-t', `mosquitto/${version}/${qos}`]
      const count = server().broker.router.subscriptionCount
      const format = ['-C', `${texts.length}`, '-W', '20', '-F', '%q %r %p']
      const reader = ended(start(mosquitto_sub, [...common, ...format]))
      await until(() => server().broker.router.subscriptionCount > count, 10_000)
      // `-l` publishes each line of its input.
      const writer = await ended(start(mosquitto_pub, [...common, '-l'], `${texts.join('\n')}\n`))
      expect(writer).toEqual({ code: 0, out: '', err: '' })
      const out = texts.map((text) => `${qos} 0 ${text}\n`).join('')
      expect(await reader).toEqual({ code: 0, out, err: '' })
    })

    it.for(mosquittoRows)(
      'a retained message in $version at QoS $qos',
      async ({ version, qos }) => {
        const common = [...at(), '-V', version, '-q', `${qos}`, '-t', `kept/${version}/${qos}`]
        await ended(start(mosquitto_pub, [...common, '-r', '-m', 'kept']))
        const read = [...common, '-C', '1', '-W', '20', '-F', '%q %r %p']
        const reader = await ended(start(mosquitto_sub, read))
        expect(reader).toEqual({ code: 0, out: `${qos} 1 kept\n`, err: '' })
      },
    )

    it.for(['mqttv311', 'mqttv5'])('a session that waits in %s', async (version) => {
      const reader = [...at(), '-V', version, '-q', '1', '-t', `waits/${version}`]
      const session = [
        '-i',
        `waiter-${version}`,
        '-c',
        ...(version === 'mqttv5' ? ['-x', '60'] : []),
      ]
      // `-E` leaves once the subscription is made.
      expect((await ended(start(mosquitto_sub, [...reader, ...session, '-E']))).code).toBe(0)
      await ended(start(mosquitto_pub, [...reader, '-m', 'while you were away']))
      const again = ended(start(mosquitto_sub, [...reader, ...session, '-C', '1', '-W', '20']))
      expect(await again).toEqual({ code: 0, out: 'while you were away\n', err: '' })
    })
  },
)

describeWith(['paho'], 'python3-paho-mqtt', ({ paho: python }) => {
  const rows = ([3, 4, 5] as const).flatMap((version) =>
    (['tcp', 'websockets'] as const).flatMap((transport) =>
      levels.map((qos) => ({ version, transport, qos })),
    ),
  )

  it.for(rows)('MQTT $version over $transport at QoS $qos', async ({ version, transport, qos }) => {
    const { host, port } = server()
    const args = [paho, host, `${port}`, `${version}`, `${qos}`, transport, '50']
    const out = Array.from({ length: 50 }, (_, i) => `message ${i} at ${qos}\n`).join('')
    expect(await ended(start(python, args))).toEqual({ code: 0, out, err: '' })
  })
})

it('leaves the server without a complaint', () => {
  expect(server().broker.counters.protocolErrors).toBe(0)
  expect(server().complaints).toEqual([])
})
