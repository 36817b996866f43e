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

test('the picture of task 4 is the one its source draws, and says that it is a proposal', () => {
  expect(read('task4/architecture.svg')).toBe(diagram())
  expect(diagram()).toContain('PROPOSAL')
  expect(read('task4/README.md')).toContain('**This is a proposal.**')
})
