// A terminal for tests: runs one command of the tutorial, types lines into it and keeps what its
// screen would show: the command, what was typed and what was printed, in order.
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable, Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const PATIENCE = 15_000 // Milliseconds until a test says what it still waits for.

/** The folder of a step, for instance `folder('task1')`. */
export function folder(task: string): string {
  return fileURLToPath(new URL(`../../tutorial/${task}/`, import.meta.url))
}

export class Terminal {
  /** Everything the screen shows. */
  screen: string
  #child: ChildProcessByStdio<Writable, Readable, Readable>
  #ended: Promise<number | null>
  #wake: () => void = () => {}

  /**
   * @param task the folder of the step
   * @param command as a reader types it, `npx tsx server.ts 5000`
   * @param viaNpx false starts the same program without npx, which saves a second
   */
  constructor(task: string, command: string, viaNpx = false) {
    this.screen = `$ ${command}\n`
    const args = command.split(' ').slice(2)
    const [file, all] = viaNpx
      ? ['npx', ['tsx', ...args]]
      : [process.execPath, ['--import', 'tsx', ...args]]
    // A process group of its own: npx starts children, and all must end with the test.
    this.#child = spawn(file, all, {
      cwd: folder(task),
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
      env: { ...process.env, npm_config_loglevel: 'error' },
    })
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.screen += text
        this.#wake()
      })
    }
    this.#child.stdin.on('error', () => {}) // The program may have ended before we typed.
    this.#ended = once(this.#child, 'close').then(([code]) => code as number | null)
  }

  /** Types a line, which a real terminal would show as well. */
  types(line: string): void {
    this.screen += `${line}\n`
    this.#child.stdin.write(`${line}\n`)
  }

  /** Writes to standard input as a pipe would and ends it. */
  isFed(input: string): void {
    this.#child.stdin.end(input)
  }

  /** Waits until the screen holds the text `times` times, and says what it shows if that fails. */
  async shows(text: string, times = 1, within = PATIENCE): Promise<void> {
    const over = Promise.race([this.#ended, delay(within, null, { ref: false })])
    const finished = over.then(() => true)
    let waiting = true
    while (this.screen.split(text).length - 1 < times) {
      if (!waiting) throw new Error(`waited for "${text}", but the screen shows:\n${this.screen}`)
      const changed = new Promise<boolean>((resolve) => {
        this.#wake = () => resolve(false)
      })
      waiting = !(await Promise.race([changed, finished]))
    }
  }

  /** Waits until the program has ended by itself and gives its exit status. */
  async ends(): Promise<number | null> {
    const late = delay(PATIENCE, 'late' as const, { ref: false })
    const code = await Promise.race([this.#ended, late])
    if (code === 'late') throw new Error(`it does not end; the screen shows:\n${this.screen}`)
    return code
  }

  /** Kills the program, as a power cut would. */
  async kill(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.pid !== undefined) {
      try {
        process.kill(-this.#child.pid, 'SIGKILL')
      } catch {
        // It ended between the look and the kill.
      }
    }
    await this.#ended
  }
}
