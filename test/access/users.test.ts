// Users at the door: right and wrong passwords, the nameless, guessers, reloads. Hashes in these
// files are cheap ones, so that the tests are.
import { scryptSync } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import type { Access, Credentials } from '../../src/core/access.ts'
import { denySubscribe, openAccess } from '../../src/server/open-access.ts'
import { type PasswordHash, Verifier } from '../../src/server/password.ts'
import { Users } from '../../src/server/users.ts'
import { HandTurnedTime } from '../net/wire.contract.ts'

const folder = mkdtempSync(join(tmpdir(), 'partyline-users-'))
const path = join(folder, 'users.txt')
afterEach(() => rmSync(path, { force: true }))

const hash = (password: string): string => {
  const key = scryptSync(password, 'salt', 16, { cost: 2, blockSize: 1, parallelization: 1 })
  const plain = (bytes: Buffer) => bytes.toString('base64').replaceAll('=', '')
  return `$scrypt$ln=1,r=1,p=1$${plain(Buffer.from('salt'))}$${plain(key)}`
}

const FILE = `user alice ${hash('wonder')}
both home/%u/#
user bob ${hash('builder')}
`

/** Counts what it is asked, and answers like the real one. */
class CountingVerifier extends Verifier {
  asked = 0
  override verify(password: Buffer, against: PasswordHash): Promise<boolean | null> {
    this.asked++
    return super.verify(password, against)
  }
}

function open(text = FILE, allowAnonymous = false) {
  writeFileSync(path, text)
  const time = new HandTurnedTime()
  const verifier = new CountingVerifier()
  return { users: new Users(path, time, { verifier, allowAnonymous }), time, verifier }
}

const shows = (
  username: string | null,
  password: string | null,
  more: Partial<Credentials> = {},
): Credentials => ({
  clientId: 'lamp',
  username,
  password: password === null ? null : Buffer.from(password),
  address: '192.0.2.1',
  door: 'tcp/mqtt',
  ...more,
})

describe('at the door', () => {
  test('the right password opens, under the rules of the user', async () => {
    const { users } = open()
    const alice = await users.connect(shows('alice', 'wonder'))
    expect(alice).toMatchObject({ user: 'alice' })
    if ('refused' in alice) throw new Error('refused')
    expect(alice.access.mayPublish('home/alice/light')).toBe(true)
    expect(alice.access.mayPublish('home/bob/light')).toBe(false)
    expect(users.classOf('alice', 'lamp')).toBe(alice.access)
    expect(users.size).toBe(2)
  })

  test.each([
    ['a wrong password', 'alice', 'wander'],
    ['an unknown name', 'eve', 'wonder'],
    ['no password', 'alice', null],
    ['an empty password', 'alice', ''],
    ['an empty name', '', ''],
    ['a name of objects', '__proto__', 'x'],
  ])('%s is refused in the same words', async (_name, username, password) => {
    const { users } = open()
    expect(await users.connect(shows(username, password))).toEqual({
      refused: 'credentials',
      why: 'the name or the password is wrong',
    })
  })

  test('an unknown name costs a hash like a known one, and a dear one', async () => {
    const { users, verifier } = open()
    await users.connect(shows('eve', 'x'))
    expect(verifier.asked).toBe(1)
  })

  test('the nameless need an anonymous section', async () => {
    expect(await open().users.connect(shows(null, null))).toMatchObject({ refused: 'credentials' })
    const { users } = open(`${FILE}anonymous\nsubscribe public/#\n`)
    const nobody = await users.connect(shows(null, null))
    if ('refused' in nobody) throw new Error('refused')
    expect(nobody.user).toBe('')
    expect(nobody.access.maySubscribe('public/news')).toBe(true)
    expect(nobody.access.mayPublish('public/news')).toBe(false)
    expect(await users.connect(shows(null, 'x'))).toMatchObject({ refused: 'credentials' })
  })

  test('--allow-anonymous lets them in, under the rules of the file where it has some', async () => {
    const free = await open(FILE, true).users.connect(shows(null, null))
    if ('refused' in free) throw new Error('refused')
    expect(free.access.mayPublish('anything')).toBe(true)
    const { users } = open(`${FILE}anonymous\nsubscribe public/#\n`, true)
    const ruled = await users.connect(shows(null, null))
    if ('refused' in ruled) throw new Error('refused')
    expect(ruled.access.mayPublish('anything')).toBe(false)
    writeFileSync(path, FILE)
    expect(users.reload().revoked.size).toBe(0)
  })

  test('who has proved a password need not wait for the slow hash again', async () => {
    const { users, verifier } = open()
    await users.connect(shows('alice', 'wonder'))
    expect(verifier.asked).toBe(1)
    expect(await users.connect(shows('alice', 'wonder'))).toMatchObject({ user: 'alice' })
    expect(verifier.asked).toBe(1)
    expect(await users.connect(shows('alice', 'wander'))).toMatchObject({ refused: 'credentials' })
    expect(verifier.asked).toBe(2)
  })

  test('a password that is overwritten meanwhile was still the one offered', async () => {
    const { users } = open()
    const credentials = shows('alice', 'wonder')
    const answer = users.connect(credentials)
    credentials.password?.fill(0)
    expect(await answer).toMatchObject({ user: 'alice' })
    expect(await users.connect(shows('alice', '\0\0\0\0\0\0'))).toMatchObject({
      refused: 'credentials',
    })
  })
})

