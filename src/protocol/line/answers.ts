// What the server says in the line protocol: one place for its words, so that docs/protocol.md, the
// links and the tests agree. `OK …`, `ERR what is wrong; what to do`, and `- …` for items.

import type { Refusal } from '../../core/access.ts'
import type { Goodbye } from '../../core/link.ts'
import type { SubscribeFault } from '../../core/subscribe-fault.ts'
import { shownName, shownWord } from './display.ts'

const listed = (names: readonly string[]): string => names.map(shownName).join(', ')

export const GOODBYE = 'OK goodbye'
export const HEARD =
  "OK received and shown on the server's terminal; you have no role yet: type PUBLISHER, SUBSCRIBER or HELP"
export const LOGIN_FIRST = 'ERR this server wants to know who you are; type LOGIN name password'
export const LOGIN_WRONG = 'ERR name or password is wrong; try again'
export const LOGIN_ENOUGH = 'ERR name or password is wrong three times; this connection ends'
export const IS_SUBSCRIBER =
  'ERR you are a subscriber; type SUB filter to receive more, or open a second connection to publish'
export const IS_PUBLISHER =
  'ERR a publisher does not receive; open a second connection and type SUBSCRIBER'
export const NO_NAME = 'ERR nothing is kept for you; only SUBSCRIBER filter AS name is remembered'
export const NO_SUBSCRIPTIONS = 'ERR you have no role and receive nothing; type SUBSCRIBER or HELP'
export const LOGIN_LATE = 'ERR you have a role already; log in on a new connection'

export const overlong = (limit: number): string =>
  `ERR a line may have ${limit} bytes and this one has more; it was dropped, send shorter lines`
export const idle = (seconds: number): string =>
  `ERR nothing was heard for ${seconds} seconds; connect again when you are ready`
export const noCommand = (line: string): string =>
  `ERR "${shownWord(line)}" is no command; type HELP`
export const noSlashCommand = (line: string): string =>
  `ERR "/${shownWord(line)}" is no command; type /help, or // to publish a line that begins with /`

export const publishes = (topics: readonly string[]): string =>
  `OK you publish to ${listed(topics)}; every line is a message, "terminate" ends`
export function receives(filters: readonly string[], name: string, present: boolean): string {
  const what = `you receive ${listed(filters)}`
  if (name === '') return `OK ${what}; "terminate" ends`
  const who = shownName(name)
  const kept = 'what you miss while away is kept, "terminate" ends'
  return present ? `OK welcome back, ${who}: ${what}; ${kept}` : `OK ${what} as ${who}; ${kept}`
}
export const alsoReceives = (filters: readonly string[]): string =>
  `OK you receive ${listed(filters)}`
export const noLongerReceives = (filters: readonly string[]): string =>
  `OK you no longer receive ${listed(filters)}`
export const doesNotReceive = (filter: string): string =>
  `ERR you do not receive ${shownName(filter)}; UNSUB takes a filter exactly as it was given`
export const forgotten = (name: string): string => `OK ${shownName(name)} is forgotten; goodbye`
export const loggedIn = (user: string): string => `OK you are ${shownName(user)}`

export const badTopic = (topic: string, why: string): string =>
  /[+#]/.test(topic)
    ? 'ERR a topic to publish to cannot contain + or #; name each topic'
    : `ERR ${shownWord(topic)} is not a topic: ${why}; see HELP`
export const badFilter = (filter: string, why: string): string =>
  `ERR ${shownWord(filter)} is not a filter: ${why}; see HELP`
export const tooManyTopics = (most: number): string =>
  `ERR one publisher has at most ${most} topics; name fewer`
export const mayNotPublish = (topic: string): string =>
  `ERR you may not publish to ${shownWord(topic)}; ask who runs this server`

export function notSubscribed(filter: string, fault: SubscribeFault, why: string): string {
  if (fault === 'invalid') return badFilter(filter, why)
  if (fault === 'forbidden' || fault === 'closed') {
    return `ERR you may not subscribe to ${shownWord(filter)}; ask who runs this server`
  }
  return `ERR ${shownWord(filter)} was not subscribed to: ${why}; unsubscribe from something first`
}

export function notWelcome({ refused, why }: Refusal, named: boolean): string {
  if (refused === 'credentials') return named ? LOGIN_WRONG : LOGIN_FIRST
  return `ERR ${shownName(why)}; ${refused === 'busy' ? 'try again in a moment' : 'ask who runs this server'}`
}

/** Why the server ends the connection. */
export function parting(goodbye: Goodbye, name: string): string {
  switch (goodbye) {
    case 'session-taken-over':
      return `ERR somebody else came as ${shownName(name)}; this connection ends`
    case 'session-ended':
      return 'ERR your session was ended by the server; connect again'
    case 'server-shutting-down':
    case 'use-another-server':
      return 'ERR the server is going down; connect again in a moment'
    case 'access-revoked':
      return 'ERR you may not be here any more; ask who runs this server'
    case 'engine-lost':
      return 'ERR the server cannot reach what it stores; connect again in a moment'
  }
}

export const HELP: readonly string[] = [
  '- PUBLISHER [topic ...]           from now on every line you type is a message; no topic: general',
  '- SUBSCRIBER [filter ...]         receive messages; + is any one level, # all below: SPORTS/#',
  '- SUBSCRIBER filter ... AS name   the same, and what you miss while away is kept under that name',
  '- PUB topic text                  publish one message (a publisher: /pub topic text)',
  '- SUB filter, UNSUB filter        receive more, receive less',
  '- TOPICS, WHO, HELP               what there is, who is here, this (a publisher: /topics, /who, /help)',
  '- LOGIN name password, FORGET     say who you are; keep nothing for me any more',
  '- terminate                       goodbye',
  '- anything else, before a role    is shown on the terminal of the server',
  '- //text                          a publisher sends /text',
  'OK that is all; docs/protocol.md has the details',
]
