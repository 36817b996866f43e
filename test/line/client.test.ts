// The terminal client against a server that this test plays: no process, no port, no clock.

import { type Duplex, duplexPair, getDefaultHighWaterMark, PassThrough } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { Conversation } from '../../src/cli/conversation.ts'
import { nameOf, readServers, type Server } from '../../src/cli/servers.ts'

/** Lets streams hand on what they hold. */
const settle = async () => {
  for (let i = 0; i < 20; i++) await new Promise<void>((done) => setImmediate(done))
}

interface Options {
  servers?: Server[]
  opening?: string[]
  reconnect?: boolean
  interactive?: boolean
  /** Whether the n-th dial of that server succeeds. */
  there?: (server: Server, attempt: number) => boolean
}

function start(options: Options = {}) {
  const input = new PassThrough()
  const output = new PassThrough()
  const notices: string[] = []
  const dialled: string[] = []
  const peers: { socket: Duplex; heard: string; ended: boolean }[] = []
  const timers: { ms: number; call: () => void }[] = []
  const { there = () => true } = options
  const conversation = new Conversation(
    {
      servers: options.servers ?? [{ host: 'localhost', port: 5000 }],
      opening: options.opening ?? [],
      reconnect: options.reconnect ?? false,
    },
    {
      input,
      output,
      interactive: options.interactive ?? false,
      notice: (text) => notices.push(text),
      dial: async (server) => {
        dialled.push(nameOf(server))
        if (!there(server, dialled.length)) {
          throw Object.assign(new Error('x'), { code: 'ECONNREFUSED' })
        }
        const [ours, theirs] = duplexPair({ allowHalfOpen: true })
        const peer = { socket: theirs, heard: '', ended: false }
        theirs.on('data', (chunk) => {
          peer.heard += chunk
        })
        theirs.on('end', () => {
          peer.ended = true
        })
        peers.push(peer)
        return ours
      },
      after: (ms, call) => {
        const timer = { ms, call }
        timers.push(timer)
        return () => {
          if (timers.includes(timer)) timers.splice(timers.indexOf(timer), 1)
        }
      },
    },
  )
  const over = conversation.run()
  let shown = ''
  output.on('data', (chunk) => {
    shown += chunk
  })
  return {
    conversation,
    over,
    input,
    output,
    notices,
    dialled,
    timers,
    types: (text: string) => input.write(text),
    server: () => peers.at(-1)!,
    shown: () => shown,
  }
}

