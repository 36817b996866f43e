// Streams that two nodes make at once: whoever comes second uses what the first has made, also while the
// servers do not all know it yet.

import { expect, test } from 'vitest'
import { type Api, ApiError, ErrCode } from '../../src/engine/nats/api.ts'
import { Names } from '../../src/engine/nats/options.ts'
import { Streams } from '../../src/engine/nats/streams.ts'
import { ManualRuntime, resolveTopic } from './contract.ts'

/** Servers that take a stream at once and tell of it only when it was asked for so often in vain. */
class Servers {
  readonly streams = new Map<string, Record<string, unknown>>()
  readonly #inVain = new Map<string, number>()

  readonly api = {
    ask: async (request: string, config?: Record<string, unknown>) => {
      const [, verb, name = ''] = request.split('.')
      const known = this.streams.get(name)
      if (verb === 'CREATE') {
        if (known !== undefined) {
          const description = 'stream name already in use with a different configuration'
          throw new ApiError({ code: 400, err_code: ErrCode.streamExists, description })
        }
        this.streams.set(name, config!)
        return { config }
      }
      const left = this.#inVain.get(name) ?? 0
      this.#inVain.set(name, left - 1)
      if (known === undefined || left > 0) {
        throw new ApiError({ code: 404, err_code: ErrCode.streamNotFound })
      }
      return { config: known }
    },
  } as unknown as Api

  hide(times: number): void {
    for (const name of this.streams.keys()) this.#inVain.set(name, times)
  }
}

test('a node uses streams that another made a moment ago and that its server does not know yet', async () => {
  const servers = new Servers()
  const options = { servers: [], runtime: new ManualRuntime(), resolve: resolveTopic }
  const names = new Names(options)
  const first = await new Streams(servers.api, names, options).ensure('first')
  expect(first.log).toBe('first')

  servers.hide(3)
  const second = await new Streams(servers.api, names, options).ensure('second')
  expect(second).toEqual(first)
})