describe('guessing', () => {
  test('ten failures with one name close the door to that name from there, for a while', async () => {
    const { users, time, verifier } = open()
    for (let guess = 0; guess < 10; guess++) {
      await users.connect(shows('alice', `${guess}`))
      time.pass(100)
    }
    expect(await users.connect(shows('alice', 'wonder'))).toMatchObject({ refused: 'busy' })
    expect(verifier.asked).toBe(10)
    // Others behind the same address, and the same name elsewhere, go on.
    expect(await users.connect(shows('bob', 'builder'))).toMatchObject({ user: 'bob' })
    expect(await users.connect(shows('alice', 'wonder', { address: '192.0.2.2' }))).toMatchObject({
      user: 'alice',
    })
    time.pass(61_000)
    expect(await users.connect(shows('alice', 'wonder'))).toMatchObject({ user: 'alice' })
  })

  test('a hundred failures with many names close it to the address', async () => {
    const { users } = open()
    for (let guess = 0; guess < 100; guess++) await users.connect(shows(`name${guess}`, null))
    expect(await users.connect(shows('bob', 'builder'))).toMatchObject({ refused: 'busy' })
  })

  test('one IPv6 network is one address', async () => {
    const { users } = open()
    for (let guess = 0; guess < 10; guess++) {
      await users.connect(shows('bob', null, { address: `2001:db8::${guess}` }))
    }
    const from = (address: string) => users.connect(shows('bob', 'builder', { address }))
    expect(await from('2001:db8:0:0:ffff::1')).toMatchObject({ refused: 'busy' })
    expect(await from('2001:db8:0:1::1')).toMatchObject({ user: 'bob' })
    expect(await from('::1')).toMatchObject({ user: 'bob' })
  })
})

describe('the verifier', () => {
  const against = { ln: 10, r: 8, p: 1, salt: Buffer.from('salt'), hash: Buffer.alloc(16) }

  test('turns away who would wait behind too many', async () => {
    const verifier = new Verifier(2, 3)
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => verifier.verify(Buffer.from('x'), against)),
    )
    expect(answers.filter((answer) => answer === false)).toHaveLength(5)
    expect(answers.filter((answer) => answer === null)).toHaveLength(3)
    expect(await verifier.verify(Buffer.from('x'), against)).toBe(false)
  })

  test('goes on after a hash that cannot be computed', async () => {
    const verifier = new Verifier(1, 10)
    const broken = verifier.verify(Buffer.from('x'), { ...against, ln: 0, p: 0 })
    const fine = verifier.verify(Buffer.from('x'), against)
    await expect(broken).rejects.toThrow()
    expect(await fine).toBe(false)
  })
})

