// Conversations in the line protocol, as docs/protocol.md promises them: roles, topics, commands, goodbyes.

import { beforeEach, describe, expect, it } from 'vitest'
import { Table } from './table.ts'

let table: Table
beforeEach(async () => {
  table = await Table.open()
})

const PUBLISHING = 'OK you publish to SPORTS; every line is a message, "terminate" ends'
const RECEIVING = 'OK you receive SPORTS; "terminate" ends'

describe('publishers and subscribers', () => {
  it('reach each other, and no publisher', async () => {
    const ann = table.caller('PUBLISHER SPORTS')
    await ann.hears(PUBLISHING)
    const other = await table.called('PUBLISHER SPORTS')
    const bob = table.caller('SUBSCRIBER SPORTS')
    const cem = table.caller('subscriber SPORTS')
    await bob.hears(RECEIVING)
    await cem.hears(RECEIVING)
    ann.says('goal', 'own goal')
    await bob.hears('[SPORTS] goal', '[SPORTS] own goal')
    await cem.hears('[SPORTS] goal', '[SPORTS] own goal')
    await ann.hearsNothing()
    await other.hearsNothing()
  })

  it('meet by topic alone', async () => {
    const sports = await table.called('SUBSCRIBER SPORTS')
    const news = await table.called('SUBSCRIBER NEWS')
    const lower = await table.called('SUBSCRIBER sports')
    const ann = await table.called('PUBLISHER SPORTS')
    ann.says('goal')
    await sports.hears('[SPORTS] goal')
    await news.hearsNothing()
    await lower.hearsNothing()
  })

  it('meet in general without a topic', async () => {
    const bob = table.caller('SUBSCRIBER')
    await bob.hears('OK you receive general; "terminate" ends')
    const ann = table.caller('Publisher')
    await ann.hears('OK you publish to general; every line is a message, "terminate" ends')
    ann.says('hello')
    await bob.hears('[general] hello')
  })

  it('may have several topics, and wildcards', async () => {
    const ann = table.caller('PUBLISHER SPORTS/football NEWS')
    await ann.hears(
      'OK you publish to SPORTS/football, NEWS; every line is a message, "terminate" ends',
    )
    const all = await table.called('SUBSCRIBER #')
    const sports = await table.called('SUBSCRIBER SPORTS/# SPORTS/+')
    ann.says('goal')
    await all.hears('[SPORTS/football] goal', '[NEWS] goal')
    await sports.hears('[SPORTS/football] goal')
    await sports.hearsNothing()
  })

  it.each([
    'Sub in for Messi',
    'who won?',
    'help me',
    'pub quiz tonight',
    'terminate the contract',
    'HELP',
    'SUBSCRIBER NEWS',
    '  spaces  ',
    'C:\\new',
    '',
  ])('pass on %j as it was typed', async (line) => {
    const bob = await table.called('SUBSCRIBER SPORTS')
    const ann = await table.called('PUBLISHER SPORTS')
    ann.says(line)
    await bob.hears(`[SPORTS] ${line}`)
    await ann.hearsNothing()
  })

  it('have commands behind a slash, and two slashes for one', async () => {
    const bob = await table.called('SUBSCRIBER #')
    const ann = await table.called('PUBLISHER SPORTS')
    ann.says('one', '/pub NEWS rain', 'two', '//dev/null', '/dev/null', '/', '/sub x', 'three')
    await bob.hears('[SPORTS] one', '[NEWS] rain', '[SPORTS] two', '[SPORTS] /dev/null')
    await bob.hears('[SPORTS] three')
    await ann.hears(
      'OK published to NEWS',
      'ERR "/dev/null" is no command; type /help, or // to publish a line that begins with /',
      'ERR "/" is no command; type /help, or // to publish a line that begins with /',
      'ERR a publisher does not receive; open a second connection and type SUBSCRIBER',
    )
    ann.says('/publisher NEWS', 'sun')
    await ann.hears('OK you publish to NEWS; every line is a message, "terminate" ends')
    await bob.hears('[NEWS] sun')
  })

  it('receive more and less', async () => {
    const bob = await table.called('SUBSCRIBER SPORTS')
    bob.says('SUB NEWS weather/#', 'UNSUB SPORTS', 'UNSUB SPORTS', 'UNSUB weather/+')
    await bob.hears('OK you receive NEWS, weather/#', 'OK you no longer receive SPORTS')
    await bob.hearsError(/you do not receive SPORTS/)
    await bob.hearsError(/you do not receive weather\/\+/)
    const ann = await table.called('PUBLISHER SPORTS NEWS weather/rome')
    ann.says('x')
    expect(await bob.takes()).toEqual(['[NEWS] x', '[weather/rome] x'])
    expect(table.terminal).toContain('subscribed NEWS weather/#')
    expect(table.terminal).toContain('unsubscribed SPORTS')
  })

  it('can publish as a subscriber, and hear themselves', async () => {
    const bob = await table.called('SUBSCRIBER SPORTS')
    bob.says('PUB SPORTS  two  spaces ')
    expect((await bob.takes()).sort()).toEqual(['OK published to SPORTS', '[SPORTS]  two  spaces '])
    bob.says('what?', 'PUBLISHER X', 'SUBSCRIBER X')
    await bob.hears('ERR "what?" is no command; type HELP')
    await bob.hearsError(/you are a subscriber/)
    await bob.hearsError(/you are a subscriber/)
    expect(table.terminal).not.toContain('said what?')
  })

  it('are served from one read or many, whatever the cuts', async () => {
    const bob = await table.called('SUBSCRIBER SPORTS')
    const ann = table.caller()
    for (const byte of Buffer.from('PUBLISHER SPORTS\r\nTor für Köln\r\nende\nTERMINATE\n')) {
      ann.sends(Buffer.from([byte]))
      await table.settle()
    }
    await ann.hears(PUBLISHING, 'OK goodbye')
    await bob.hears('[SPORTS] Tor für Köln', '[SPORTS] ende')
  })

  it('share messages in a group', async () => {
    const one = await table.called('SUBSCRIBER $share/team/SPORTS')
    const two = await table.called('SUBSCRIBER $share/team/SPORTS')
    const ann = await table.called('PUBLISHER SPORTS')
    ann.says('a', 'b', 'c', 'd')
    const heard = [...(await one.takes()), ...(await two.takes())]
    expect(heard.sort()).toEqual(['[SPORTS] a', '[SPORTS] b', '[SPORTS] c', '[SPORTS] d'])
  })
})

