// The links between our pages lead somewhere: files that are there, and headings they have.
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))

function pages(folder: string): string[] {
  return fs.readdirSync(path.join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const name = path.posix.join(folder, entry.name)
    if (entry.isDirectory()) return folder === '.' ? [] : pages(name)
    return name.endsWith('.md') ? [name] : []
  })
}

/** Links and pictures of a page, without those that lead out of the repository. */
function linksOf(page: string): string[] {
  const text = fs.readFileSync(path.join(root, page), 'utf8').replaceAll(/^```.*?^```$/gms, '')
  const links = [...text.matchAll(/\]\(([^()\s]+)\)/g)].map((match) => match[1]!)
  return links.filter((link) => !/^[a-z]+:/.test(link))
}

/** The names that headings get where Markdown is shown. */
function anchorsOf(file: string): string[] {
  return [...fs.readFileSync(file, 'utf8').matchAll(/^#+ (.*)$/gm)].map((match) =>
    match[1]!
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-'),
  )
}

function fault(page: string, link: string): string | undefined {
  const [place = '', anchor] = link.split('#')
  const target = place === '' ? page : path.posix.join(path.posix.dirname(page), place)
  const file = path.join(root, target)
  if (!fs.existsSync(file)) return `${page}: ${link} leads nowhere`
  if (anchor === undefined || anchorsOf(file).includes(anchor)) return undefined
  return `${page}: ${target} has no heading for #${anchor}`
}

const all = ['.', 'docs', 'tutorial'].flatMap(pages)

it('finds what its links name', () => {
  const links = all.flatMap((page) => linksOf(page).map((link) => [page, link] as const))
  expect(links.length).toBeGreaterThan(40)
  expect(links.map(([page, link]) => fault(page, link)).filter(Boolean)).toEqual([])
})

it('notices a file and a heading that are not there', () => {
  expect(fault('README.md', 'docs/nothing.md')).toContain('leads nowhere')
  expect(fault('README.md', 'docs/README.md#nothing')).toContain('no heading')
  expect(fault('docs/README.md', 'protocol.md#what-you-type')).toBeUndefined()
})
