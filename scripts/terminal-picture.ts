// Draws docs/terminal.svg, the picture in the README, from a session that really happens: it starts
// `npm start` and two netcats in three terminals of tmux, types what a reader would type, and
// draws what the terminals show. Needs tmux, nc and a free port 5000:
//
//   npx tsx scripts/terminal-picture.ts

import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const TARGET = fileURLToPath(new URL('../docs/terminal.svg', import.meta.url))
const PATIENCE_MS = 60_000
/** Milliseconds between two lines, as somebody types them. */
const PACE_MS = 900

// ---- The session ---------------------------------------------------------------------------

function tmux(...args: string[]): string {
  return execFileSync('tmux', ['-L', `picture-${process.pid}`, '-f', '/dev/null', ...args], {
    cwd: ROOT,
    encoding: 'utf8',
  })
}

class Terminal {
  readonly title: string
  readonly columns: number
  readonly #name: string

  constructor(title: string, columns: number) {
    this.title = title
    this.columns = columns
    this.#name = title.replaceAll(/\W/g, '-')
    // The reader's settings, not those of whoever draws the picture.
    const kept = ['PATH', 'HOME', 'LANG']
      .map((key) => `${key}='${process.env[key] ?? ''}'`)
      .join(' ')
    const settings = `TERM=screen PS1='$ ' npm_config_userconfig=/dev/null`
    const shell = `env -i ${kept} ${settings} bash --norc --noprofile`
    tmux('new-session', '-d', '-s', this.#name, '-x', String(columns), '-y', '40', shell)
  }

  async type(text: string): Promise<void> {
    await sleep(PACE_MS)
    tmux('send-keys', '-t', this.#name, '-l', text)
    tmux('send-keys', '-t', this.#name, 'Enter')
  }

  /** The screen without the empty lines at its end; colours as escape sequences. */
  lines(): string[] {
    const screen = tmux('capture-pane', '-p', '-e', '-t', this.#name)
    return screen.trimEnd().split('\n')
  }

  async shows(text: string): Promise<void> {
    for (const end = Date.now() + PATIENCE_MS; Date.now() < end; await sleep(100)) {
      if (this.lines().join('\n').includes(text)) return
    }
    throw new Error(`"${text}" never came; the terminal shows:\n${this.lines().join('\n')}`)
  }
}

async function session(): Promise<Terminal[]> {
  const server = new Terminal('the server', 124)
  await server.shows('$')
  await server.type('npm start')
  await server.shows('listening on')

  const subscriber = new Terminal('a subscriber', 50)
  const publisher = new Terminal('a publisher', 69)
  await subscriber.shows('$')
  await publisher.shows('$')
  await subscriber.type('nc localhost 5000')
  await subscriber.type('SUBSCRIBER SPORTS')
  await subscriber.shows('OK')
  await publisher.type('nc localhost 5000')
  await publisher.type('PUBLISHER SPORTS')
  await publisher.shows('OK')
  for (const line of ['who won?', 'Sub in for Messi']) {
    await publisher.type(line)
    await subscriber.shows(`[SPORTS] ${line}`)
  }
  await publisher.type('terminate')
  await publisher.shows('OK goodbye')
  await server.shows('said goodbye')
  return [server, subscriber, publisher]
}

// ---- The drawing ---------------------------------------------------------------------------

const SIZE = 13 // px of the letters
const CELL = 7.83 // px a letter is wide
const LINE = 18
const PAD = 12
const BAR = 26
const GAP = 12
// Dark terminals with a border look right on a white page and on a black one.
const INK = '#d6deeb'
const COLOURS: Readonly<Record<number, string>> = { 2: '#7f8ea3', 31: '#ff7b72', 33: '#e3b341' }

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')

/** One line of a screen: pieces of text, each with its colour. */
function pieces(line: string): { text: string; at: number; colour: string }[] {
  const found = []
  let colour = INK
  let at = 0
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences begin with one
  for (const part of line.split(/(\x1b\[[\d;]*m)/)) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: as above
    const codes = /^\x1b\[([\d;]*)m$/.exec(part)?.[1]
    if (codes !== undefined) {
      colour = COLOURS[Number(codes.split(';').at(-1))] ?? INK
      continue
    }
    // Browsers drop spaces at the beginning, whatever xml:space says: what follows them is placed instead.
    const text = part.trimStart()
    if (text !== '') found.push({ text, at: at + part.length - text.length, colour })
    at += part.length
  }
  return found
}

const width = (terminal: Terminal): number => terminal.columns * CELL + 2 * PAD
const height = (rows: number): number => BAR + rows * LINE + 1.5 * PAD

function drawn(terminal: Terminal, x: number, y: number, rows: number): string {
  const w = width(terminal)
  const text = terminal.lines().flatMap((line, row) =>
    pieces(line).map(({ text, at, colour }) => {
      const place = `x="${(PAD + at * CELL).toFixed(1)}" y="${BAR + PAD + row * LINE + 8}"`
      // A given length keeps the columns where they were, whatever font the reader has.
      const length = `textLength="${(text.length * CELL).toFixed(1)}"`
      return `<text ${place} ${length} fill="${colour}">${escaped(text)}</text>`
    }),
  )
  const dots = ['#ff5f57', '#febc2e', '#28c840'].map(
    (colour, i) => `<circle cx="${18 + 18 * i}" cy="${BAR / 2}" r="5" fill="${colour}"/>`,
  )
  return [
    `<g transform="translate(${x.toFixed(1)} ${y.toFixed(1)})">`,
    `<rect width="${w.toFixed(1)}" height="${height(rows)}" rx="8" fill="#0f1722" stroke="#4b5a6e"/>`,
    ...dots,
    `<text x="${(w / 2).toFixed(1)}" y="${BAR / 2 + 5}" text-anchor="middle" fill="#9aa7b8">${terminal.title}</text>`,
    ...text,
    '</g>',
  ].join('\n')
}

function picture([server, ...clients]: Terminal[]): string {
  const top = server!.lines().length
  const below = Math.max(...clients.map((client) => client.lines().length))
  const w = width(server!) + 2
  const h = height(top) + GAP + height(below) + 2
  const last = width(server!) + 1 - width(clients[1]!)
  const sides = [1, last].map((x, i) => drawn(clients[i]!, x, height(top) + GAP + 1, below))
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${w.toFixed(1)} ${h}" width="${w.toFixed(1)}" height="${h}"`,
    `  font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="${SIZE}" xml:space="preserve">`,
    '<title>Three terminals: the server, and two netcats that are subscriber and publisher</title>',
    '<!-- Made by scripts/terminal-picture.ts from a session that really happened. -->',
    drawn(server!, 1, 1, top),
    ...sides,
    '</svg>',
    '',
  ].join('\n')
}

try {
  writeFileSync(TARGET, picture(await session()))
} finally {
  tmux('kill-server')
}