describe('a flood', () => {
  it('of short lines to many topics leaves others their turn', async () => {
    const topics = Array.from({ length: 64 }, (_, i) => `t${i}`)
    const flood = await table.called(`PUBLISHER ${topics.join(' ')}`)
    const bob = await table.called('SUBSCRIBER t63')
    const cem = await table.called('hello')
    flood.sends('\n'.repeat(1000))
    // Longer than a turn takes: before it is over somebody else is answered.
    let answered = false
    cem.wire.attach({
      read: () => {
        answered = table.broker.counters.messagesIn < 64_000
      },
      ended: () => {},
      closed: () => {},
      drained: () => {},
    })
    cem.says('HELP')
    expect(await bob.takes()).toHaveLength(1000)
    expect(table.broker.counters.messagesIn).toBe(64_000)
    expect(answered).toBe(true)
  })

  it('of questions is answered, in order, as fast as the answers are read', async () => {
    const c = table.caller()
    c.sends('HELP\nWHO\n'.repeat(5_000))
    const heard = await c.takes()
    expect(heard.filter((line) => line === 'OK 1 line connection')).toHaveLength(5_000)
  })
})

describe('without a role', () => {
  it('shows what is typed on the terminal of the server, and answers once', async () => {
    const c = table.caller('hello there', '', 'help me', 'who won?')
    await c.hears(
      "OK received and shown on the server's terminal; you have no role yet: type PUBLISHER, SUBSCRIBER or HELP",
    )
    await c.hearsNothing()
    expect(table.terminal).toEqual(['said hello there', 'said help me', 'said who won?'])
    c.says('PUBLISHER SPORTS')
    await c.hears(PUBLISHING)
  })

  it('publishes and subscribes by single commands', async () => {
    const bob = await table.called('SUB SPORTS')
    const c = table.caller('PUB SPORTS goal', 'UNSUB SPORTS', 'sub NEWS')
    await c.hears('OK published to SPORTS')
    await c.hearsError(/no role/)
    await c.hears('OK you receive NEWS; "terminate" ends')
    await bob.hears('[SPORTS] goal')
    expect(table.terminal).toEqual([
      'subscriber SPORTS',
      'published [SPORTS] goal',
      'subscriber NEWS',
    ])
  })

  it('lists topics, people and commands', async () => {
    const c = table.caller('TOPICS', 'WHO')
    await c.hears(
      'OK 0 topics',
      `- ${c.wire.other.peer}, no role yet (you)`,
      'OK 1 line connection',
    )
    await table.called('SUBSCRIBER NEWS # SPORTS AS bob')
    await table.called('PUBLISHER SPORTS weather')
    await table.runtime.pass(1000)
    c.says('topics', 'who')
    await c.hears('- NEWS', '- SPORTS', '- weather', 'OK 3 topics')
    const who = await c.takes()
    expect(who).toHaveLength(4)
    expect(who[1]).toBe('- bob, subscriber')
    expect(who[3]).toBe('OK 3 line connections')
    c.says('HELP')
    const help = await c.takes()
    expect(help.pop()).toMatch(/^OK /)
    for (const line of help) expect(line).toMatch(/^- /)
  })

  it('is closed after long silence, and only then', async () => {
    const c = table.caller('hello')
    await c.hearsOk()
    await table.runtime.pass(599_000)
    c.says('still thinking')
    await table.runtime.pass(599_000)
    await c.hearsNothing()
    await table.runtime.pass(1_000)
    await c.hears('ERR nothing was heard for 600 seconds; connect again when you are ready')
    await c.isGone()
    expect(table.broker.counters.limitsReached).toBe(1)
  })

  it('is not what a role is: that may be silent for ever', async () => {
    const bob = await table.called('SUBSCRIBER SPORTS')
    const ann = await table.called('PUBLISHER SPORTS')
    expect(table.runtime.timers).toBe(0)
    await table.runtime.pass(30 * 24 * 3600_000)
    ann.says('goal')
    await bob.hears('[SPORTS] goal')
  })
})

