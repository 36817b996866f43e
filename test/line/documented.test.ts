// docs/protocol.md says what the server says: every answer of fixed words, and samples of the others.

import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import * as answers from '../../src/protocol/line/answers.ts'

const page = readFileSync(new URL('../../docs/protocol.md', import.meta.url), 'utf8')

describe('docs/protocol.md', () => {
  it.each([
    answers.HEARD,
    answers.GOODBYE,
    answers.LOGIN_FIRST,
    answers.LOGIN_WRONG,
    answers.LOGIN_ENOUGH,
    answers.IS_SUBSCRIBER,
    answers.IS_PUBLISHER,
    answers.overlong(65_536),
    answers.idle(600),
    answers.noCommand('helo'),
    answers.noSlashCommand('helo'),
    answers.publishes(['SPORTS']),
    answers.receives(['SPORTS'], '', false),
    answers.receives(['SPORTS'], 'bob', false),
    answers.alsoReceives(['NEWS']),
    answers.noLongerReceives(['NEWS']),
    answers.forgotten('bob'),
    answers.loggedIn('ann'),
    answers.badTopic('+', ''),
    answers.badFilter('a/#/b', '"#" must be the last character'),
    answers.mayNotPublish('SPORTS'),
    answers.notSubscribed('SPORTS', 'forbidden', ''),
    answers.parting('session-taken-over', 'bob'),
    answers.parting('server-shutting-down', ''),
  ])('quotes %j', (answer) => {
    expect(page).toContain(answer)
  })

  it('is what HELP tells in short', () => {
    const commands = answers.HELP.join(' ').match(/\b[A-Z]{2,}\b/g) ?? []
    for (const command of new Set(commands)) expect(page).toContain(command)
  })
})
