// Task 3, the server: a message has topics and reaches only those who subscribed to one of them.
// The publisher names topics, never receivers. Try: npx tsx server.ts 5000
import { createServer, type Socket } from 'node:net'

const MAX_LINE = 64 * 1024 // Characters.
const MAX_WAITING = 1024 * 1024 // Bytes we hold for one client who reads too slowly.

type Client = { name: string; socket: Socket; role: string; topics: string[]; missed: number }
const subscribers = new Set<Client>()
let clients = 0

function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Bidi_Control}]/gu, (c) => `\\u{${c.codePointAt(0)?.toString(16)}}`)
}

function send(to: Client, line: string): void {
  if (to.socket.writableLength > MAX_WAITING) {
    if (to.missed++ === 0) console.log(`${to.name} reads too slowly: dropping messages for it`)
  } else if (to.socket.writable) {
    if (to.missed > 0) to.socket.write(`ERR you read too slowly and missed ${to.missed} messages\n`)
    to.missed = 0
    to.socket.write(`${printable(line)}\n`) // Netcat would obey control characters.
  }
}

function handle(client: Client, line: string): void {
  const [word = '', ...topics] = line.trim().split(/\s+/)
  const role = word.toUpperCase()
  if (role === 'TERMINATE' && topics.length === 0) {
    console.log(`${client.name} says goodbye`)
    client.socket.destroySoon()
  } else if (client.role === 'PUBLISHER') {
    for (const topic of client.topics) {
      const audience = [...subscribers].filter(({ topics }) => topics.includes(topic))
      console.log(printable(`${client.name} to ${topic}, heard by ${audience.length}: ${line}`))
      for (const subscriber of audience) send(subscriber, `[${topic}] ${line}`)
    }
  } else if (client.role === '' && /^(PUBLISHER|SUBSCRIBER)$/.test(role)) {
    client.role = role
    client.topics = topics.length > 0 ? [...new Set(topics)] : ['general'] // Each topic once.
    if (role === 'SUBSCRIBER') subscribers.add(client)
    console.log(printable(`${client.name} is a ${role} of ${client.topics.join(' ')}`))
    send(client, `OK you are a ${role} of ${client.topics.join(' ')}`)
  } else {
    console.log(printable(`${client.name}: ${line}`))
    send(client, 'ERR only the server sees this; to speak to subscribers, be a PUBLISHER')
  }
}

const server = createServer((socket) => {
  const client: Client = { name: `client ${++clients}`, socket, role: '', topics: [], missed: 0 }
  let rest = '' // The beginning of a line whose end has not arrived yet.
  console.log(`${client.name} connected`)
  socket.setEncoding('utf8').setKeepAlive(true, 60_000)
  socket.on('data', (chunk: string) => {
    const lines = (rest + chunk).split(/\r?\n/)
    rest = lines.pop() ?? ''
    for (const line of lines) if (socket.writable) handle(client, line)
    if (rest.length > MAX_LINE) socket.destroy(new Error('its line is longer than 64 KiB'))
  })
  socket.on('end', () => {
    if (rest !== '' && socket.writable) handle(client, rest)
  })
  socket.on('error', (error) => console.log(`${client.name} was cut off: ${error.message}`))
  socket.on('close', () => {
    subscribers.delete(client) // Forget this, and we would write to the departed for ever.
    console.log(`${client.name} disconnected`)
  })
})

function stop(why: string): never {
  console.error(why)
  process.exit(1)
}
const port = Number(process.argv[2] ?? 5000)
if (!(port > 0 && port < 65_536)) stop('usage: npx tsx server.ts 5000')
server.on('error', (error) => stop(`${error.message}. Try: npx tsx server.ts ${port + 1}`))
server.listen(port, '127.0.0.1', () => console.log(`listening on port ${port}; Ctrl-C stops me`))
