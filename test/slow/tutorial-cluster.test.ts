// Step 4 of the tutorial, typed as its README tells it: a cluster comes up, a broker and a server of NATS
// are killed, and the two screens show what stands there letter by letter.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { freeBlock } from '../support/free-ports.ts'
import { describeWith } from '../support/programs.ts'
import { folder, Terminal } from './terminal.ts'

const PARTYLINE = '../../bin/partyline.mjs'
/** Milliseconds a cluster may take to start, or NATS to elect, on a busy machine. */
const SLOW = 45_000
const readme = readFileSync(`${folder('task4')}README.md`, 'utf8')

describeWith(['nats-server', 'haproxy'], 'task 4', () => {
  const open: Terminal[] = []
  let store: string

  beforeEach(() => {
    store = mkdtempSync(path.join(os.tmpdir(), 'partyline-task4-'))
  })
  afterEach(async () => {
    const down = new Terminal('task4', `npx partyline ${PARTYLINE} cluster down ${store}`)
    await down.ends()
    await Promise.all(open.splice(0).map((terminal) => terminal.kill()))
    rmSync(store, { recursive: true, force: true })
  })

  /** A terminal with `npx partyline …` typed into it, the program without npx. */
  function terminal(words: string): Terminal {
    const made = new Terminal('task4', `npx partyline ${PARTYLINE} ${words}`)
    open.push(made)
    return made
  }

  /** The commands of the table, in order, without what is said about them. */
  const typed = [...readme.matchAll(/^\| \d+ +\| \w+ +\| `([^`]+)`/gm)].map((match) => match[1]!)
  const screens = [...readme.matchAll(/^```console\n(.*?)^```$/gms)].map((match) => match[1])

  test('the session of a subscriber outlives its broker, and the log one of its servers', async () => {
    const port = await freeBlock()
    const here = (text: string): string =>
      text.replace(/\b50(\d\d)\b/g, (_, n) => String(port + +n))
    const there = ({ screen }: Terminal): string =>
      screen
        .replace(/^\$ npx partyline \S+/, '$ npx partyline')
        .replaceAll(/\b\d{5}\b/g, (digits) => String(5000 + Number(digits) - port))
    const [up, subscribe, publish] = typed.filter((command) => command.startsWith('npx partyline '))
    expect(up).toBe('npx partyline cluster up')
    const words = (command = ''): string => here(command.slice('npx partyline '.length))

    const first = terminal(`${words(up)} ${store} --port ${port}`)
    await first.shows('Ctrl-C stops everything', 1, SLOW)
    const second = terminal(words(subscribe))
    await second.shows('OK you receive')
    const third = terminal(words(publish))
    await third.shows('OK you publish')
    third.types('one')
    await second.shows('[SPORTS] one')

    process.kill(await processOf('broker-1'), 'SIGKILL')
    await second.shows('OK welcome back')
    third.types('two')
    await second.shows('[SPORTS] two')

    process.kill(await processOf('nats-1'), 'SIGKILL')
    third.types('three')
    await second.shows('[SPORTS] three', 1, SLOW)

    expect([second, third].map(there)).toEqual(screens)

    async function processOf(name: string): Promise<number> {
      const status = terminal(`cluster status ${store}`)
      await status.ends()
      return Number(new RegExp(`${name} .*process (\\d+)`).exec(status.screen)?.[1])
    }
  })
})
