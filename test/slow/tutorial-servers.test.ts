// What the tutorial's servers and clients survive: torn lines and letters, endless lines, clients
// that vanish or never read, a port in use, no server. The promises the README files make.
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { freePort } from '../support/free-ports.ts'
import { Terminal } from './terminal.ts'

const open: Terminal[] = []
const calls: Call[] = []
afterEach(async () => {
  for (const call of calls.splice(0)) call.socket.destroy()
  await Promise.all(open.splice(0).map((terminal) => terminal.kill()))
})

function terminal(task: string, command: string): Terminal {
  const made = new Terminal(task, command)
  open.push(made)
  return made
}

async function startServer(task: string): Promise<{ server: Terminal; port: number }> {
  const port = await freePort()
  const server = terminal(task, `npx tsx server.ts ${port}`)
  await server.shows('listening')
  return { server, port }
}

/** A client made of nothing but a socket, so that a test decides about every byte. */
class Call {
  heard = ''
  readonly socket: Socket
  #wake: () => void = () => {}

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1').setNoDelay(true).setEncoding('utf8')
    this.socket.on('error', () => {}) // Tests look at what was heard and at 'close'.
    this.socket.on('data', (text: string) => {
      this.heard += text
      this.#wake()
    })
    this.socket.on('close', () => this.#wake())
    calls.push(this)
  }

  says(bytes: string | Uint8Array): void {
    this.socket.write(bytes)
  }

  /** Waits until the connection is closed, in whatever way. */
  async closes(): Promise<void> {
    if (this.socket.closed) return
    await new Promise<void>((resolve) => this.socket.once('close', () => resolve()))
  }

