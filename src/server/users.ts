// Who may, by a users file: checks names and passwords, hands out access classes, and reads the
// file again on request, all of it or nothing. Implements the seam of core/access.ts.

import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Access, AccessClass, Credentials, Identity, Refusal } from '../core/access.ts'
import type { Runtime } from '../core/runtime.ts'
import { fileFault } from '../engine/file-fault.ts'
import { nobodysHash, Verifier } from './password.ts'
import { Rules, sharing } from './rules.ts'
import { Throttle } from './throttle.ts'
import { parseUsers, type UserEntry, type UsersFile, UsersFileError } from './users-file.ts'

export interface UsersOptions {
  /** Whether who gives no name may come, and do all, where the file does not say what they may. */
  readonly allowAnonymous?: boolean
  readonly verifier?: Verifier
}

/** What a reload changed. */
export interface UsersChange {
  /** Users in the file now, anonymous not counted. */
  readonly users: number
  /**
   * Names whose links must be closed: gone, or with another password; '' stands for anonymous. For all other
   * links, `classOf` has the rules that hold from now on.
   */
  readonly revoked: ReadonlySet<string>
}

/** What the file says, with the rules made ready. */
interface Roll {
  readonly file: UsersFile
  readonly rules: ReadonlyMap<string, Rules>
  readonly anonymous: Rules | null
}

const REFUSED: Refusal = { refused: 'credentials', why: 'the name or the password is wrong' }
const NAMELESS: Refusal = {
  refused: 'credentials',
  why: 'this server wants a name and a password',
}
const TOO_OFTEN: Refusal = {
  refused: 'busy',
  why: 'too many wrong passwords from this address; wait a minute and try again',
}
const TOO_MANY: Refusal = {
  refused: 'busy',
  why: 'too many are logging in at once; try again in a few seconds',
}

export class Users implements Access {
  readonly #path: string
  readonly #allowAnonymous: boolean
  readonly #verifier: Verifier
  readonly #throttle: Throttle
  readonly #nobody = nobodysHash()
  readonly #secret = randomBytes(32)
  /**
   * A keyed digest of the password each user last proved: a thousand devices that come back after a
   * restart of the network need not wait for a thousand slow hashes.
   */
  readonly #proved = new Map<string, { readonly hashText: string; readonly digest: Buffer }>()
  #roll: Roll

  /** @throws UsersFileError naming the line, when the file cannot be read or used. */
  constructor(path: string, runtime: Runtime, options: UsersOptions = {}) {
    this.#path = path
    this.#verifier = options.verifier ?? new Verifier()
    this.#allowAnonymous = options.allowAnonymous ?? false
    this.#throttle = new Throttle(() => runtime.now())
    this.#roll = readRoll(path, this.#allowAnonymous)
  }

  /** Users in the file, anonymous not counted. */
  get size(): number {
    return this.#roll.file.users.size
  }

  connect(credentials: Credentials): Identity | Refusal | Promise<Identity | Refusal> {
    const { username, password, address, clientId } = credentials
    if (username === null) {
      const rules = password === null ? this.#roll.anonymous : null
      return rules === null ? NAMELESS : { user: '', access: rules.classFor(clientId) }
    }
    if (this.#throttle.blocks(address, username)) return TOO_OFTEN
    if (password === null) return this.#fail(address, username)
    const entry = this.#roll.file.users.get(username)
    if (entry !== undefined && this.#hasProved(entry, password)) return this.#admit(entry, clientId)
    return this.#verify(entry, credentials, password)
  }

  classOf(user: string, clientId: string): AccessClass | null {
    const rules = user === '' ? this.#roll.anonymous : this.#roll.rules.get(user)
    return rules?.classFor(clientId) ?? null
  }

  /** Reads the file again. @throws UsersFileError as the constructor does; then nothing has changed. */
  reload(): UsersChange {
    const before = this.#roll.file
    this.#roll = readRoll(this.#path, this.#allowAnonymous)
    const { users, anonymous } = this.#roll.file
    const revoked = new Set<string>()
    for (const [name, { hashText }] of before.users) {
      if (users.get(name)?.hashText !== hashText) revoked.add(name)
    }
    if (before.anonymous !== null && anonymous === null) revoked.add('')
    for (const name of revoked) this.#proved.delete(name)
    return { users: users.size, revoked }
  }

  /** An unknown name is checked against a hash that nothing matches, so that it takes as long. */
  async #verify(
    entry: UserEntry | undefined,
    { username, address, clientId }: Credentials,
    offered: Buffer,
  ): Promise<Identity | Refusal> {
    const name = username as string
    // What was offered may be a slice of a network read, which is somebody else's after this turn.
    const password = Buffer.from(offered)
    let right: boolean | null
    try {
      right = await this.#verifier.verify(password, entry?.hash ?? this.#nobody)
    } catch {
      right = null
    }
    if (right === null) return TOO_MANY
    if (entry === undefined || !right) return this.#fail(address, name)
    // The file may have been read anew meanwhile.
    const now = this.#roll.file.users.get(name)
    if (now === undefined || now.hashText !== entry.hashText) return REFUSED
    this.#proved.set(name, { hashText: entry.hashText, digest: this.#digest(password) })
    return this.#admit(now, clientId)
  }

  #hasProved(entry: UserEntry, password: Buffer): boolean {
    const proved = this.#proved.get(entry.name)
    if (proved === undefined || proved.hashText !== entry.hashText) return false
    return timingSafeEqual(proved.digest, this.#digest(password))
  }

  #digest(password: Buffer): Buffer {
    return createHmac('sha256', this.#secret).update(password).digest()
  }

  #admit(entry: UserEntry, clientId: string): Identity | Refusal {
    const rules = this.#roll.rules.get(entry.name)
    return rules === undefined ? REFUSED : { user: entry.name, access: rules.classFor(clientId) }
  }

  #fail(address: string, name: string): Refusal {
    this.#throttle.failed(address, name)
    return REFUSED
  }
}

function readRoll(path: string, allowAnonymous: boolean): Roll {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT'
    const why = missing
      ? `there is no such file; make it with: npx partyline passwd ${path} NAME`
      : `cannot be read: ${fileFault(error)}`
    throw new UsersFileError(path, why, { cause: error })
  }
  const said = parseUsers(text, path)
  const file = { users: said.users, anonymous: said.anonymous ?? (allowAnonymous ? [] : null) }
  const share = sharing()
  const rules = new Map<string, Rules>()
  for (const { name, rules: own } of file.users.values()) {
    rules.set(name, new Rules(own, name, share))
  }
  const anonymous = file.anonymous === null ? null : new Rules(file.anonymous, '', share)
  return { file, rules, anonymous }
}
