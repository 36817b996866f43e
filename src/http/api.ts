// Publishing and reading a retained message over HTTP: POST and GET on /topics/<topic>. Names and
// passwords come as Basic credentials; the same rules hold as on every other door.

import { isUtf8 } from 'node:buffer'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Identity } from '../core/access.ts'
import type { Peer } from '../core/activity.ts'
import { type Broker, MessageError } from '../core/broker.ts'
import { MessageRun } from '../core/run.ts'
import { topicFault } from '../core/topic.ts'
import type { Message } from '../core/types.ts'
import { answer, answerError, answerJson, type Exchange, type Route } from './door.ts'
import { hostFault, type OriginRules, originFault } from './origin.ts'

export interface ApiOptions {
  readonly broker: Broker
  readonly origins: OriginRules
  peerOf(socket: Duplex): { readonly address: string; readonly port: number }
}

const PREFIX = '/topics/'
/** Room for topic and properties beside the payload, so that every MQTT client can be sent what came by HTTP. */
const PACKET_OVERHEAD = 16
const RETRY_SECONDS = '5'

/** An answer that is not the one hoped for. */
class Refused extends Error {
  readonly status: number
  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

export function topicRoutes(options: ApiOptions): Route[] {
  const route = (method: string, handle: (typeof HANDLERS)[string]): Route => ({
    method,
    path: `${PREFIX}*`,
    answer: async (exchange) => {
      welcomePage(options, exchange)
      try {
        await handle(options, exchange)
      } catch (error) {
        if (!(error instanceof Refused)) throw error
        refuse(exchange.response, error)
      }
    },
  })
  return Object.entries(HANDLERS).map(([method, handle]) => route(method, handle))
}

/** Lets a page from an allowed origin see the answer; all others are told nothing by their browser. */
function welcomePage({ origins }: ApiOptions, { request, response }: Exchange): void {
  const { origin } = request.headers
  response.setHeader('Vary', 'Origin')
  if (origin === undefined || originFault(request.headers, origins) !== null) return
  response.setHeader('Access-Control-Allow-Origin', origin)
  response.setHeader('Cross-Origin-Resource-Policy', 'cross-origin')
}

/** What a browser asks before a page may send credentials or a type of its own. */
function preflight({ origins }: ApiOptions, { request, response }: Exchange): void {
  const foreign = originFault(request.headers, origins)
  if (foreign !== null) throw new Refused(403, foreign)
  response.setHeader('Access-Control-Allow-Methods', 'GET, POST')
  response.setHeader('Access-Control-Allow-Headers', 'Authorization, Content-Type')
  response.setHeader('Access-Control-Max-Age', '600')
  response.statusCode = 204
  response.end()
}

function refuse(response: ServerResponse, { status, message }: Refused): void {
  if (status === 401) {
    response.setHeader('WWW-Authenticate', 'Basic realm="partyline", charset="UTF-8"')
  }
  if (status === 429 || status === 503) response.setHeader('Retry-After', RETRY_SECONDS)
  // What is left of a body nobody reads would be taken for the next request.
  if (status === 413) response.setHeader('Connection', 'close')
  answerError(response, status, message)
}

async function publish(options: ApiOptions, exchange: Exchange): Promise<void> {
  const { request, response, query } = exchange
  const { broker } = options
  const foreign = originFault(request.headers, options.origins)
  if (foreign !== null) throw new Refused(403, foreign)
  const { user, access } = await identify(options, request)
  const name = topicOf(exchange)
  const payload = await body(request, broker.limits.packetBytes - PACKET_OVERHEAD - name.length * 3)
  const message = make(broker, name, payload, readRetain(query))
  if (!broker.mayPublish(message.topic, access)) {
    broker.counters.publishesDenied++
    throw new Refused(403, `${user === '' ? 'you' : user} may not publish to ${name}`)
  }
  if (broker.state !== 'up') {
    throw new Refused(503, `nothing can be stored just now: the engine is ${broker.state}`)
  }
  if (broker.intake.bytes + payload.length > broker.limits.intakeBytes) {
    broker.counters.refusedFull++
    throw new Refused(503, 'there is no room for more messages just now; try again')
  }
  if (message.retain && !broker.retained.room(message)) {
    throw new Refused(507, 'there is no room for more retained messages')
  }
  try {
    await broker.publish(message)
  } catch (error) {
    throw new Refused(503, (error as Error).message)
  }
  broker.activity.published(peerOf(options, request), new MessageRun([message], ''))
  answerJson(response, 200, { topic: name, bytes: payload.length, retain: message.retain })
}

async function read(options: ApiOptions, exchange: Exchange): Promise<void> {
  const { request, response } = exchange
  const { broker } = options
  const strange = hostFault(request.headers, options.origins)
  if (strange !== null) throw new Refused(403, strange)
  const { user, access } = await identify(options, request)
  const name = topicOf(exchange)
  if (!access.maySubscribe(name)) {
    broker.counters.subscribesDenied++
    throw new Refused(403, `${user === '' ? 'you' : user} may not read ${name}`)
  }
  const message = broker.retained.get(name)?.message
  if (message === undefined || message.expires <= broker.engine.now()) {
    throw new Refused(404, `nothing is retained on ${name}; publish with ?retain=true to keep it`)
  }
  // Never a type that a browser would run: what is in there is a stranger's.
  response.setHeader('Content-Security-Policy', "default-src 'none'; sandbox")
  const type = isUtf8(message.payload) ? 'text/plain; charset=utf-8' : 'application/octet-stream'
  answer(response, 200, type, message.payload)
}

const HANDLERS: Readonly<
  Record<string, (options: ApiOptions, exchange: Exchange) => void | Promise<void>>
> = { GET: read, POST: publish, OPTIONS: preflight }

function topicOf({ path }: Exchange): string {
  const name = path.slice(PREFIX.length)
  const fault = topicFault(name)
  if (fault !== null) throw new Refused(400, fault)
  return name
}

function readRetain(query: URLSearchParams): boolean {
  const text = query.get('retain')
  if (text === null || text === 'false') return false
  if (text === 'true') return true
  throw new Refused(400, 'retain is true or false')
}

function make(broker: Broker, topic: string, payload: Buffer, retain: boolean): Message {
  try {
    return broker.message({ topic, payload, qos: 1, retain })
  } catch (error) {
    if (error instanceof MessageError) throw new Refused(400, error.message)
    throw error
  }
}

async function identify(
  { broker, peerOf }: ApiOptions,
  request: IncomingMessage,
): Promise<Identity> {
  const { username, password } = credentials(request.headers.authorization)
  const answered = await broker.access.connect({
    clientId: '',
    username,
    password,
    address: peerOf(request.socket).address,
    door: 'http',
  })
  if (!('refused' in answered)) return answered
  broker.counters.authenticationsFailed++
  if (answered.refused === 'credentials') throw new Refused(401, answered.why)
  throw new Refused(answered.refused === 'busy' ? 429 : 403, answered.why)
}

function credentials(header: string | undefined): {
  username: string | null
  password: Buffer | null
} {
  if (header === undefined) return { username: null, password: null }
  const [, encoded = ''] = /^basic +([A-Za-z0-9+/=_-]+) *$/i.exec(header) ?? []
  const bytes = Buffer.from(encoded, 'base64')
  const colon = bytes.indexOf(':')
  if (colon < 0) throw new Refused(401, 'the Authorization header must be Basic name:password')
  return { username: bytes.toString('utf8', 0, colon), password: bytes.subarray(colon + 1) }
}

/** The whole body, or 413 as soon as it is known to be too much. */
async function body(request: IncomingMessage, limit: number): Promise<Buffer> {
  const tooMuch = new Refused(413, `a message may have ${Math.max(0, limit)} bytes at most`)
  if (Number(request.headers['content-length'] ?? 0) > limit) throw tooMuch
  const chunks: Buffer[] = []
  let size = 0
  return new Promise((resolve, reject) => {
    request.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size <= limit) chunks.push(chunk)
      // The rest flows on into nothing until the answer has closed the connection.
      else reject(tooMuch)
    })
    request.on('end', () => resolve(Buffer.concat(chunks)))
    request.on('close', () => reject(new Refused(400, 'the request ended before its body did')))
  })
}

function peerOf(options: ApiOptions, request: IncomingMessage): Peer {
  const { address, port } = options.peerOf(request.socket)
  const host = address.includes(':') ? `[${address}]` : address
  return { peer: `${host}:${port}`, door: 'http', clientId: '' }
}
