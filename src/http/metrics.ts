// The figures of this server as Prometheus reads them: every counter of core, and gauges of what is
// there now. One table a kind; a counter that is added without its words here does not compile.

import type { Broker } from '../core/broker.ts'
import type { Counters } from '../core/counters.ts'
import type { DelayReading } from './loop-delay.ts'

const COUNTERS: Readonly<Record<Exclude<keyof Counters, 'connectionsOpen'>, string>> = {
  connectionsAccepted: 'Connections accepted.',
  connectionsRefused: 'Connections refused by a limit or for their origin.',
  authenticationsFailed: 'Logins turned away.',
  publishesDenied: 'Publishes refused for want of permission.',
  subscribesDenied: 'Subscriptions refused for want of permission.',
  messagesIn: 'Messages accepted from publishers.',
  bytesIn: 'Bytes of messages accepted from publishers.',
  messagesOut: 'Messages handed to subscribers.',
  bytesOut: 'Bytes of messages handed to subscribers.',
  droppedSlow: 'QoS 0 messages not delivered because the reader was behind.',
  droppedTooLarge: 'Messages above the Maximum Packet Size of a subscriber.',
  droppedExpired: 'Messages that expired before they could be delivered.',
  droppedOverrun: 'Messages a session missed because the log no longer had them.',
  droppedNoMember: 'Messages for a shared group that had no member.',
  refusedFull: 'Publishes refused because there was no room to store them.',
  linksPaused: 'Times a link was not read because its publishes found no room.',
  stalledClosed: 'Connections closed because their reader took nothing any more.',
  keepAliveClosed: 'Connections closed because their keep alive ran out.',
  protocolErrors: 'Connections closed for breaking their protocol.',
  limitsReached: 'Refusals because a configured limit was reached.',
  takeovers: 'Sessions taken over by a new connection of the same client.',
  sessionsExpired: 'Sessions that ended while their client was away.',
  sessionsEvicted: 'Times a session lost messages to keep the log within its bounds.',
  messagesEvicted: 'Messages that sessions lost to keep the log within its bounds.',
  willsPublished: 'Wills published.',
  topicsEvicted: 'Topics forgotten to keep the topic table within its bound.',
  recordsDamaged: 'Stored records found damaged and not served.',
}

type Gauge = readonly [name: string, help: string, value: number]

export interface ServerFigures {
  readonly version: string
  readonly delay: DelayReading
  /** Whether new work is welcome, as /readyz says. */
  readonly ready: boolean
  /** Seconds since the server started. */
  readonly uptime: number
}

/** The text exposition format, version 0.0.4. */
export function renderMetrics(broker: Broker, server: ServerFigures): string {
  const lines: string[] = []
  const add = (name: string, type: string, help: string, value: number, labels = ''): void => {
    const figure = value === Number.POSITIVE_INFINITY ? '+Inf' : value
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, `${name}${labels} ${figure}`)
  }
  for (const [key, help] of Object.entries(COUNTERS)) {
    const value = broker.counters[key as keyof Counters]
    add(`partyline_${snake(key)}_total`, 'counter', help, value)
  }
  for (const [name, help, value] of gauges(broker, server)) add(name, 'gauge', help, value)
  const about = `{version="${label(server.version)}",engine="${label(broker.engine.name)}"}`
  add('partyline_info', 'gauge', 'What is running; always 1.', 1, about)
  const delays = 'partyline_event_loop_delay_seconds'
  lines.push(
    `# HELP ${delays} How long due work waited for the event loop, over the last seconds.`,
    `# TYPE ${delays} gauge`,
    `${delays}{quantile="0.5"} ${server.delay.p50}`,
    `${delays}{quantile="0.99"} ${server.delay.p99}`,
  )
  return `${lines.join('\n')}\n`
}

function gauges(broker: Broker, { ready, uptime }: ServerFigures): Gauge[] {
  const { sessions, router, retained, topics, groups, intake, saver, engine, counters } = broker
  const memory = process.memoryUsage()
  const log = engine.bounds()
  const all: Gauge[] = [
    ['partyline_ready', 'Whether new work is welcome, 1 or 0.', ready ? 1 : 0],
    ['partyline_connections_open', 'Connections open.', counters.connectionsOpen],
    ['partyline_sessions', 'Sessions, connected or away.', sessions.size],
    ['partyline_sessions_away', 'Sessions whose client is away.', sessions.away],
    ['partyline_subscriptions', 'Subscriptions.', router.subscriptionCount],
    ['partyline_shared_groups', 'Groups of shared subscriptions.', groups.size],
    ['partyline_topics', 'Topics remembered.', topics.size],
    ['partyline_retained_messages', 'Retained messages.', retained.count],
    ['partyline_retained_bytes', 'Bytes of retained messages.', retained.bytes],
    ['partyline_intake_bytes', 'Bytes of messages accepted and not yet stored.', intake.bytes],
    ['partyline_saves_waiting', 'Saves of session records not done yet.', saver.waiting],
    ['partyline_log_bytes', 'Bytes of the log of QoS 1 and 2 messages.', log.bytes],
    ['partyline_log_bytes_limit', 'Bytes the log may hold.', log.cap],
    ['partyline_uptime_seconds', 'Seconds since the server started.', uptime],
    ['process_resident_memory_bytes', 'Resident memory, mapped files included.', memory.rss],
    ['nodejs_heap_used_bytes', 'Bytes of JavaScript objects.', memory.heapUsed],
    ['nodejs_array_buffers_bytes', 'Bytes of buffers.', memory.arrayBuffers],
  ]
  return all.map(([name, help, value]) => [name, help, value])
}

function snake(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}

function label(text: string): string {
  return text.replace(/[\\"\n]/g, (sign) => (sign === '\n' ? '\\n' : `\\${sign}`))
}
