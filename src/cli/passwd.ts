// `partyline passwd`: sets and deletes passwords in a users file. Asks twice without echo on a
// terminal, reads one line from a pipe, and replaces the file in one step, readable by its owner.

import {
  chmodSync,
  chownSync,
  readFileSync,
  realpathSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { Command } from 'commander'
import { fileFault } from '../engine/file-fault.ts'
import { hashPassword } from '../server/password.ts'
import { nameFault, parseUsers, withoutUser, withPassword } from '../server/users-file.ts'

const EXAMPLES = `
Examples:
  $ partyline passwd users.txt alice                 asks for the password twice
  $ printf '%s' "$SECRET" | partyline passwd users.txt alice
  $ partyline passwd users.txt alice --delete

A running server reads the file again on SIGHUP. docs/access.md describes the file and its topic rules.`

const OWNER_ONLY = 0o600

/** Where the password comes from; tests give their own. */
export interface PasswordInput extends Readable {
  readonly isTTY?: boolean
  setRawMode?(raw: boolean): void
}

export function passwdCommand(): Command {
  return new Command('passwd')
    .description('set or delete the password of a user in a users file')
    .argument('<file>', 'the users file; made when it is not there')
    .argument('<name>', 'the name of the user')
    .option('--delete', 'delete the user and the rules below the name')
    .addHelpText('after', EXAMPLES)
    .action(async (file: string, name: string, flags: { delete?: boolean }, command: Command) => {
      try {
        process.stderr.write(`${await passwd(file, name, flags.delete === true)}\n`)
      } catch (error) {
        command.error(`partyline passwd: ${(error as Error).message}`)
      }
    })
}

/** Changes the file and says what it did. @throws Error for people. */
export async function passwd(
  file: string,
  name: string,
  remove: boolean,
  input: PasswordInput = process.stdin as PasswordInput,
): Promise<string> {
  const fault = nameFault(name)
  if (fault !== null) throw new Error(fault)
  const before = readIfThere(file)
  // A file that is no users file is not ours to change.
  if (before !== null) parseUsers(before, file)
  if (remove) {
    const after = before === null ? null : withoutUser(before, name)
    if (after === null) throw new Error(`there is no user ${name} in ${file}`)
    replace(file, after)
    return `user ${name} is deleted from ${file}`
  }
  const password = input.isTTY ? await ask(input) : await readPiped(input)
  replace(file, withPassword(before ?? '', name, await hashPassword(password)))
  const known = before !== null && parseUsers(before, file).users.has(name)
  return `user ${name} ${known ? 'has a new password' : 'is added'} in ${file}`
}

function readIfThere(file: string): string | null {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw new Error(`${file} cannot be read: ${fileFault(error)}`, { cause: error })
  }
}

/** In one step: a server that reads meanwhile sees the old file or the new one. */
function replace(file: string, text: string): void {
  let target = file
  let mode = OWNER_ONLY
  let owner: { uid: number; gid: number } | null = null
  try {
    target = realpathSync(file)
    owner = statSync(target)
    mode = statSync(target).mode & 0o777
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  const draft = `${target}.${process.pid}.new`
  try {
    writeFileSync(draft, text, { mode: OWNER_ONLY, flag: 'wx' })
  } catch (error) {
    throw new Error(
      `nothing can be written beside ${file}: ${fileFault(error)}; nothing was changed`,
      { cause: error },
    )
  }
  chmodSync(draft, mode)
  // Root may change the file of a server that runs as somebody else, who shall read it afterwards, too.
  if (owner !== null && process.getuid?.() === 0) chownSync(draft, owner.uid, owner.gid)
  renameSync(draft, target)
}

/** What came through the pipe, without the end of its line. */
async function readPiped(input: Readable): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of input) chunks.push(Buffer.from(chunk))
  const text = Buffer.concat(chunks)
    .toString('utf8')
    .replace(/\r?\n$/, '')
  if (text.includes('\n')) throw new Error('the password must be one line')
  return checked(text)
}

async function ask(input: PasswordInput): Promise<Buffer> {
  const lines = hiddenLines(input)
  try {
    const password = checked(await lines.next('Password: '))
    if ((await lines.next('Again: ')) !== password.toString()) {
      throw new Error('the two passwords differ; nothing was changed')
    }
    return password
  } finally {
    lines.close()
  }
}

/** Reads lines of a terminal and shows nothing of what is typed. */
function hiddenLines(input: PasswordInput): {
  next(prompt: string): Promise<string>
  close(): void
} {
  // Without an output, the editor of readline works and echoes nowhere; raw mode keeps the terminal silent.
  const editor = createInterface({ input, terminal: true })
  const iterator = editor[Symbol.asyncIterator]()
  editor.on('SIGINT', () => {
    editor.close()
    process.stderr.write('\n')
    process.exit(130)
  })
  return {
    next: async (prompt) => {
      process.stderr.write(prompt)
      const line = await iterator.next()
      process.stderr.write('\n')
      if (line.done === true) throw new Error('no password was given; nothing was changed')
      return line.value
    },
    close: () => editor.close(),
  }
}

function checked(password: string): Buffer {
  const bytes = Buffer.from(password)
  if (bytes.length === 0) throw new Error('an empty password is none; nothing was changed')
  // What the password field of CONNECT can carry.
  if (bytes.length > 65_535) throw new Error('a password may have 65535 bytes at most')
  return bytes
}
