// Every command in the README, run as a reader would run it and held to what the README says.
// How a page marks its commands is described in test/support/documented.ts.
import { type ChildProcess, spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Documented, documented, onPort, type Pledge } from '../support/documented.ts'
import { freePort } from '../support/free-ports.ts'
import { type ProgramName, program, skipSuite, whyMissing } from '../support/programs.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const PAGES = ['README.md']
const PATIENCE = 60_000 // ms for a block to end, or to print what it must

class Running {
  said = ''
  readonly ended: Promise<number | null>
  #child: ChildProcess
  #heard: (() => void)[] = []

  constructor(command: string, args: readonly string[], env: NodeJS.ProcessEnv) {
    // A group of its own, so that what the shell started can be ended with it.
    this.#child = spawn(command, args, { cwd: root, env, detached: true, stdio: 'pipe' })
    const hear = (piece: Buffer): void => {
      this.said += piece
      for (const look of this.#heard) look()
    }
    this.#child.stdout!.on('data', hear)
    this.#child.stderr!.on('data', hear)
    this.#child.stdin!.on('error', () => {}) // It may end before its input does.
    this.ended = new Promise((resolve) => this.#child.on('close', resolve))
  }

  endInput(): void {
    this.#child.stdin!.end()
  }

  /** Resolves when the text has been printed; rejects when the process ends or time runs out. */
  prints(text: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const giveUp = (why: string): void =>
        reject(new Error(`${why} without printing "${text}"; it printed:\n${this.said}`))
      const timer = setTimeout(() => giveUp(`waited ${PATIENCE / 1000} s`), PATIENCE)
      const look = (): void => {
        if (!this.said.includes(text)) return
        clearTimeout(timer)
        resolve()
      }
      this.#heard.push(look)
      look()
      this.ended.then(() => giveUp('it ended'))
    })
  }

  stop(): void {
    try {
      process.kill(-this.#child.pid!, 'SIGKILL')
    } catch {
      // It has ended already.
    }
  }
}

type Run = Exclude<Pledge, { kind: 'not run' }>

/** The surroundings of a reader who has the programs: each under its own name on the PATH. */
function environment(needs: readonly string[], tools: string): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = { ...process.env }
  for (const name of needs) {
    const found = program(name as ProgramName)!
    Object.assign(env, found.env)
    const link = path.join(tools, name)
    if (name !== 'paho' && !fs.existsSync(link)) fs.symlinkSync(found.path, link)
  }
  const data = path.join(tools, 'data')
  return { ...env, PATH: `${tools}${path.delimiter}${env.PATH}`, PARTYLINE_DATA: data }
}

function start(block: Documented, env: NodeJS.ProcessEnv, port: number): Running {
  const script = onPort(block.text, port)
  if (block.language === 'sh') return new Running('sh', ['-c', script], env)
  return new Running(process.execPath, ['--input-type=module', '-e', script], env)
}

/** A block that stays has only to print what it must; it runs on until the page is done. */
async function holds(pledge: Run, running: Running): Promise<void> {
  if (pledge.kind === 'ends') {
    running.endInput()
    expect(await running.ended, running.said).toBe(0)
  }
  for (const text of pledge.prints) await running.prints(text)
}

function runPage(name: string): void {
  const blocks = documented(fs.readFileSync(path.join(root, name), 'utf8'))
  const running: Running[] = []
  let port: number
  let tools: string

  beforeAll(async () => {
    port = await freePort()
    fs.mkdirSync(path.join(root, '.cache'), { recursive: true })
    tools = fs.mkdtempSync(path.join(root, '.cache', 'readme-'))
  })
  afterAll(() => {
    for (const one of running) one.stop()
    fs.rmSync(tools, { recursive: true, force: true })
  })

  it('has commands', () => expect(blocks.length).toBeGreaterThan(0))

  for (const block of blocks) {
    const title = `line ${block.line}: ${block.text.split('\n')[0]}`
    const { pledge } = block
    if (pledge.kind === 'not run') {
      skipSuite(title, pledge.reason)
      continue
    }
    const missing = pledge.needs.filter((need) => program(need as ProgramName) === null)
    const reason = missing.map((need) => whyMissing(need as ProgramName)).join('; ')
    if (reason !== '' && process.env.CI !== 'true') {
      skipSuite(title, reason)
      continue
    }
    it(title, async () => {
      expect(reason).toBe('')
      const one = start(block, environment(pledge.needs, tools), port)
      running.push(one)
      await holds(pledge, one)
    })
  }
}

for (const name of PAGES) {
  if (process.platform === 'win32') skipSuite(name, 'its commands are written for sh')
  else describe(name, () => runPage(name))
}