describe('reloading', () => {
  test('says whose links must go: deleted, and with a new password', async () => {
    const { users } = open(`${FILE}user carol ${hash('c')}\nanonymous\n`)
    await users.connect(shows('alice', 'wonder'))
    writeFileSync(path, `user alice ${hash('new')}\nuser carol ${hash('c')}\npublish x\n`)
    const { revoked, users: count } = users.reload()
    expect([...revoked].sort()).toEqual(['', 'alice', 'bob'])
    expect(count).toBe(2)
    expect(await users.connect(shows('alice', 'wonder'))).toMatchObject({ refused: 'credentials' })
    expect(await users.connect(shows('alice', 'new'))).toMatchObject({ user: 'alice' })
    expect(users.classOf('bob', 'x')).toBeNull()
    expect(users.classOf('', 'x')).toBeNull()
    expect(users.classOf('carol', 'x')?.mayPublish('y')).toBe(false)
  })

  test('a verdict never changes for the life of a class', () => {
    const { users } = open()
    const before = users.classOf('bob', 'x')
    expect(before?.mayPublish('anything')).toBe(true)
    writeFileSync(path, `user bob ${hash('builder')}\npublish only/this\n`)
    users.reload()
    expect(before?.mayPublish('anything')).toBe(true)
    expect(users.classOf('bob', 'x')?.mayPublish('anything')).toBe(false)
  })

  test('a file with a fault changes nothing', async () => {
    const { users } = open()
    writeFileSync(path, 'user alice\n')
    expect(() => users.reload()).toThrow(/line 1/)
    rmSync(path)
    expect(() => users.reload()).toThrow(/there is no such file/)
    expect(await users.connect(shows('bob', 'builder'))).toMatchObject({ user: 'bob' })
  })

  test('who is being checked while his password changes is refused', async () => {
    const { users } = open()
    const answer = users.connect(shows('alice', 'wonder'))
    writeFileSync(path, `user alice ${hash('new')}\n`)
    users.reload()
    expect(await answer).toMatchObject({ refused: 'credentials' })
  })

  test('a file that is not there names the command that makes it', () => {
    expect(() => new Users(join(folder, 'none.txt'), new HandTurnedTime())).toThrow(
      /partyline passwd .*none\.txt NAME/,
    )
  })
})

describe('without a users file', () => {
  test('credentials are accepted, and that is said once', async () => {
    const said: string[] = []
    const access = openAccess((sentence) => said.push(sentence))
    expect(await access.connect(shows(null, null))).toMatchObject({ user: '' })
    expect(said).toEqual([])
    expect(await access.connect(shows('alice', 'x'))).toMatchObject({ user: 'alice' })
    await access.connect(shows('bob', 'y'))
    expect(said).toHaveLength(1)
    expect(said[0]).toContain('--users')
  })
})

describe('a filter refused for everybody', () => {
  const access: Access = denySubscribe(
    openAccess(() => {}),
    ['test/nosubscribe', 'secret/#'],
  )

  test('and what it includes, not what includes it', async () => {
    const answer = await access.connect(shows(null, null))
    if ('refused' in answer) throw new Error('refused')
    const may = (filter: string) => answer.access.maySubscribe(filter)
    expect(['test/nosubscribe', 'secret/a', 'secret/+', 'secret'].map(may)).toEqual([
      false,
      false,
      false,
      false,
    ])
    expect(['test/+', '#', 'test/nosubscribe/x', 'news'].map(may)).toEqual([true, true, true, true])
    expect(answer.access.mayPublish('secret/a')).toBe(true)
    // Closed to everybody is not the same as not authorized: another user would not help.
    expect(['secret/a', 'news'].map((filter) => answer.access.closed?.(filter))).toEqual([
      true,
      false,
    ])
  })

  test('keeps one class one class', async () => {
    const [one, other] = [await access.connect(shows(null, null)), access.classOf('x', 'y')]
    expect('access' in one && one.access).toBe(other)
  })

  test('passes refusals and later answers on', async () => {
    const { users } = open()
    const narrowed = denySubscribe(users, ['a'])
    expect(await narrowed.connect(shows('eve', 'x'))).toMatchObject({ refused: 'credentials' })
    expect(await narrowed.connect(shows('bob', 'builder'))).toMatchObject({ user: 'bob' })
    expect(narrowed.classOf('nobody', 'x')).toBeNull()
    expect(denySubscribe(users, [])).toBe(users)
  })
})
