// How the commands of a Markdown page are read, before test/slow/readme.test.ts runs them.
import { describe, expect, it } from 'vitest'
import { documented, onPort } from './support/documented.ts'

const page = (check: string, language = 'sh'): string =>
  ['# A page', '', check, `\`\`\`${language}`, 'npm start', '```', ''].join('\n')

describe('the commands of a page', () => {
  it('come with what the page promises about them', () => {
    expect(documented(page('<!-- check: stays, prints "listening on" -->'))).toEqual([
      {
        line: 4,
        language: 'sh',
        text: 'npm start',
        pledge: { kind: 'stays', prints: ['listening on'], needs: [] },
      },
    ])
    const [block] = documented(page('<!-- check: prints "a b" and "c", needs nc paho -->', 'js'))
    expect(block?.pledge).toEqual({ kind: 'ends', prints: ['a b', 'c'], needs: ['nc', 'paho'] })
    const [shown] = documented(page('<!-- check: not run: needs two machines -->'))
    expect(shown?.pledge).toEqual({ kind: 'not run', reason: 'needs two machines' })
  })

  it('may not be left unchecked', () => {
    expect(() => documented(page('some text'))).toThrow('line 4: the block has no <!-- check')
    expect(() => documented(page('<!-- check: works -->'))).toThrow('"check: works" is none of')
    expect(() => documented('```sh\nls\n')).toThrow('line 1: the block never ends')
  })

  it('leave other blocks alone', () => {
    expect(documented(page('some text', 'text'))).toEqual([])
  })

  it('run on the port they are given', () => {
    expect(onPort('npm start', 61234)).toBe('npm start -- 61234')
    expect(onPort('npm start -- --host 0.0.0.0', 61234)).toBe('npm start -- 61234 --host 0.0.0.0')
    expect(onPort('npm start -- 5000', 61234)).toBe('npm start -- 61234')
    expect(onPort("printf 'x' | nc -N localhost 5000", 61234)).toBe(
      "printf 'x' | nc -N localhost 61234",
    )
    expect(onPort("connect('mqtt://localhost:5000')", 61234)).toBe(
      "connect('mqtt://localhost:61234')",
    )
  })
})
