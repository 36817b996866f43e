// The HTTP door: one server that never listens (the listener gives it sockets), a table of routes,
// and answers in JSON for everything that is none of them. Knows nothing about topics or metrics.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'

/** A question and where its answer goes. */
export interface Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** Decoded path without the query, such as `/topics/home/light`. */
  readonly path: string
  readonly query: URLSearchParams
}

export interface Route {
  /** Such as GET; HEAD is answered by GET's route. */
  readonly method: string
  /** The whole path, or with a slash and a star at its end everything below it. */
  readonly path: string
  answer(exchange: Exchange): void | Promise<void>
}

/** Seconds in which the headers of a request must have come. */
export interface DoorTimes {
  readonly headers: number
}

const KEEP_ALIVE_MS = 5_000
const REQUEST_MS = 60_000
const HEADER_BYTES = 16 * 1024

/** What a browser is told with every answer: nothing is sniffed, framed or cached unless a route says so. */
const COMMON_HEADERS: Readonly<Record<string, string>> = {
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Cache-Control': 'no-store',
}

/** `failed` is told of answers that threw: a fault of ours, which the asker sees as 500. */
export function createDoor(
  routes: readonly Route[],
  times: DoorTimes,
  failed: (error: unknown) => void,
): Server {
  const server = createServer({
    headersTimeout: times.headers * 1000,
    requestTimeout: REQUEST_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectionsCheckingInterval: 1000,
    maxHeaderSize: HEADER_BYTES,
  })
  server.on('request', (request, response) => {
    for (const [name, value] of Object.entries(COMMON_HEADERS)) response.setHeader(name, value)
    dispatch(routes, request, response).catch((error: unknown) => {
      failed(error)
      if (response.headersSent) response.destroy()
      else answerError(response, 500, 'something went wrong here; the log of the server says what')
    })
  })
  // An HTTP server looks for late headers only once it listens, which this one never does itself.
  server.emit('listening')
  return server
}

async function dispatch(
  routes: readonly Route[],
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const [rawPath = '/', rawQuery = ''] = (request.url ?? '/').split('?', 2)
  const path = decode(rawPath)
  if (path === null) return answerError(response, 400, 'the path holds a % that is no encoding')
  const there = routes.filter((route) => covers(route.path, path))
  if (there.length === 0) {
    return answerError(
      response,
      404,
      `there is nothing at ${path}; see / for what this port speaks`,
    )
  }
  const method = request.method === 'HEAD' ? 'GET' : request.method
  const route = there.find((each) => each.method === method)
  if (route === undefined) {
    const methods = there.map((each) => each.method).join(', ')
    response.setHeader('Allow', methods)
    return answerError(response, 405, `${path} takes ${methods} only`)
  }
  await route.answer({ request, response, path, query: new URLSearchParams(rawQuery) })
}

function covers(pattern: string, path: string): boolean {
  return pattern.endsWith('/*') ? path.startsWith(pattern.slice(0, -1)) : path === pattern
}

function decode(path: string): string | null {
  try {
    return decodeURIComponent(path)
  } catch {
    return null
  }
}

/** An answer of one JSON value and a line end. */
export function answerJson(response: ServerResponse, status: number, value: unknown): void {
  answer(response, status, 'application/json', `${JSON.stringify(value)}\n`)
}

/** What went wrong and what to do, as `{"error": …}`. */
export function answerError(response: ServerResponse, status: number, error: string): void {
  answerJson(response, status, { error })
}

export function answer(
  response: ServerResponse,
  status: number,
  type: string,
  body: string | Buffer,
): void {
  response.statusCode = status
  response.setHeader('Content-Type', type)
  response.setHeader('Content-Length', Buffer.byteLength(body))
  response.end(body)
}