  /** Waits for a text; fails when the server closes first or nothing comes for 15 seconds. */
  async hears(text: string): Promise<void> {
    const deadline = performance.now() + 15_000
    const alarm = setTimeout(() => this.#wake(), 15_001)
    while (!this.heard.includes(text)) {
      const late = performance.now() > deadline
      if (late || this.socket.closed) throw new Error(`heard only: ${this.heard.slice(-500)}`)
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    clearTimeout(alarm)
  }
}

describe.each(['task1', 'task2', 'task3'])('%s', (task) => {
  test('lines and letters survive being torn apart, and Windows line ends', async () => {
    const { server, port } = await startServer(task)
    const torn = new Call(port)
    const witness = new Call(port)
    const bytes = new TextEncoder().encode('東京 ist groß 👋\r\n')
    for (const [i, byte] of bytes.entries()) {
      torn.says(new Uint8Array([byte]))
      // The server shows the witness's line only in a turn after the byte has reached it.
      witness.says(`byte ${i} sent\n`)
      await server.shows(`byte ${i} sent`)
    }
    await server.shows(': 東京 ist groß 👋\n')
    torn.says('one\ntwo\nthree without an end')
    torn.socket.end()
    await server.shows(': three without an end\n')
    expect(server.screen).toContain(
      'client 1: one\nclient 1: two\nclient 1: three without an end\n',
    )
  })

  test('a stranger cannot drive the terminal', async () => {
    const { server, port } = await startServer(task)
    const stranger = new Call(port)
    stranger.says('\u001b[2Jgone\u0007\rover\u202eevil\n')
    await server.shows('evil')
    expect(server.screen).toContain('\\u{1b}[2Jgone\\u{7}\\u{d}over\\u{202e}evil\n')
    expect(server.screen.replaceAll('\n', '')).not.toMatch(/\p{Cc}|\p{Bidi_Control}/u)
  })

  test('a line without an end is cut off, and others go on', async () => {
    const { server, port } = await startServer(task)
    const endless = new Call(port)
    endless.says('x'.repeat(300_000))
    await endless.closes()
    await server.shows('client 1 was cut off: its line is longer than 64 KiB')
    const next = new Call(port)
    next.says('still there?\n')
    await server.shows('client 2: still there?')
  })

  test('clients that vanish, by a reset or by a kill, do not end the server', async () => {
    const { server, port } = await startServer(task)
    const reset = new Call(port)
    await once(reset.socket, 'connect')
    await server.shows('client 1 connected')
    reset.socket.resetAndDestroy()
    await server.shows('client 1 was cut off: read ECONNRESET')
    await server.shows('client 1 disconnected')
    const killed = terminal(task, `npx tsx client.ts localhost ${port}`)
    await server.shows('client 2 connected')
    await killed.kill()
    await server.shows('client 2 disconnected')
    expect(server.screen).not.toContain('goodbye')
    const next = new Call(port)
    next.says('hello\n')
    await server.shows('client 3: hello')
  })

  test('after terminate nothing more is heard, and the server closes', async () => {
    const { server, port } = await startServer(task)
    const guest = new Call(port)
    guest.says('before\n TERMINATE \nafter\n')
    await guest.closes()
    await server.shows('client 1 disconnected')
    expect(server.screen).toContain(
      'client 1: before\nclient 1 says goodbye\nclient 1 disconnected\n',
    )
    expect(server.screen).not.toContain('after')
  })

  test('a port in use, a strange port and no server are one clear sentence', async () => {
    const { port } = await startServer(task)
    const second = terminal(task, `npx tsx server.ts ${port}`)
    expect(await second.ends()).toBe(1)
    expect(second.screen.split('\n').slice(1)).toEqual([
      `listen EADDRINUSE: address already in use 127.0.0.1:${port}. Try: npx tsx server.ts ${port + 1}`,
      '',
    ])
    const strange = terminal(task, 'npx tsx server.ts five')
    expect(await strange.ends()).toBe(1)
    expect(strange.screen).toContain('usage: npx tsx server.ts 5000\n')
    const nobody = await freePort()
    const alone = terminal(task, `npx tsx client.ts localhost ${nobody}`)
    expect(await alone.ends()).toBe(1)
    expect(alone.screen.split('\n').slice(1)).toEqual([
      `no server at localhost:${nobody}. Start one first: npx tsx server.ts ${nobody}`,
      '',
    ])
  })

  test('the client says that the server has gone away, and ends', async () => {
    const { server, port } = await startServer(task)
    const client = terminal(task, `npx tsx client.ts localhost ${port}`)
    await server.shows('client 1 connected')
    await client.shows('connected to')
    await server.kill()
    expect(await client.ends()).toBe(1)
    expect(client.screen).toContain('* the server has gone away\n')
  })

  test('a pipe into the client arrives whole, and its end is a goodbye', async () => {
    const { server, port } = await startServer(task)
    const client = terminal(task, `npx tsx client.ts localhost ${port}`)
    client.isFed(`${Array.from({ length: 20_000 }, (_, i) => `line ${i}`).join('\n')}\nlast`)
    expect(await client.ends()).toBe(0)
    await server.shows('client 1: last\n')
    const lines = server.screen.match(/client 1: line \d+/g)
    expect(lines).toHaveLength(20_000)
    expect(lines?.at(-1)).toBe('client 1: line 19999')
  })
})

describe.each(['task2', 'task3'])('%s', (task) => {
  test('what publishers say arrives verbatim at every subscriber and at no publisher', async () => {
    const { port } = await startServer(task)
    const listener = new Call(port)
    listener.says('subscriber\n')
    await listener.hears('you are a SUBSCRIBER')
    const other = new Call(port)
    other.says('Publisher\n')
    await other.hears('you are a PUBLISHER')
    const speaker = new Call(port)
    const lines = [
      'Sub in for Messi',
      'PUBLISHER',
      '',
      '  who won?',
      'terminate the contract',
      '終',
    ]
    speaker.says(`PUBLISHER\n${lines.join('\n')}\n`)
    await listener.hears('終\n')
    const label = task === 'task2' ? '[client 3] ' : '[general] '
    expect(listener.heard.split('\n').slice(1, -1)).toEqual(lines.map((line) => label + line))
    other.says('terminate\n')
    await other.closes()
    expect(other.heard.split('\n')).toHaveLength(2)
    expect(speaker.heard.split('\n')).toHaveLength(2)
  })

  test('end of input is a goodbye after all lines were handled and answered', async () => {
    const { server, port } = await startServer(task)
    const listener = new Call(port)
    listener.says('SUBSCRIBER\n')
    await listener.hears('you are')
    const script = new Call(port)
    script.socket.end('PUBLISHER\ngoal') // The last line has no end: printf without \n.
    await script.closes()
    expect(script.heard).toContain('OK you are a PUBLISHER')
    await listener.hears('goal\n')
    await server.shows('client 2 disconnected')

    const brief = new Call(port)
    brief.socket.end('PUBLISHER') // It has stopped speaking, and still hears the answer.
    await brief.closes()
    expect(brief.heard).toContain('you are a PUBLISHER')

    listener.says('terminate\n')
    await server.shows('client 1 disconnected')
    const lonely = new Call(port)
    lonely.says('PUBLISHER\nanybody?\n')
    await server.shows('heard by 0: anybody?')
  })

  test('strangers’ control characters reach no subscriber’s terminal', async () => {
    const { port } = await startServer(task)
    const client = terminal(task, `npx tsx client.ts localhost ${port} SUBSCRIBER`)
    await client.shows('you are a SUBSCRIBER')
    const netcat = new Call(port)
    netcat.says('SUBSCRIBER\n')
    await netcat.hears('you are a SUBSCRIBER')
    const stranger = new Call(port)
    stranger.says('PUBLISHER\n\u001b]0;owned\u0007\n')
    await client.shows('owned')
    expect(client.screen).toContain('] \\u{1b}]0;owned\\u{7}\n')
    await netcat.hears('] \\u{1b}]0;owned\\u{7}\n')
  })
})

test('task 3: one client that never reads does not stop a hundred others', async () => {
  const { server, port } = await startServer('task3')
  const stuck = new Call(port)
  stuck.says('SUBSCRIBER FLOOD SPORTS\n')
  await stuck.hears('you are a SUBSCRIBER')
  stuck.socket.pause() // From here on it takes nothing more off the network.

  const others = Array.from({ length: 100 }, () => new Call(port))
  for (const other of others) other.says('SUBSCRIBER SPORTS\n')
  await Promise.all(others.map((other) => other.hears('you are a SUBSCRIBER')))

  // Flood until the network's own buffers and the server's limit are full and it drops.
  const flood = new Call(port)
  const line = `${'x'.repeat(60_000)}\n`
  flood.says(`PUBLISHER FLOOD\n${line.repeat(400)}`)
  await server.shows('client 1 reads too slowly: dropping messages for it')

  const stadium = new Call(port)
  stadium.says(`PUBLISHER SPORTS\n${Array.from({ length: 50 }, (_, i) => `goal ${i}\n`).join('')}`)
  await Promise.all(others.map((other) => other.hears('[SPORTS] goal 49\n')))
  const all = Array.from({ length: 50 }, (_, i) => `[SPORTS] goal ${i}\n`).join('')
  for (const other of others) expect(other.heard).toBe(`OK you are a SUBSCRIBER of SPORTS\n${all}`)

  // When it reads again, it is told what it missed.
  stuck.socket.resume()
  await stuck.hears('[FLOOD] ')
  const again = async () => {
    stadium.says('one more\n')
    await others[0]?.hears('one more')
    await new Promise((resolve) => setImmediate(resolve))
  }
  while (!stuck.heard.includes('you read too slowly and missed')) await again()
})

test.each(['task2', 'task3'])('%s: the client does not trust the server either', async (task) => {
  const port = await freePort()
  const hostile = createServer((socket) => {
    socket.on('error', () => {})
    socket.end('\u001b[2J東\r\n')
  }).listen(port, '127.0.0.1')
  await once(hostile, 'listening')
  const client = terminal(task, `npx tsx client.ts localhost ${port}`)
  expect(await client.ends()).toBe(1)
  expect(client.screen).toContain('\n\\u{1b}[2J東\n* the server has gone away\n')
  hostile.close()
})

test('a server that sends a line without end is left', async () => {
  const port = await freePort()
  const liar = createServer((socket) => {
    socket.on('error', () => {})
    socket.write('x'.repeat(300_000))
  }).listen(port, '127.0.0.1')
  await once(liar, 'listening')
  const client = terminal('task2', `npx tsx client.ts localhost ${port}`)
  expect(await client.ends()).toBe(1)
  expect(client.screen).toContain('the server sends a line without end')
  liar.close()
})
