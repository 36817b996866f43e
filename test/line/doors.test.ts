// What comes from other doors and from strangers: shown safely, one message one line; and who may.

import { describe, expect, it } from 'vitest'
import type { Access, Credentials } from '../../src/core/access.ts'
import { EVERYTHING } from '../../src/core/access.ts'
import type { QoS } from '../../src/core/types.ts'
import { Table } from './table.ts'

async function publish(table: Table, topic: string, payload: string | Buffer, qos: QoS = 0) {
  const message = { topic, payload: Buffer.from(payload), qos }
  const stored = table.broker.publish(table.broker.message(message))
  await table.settle()
  await stored
}

describe('a message from another door', () => {
  it.each([0, 1, 2] as const)('arrives, published at QoS %d', async (qos) => {
    const table = await Table.open()
    const bob = await table.called('SUBSCRIBER SPORTS/#')
    await publish(table, 'SPORTS/football', 'goal', qos)
    await bob.hears('[SPORTS/football] goal')
  })

  it('is one line, whatever it holds', async () => {
    const table = await Table.open()
    const bob = await table.called('SUBSCRIBER #')
    const evil = 'x\nOK goodbye\r\n[SPORTS] forged\x1b[2J\x07\u202e\u2028'
    await publish(table, 'NEWS', evil)
    await publish(table, 'a] OK\nb', 'topic')
    await publish(table, 'bin', Buffer.from([0, 1, 0xff, 0xfe, 0x41, 0x0a]))
    await publish(table, 'empty', '')
    await publish(table, 'text', 'ein\tTor für Köln 🎉')
    await bob.hears(
      '[NEWS] x\\nOK goodbye\\r\\n[SPORTS] forged\\x1b[2J\\x07\\u202e\\u2028',
      '[a\\x5d OK\\nb] topic',
      '[bin] \\x00\\x01\\xff\\xfeA\\n',
      '[empty] ',
      '[text] ein\tTor für Köln 🎉',
    )
    await bob.hearsNothing()
  })

  it('is passed on byte for byte by line publishers', async () => {
    const table = await Table.open()
    const payloads: Buffer[] = []
    const ann = await table.called('PUBLISHER SPORTS')
    const passed = table.broker.log.accept.bind(table.broker.log)
    table.broker.log.accept = (record) => {
      payloads.push(...record.messages.map(({ payload }) => Buffer.from(payload)))
      passed(record)
    }
    const odd = Buffer.from([0x1b, 0x5b, 0xff, 0x00, 0x0d, 0x20])
    ann.sends(Buffer.concat([odd, Buffer.from('\n')]))
    await table.settle()
    expect(payloads).toEqual([odd])
  })

  it('is shown when it was retained', async () => {
    const table = await Table.open()
    const message = { topic: 'weather', payload: Buffer.from('sun'), retain: true }
    await table.broker.publish(table.broker.message(message))
    const bob = table.caller('SUBSCRIBER weather')
    await bob.hears('OK you receive weather; "terminate" ends', '[weather] sun')
    const named = await table.called('SUBSCRIBER weather AS cem')
    await named.hears('[weather] sun')
    named.says('terminate')
    await named.hears('OK goodbye')
    const back = await table.called('SUBSCRIBER weather AS cem')
    await back.hearsNothing()
  })
})

/** Knows ann (secret), who may do everything with news/#; nobody else. */
function doorkeeper(asked: Credentials[] = []): Access {
  return {
    connect: async (credentials) => {
      asked.push(credentials)
      if (credentials.username === 'banned') return { refused: 'banned', why: 'you were banned' }
      if (credentials.username !== 'ann' || credentials.password?.toString() !== 'secret') {
        return { refused: 'credentials', why: `wrong password for ${credentials.username}` }
      }
      const may = (name: string) => name.startsWith('news')
      return { user: 'ann', access: { mayPublish: may, maySubscribe: may } }
    },
    classOf: () => EVERYTHING,
  }
}

describe('a server that knows its users', () => {
  it('wants a login before anything but help and goodbye', async () => {
    const table = await Table.open({ access: doorkeeper() })
    const wanted = 'ERR this server wants to know who you are; type LOGIN name password'
    for (const line of [
      'hello',
      'PUBLISHER x',
      'SUBSCRIBER x',
      'PUB a b',
      'SUB a',
      'TOPICS',
      'WHO',
    ]) {
      const c = table.caller(line)
      await c.hears(wanted)
      await c.hearsNothing()
    }
    expect(table.terminal.every((line) => line.startsWith('refused'))).toBe(true)
    const c = table.caller('HELP')
    expect((await c.takes()).at(-1)).toMatch(/^OK /)
    c.says('terminate')
    await c.hears('OK goodbye')
    expect(table.broker.counters.authenticationsFailed).toBe(7)
  })

  it('lets them in and do what they may', async () => {
    const asked: Credentials[] = []
    const table = await Table.open({ access: doorkeeper(asked) })
    const ann = table.caller('login ann secret', 'PUBLISHER sport', 'PUBLISHER news')
    await ann.hears('OK you are ann', 'ERR you may not publish to sport; ask who runs this server')
    expect(await ann.hearsOk()).toContain('you publish to news')
    const bob = table.caller('LOGIN ann secret', 'SUBSCRIBER #', 'SUBSCRIBER news/# AS bob')
    await bob.hears('OK you are ann', 'ERR you may not subscribe to #; ask who runs this server')
    await bob.hearsOk()
    ann.says('/pub sport x', 'headline')
    await ann.hearsError(/may not publish to sport/)
    await bob.hears('[news] headline')
    expect(asked.at(-1)).toMatchObject({ clientId: 'line:bob', door: 'tcp/line', username: 'ann' })
    expect(table.broker.counters.publishesDenied).toBe(2)
    bob.says('LOGIN ann secret')
    await bob.hearsError(/you have a role already/)
  })

  it('ends with who guesses', async () => {
    const table = await Table.open({ access: doorkeeper() })
    const c = table.caller('LOGIN ann wrong', 'LOGIN ann guess', 'LOGIN ann secret')
    await c.hears(
      'ERR name or password is wrong; try again',
      'ERR name or password is wrong; try again',
      'OK you are ann',
    )
    c.says('LOGIN banned x')
    await c.hears('ERR you were banned; ask who runs this server')
    expect(await c.takes()).toEqual([
      'ERR name or password is wrong three times; this connection ends',
    ])
    await c.isGone()
  })

  it('keeps answers in order while it thinks, and survives who leaves meanwhile', async () => {
    let decide: () => void = () => {}
    const table = await Table.open({
      access: {
        connect: () =>
          new Promise((done) => {
            decide = () => done({ user: '', access: EVERYTHING })
          }),
        classOf: () => EVERYTHING,
      },
    })
    const c = table.caller('SUBSCRIBER SPORTS', 'TOPICS', 'HELP')
    await c.hearsNothing()
    expect(c.wire.other.paused).toBe(true)
    decide()
    const heard = await c.takes()
    expect(heard[0]).toBe('OK you receive SPORTS; "terminate" ends')
    expect(heard).toContain('OK 1 topic')
    const gone = table.caller('SUBSCRIBER SPORTS')
    await gone.hearsNothing()
    gone.wire.break('connection reset')
    decide()
    await table.settle()
    expect(table.broker.sessions.size).toBe(1)
    expect(table.door.links.size).toBe(1)
  })
})
