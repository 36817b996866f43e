// The command that writes the users file: from a pipe, on a terminal, and what it refuses.
import {
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { type PasswordInput, passwd, passwdCommand } from '../../src/cli/passwd.ts'
import { Users } from '../../src/server/users.ts'
import { HandTurnedTime } from '../net/wire.contract.ts'

const folder = mkdtempSync(join(tmpdir(), 'partyline-passwd-'))
const file = join(folder, 'users.txt')
beforeEach(() => rmSync(file, { force: true }))
afterAll(() => rmSync(folder, { recursive: true }))

/** A user with a password that is quickly made and nobody asks for. */
const ALICE = 'user alice $scrypt$ln=1,r=1,p=1$c2FsdA$MDEyMzQ1Njc4OWFiY2RlZg\n'

const pipe = (text: string): PasswordInput => Readable.from([Buffer.from(text)])

const opens = async (username: string, password: string): Promise<boolean> => {
  const users = new Users(file, new HandTurnedTime())
  const answer = await users.connect({
    clientId: 'c',
    username,
    password: Buffer.from(password),
    address: '::1',
    door: 'tcp/mqtt',
  })
  return !('refused' in answer)
}

describe('from a pipe', () => {
  test('makes the file for its owner alone, and the password opens', async () => {
    expect(await passwd(file, 'alice', false, pipe('wonder land\n'))).toMatch(/alice is added/)
    if (process.platform !== 'win32') expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(await opens('alice', 'wonder land')).toBe(true)
    expect(await opens('alice', 'wonder')).toBe(false)
    expect(readdirSync(folder)).toEqual(['users.txt'])
  })

  test('changes one user and keeps the rest of the file', async () => {
    await passwd(file, 'alice', false, pipe('one'))
    const [aliceLine] = readFileSync(file, 'utf8').split('\n')
    writeFileSync(file, `# ours\n${aliceLine}\n  publish a/#\n`)
    expect(await passwd(file, 'bob', false, pipe('two'))).toMatch(/bob is added/)
    expect(await passwd(file, 'alice', false, pipe('three'))).toMatch(/alice has a new password/)
    const text = readFileSync(file, 'utf8')
    expect(text).toMatch(/^# ours\nuser alice \S+\n {2}publish a\/#\nuser bob \S+\n$/)
    expect(text).not.toContain(aliceLine as string)
    expect(await opens('bob', 'two')).toBe(true)
  })

  test('leaves the file to whom it belongs, also when root changes it', async () => {
    writeFileSync(file, ALICE)
    if (process.getuid?.() === 0) chownSync(file, 1234, 5678)
    const { uid, gid } = statSync(file)
    await passwd(file, 'bob', false, pipe('two'))
    expect(statSync(file)).toMatchObject({ uid, gid })
  })

  test('deletes', async () => {
    writeFileSync(file, ALICE)
    expect(await passwd(file, 'alice', true)).toMatch(/deleted/)
    expect(readFileSync(file, 'utf8')).toBe('')
    await expect(passwd(file, 'alice', true)).rejects.toThrow(/no user alice/)
  })
})

describe('refuses', () => {
  test.each([
    ['nothing', '', /empty password/],
    ['an empty line', '\n', /empty password/],
    ['two lines', 'one\ntwo\n', /must be one line/],
    ['what CONNECT cannot carry', 'x'.repeat(65_536), /65535 bytes/],
  ])('%s, and makes no file', async (_name, text, why) => {
    await expect(passwd(file, 'alice', false, pipe(text))).rejects.toThrow(why)
    expect(existsSync(file)).toBe(false)
  })

  test('a name that no filter could hold', async () => {
    await expect(passwd(file, 'a/b', false, pipe('x'))).rejects.toThrow(/must not contain/)
  })

  test('a file in a folder that is not there, and a folder', async () => {
    const nowhere = join(folder, 'none', 'users.txt')
    await expect(passwd(nowhere, 'alice', false, pipe('x'))).rejects.toThrow(
      `nothing can be written beside ${nowhere}: there is no such file or folder (ENOENT); nothing was changed`,
    )
    await expect(passwd(folder, 'alice', false, pipe('x'))).rejects.toThrow(
      `${folder} cannot be read: it is a folder (EISDIR)`,
    )
  })

  test('a file that is no users file', async () => {
    writeFileSync(file, 'something else\n')
    await expect(passwd(file, 'alice', false, pipe('x'))).rejects.toThrow(/line 1/)
    expect(readFileSync(file, 'utf8')).toBe('something else\n')
  })
})

describe('on a terminal', () => {
  function terminal() {
    const modes: boolean[] = []
    const input = Object.assign(new PassThrough(), {
      isTTY: true,
      setRawMode: (raw: boolean) => modes.push(raw),
    })
    return { input, modes }
  }

  test('asks twice, in raw mode, which it leaves again', async () => {
    const { input, modes } = terminal()
    const done = passwd(file, 'alice', false, input)
    input.write('wonder\r')
    input.write('wonder\r')
    await done
    expect(await opens('alice', 'wonder')).toBe(true)
    expect(modes).toEqual([true, false])
  })

  test('changes nothing when the two differ, or the input ends', async () => {
    const differing = terminal()
    const done = passwd(file, 'alice', false, differing.input)
    differing.input.write('wonder\rwander\r')
    await expect(done).rejects.toThrow(/differ/)
    const ending = terminal()
    const ended = passwd(file, 'alice', false, ending.input)
    ending.input.end()
    await expect(ended).rejects.toThrow(/no password was given/)
    expect(existsSync(file)).toBe(false)
  })
})

test('the command says what it takes', () => {
  expect(passwdCommand().helpInformation()).toContain('<file> <name>')
})
