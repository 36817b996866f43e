// The race of tutorial/race.ts: the careless desk really lets two devices own one session, the
// careful one never does, whatever the order in which the storage answers.
import { describe, expect, test } from 'vitest'
import { carefulDesk, carelessDesk, type Owners, type Storage } from '../../tutorial/race.ts'

/** A storage that answers when the test says so, in the order the test chooses. */
function heldStorage(): Storage & { waiting: Array<() => void> } {
  const waiting: Array<() => void> = []
  return { waiting, load: () => new Promise((resolve) => waiting.push(resolve)) }
}

/** Lets every promise that can go on go on. */
const turn = () => new Promise((resolve) => setImmediate(resolve))

async function releaseAll(storage: ReturnType<typeof heldStorage>, last: boolean): Promise<void> {
  await turn()
  while (storage.waiting.length > 0) {
    const release = last ? storage.waiting.pop() : storage.waiting.shift()
    release?.()
    await turn()
  }
}

describe('two CONNECTs with one client identifier', () => {
  test('look, wait, act: both are told that the session is theirs', async () => {
    const owners: Owners = new Map()
    const storage = heldStorage()
    const connect = carelessDesk(owners, storage)
    const told = Promise.all([connect('anna', 'tablet'), connect('anna', 'phone')])
    await releaseAll(storage, false)
    expect(await told).toEqual([true, true])
  })

  test.each([false, true])(
    'one queue for each identifier: one owner (last first: %s)',
    async (last) => {
      const owners: Owners = new Map()
      const storage = heldStorage()
      const connect = carefulDesk(owners, storage)
      const devices = Array.from({ length: 20 }, (_, i) => `device ${i}`)
      const told = Promise.all(devices.map((device) => connect('anna', device)))
      await releaseAll(storage, last)
      expect((await told).filter(Boolean)).toEqual([true])
      expect(owners.get('anna')).toBe('device 0')
    },
  )

  test('another identifier does not wait', async () => {
    const storage = heldStorage()
    const connect = carefulDesk(new Map(), storage)
    const told = Promise.all([connect('anna', 'tablet'), connect('bert', 'phone')])
    await turn()
    expect(storage.waiting).toHaveLength(2)
    await releaseAll(storage, false)
    expect(await told).toEqual([true, true])
  })

  test('a storage that fails once does not block those who come after', async () => {
    let calls = 0
    const storage: Storage = {
      load: async () => {
        calls += 1
        if (calls === 1) throw new Error('the disk is tired')
      },
    }
    const connect = carefulDesk(new Map(), storage)
    const first = connect('anna', 'tablet')
    const second = connect('anna', 'phone')
    await expect(first).rejects.toThrow('the disk is tired')
    expect(await second).toBe(true)
  })
})
