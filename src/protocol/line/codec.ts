// Bytes to lines, and lines to commands: the grammar of docs/protocol.md and nothing else. Lines are
// found across any split of the bytes; a line over the limit is dropped and the next one understood.

import { isUtf8 } from 'node:buffer'

const LF = 0x0a
const CR = 0x0d
const SLASH = 0x2f
const EMPTY: Buffer = Buffer.alloc(0)

/** Stands in the place of a line that was over the limit. Compared by identity. */
export const OVERLONG: Buffer = Buffer.from('(a line over the limit)')

/** Cuts a stream of bytes into lines. Holds at most the bytes of one unfinished line. */
export class LineSplitter {
  readonly #limit: number
  #held: Buffer = EMPTY
  #heldLength = 0
  /** Inside a line over the limit: skip to its end. */
  #skipping = false

  /** `limit` is in bytes, without the end of the line. */
  constructor(limit: number) {
    this.#limit = limit
  }

  /**
   * The lines that the chunk completes, in order, without their ends. They are slices of the chunk,
   * except one that began in an earlier chunk. `OVERLONG` takes the place of a line over the limit, once.
   */
  split(chunk: Buffer): Buffer[] {
    const lines: Buffer[] = []
    let start = 0
    for (;;) {
      const end = chunk.indexOf(LF, start)
      if (end < 0) break
      if (this.#skipping) this.#skipping = false
      else lines.push(this.#finish(chunk, start, end))
      start = end + 1
    }
    if (start < chunk.length && !this.#skipping) this.#hold(chunk, start, lines)
    return lines
  }

  /** The unfinished last line at the end of input; null when there is none. */
  rest(): Buffer | null {
    return this.#heldLength === 0 ? null : this.#finish(EMPTY, 0, 0)
  }

  #finish(chunk: Buffer, start: number, end: number): Buffer {
    let line = chunk.subarray(start, end)
    if (this.#heldLength > 0) {
      line = Buffer.concat([this.#held.subarray(0, this.#heldLength), line])
      this.#drop()
    }
    if (line[line.length - 1] === CR) line = line.subarray(0, line.length - 1)
    return line.length > this.#limit ? OVERLONG : line
  }

  /** Copies, so that a piece of a line does not keep the whole read alive. */
  #hold(chunk: Buffer, start: number, lines: Buffer[]): void {
    const size = this.#heldLength + chunk.length - start
    // One byte more than the limit may still turn out to be the CR of the line's end.
    if (size > this.#limit + 1) {
      lines.push(OVERLONG)
      this.#drop()
      this.#skipping = true
      return
    }
    if (size > this.#held.length) {
      // Doubling keeps a line that arrives byte by byte from being copied once a byte.
      const room = Buffer.alloc(
        Math.min(Math.max(2 * this.#held.length, size, 64), this.#limit + 1),
      )
      this.#held.copy(room, 0, 0, this.#heldLength)
      this.#held = room
    }
    chunk.copy(this.#held, this.#heldLength, start)
    this.#heldLength = size
  }

  #drop(): void {
    this.#held = EMPTY
    this.#heldLength = 0
  }
}

export type Command =
  | { readonly verb: 'publisher'; readonly topics: readonly string[] }
  | { readonly verb: 'subscriber'; readonly filters: readonly string[]; readonly name: string }
  | { readonly verb: 'sub' | 'unsub'; readonly filters: readonly string[] }
  | { readonly verb: 'pub'; readonly topic: string; readonly text: Buffer }
  | { readonly verb: 'login'; readonly name: string; readonly password: string }
  | { readonly verb: 'topics' | 'who' | 'help' | 'forget' | 'terminate' | 'nothing' }
  /** No command: text for the server's terminal, or a mistake, as the role will have it. */
  | { readonly verb: 'text' }
  /** Meant as a command and wrong; `why` completes an `ERR` line. */
  | { readonly verb: 'wrong'; readonly why: string }

/** Commands only when nothing else is on the line: `help me` and `who won?` are not. */
const ALONE: ReadonlySet<string> = new Set(['topics', 'who', 'help', 'forget'])
const NAME_MAX = 128
const NOT_UTF8: Command = {
  verb: 'wrong',
  why: 'this line is not UTF-8; set your terminal to UTF-8',
}

/** Whether the line is exactly `terminate`, in any case of letters. */
export function isTerminate(line: Buffer): boolean {
  return line.length === 9 && line.toString('latin1').toLowerCase() === 'terminate'
}

/**
 * What a line asks for, where lines are commands: before a role, of a subscriber, and behind a
 * publisher's slash. Whether topics and filters are valid and allowed is not looked at here.
 */
export function parseCommand(line: Buffer): Command {
  const verb = wordAt(line, 0)
  if (verb === null) return { verb: 'nothing' }
  const name = line.toString('latin1', verb.start, verb.end).toLowerCase()
  if (name === 'pub') return parsePub(line, verb.end)
  if (isTerminate(line)) return { verb: 'terminate' }
  if (ALONE.has(name)) {
    return wordAt(line, verb.end) === null
      ? { verb: name as 'topics' | 'who' | 'help' | 'forget' }
      : { verb: 'text' }
  }
  if (!VERBS.has(name)) return { verb: 'text' }
  if (!isUtf8(line)) return NOT_UTF8
  return parseWords(
    name,
    line
      .toString('utf8', verb.end)
      .split(/[ \t]+/)
      .filter((w) => w !== ''),
  )
}

const VERBS: ReadonlySet<string> = new Set(['publisher', 'subscriber', 'sub', 'unsub', 'login'])

function parseWords(verb: string, words: string[]): Command {
  switch (verb) {
    case 'publisher':
      return { verb, topics: words }
    case 'subscriber':
      return parseSubscriber(words)
    case 'sub':
    case 'unsub':
      if (words.length > 0) return { verb, filters: words }
      return wrong(`${verb.toUpperCase()} wants a filter; type ${verb.toUpperCase()} filter`)
    default: {
      const [name, password] = words
      if (words.length !== 2 || name === undefined || password === undefined) {
        return wrong('LOGIN wants a name and a password; type LOGIN name password')
      }
      return { verb: 'login', name, password }
    }
  }
}

const wrong = (why: string): Command => ({ verb: 'wrong', why })

function parseSubscriber(words: string[]): Command {
  if (words.at(-1)?.toLowerCase() === 'as' && words.length > 1) {
    return wrong('AS wants a name; type SUBSCRIBER filter AS name')
  }
  if (words.at(-2)?.toLowerCase() !== 'as') return { verb: 'subscriber', filters: words, name: '' }
  const name = words.at(-1) as string
  if ([...name].length > NAME_MAX || name.includes('\0')) {
    return wrong(`a name has 1 to ${NAME_MAX} characters; choose a shorter one`)
  }
  return { verb: 'subscriber', filters: words.slice(0, -2), name }
}

/** The text is everything behind the one space after the topic, byte for byte. */
function parsePub(line: Buffer, from: number): Command {
  const topic = wordAt(line, from)
  if (topic === null || topic.end >= line.length) {
    return wrong('PUB wants a topic and a text; type PUB topic text')
  }
  const name = line.subarray(topic.start, topic.end)
  if (!isUtf8(name)) return NOT_UTF8
  return { verb: 'pub', topic: name.toString('utf8'), text: line.subarray(topic.end + 1) }
}

const isBlank = (byte: number | undefined): boolean => byte === 0x20 || byte === 0x09

function wordAt(line: Buffer, from: number): { start: number; end: number } | null {
  let start = from
  while (isBlank(line[start])) start++
  if (start >= line.length) return null
  let end = start
  while (end < line.length && !isBlank(line[end])) end++
  return { start, end }
}

/** What a publisher's line is: a message, a command behind a slash, or the end. */
export type PublisherLine =
  | { readonly is: 'message'; readonly payload: Buffer }
  | { readonly is: 'command'; readonly line: Buffer }
  | { readonly is: 'terminate' }

const TERMINATE: PublisherLine = { is: 'terminate' }

/** Every line is a message as typed, except `terminate` and what begins with a slash; `//x` is `/x`. */
export function parsePublisherLine(line: Buffer): PublisherLine {
  if (line[0] === SLASH) {
    if (line[1] === SLASH) return { is: 'message', payload: line.subarray(1) }
    return { is: 'command', line: line.subarray(1) }
  }
  return isTerminate(line) ? TERMINATE : { is: 'message', payload: line }
}
