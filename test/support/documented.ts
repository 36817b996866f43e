// The commands of a Markdown page, and what the page promises about each, for the test that runs
// them. The promise is an HTML comment, so a reader never sees it. On the line above a fenced
// block of `sh` or `js`, one of:
//
//   <!-- check: prints "5 words" -->             the block ends well and prints that
//   <!-- check: prints "a" and "b" -->           … and all of these
//   <!-- check: succeeds -->                     the block ends with status 0
//   <!-- check: stays, prints "listening on" --> it runs on (a server, a subscriber) while the
//                                                blocks below it run, and prints that meanwhile
//   <!-- check: not run: needs two machines -->  shown only; the reason is part of the summary
//
// Blocks run from top to bottom at the repository's root; lines of one block run as one script.
// After `needs nc mosquitto_pub` a promise names outside programs (test/support/programs.ts):
//
//   <!-- check: prints "goal", needs nc -->
//
// A page says 5000 where it means the port of the server; the test puts a free one in its place,
// and starts `npm start` on it.

export interface Documented {
  readonly line: number
  readonly language: 'sh' | 'js'
  readonly text: string
  readonly pledge: Pledge
}

/** What a page promises about a block. `prints` holds what must appear in its output. */
export type Pledge =
  | { readonly kind: 'ends' | 'stays'; readonly prints: string[]; readonly needs: string[] }
  | { readonly kind: 'not run'; readonly reason: string }

const FENCE = /^```(\w*)\s*$/
const CHECK = /^<!--\s*check:\s*(.*?)\s*-->$/

/**
 * Every fenced `sh` and `js` block of a page with its promise, in order.
 * @throws {Error} naming the line of a block without a promise, or of one that cannot be read
 */
export function documented(page: string): Documented[] {
  const lines = page.split(/\r?\n/)
  const blocks: Documented[] = []
  for (let at = 0; at < lines.length; at++) {
    const language = FENCE.exec(lines[at]!)?.[1]
    if (language === undefined) continue
    const end = lines.indexOf('```', at + 1)
    if (end < 0) throw new Error(`line ${at + 1}: the block never ends`)
    if (language === 'sh' || language === 'js') {
      const text = lines.slice(at + 1, end).join('\n')
      blocks.push({ line: at + 1, language, text, pledge: pledgeAbove(lines, at) })
    }
    at = end
  }
  return blocks
}

function pledgeAbove(lines: readonly string[], at: number): Pledge {
  const above = lines[at - 1]?.trim() === '' ? lines[at - 2] : lines[at - 1]
  const words = CHECK.exec(above?.trim() ?? '')?.[1]
  if (words === undefined) {
    throw new Error(`line ${at + 1}: the block has no <!-- check: … --> on the line above it`)
  }
  return readPledge(words, at)
}

function readPledge(words: string, at: number): Pledge {
  const notRun = /^not run: (.+)$/.exec(words)
  if (notRun) return { kind: 'not run', reason: notRun[1]! }
  const form = /^(succeeds|(stays, )?prints ((?:"[^"]+"(?: and )?)+))(?:, needs ([\w -]+))?$/
  const match = form.exec(words)
  if (!match) throw new Error(`line ${at}: "check: ${words}" is none of the forms there are`)
  return {
    kind: match[2] ? 'stays' : 'ends',
    prints: [...(match[3] ?? '').matchAll(/"([^"]+)"/g)].map((one) => one[1]!),
    needs: match[4]?.split(' ') ?? [],
  }
}

/** The block's script with the server's port in the place of 5000. */
export function onPort(script: string, port: number): string {
  return script
    .replace(/^(\s*npm start)(?: --)?(.*)$/gm, (_, start: string, rest: string) =>
      /\b5000\b/.test(rest) ? `${start} --${rest}` : `${start} -- 5000${rest}`,
    )
    .replace(/\b5000\b/g, String(port))
}