describe('the terminal client', () => {
  it('says its role first, then what is typed, and shows what arrives', async () => {
    const c = start({ opening: ['PUBLISHER SPORTS'] })
    await settle()
    c.types('goal\r\nown goal\n')
    await settle()
    expect(c.server().heard).toBe('PUBLISHER SPORTS\ngoal\nown goal\n')
    c.server().socket.write('OK you publish to SPORTS\n[NE')
    c.server().socket.write('WS] rain\n')
    await settle()
    expect(c.shown()).toBe('OK you publish to SPORTS\n[NEWS] rain\n')
    expect(c.notices).toEqual(['connected to localhost:5000'])
  })

  it('ends with terminate, once the server has said goodbye', async () => {
    const c = start({ interactive: true })
    await settle()
    c.types('hello\nTerminate\nnot sent\n')
    await settle()
    expect(c.server()).toMatchObject({ heard: '\nhello\nTerminate\n', ended: true })
    c.server().socket.end('OK goodbye\n')
    expect(await c.over).toBe(0)
    await settle()
    expect(c.shown()).toBe('OK goodbye\n')
    expect(c.timers).toEqual([])
  })

  it('ends at the end of input, after its last unfinished line', async () => {
    const c = start({ opening: ['PUBLISHER'] })
    c.input.end('one\ntwo')
    await settle()
    expect(c.server()).toMatchObject({ heard: 'PUBLISHER\none\ntwo\n', ended: true })
    c.server().socket.end('OK goodbye')
    expect(await c.over).toBe(0)
    expect(c.shown()).toContain('OK goodbye\n')
  })

  it('fails when a pipe was answered with ERR, and leaves it to a person otherwise', async () => {
    for (const [interactive, status] of [
      [false, 1],
      [true, 0],
    ] as const) {
      const c = start({ interactive })
      c.input.end('SUBSCRIBER a/#/b\n')
      await settle()
      c.server().socket.end('ERR no\nOK goodbye\n')
      expect(await c.over).toBe(status)
    }
  })

  it('says clearly that no server is there, and which ones it tried', async () => {
    const servers = [
      { host: 'one', port: 5000 },
      { host: '::1', port: 5001 },
    ]
    const c = start({ servers, there: () => false })
    expect(await c.over).toBe(1)
    expect(c.notices).toEqual([
      'no server at one:5000 (nobody listens there) or [::1]:5001 (nobody listens there); ' +
        'is the server running? start one with: npx partyline serve 5000',
    ])
  })

  it('takes the first server that is there', async () => {
    const servers = ['a', 'b', 'c'].map((host) => ({ host, port: 1 }))
    const c = start({ servers, there: ({ host }) => host === 'b' })
    await settle()
    expect(c.dialled).toEqual(['a:1', 'b:1'])
    expect(c.notices).toEqual(['connected to b:1'])
  })

  it('tries the other servers first when one went away, which may be dying and still accept', async () => {
    const servers = ['a', 'b', 'c'].map((host) => ({ host, port: 1 }))
    const c = start({ servers, reconnect: true, there: (_, attempt) => attempt !== 2 })
    await settle()
    c.server().socket.end()
    await settle()
    expect(c.dialled).toEqual(['a:1', 'b:1', 'c:1'])
    c.server().socket.end()
    await settle()
    expect(c.dialled.slice(3)).toEqual(['a:1'])
  })

  it('says clearly that the server went away', async () => {
    const closed = start({ opening: ['SUBSCRIBER'] })
    await settle()
    closed.server().socket.end('ERR the server is going down; connect again in a moment\n')
    expect(await closed.over).toBe(1)
    expect(closed.notices.at(-1)).toBe('the server at localhost:5000 closed the connection')
    expect(closed.shown()).toContain('ERR the server is going down')
  })

  it('connects again when asked to, tells once, and takes its role up', async () => {
    const c = start({ reconnect: true, there: (_, attempt) => attempt !== 2 && attempt !== 3 })
    await settle()
    c.types('hello\nLOGIN ann secret\nsubscriber SPORTS\nSUB NEWS\n')
    await settle()
    c.server().socket.end()
    await settle()
    expect(c.timers.map((t) => t.ms)).toEqual([500])
    c.timers.shift()!.call()
    await settle()
    expect(c.timers.map((t) => t.ms)).toEqual([1000])
    c.types('typed while away\n')
    c.timers.shift()!.call()
    await settle()
    expect(c.server().heard).toBe('LOGIN ann secret\nsubscriber SPORTS\ntyped while away\n')
    expect(c.notices).toEqual([
      'connected to localhost:5000',
      'the server at localhost:5000 closed the connection',
      'no server at localhost:5000 (nobody listens there); trying again until it is there, Ctrl-C ends',
      'connected to localhost:5000',
    ])
  })

  it('says goodbye on Ctrl-C, and waits for the answer only a moment', async () => {
    const c = start({ opening: ['PUBLISHER'] })
    await settle()
    c.types('half a li')
    c.conversation.leave()
    await settle()
    expect(c.server()).toMatchObject({ heard: 'PUBLISHER\nterminate\n', ended: true })
    expect(c.timers.map((t) => t.ms)).toEqual([500])
    c.server().socket.end('OK goodbye\n')
    expect(await c.over).toBe(0)
    const stuck = start()
    await settle()
    stuck.conversation.leave()
    stuck.timers.shift()!.call()
    expect(await stuck.over).toBe(0)
  })

  it('leaves at once on Ctrl-C while there is no server', async () => {
    const waiting = start({ reconnect: true, there: () => false })
    await settle()
    waiting.conversation.leave()
    expect(await waiting.over).toBe(0)
    expect(waiting.timers).toEqual([])
  })

  it('does not wait for ever for a goodbye', async () => {
    const c = start()
    await settle()
    c.types('terminate\n')
    await settle()
    c.timers.shift()!.call()
    expect(await c.over).toBe(1)
    expect(c.notices.at(-1)).toBe('the server does not say goodbye; leaving without')
  })

  it('shows nothing that could drive the terminal, whatever the server sends', async () => {
    const c = start()
    await settle()
    c.server().socket.write(Buffer.from([0x1b, 0x5b, 0x32, 0x4a, 0x07, 0xff, 0x0d, 0x41, 0x0a]))
    await settle()
    expect(c.shown()).toBe('\\x1b[2J\\x07\\xff\\rA\n')
  })

  it('ends quietly when nobody reads what it shows', async () => {
    const c = start()
    await settle()
    c.output.destroy(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }))
    expect(await c.over).toBe(0)
  })

  it('stops reading the server while its own output is stuck', async () => {
    const c = start()
    await settle()
    c.output.pause()
    c.output.removeAllListeners('data')
    const line = `[t] ${'x'.repeat(1000)}\n`
    const { socket } = c.server()
    let accepted = 0
    while (accepted < 1000 && !socket.writableNeedDrain) {
      accepted++
      socket.write(line)
      await settle()
    }
    // What the streams on the way may hold differs between versions of Node.
    expect(accepted * line.length).toBeLessThan(8 * getDefaultHighWaterMark(false))
  })
})

describe('the servers of a client', () => {
  it.each([
    ['localhost 5000', ['localhost:5000'], []],
    ['localhost', ['localhost:5000'], []],
    ['localhost SUBSCRIBER 7', ['localhost:5000'], ['SUBSCRIBER', '7']],
    ['::1 5001 PUBLISHER', ['[::1]:5001'], ['PUBLISHER']],
    ['a:5000,[fe80::1]:5001 SUBSCRIBER', ['a:5000', '[fe80::1]:5001'], ['SUBSCRIBER']],
    ['a,b 7000 SUBSCRIBER', ['a:7000', 'b:7000'], ['SUBSCRIBER']],
    ['a:1,b', ['a:1', 'b:5000'], []],
  ])('%s', (words, names, rest) => {
    const read = readServers(words.split(' '))
    expect(read.servers.map(nameOf)).toEqual(names)
    expect(read.rest).toEqual(rest)
  })

  it.each(['', 'a:b', 'localhost 70000', 'a:0', '[::1', 'a,'])('refuses %j', (words) => {
    expect(() => readServers(words.split(' '))).toThrow(/is no (server|port)/)
  })
})
