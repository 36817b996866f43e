// The users file read, refused with the number of the line, and changed without losing a comment.
import { describe, expect, test } from 'vitest'
import { hashPassword, readHash } from '../../src/server/password.ts'
import { parseUsers, withoutUser, withPassword } from '../../src/server/users-file.ts'

const HASH = '$scrypt$ln=1,r=1,p=1$c2FsdA$MDEyMzQ1Njc4OWFiY2RlZg'
const OTHER = '$scrypt$ln=2,r=1,p=1$c2FsdA$MDEyMzQ1Njc4OWFiY2RlZg'
const file = `# who may
user alice ${HASH}
  publish   sensors/%u/#
  subscribe news of the day/+
  # both ways
  both chat

# the other one
user bob ${HASH}

anonymous
  subscribe public/#
`

describe('reading', () => {
  test('users, rules and the anonymous section', () => {
    const { users, anonymous } = parseUsers(file, 'users.txt')
    expect([...users.keys()]).toEqual(['alice', 'bob'])
    expect(users.get('alice')?.rules).toEqual([
      { allows: 'publish', filter: 'sensors/%u/#' },
      { allows: 'subscribe', filter: 'news of the day/+' },
      { allows: 'both', filter: 'chat' },
    ])
    expect(users.get('bob')?.rules).toEqual([])
    expect(anonymous).toEqual([{ allows: 'subscribe', filter: 'public/#' }])
  })

  test('Windows line ends and a byte order mark do not matter', () => {
    const same = parseUsers(`\uFEFF${file.replaceAll('\n', '\r\n')}`, 'x')
    expect(same).toEqual(parseUsers(file, 'x'))
  })

  test('an empty file has no users, and nobody without a name', () => {
    const { users, anonymous } = parseUsers('', 'x')
    expect([users.size, anonymous]).toEqual([0, null])
  })

  test.each([
    ['a rule above everybody', 'publish a\n', /users\.txt, line 1: a rule belongs below/],
    ['a user without hash', 'user alice\n', /line 1: a user line is: user NAME HASH/],
    ['a name with a space', `user al ice ${HASH}\n`, /line 1: a user line is/],
    ['a name with a wildcard', `user al+ ${HASH}\n`, /must not contain "\+"/],
    ['a name with a slash', `user a/b ${HASH}\n`, /must not contain "\/"/],
    ['a password in the clear', 'user alice secret\n', /must look like \$scrypt/],
    ['a hash beyond reason', `user a ${HASH.replace('ln=1', 'ln=30')}\n`, /256 MiB/],
    ['a hash too short', `user a $scrypt$ln=1,r=1,p=1$c2FsdA$c2FsdA\n`, /shorter than 16 bytes/],
    ['the same user twice', `user a ${HASH}\n\nuser a ${HASH}\n`, /line 3: there is a user a/],
    ['anonymous twice', 'anonymous\nanonymous\n', /line 2: there is an anonymous section/],
    ['anonymous with a word', 'anonymous read\n', /nothing may follow/],
    ['%u for nobody', 'anonymous\npublish x/%u\n', /line 2: %u means nothing here/],
    [
      'an unknown word',
      `user a ${HASH}\n\nallow x\n`,
      /line 3: a line begins with .* not with "allow"/,
    ],
    ['a rule without filter', `user a ${HASH}\npublish\n`, /publish needs a filter/],
    ['a wrong filter', `user a ${HASH}\npublish a/#/b\n`, /line 2: the filter "a\/#\/b" is wrong/],
    ['a shared filter', `user a ${HASH}\nsubscribe $share/g/a\n`, /without \$share/],
  ])('refuses %s', (_name, text, why) => {
    expect(() => parseUsers(text, 'users.txt')).toThrow(why)
  })
})

describe('changing', () => {
  test('a new password leaves everything else', () => {
    expect(withPassword(file, 'alice', OTHER)).toBe(
      file.replace(`user alice ${HASH}`, `user alice ${OTHER}`),
    )
  })

  test('a new user stands at the end', () => {
    expect(withPassword(file, 'carol', OTHER)).toBe(`${file}user carol ${OTHER}\n`)
    expect(withPassword('', 'carol', OTHER)).toBe(`user carol ${OTHER}\n`)
    expect(withPassword('# no end', 'carol', OTHER)).toBe(`# no end\nuser carol ${OTHER}\n`)
  })

  test('a deleted user takes its rules along and no comment of the next', () => {
    const after = withoutUser(file, 'alice')
    expect(after).toBe(file.slice(0, 10) + file.slice(file.indexOf('\n# the other')))
    expect([...parseUsers(after as string, 'x').users.keys()]).toEqual(['bob'])
    expect(withoutUser(file, 'nobody')).toBeNull()
  })
})

describe('hashes', () => {
  test('one made is one that can be read, never the same twice', async () => {
    const [one, other] = await Promise.all([
      hashPassword(Buffer.from('goal')),
      hashPassword(Buffer.from('goal')),
    ])
    expect(one).not.toBe(other)
    expect(readHash(one)).toMatchObject({ ln: 15, r: 8, p: 1 })
  })
})
