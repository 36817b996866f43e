// What the tutorial promises about its own files: small complete programs on node:net alone, guides
// with all their parts, links that lead somewhere, and a picture that is the one its source draws.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { diagram } from '../../tutorial/task4/diagram.ts'

const tutorial = fileURLToPath(new URL('../../tutorial/', import.meta.url))
const read = (path: string) => readFileSync(`${tutorial}${path}`, 'utf8')
const guides = readdirSync(tutorial, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.md'))
  .sort()

describe.each(['task1', 'task2', 'task3'])('%s', (task) => {
  test.each(['server.ts', 'client.ts'])('%s is small and uses node:net alone', (file) => {
    const source = read(`${task}/${file}`)
    expect(source.split('\n').length - 1).toBeLessThan(80)
    const imports = [...source.matchAll(/from '(.*)'|import\('(.*)'\)|require\('(.*)'\)/g)]
    expect(imports.map((match) => match[1])).toEqual(['node:net'])
  })

  test('the guide has all its parts, in order', () => {
    const headings = [...read(`${task}/README.md`).matchAll(/^## (.*)$/gm)].map((m) => m[1])
    expect(headings).toEqual([
      'Goal',
      'Key concepts',
      'Prerequisites',
      'Commands',
      'Expected output',
      'How it works',
      'Try this',
      'The same step on Partyline',
    ])
  })
})

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
}

/** The anchor that a Markdown viewer gives to a heading. */
function anchor(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} -]/gu, '')
    .replaceAll(' ', '-')
}

test.each(guides)('every link in %s leads somewhere', (guide) => {
  const links = [...read(guide).matchAll(/\]\(([^)]+)\)/g)].map((match) => match[1] ?? '')
  expect(links.length).toBeGreaterThan(0)
  for (const link of links) {
    const target = new URL(link, `file://${tutorial}${guide}`)
    const path = fileURLToPath(new URL(target.pathname, 'file://'))
    expect(existsSync(path), `${guide} links to ${link}`).toBe(true)
    if (target.hash === '') continue
    const headings = [...readFileSync(path, 'utf8').matchAll(/^#+ (.*)$/gm)].map((m) => m[1] ?? '')
    expect(headings.map(anchor), link).toContain(decodeURIComponent(target.hash.slice(1)))
  }
})

test('the picture of task 4 is the one its source draws', () => {
  expect(read('task4/architecture.svg')).toBe(diagram())
})

describe('what task 4 says about faults', () => {
  const begin = '## 5. When something dies'
  const part = read('task4/README.md').split(begin)[1]?.split('\n## ')[0] ?? ''
  const rows = part.split('\n').filter((line) => line.startsWith('| ') && !/^\| -|proof/.test(line))

  test('there is a row for each', () => {
    expect(rows.length).toBeGreaterThan(10)
  })

  test.each(rows)('%s', (row) => {
    const proofs = [...row.matchAll(/\[([^\]]+)\]\(([^)]+)\)/g)]
    expect(proofs).not.toEqual([])
    for (const [, title = '', file = ''] of proofs) {
      const source = readFileSync(new URL(file, `file://${tutorial}task4/`), 'utf8')
      const fault = /^chaos: (.*)/.exec(title)?.[1]
      if (fault !== undefined) expect(source).toContain(`name: '${fault}'`)
      else expect(source).toMatch(new RegExp(`\\b(test|it)\\(\\s*['\`]${escaped(title)}['\`]`))
    }
  })

  test('every fault of the chaos run has its row', () => {
    const chaos = readFileSync(new URL('../test/slow/chaos/faults.ts', `file://${tutorial}`))
    const faults = [...chaos.toString().matchAll(/name: '([^']+)'/g)].map((match) => match[1])
    expect(faults.length).toBeGreaterThan(10)
    for (const fault of faults) expect(part).toContain(`[chaos: ${fault}]`)
  })
})
