// Writes the pages that the table of options makes: docs/configuration.md and docs/limits.md.
// `npm run docs` writes them; a test compares them with what is in the repository.

import { writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { amount, rangeOf } from '../src/server/config.ts'
import { OPTIONS, type Option, type OptionGroup } from '../src/server/options.ts'

const MADE = '<!-- Made by `npm run docs` from src/server/options.ts: change it there. -->'

/** File name in docs/ → what it must say. */
export function pages(): ReadonlyMap<string, string> {
  return new Map([
    ['configuration.md', configuration()],
    ['limits.md', limits()],
  ])
}

function configuration(): string {
  const groups: OptionGroup[] = ['Listening', 'Who may', 'Storage', 'Cluster', 'Log']
  return `${MADE}

# Configuration

\`partyline serve [port …]\` takes every setting as a flag or as an environment variable; the flag wins. In code they are the options of
\`createBroker\`. A value that cannot be used ends the start with one sentence that names it, and so
does a flag that the chosen engine has no use for; a variable may be meant for other starts and is not refused for that. Flags
that may be given several times also take a list with commas; variables always take the list.
Sizes may be written as \`65536\`, \`64KiB\` or \`4MiB\`, times in seconds or as \`90s\`, \`15m\`, \`12h\`, \`30d\`.

${groups.map(group).join('\n\n')}

## Limits

Everything a client can make grow has a limit of its own: see [limits.md](limits.md).
`
}

function group(name: OptionGroup): string {
  return [
    `## ${name}`,
    '',
    '| flag | variable | in code | default | what |',
    '|---|---|---|---|---|',
    ...OPTIONS.filter((option) => option.group === name).map(
      (option) =>
        `| ${flagOf(option)} | \`${option.env}\` | \`${option.key}\` | ${defaultOf(option)} | ${whatOf(option)} |`,
    ),
  ].join('\n')
}

function limits(): string {
  const rows = OPTIONS.filter((option) => option.group === 'Limits').map(
    (option) =>
      `| ${flagOf(option)} | ${defaultOf(option)} | ${amount(option, option.min)} … ${amount(option, option.max)} ` +
      `| \`${option.key}\` | ${option.counter === null ? '–' : `\`${option.counter}\``} | ${option.doc} |`,
  )
  return `${MADE}

# Limits

Everything a client can make grow is bounded. Each limit is a flag of \`partyline serve\`, a variable (\`--limit-packet\` is
\`PARTYLINE_LIMIT_PACKET\`) and an option in code. The counter is in \`/metrics\` and says how often the limit was reached;
where there is none, reaching it costs nobody anything.

| flag | default | range | in code | counter | what is limited |
|---|---|---|---|---|---|
${rows.join('\n')}
`
}

function flagOf(option: Option): string {
  if (option.flag === null) return `\`[${option.placeholder} …]\``
  return option.kind === 'yes'
    ? `\`--${option.flag}\``
    : `\`--${option.flag} ${option.placeholder}\``
}

function defaultOf(option: Option): string {
  const value = option.default
  if (typeof value === 'number') return amount(option, value)
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  return String(value) === '' ? '–' : String(value)
}

function whatOf(option: Option): string {
  if (option.choices.length > 0) return `${option.doc}: ${option.choices.join(', ')}`
  return option.kind === 'port' ? `${option.doc}: ${rangeOf(option)}` : option.doc
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  for (const [name, text] of pages()) {
    writeFileSync(new URL(`../docs/${name}`, import.meta.url), text)
  }
}
