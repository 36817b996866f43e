// Whether this server lives and whether it wants work: two questions that supervisors and load
// balancers ask differently, so they have two answers.

import type { Broker } from '../core/broker.ts'
import { answer, answerJson, type Route } from './door.ts'
import type { LoopDelay } from './loop-delay.ts'
import { renderMetrics } from './metrics.ts'

export interface HealthOptions {
  readonly broker: Broker
  readonly delay: Pick<LoopDelay, 'read'>
  readonly version: string
  /** Whether the server is on its way out. */
  draining(): boolean
  /** Seconds since the server started. */
  uptime(): number
}

/** Seconds of event loop delay above which more work would only make things worse. */
const DELAY_MAX = 1

/** Why new work is not welcome, for people; null when it is. */
export function unreadiness({ broker, delay, draining }: HealthOptions): string | null {
  if (draining()) return 'the server is draining'
  if (broker.state !== 'up') {
    const why = broker.stateReason === '' ? '' : `: ${broker.stateReason}`
    return `the ${broker.engine.name} engine is ${broker.state}${why}`
  }
  const { p99 } = delay.read()
  if (p99 <= DELAY_MAX) return null
  return `the event loop is ${p99.toFixed(1)} s behind (p99), more than ${DELAY_MAX} s`
}

export function healthRoutes(options: HealthOptions): Route[] {
  return [
    {
      method: 'GET',
      path: '/healthz',
      answer: ({ response }) => answerJson(response, 200, { status: 'ok' }),
    },
    {
      method: 'GET',
      path: '/readyz',
      answer: ({ response }) => {
        const why = unreadiness(options)
        if (why === null) answerJson(response, 200, { ready: true })
        else answerJson(response, 503, { ready: false, why })
      },
    },
    {
      method: 'GET',
      path: '/metrics',
      answer: ({ response }) => {
        const text = renderMetrics(options.broker, {
          version: options.version,
          delay: options.delay.read(),
          ready: unreadiness(options) === null,
          uptime: options.uptime(),
        })
        answer(response, 200, 'text/plain; version=0.0.4; charset=utf-8', text)
      },
    },
  ]
}
