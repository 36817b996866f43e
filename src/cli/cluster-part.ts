// One process of a cluster on this machine: started, waited for, started again when it ends
// unasked, and stopped.

import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { PlannedPart } from './cluster-plan.ts'

/** Milliseconds between the end of a process and the next: long enough to see what it is like without. */
const RESTART_MS = 3_000
const RESTART_MAX_MS = 30_000
/** One that lived longer did not die of how it was started. */
const STEADY_MS = 10_000
/** Milliseconds a process may take to be of use after its start, or to end after it was asked to. */
const READY_MS = 30_000
const STOP_MS = 8_000
const POLL_MS = 100

export interface PartEvents {
  /** Takes a line for whoever looks on. */
  say(line: string): void
  /** It has another process id now, or none. */
  changed(): void
}

export class ClusterPart {
  readonly plan: PlannedPart
  readonly log: string
  readonly #events: PartEvents
  #child: ChildProcess | null = null
  #exited: Promise<void> = Promise.resolve()
  #stopping = false
  #startedAt = 0
  /** Only what was of use once is started again. */
  #proven = false
  #wait = RESTART_MS / 2
  #timer: NodeJS.Timeout | undefined

  constructor(plan: PlannedPart, logs: string, events: PartEvents) {
    this.plan = plan
    this.log = path.join(logs, `${plan.name}.log`)
    this.#events = events
  }

  /** Null while it does not run. */
  get pid(): number | null {
    return this.#child?.pid ?? null
  }

  start(): void {
    const { command, args, env, files } = this.plan
    for (const [file, text] of files) writeFileSync(file, text)
    const log = openSync(this.log, 'a')
    // A process group of its own: Ctrl-C is for us, who stop things in order.
    const child = spawn(command, args, {
      env: { ...inherited(), ...env },
      stdio: ['ignore', log, log],
      detached: true,
    })
    closeSync(log)
    this.#child = child
    this.#startedAt = Date.now()
    this.#exited = new Promise((resolve) => {
      let ended = false
      const end = (how: string): void => {
        if (ended) return
        ended = true
        this.#child = null
        this.#ended(how)
        resolve()
      }
      child.on('error', (error) => end(error.message))
      child.on('exit', (status, signal) =>
        end(signal === null ? `exit status ${status}` : `by ${signal}`),
      )
    })
    this.#events.changed()
  }

  /** Resolves when it is of use. Rejects with an Error that quotes its log when it ends or takes too long. */
  async ready(): Promise<void> {
    const end = Date.now() + READY_MS
    while (!(await isHealthy(this.plan.health))) {
      if (this.#child === null || Date.now() > end) {
        const what = this.#child === null ? 'ended' : `is not ready after ${READY_MS / 1000} s`
        throw new Error(`${this.plan.name} ${what}; the end of ${this.log}:\n${this.#lastLines()}`)
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS))
    }
    this.#proven = true
  }

  /** Asks it to end, and makes it when it does not. */
  async stop(): Promise<void> {
    this.#stopping = true
    clearTimeout(this.#timer)
    const child = this.#child
    if (child === null) return
    child.kill('SIGTERM')
    const impatience = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
    await this.#exited
    clearTimeout(impatience)
  }

  #ended(how: string): void {
    this.#events.changed()
    if (this.#stopping || !this.#proven) return
    const steady = Date.now() - this.#startedAt >= STEADY_MS
    this.#wait = steady ? RESTART_MS : Math.min(2 * this.#wait, RESTART_MAX_MS)
    const { say } = this.#events
    say(`${this.plan.name} has ended (${how}); it is started again in ${this.#wait / 1000} s`)
    if (this.#wait > RESTART_MS) say(`the end of ${this.log}:\n${this.#lastLines()}`)
    this.#timer = setTimeout(() => void this.#startAgain(), this.#wait)
  }

  async #startAgain(): Promise<void> {
    this.start()
    try {
      await this.ready()
      this.#events.say(`${this.plan.name} is back: process ${this.pid}`)
    } catch (error) {
      // Its end is told, and followed by another start.
      if (this.#child !== null && !this.#stopping) this.#events.say((error as Error).message)
    }
  }

  #lastLines(): string {
    const lines = readFileSync(this.log, 'utf8').trimEnd().split('\n')
    return lines
      .slice(-5)
      .map((line) => `  ${line}`)
      .join('\n')
  }
}

export async function isHealthy(url: string): Promise<boolean> {
  try {
    return (await fetch(url, { signal: AbortSignal.timeout(2_000) })).ok
  } catch {
    return false
  }
}

/** Our environment without what is meant for another server or another balancer. */
function inherited(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !/^(PARTYLINE_|LB_)/.test(name))
  return Object.fromEntries(kept)
}
