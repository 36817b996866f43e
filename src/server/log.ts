// The server's log: pino's JSON for programs, plain lines for eyes. Written without waiting, so that a
// terminal that scrolls slowly or a pipe nobody reads never holds the server; beyond a bound it is dropped.

import { writeSync } from 'node:fs'
import { type DestinationStream, type Logger, pino } from 'pino'
import { shown } from '../protocol/line/display.ts'
import type { Settings } from './options.ts'

export type { Logger } from 'pino'

/** Bytes of log that may wait for whoever reads it. */
const WAITING_MAX = 4 * 1024 * 1024

export interface Log {
  readonly logger: Logger
  /** Whether it is for eyes. */
  readonly pretty: boolean
  /** Writes what still waits, blocking. For the end of the process. */
  flush(): void
}

/** The log on standard output. */
export function openLog(settings: Pick<Settings, 'logLevel' | 'logFormat'>): Log {
  const tty = process.stdout.isTTY === true
  const out = pino.destination({ dest: 1, sync: false, maxLength: WAITING_MAX })
  // Whoever read the log has gone (`… | head`): the server goes on without one.
  let failing = false
  out.on('error', () => {
    failing = true
  })
  out.on('write', () => {
    failing = false
  })
  const pretty = settings.logFormat === 'pretty' || (settings.logFormat === 'auto' && tty)
  const colours = pretty && tty && process.env.NO_COLOR === undefined
  const to = pretty ? { write: (json: string) => out.write(prettyLine(json, colours)) } : out
  return {
    logger: createLogger(settings.logLevel, to as DestinationStream),
    pretty,
    flush: () => {
      try {
        // flushSync tries for ever where writing fails, as on a closed terminal or a full disk, and
        // pino calls it again at the exit of the process unless the stream has been destroyed.
        if (failing) throw new Error('the log cannot be written')
        writeSync(1, '')
        out.flushSync()
      } catch {
        // Nobody reads it any more, or it was never opened: nothing is left to say to.
        out.destroy()
      }
    },
  }
}

/** A logger that writes one line of JSON an entry. */
export function createLogger(level: Settings['logLevel'], out: DestinationStream): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    out,
  )
}

const MARKS: Readonly<Record<string, readonly [word: string, colour: number]>> = {
  fatal: ['error: ', 31],
  error: ['error: ', 31],
  warn: ['warning: ', 33],
}

interface Entry {
  readonly level: string
  readonly time: string
  readonly msg?: string
  readonly err?: { readonly stack?: string }
}

/** One entry as a line to read: time of day, `warning:` or `error:`, and the sentence. */
export function prettyLine(json: string, colours: boolean): string {
  const { level, time, msg, err } = JSON.parse(json) as Entry
  const colour = (text: string, code: number) => (colours ? `\x1b[${code}m${text}\x1b[0m` : text)
  const mark = MARKS[level]
  const clock = colour(new Date(time).toTimeString().slice(0, 8), 2)
  const word = mark === undefined ? '' : colour(mark[0], mark[1])
  // The sentence was made safe where it was made; a log line must be one line even if that was forgotten.
  const stack = (err?.stack ?? '')
    .split('\n')
    .map((line) => (line === '' ? '' : `\n  ${shown(line)}`))
  return `${clock} ${word}${shown(msg ?? '')}${stack.join('')}\n`
}