describe('the end', () => {
  it('is terminate, in any case, in any role; others go on', async () => {
    const bob = await table.called('SUBSCRIBER SPORTS')
    for (const opening of ['PUBLISHER SPORTS', 'SUBSCRIBER NEWS', 'hello']) {
      const c = await table.called(opening)
      c.says('Terminate', 'ignored')
      await c.hears('OK goodbye')
      await c.isGone()
    }
    const ann = await table.called('PUBLISHER SPORTS')
    ann.says('goal')
    await bob.hears('[SPORTS] goal')
    expect(table.terminal.filter((line) => line === 'goodbye')).toHaveLength(3)
    expect(table.door.links.size).toBe(2)
    expect(table.broker.sessions.size).toBe(2)
  })

  it('is the end of input, after every line and the unfinished last one', async () => {
    const bob = await table.called('SUBSCRIBER SPORTS')
    const ann = table.caller()
    ann.sends('PUBLISHER SPORTS\ngoal\nlast')
    ann.hangsUp()
    await ann.hears(PUBLISHING, 'OK goodbye')
    await ann.isGone()
    await bob.hears('[SPORTS] goal', '[SPORTS] last')
    expect(table.terminal.at(-1)).toBe('goodbye')
  })

  it('is a lost connection when nobody is there to hear the goodbye', async () => {
    const bob = await table.called('SUBSCRIBER SPORTS')
    const ann = await table.called('PUBLISHER SPORTS')
    // As a process that is killed: its input ends, and what is sent to it is answered with a reset.
    ann.says('goal')
    ann.wire.end()
    await table.settle()
    ann.wire.break('write EPIPE')
    await bob.hears('[SPORTS] goal')
    await table.runtime.pass(50)
    expect(table.terminal.at(-1)).toBe('lost write EPIPE')
  })

  it('may come before the first answer was found', async () => {
    const c = table.caller()
    c.sends('PUB SPORTS goal\nWHO\nSUBSCRIBER NEWS')
    c.hangsUp()
    const heard = await c.takes()
    expect(heard[0]).toBe('OK published to SPORTS')
    expect(heard.at(-2)).toBe('OK you receive NEWS; "terminate" ends')
    expect(heard.at(-1)).toBe('OK goodbye')
    await c.isGone()
  })

  it('may be a lost connection: complete lines count, an unfinished one does not', async () => {
    const bob = await table.called('SUBSCRIBER SPORTS')
    const ann = await table.called('PUBLISHER SPORTS')
    ann.sends('goal\nhalf a li')
    await table.settle()
    ann.wire.break('connection reset')
    await bob.hears('[SPORTS] goal')
    await bob.hearsNothing()
    expect(table.terminal.at(-1)).toBe('lost connection reset')
    expect(table.broker.sessions.size).toBe(1)
  })

  it('may come from the server', async () => {
    const bob = await table.called('SUBSCRIBER SPORTS')
    const c = await table.called('hello')
    await table.broker.close('going down')
    table.door.close('going down')
    for (const each of [bob, c]) {
      await each.hears('ERR the server is going down; connect again in a moment')
      await each.isGone()
    }
  })
})

