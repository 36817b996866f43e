// The users file as text: read into users and rules, and changed line by line so that comments and
// order stay as their author wrote them. docs/access.md describes the format.

import { filterFault } from '../core/topic.ts'
import { type PasswordHash, readHash } from './password.ts'
import type { Rule } from './rules.ts'

export interface UserEntry {
  readonly name: string
  /** As it stands in the file: another text is another password. */
  readonly hashText: string
  readonly hash: PasswordHash
  readonly rules: readonly Rule[]
}

export interface UsersFile {
  readonly users: ReadonlyMap<string, UserEntry>
  /** Null when nobody may come without a name. */
  readonly anonymous: readonly Rule[] | null
}

/** A users file that cannot be used; says where and what to write instead. */
export class UsersFileError extends Error {
  constructor(where: string, why: string, options?: ErrorOptions) {
    super(`${where}: ${why}`, options)
    this.name = 'UsersFileError'
  }
}

interface Section {
  readonly name: string | null
  readonly hashText: string
  readonly hash: PasswordHash | null
  readonly rules: Rule[]
}

const ACTIONS = ['publish', 'subscribe', 'both'] as const

/** `path` is for the errors. Throws UsersFileError with the number of the line. */
export function parseUsers(text: string, path: string): UsersFile {
  const users = new Map<string, UserEntry>()
  let anonymous: Rule[] | null = null
  let section: Section | null = null
  for (const [index, raw] of text
    .replace(/^\uFEFF/, '')
    .split('\n')
    .entries()) {
    const line = raw.trim()
    if (line === '' || line.startsWith('#')) continue
    const fail = (why: string): never => {
      throw new UsersFileError(`${path}, line ${index + 1}`, why)
    }
    const [word = '', ...rest] = line.split(/\s+/)
    if (word === 'user') {
      section = readUser(rest, fail)
      if (users.has(section.name as string)) fail(`there is a user ${section.name} already`)
      users.set(section.name as string, section as UserEntry)
    } else if (word === 'anonymous') {
      if (rest.length > 0)
        fail('nothing may follow the word anonymous; rules stand on lines of their own')
      if (anonymous !== null) fail('there is an anonymous section already')
      anonymous = []
      section = { name: null, hashText: '', hash: null, rules: anonymous }
    } else {
      const rule = readRule(word, line.slice(word.length).trim(), fail)
      if (section === null) fail(`a rule belongs below a user or anonymous line`)
      else if (section.name === null && rule.filter.includes('%u')) {
        fail('%u means nothing here: who is anonymous has no name')
      } else section.rules.push(rule)
    }
  }
  return { users, anonymous }
}

function readUser(rest: readonly string[], fail: (why: string) => never): Section {
  const [name, hashText, more] = rest
  if (name === undefined || hashText === undefined || more !== undefined) {
    return fail('a user line is: user NAME HASH; write it with: partyline passwd FILE NAME')
  }
  const fault = nameFault(name)
  if (fault !== null) return fail(fault)
  const hash = readHash(hashText)
  if (typeof hash === 'string')
    return fail(`${hash}; set it anew with: partyline passwd FILE ${name}`)
  return { name, hashText, hash, rules: [] }
}

function readRule(word: string, filter: string, fail: (why: string) => never): Rule {
  const allows = ACTIONS.find((each) => each === word)
  if (allows === undefined) {
    return fail(
      `a line begins with user, anonymous, publish, subscribe, both or #, not with ${JSON.stringify(word.slice(0, 40))}`,
    )
  }
  if (filter === '') return fail(`${word} needs a filter, such as: ${word} home/#`)
  const fault = filterFault(filter)
  if (fault !== null) return fail(`the filter ${JSON.stringify(filter)} is wrong: ${fault}`)
  if (filter.startsWith('$share/')) {
    return fail('rules name filters without $share/group/; they hold for shared subscriptions, too')
  }
  return { allows, filter }
}

/** Why a name cannot be used, or null. What `%u` puts into a filter must be one level and no wildcard. */
export function nameFault(name: string): string | null {
  if (name === '') return 'a name needs at least one character'
  if (Buffer.byteLength(name) > 256) return 'a name may have 256 bytes at most'
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be there.
  const bad = /[\s\u0000-\u001f\u007f-\u009f+#/]/.exec(name)
  return bad === null ? null : `a name must not contain ${JSON.stringify(bad[0])}`
}

/** The file with this user's password set; a new user stands at the end, without rules. */
export function withPassword(text: string, name: string, hashText: string): string {
  const lines = text.split('\n')
  const at = lines.findIndex((line) => isUserLine(line, name))
  if (at >= 0) {
    const indent = /^\s*/.exec(lines[at] as string)?.[0] ?? ''
    lines[at] = `${indent}user ${name} ${hashText}`
    return lines.join('\n')
  }
  const end = text === '' || text.endsWith('\n') ? '' : '\n'
  return `${text}${end}user ${name} ${hashText}\n`
}

/** The file without this user and the rules below; null when there is no such user. */
export function withoutUser(text: string, name: string): string | null {
  const lines = text.split('\n')
  const at = lines.findIndex((line) => isUserLine(line, name))
  if (at < 0) return null
  let end = at + 1
  for (let next = end; next < lines.length; next++) {
    const word = lines[next]?.trim().split(/\s+/)[0] ?? ''
    if (word === 'user' || word === 'anonymous') break
    // Comments between the rules go with them; those behind the last one belong to what follows.
    if (ACTIONS.some((each) => each === word)) end = next + 1
  }
  lines.splice(at, end - at)
  return lines.join('\n')
}

function isUserLine(line: string, name: string): boolean {
  const [word, named] = line.trim().split(/\s+/)
  return word === 'user' && named === name
}
