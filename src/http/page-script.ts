// The script of the page at /: an MQTT 3.1.1 client over WebSocket in plain JavaScript, small enough
// to read. What arrives is only ever shown as text.

export const PAGE_SCRIPT = `
'use strict'
const part = (id) => document.getElementById(id)
const encoder = new TextEncoder()
const decoder = new TextDecoder()
const KEEP_ALIVE_SECONDS = 30
const SHOWN_MAX = 200
const RETRY_MS = 3000
const REFUSALS = { 1: 'the protocol version', 2: 'the client identifier', 3: 'it is not available', 4: 'the name or password', 5: 'a name and password are needed' }
let socket = null
let pending = new Uint8Array(0)
let arrived = []
let skipped = 0
let login = null
let filter = part('filter').value

function bytes(...parts) {
  const arrays = parts.map((each) => (typeof each === 'number' ? [each] : each))
  const all = new Uint8Array(arrays.reduce((sum, each) => sum + each.length, 0))
  let at = 0
  for (const each of arrays) { all.set(each, at); at += each.length }
  return all
}
function text(value) {
  const encoded = encoder.encode(value)
  return bytes(encoded.length >> 8, encoded.length & 255, encoded)
}
function packet(first, ...body) {
  const rest = bytes(...body)
  const head = [first]
  let size = rest.length
  do { const more = size > 127; head.push((size & 127) | (more ? 128 : 0)); size >>= 7 } while (size > 0)
  return bytes(head, rest)
}
function send(first, ...body) {
  if (socket !== null && socket.readyState === WebSocket.OPEN) socket.send(packet(first, ...body))
}

function show(state, words) {
  part('status').dataset.state = state
  part('status').textContent = words
  part('publish').disabled = state !== 'open'
}

function connect() {
  show('trying', 'connecting')
  pending = new Uint8Array(0)
  const mine = new WebSocket((location.protocol === 'https:' ? 'wss://' : 'ws://') + location.host + '/', 'mqtt')
  socket = mine
  mine.binaryType = 'arraybuffer'
  let refused = false
  mine.onopen = () => {
    const flags = 2 | (login === null ? 0 : 192)
    const random = Array.from(crypto.getRandomValues(new Uint8Array(6)), (each) => (each % 36).toString(36)).join('')
    const credentials = login === null ? [] : [text(login.name), text(login.password)]
    send(0x10, text('MQTT'), 4, flags, 0, KEEP_ALIVE_SECONDS, text('page-' + random), ...credentials)
  }
  mine.onmessage = (event) => {
    pending = bytes(pending, new Uint8Array(event.data))
    for (let next = take(); next !== null; next = take()) {
      if (next.type === 2) refused = !admitted(next.body[1])
      else if (next.type === 3) received(next)
      else if (next.type === 9 && next.body[2] === 128) note('You may not subscribe to ' + filter + '.')
    }
  }
  mine.onclose = () => {
    if (socket !== mine) return
    if (refused) return
    show('lost', 'not connected')
    setTimeout(() => { if (socket === mine) connect() }, RETRY_MS)
  }
}

/** The next whole packet, or null. */
function take() {
  let size = 0
  let at = 1
  for (let shift = 0; ; shift += 7) {
    if (at >= pending.length) return null
    const byte = pending[at++]
    size += (byte & 127) * 2 ** shift
    if (byte < 128) break
  }
  if (pending.length < at + size) return null
  const next = { type: pending[0] >> 4, retain: (pending[0] & 1) === 1, body: pending.slice(at, at + size) }
  pending = pending.slice(at + size)
  return next
}

function admitted(code) {
  if (code === 0) {
    show('open', 'connected')
    part('login').hidden = true
    subscribe()
    return true
  }
  const secret = code === 4 || code === 5
  show('lost', 'refused: ' + (REFUSALS[code] || 'code ' + code))
  part('login').hidden = !secret
  return false
}

function subscribe() {
  note('')
  send(0x82, 0, 1, text(filter), 0)
}

function received({ body, retain }) {
  const size = (body[0] << 8) | body[1]
  arrived.push({ topic: decoder.decode(body.subarray(2, 2 + size)), payload: body.slice(2 + size), retain })
  if (arrived.length === 1) requestAnimationFrame(draw)
  else if (arrived.length > SHOWN_MAX) { arrived.splice(1, 1); skipped++ }
}

function draw() {
  const list = part('messages')
  const bottom = list.scrollTop + list.clientHeight >= list.scrollHeight - 24
  for (const { topic, payload, retain } of arrived) {
    const item = document.createElement('li')
    const name = document.createElement('b')
    name.textContent = topic
    item.append(name, ' ', readable(payload))
    if (retain) {
      const mark = document.createElement('i')
      mark.textContent = ' (retained)'
      item.append(mark)
    }
    list.append(item)
  }
  arrived = []
  while (list.children.length > SHOWN_MAX) { list.firstChild.remove() }
  if (skipped > 0) note(skipped + ' messages came too fast to show.')
  if (bottom) list.scrollTop = list.scrollHeight
}

/** Text as text, whatever it holds; other bytes as hexadecimal digits. */
function readable(payload) {
  const start = payload.subarray(0, 2000)
  const more = payload.length > 2000 ? ' … ' + payload.length + ' bytes' : ''
  try {
    return new TextDecoder('utf-8', { fatal: more === '' }).decode(start) + more
  } catch {
    return Array.from(start.subarray(0, 64), (byte) => byte.toString(16).padStart(2, '0')).join(' ') + ' (' + payload.length + ' bytes)'
  }
}

function note(words) {
  part('note').textContent = words
}

part('subscribe').addEventListener('submit', (event) => {
  event.preventDefault()
  send(0xa2, 0, 2, text(filter))
  filter = part('filter').value || '#'
  part('filter').value = filter
  skipped = 0
  part('messages').textContent = ''
  subscribe()
})
part('say').addEventListener('submit', (event) => {
  event.preventDefault()
  const topic = part('topic').value
  if (topic === '' || /[+#]/.test(topic)) return note('A topic to publish to has at least one character and no + or #.')
  note('')
  send(0x30, text(topic), encoder.encode(part('text').value))
  part('text').value = ''
})
part('login').addEventListener('submit', (event) => {
  event.preventDefault()
  login = { name: part('name').value, password: part('password').value }
  connect()
})
for (const button of document.querySelectorAll('button[data-copy]')) {
  button.addEventListener('click', () => {
    const command = part(button.dataset.copy).textContent
    if (navigator.clipboard === undefined) return getSelection().selectAllChildren(part(button.dataset.copy))
    navigator.clipboard.writeText(command).then(() => {
      button.textContent = 'copied'
      setTimeout(() => { button.textContent = 'copy' }, 1500)
    }, () => getSelection().selectAllChildren(part(button.dataset.copy)))
  })
}
setInterval(() => { if (socket !== null && part('status').dataset.state === 'open') send(0xc0) }, KEEP_ALIVE_SECONDS * 500)
connect()
`