describe('mistakes', () => {
  it.each([
    ['PUBLISHER a/#', 'ERR a topic to publish to cannot contain + or #; name each topic'],
    ['PUB + text', 'ERR a topic to publish to cannot contain + or #; name each topic'],
    ['PUB a', 'ERR PUB wants a topic and a text; type PUB topic text'],
    ['SUBSCRIBER a/#/b', 'ERR a/#/b is not a filter: "#" must be the last character; see HELP'],
    ['SUBSCRIBER ok $share/x', /^ERR \$share\/x is not a filter: .*; see HELP$/],
    ['SUB a+', 'ERR a+ is not a filter: a wildcard must stand for a whole level; see HELP'],
    ['PUB $SYS/x y', 'ERR you may not publish to $SYS/x; ask who runs this server'],
    ['FORGET', 'ERR nothing is kept for you; only SUBSCRIBER filter AS name is remembered'],
    [
      `PUBLISHER ${'t '.repeat(3)}${Array.from({ length: 65 }, (_, i) => i).join(' ')}`,
      /at most 64/,
    ],
    ['LOGIN ann', 'ERR LOGIN wants a name and a password; type LOGIN name password'],
  ])('%j is answered and costs nothing', async (line, answer) => {
    const c = table.caller(line)
    const [heard] = await c.takes()
    if (typeof answer === 'string') expect(heard).toBe(answer)
    else expect(heard).toMatch(answer)
    c.says('SUBSCRIBER SPORTS')
    await c.hears(RECEIVING)
    await c.hearsNothing()
  })

  it('are answered in the order of the lines', async () => {
    const c = table.caller(
      'PUB a one',
      'PUB + no',
      'FORGET',
      'PUB b two',
      'WHO',
      'nonsense',
      'HELP',
    )
    const heard = await c.takes()
    expect(heard.slice(0, 4).map((line) => line.slice(0, 14))).toEqual([
      'OK published t',
      'ERR a topic to',
      'ERR nothing is',
      'OK published t',
    ])
    expect(heard[5]).toBe('OK 1 line connection')
    expect(heard[6]).toMatch(/^OK received and shown/)
    expect(heard.at(-1)).toMatch(/^OK that is all/)
  })

  it('such as a line over the limit cost that line alone', async () => {
    const bob = await table.called('SUBSCRIBER SPORTS')
    const ann = await table.called('PUBLISHER SPORTS')
    ann.says('before', 'x'.repeat(65_537), 'after', 'y'.repeat(65_536))
    await ann.hears(
      'ERR a line may have 65536 bytes and this one has more; it was dropped, send shorter lines',
    )
    await bob.hears('[SPORTS] before', '[SPORTS] after', `[SPORTS] ${'y'.repeat(65_536)}`)
    expect(table.broker.counters.limitsReached).toBe(1)
  })

  it('quote strangers safely', async () => {
    const c = await table.called('SUBSCRIBER SPORTS')
    c.says(`\x1b[2J${'long'.repeat(50)}`)
    await c.hears(`ERR "\\x1b[2J${'long'.repeat(8)}l…" is no command; type HELP`)
  })
})
