// What the harness reads from the generator, and what it makes of the samples: rows, verdicts, pages, charts.
import { describe, expect, test } from 'vitest'
import { loadArguments, parseReport } from '../../bench/generator.ts'
import { judge } from '../../bench/goals.ts'
import { get48, put48 } from '../../bench/load-protocols.ts'
import type { Sample } from '../../bench/measure.ts'
import { drawChart, short } from '../../bench/plot.ts'
import { drawCharts, type Facts, resultsPage, terminalTable } from '../../bench/report.ts'
import { summarize } from '../../bench/summary.ts'
import { workloads } from '../../bench/workloads.ts'

const roles = {
  ours: 'Partyline',
  oursOnDisk: 'Partyline (disk)',
  floor: 'floor',
  peers: ['NATS', 'Redis', 'Mosquitto'],
}
const workload = (name: string) => workloads.find((one) => one.name === name)!

function samples(name: string, metric: string, figures: Record<string, number[]>): Sample[] {
  return Object.entries(figures).flatMap(([contender, values]) =>
    values.map((value, index) => ({
      ...{ workload: name, contender, round: index + 1, metrics: { [metric]: value } },
      ...{ generatorBound: false, faults: '' },
    })),
  )
}

const facts: Facts = {
  ...{ date: '2000-01-01', machine: 'a machine', command: 'npm run bench', generator: '' },
  ...{ rounds: 3, seconds: 1, idleConnections: 10, idleWait: 1 },
  stored: { messages: 100, retained: 10, sessions: 1 },
  participants: ['Partyline', 'NATS', 'Redis', 'Mosquitto', 'floor'].map((name) => ({
    ...{ name, version: '1', settings: '' },
  })),
  absentees: [{ name: 'FlashMQ', reason: 'not here' }],
  protocol: (name, { needs }) => (name === 'NATS' && needs.includes('qos') ? undefined : 'mqtt4'),
}

describe('the report of the generator', () => {
  test('is the last line it printed', () => {
    const text = '{"event":"ready"}\n{"per_second":12.5,"received":3,"ok":true}\n'
    expect(parseReport(text)).toMatchObject({ per_second: 12.5, received: 3, ok: true })
  })

  test('that names an error becomes that error', () => {
    const text = '{"generator":"c","error":"the broker closed the connection of subscriber 3"}'
    expect(() => parseReport(text)).toThrow('the broker closed the connection of subscriber 3')
  })

  test.each(['', 'Segmentation fault', '[1]', '7', '{"received":1}'])('is not %j', (text) => {
    expect(() => parseReport(text)).toThrow(/report/)
  })

  test('is asked for with long options', () => {
    const options = { port: 1883, wildcard: true, rate: 0.5 } as const
    expect(loadArguments(options)).toEqual(['--port', '1883', '--wildcard', '--rate', '0.5'])
  })
})

test('48 bits become eight printable characters and come back', () => {
  const bytes = Buffer.alloc(10, '.')
  for (const value of [0, 1, 63, 64, 123_456_789_012, 2 ** 48 - 1]) {
    put48(bytes, 1, value)
    expect(get48(bytes, 1)).toBe(value)
    expect(bytes.toString('latin1')).toMatch(/^\.[0-o]{8}\.$/)
  }
})

describe('a row', () => {
  test('compares us with the best peer round by round, and leaves the floor out of it', () => {
    const figures = { Partyline: [40, 80, 20], NATS: [20, 40, 10], Redis: [5, 6, 7], floor: [99] }
    const [row] = summarize(workload('1to1'), samples('1to1', 'rate', figures), roles)
    expect(row).toMatchObject({ bestPeer: 'NATS', ratio: { rounds: 3 }, floor: { rounds: 1 } })
    expect(row!.ratio!.ratio).toBeCloseTo(2)
    expect(row!.medians.get('Partyline')).toBe(40)
  })

  test('of latencies takes the smallest for the best', () => {
    const figures = { Partyline: [3], NATS: [2], Redis: [4] }
    const rows = summarize(workload('latency-1k'), samples('latency-1k', 'p99', figures), roles)
    expect(rows.find((row) => row.metric === 'p99')).toMatchObject({ bestPeer: 'NATS' })
  })

  test('pairs only rounds that both finished, and says what went wrong in the others', () => {
    const all = samples('1to1', 'rate', { Partyline: [10, 20], NATS: [5, 5] })
    const broken = { ...all[0]!, metrics: {}, error: 'the broker went away' }
    const [row] = summarize(workload('1to1'), [broken, ...all.slice(1)], roles)
    expect(row!.ratio).toMatchObject({ ratio: 4, rounds: 1 })
    expect(row!.troubles.get('Partyline')).toBe('1 round: the broker went away')
  })

  test('is generator-bound when that holds for most rounds', () => {
    const all = samples('1to1', 'rate', { Partyline: [1, 1, 1], NATS: [1, 1, 1] })
    const bound = all.map((one, index) => ({ ...one, generatorBound: index < 2 || index === 3 }))
    const [row] = summarize(workload('1to1'), bound, roles)
    expect([...row!.generatorBound]).toEqual(['Partyline'])
  })
})

describe('the goals', () => {
  const verdictsOf = (name: string, metric: string, figures: Record<string, number[]>) => {
    const all = samples(name, metric, figures)
    return judge(summarize(workload(name), all, roles), all, roles)
  }
  const found = (verdicts: ReturnType<typeof verdictsOf>, words: string) =>
    verdicts.find((one) => one.goal.includes(words))!

  test('say met, missed and not measured', () => {
    const verdicts = verdictsOf('1to1', 'rate', {
      Partyline: [30, 31],
      NATS: [10, 10],
      floor: [60],
    })
    expect(found(verdicts, 'at least twice')).toMatchObject({ met: true })
    expect(found(verdicts, '60 % of the floor')).toMatchObject({ met: false })
    expect(found(verdicts, 'p50').met).toBeUndefined()
  })

  test('take behind to mean that the whole interval lies below 0.95', () => {
    const noisy = verdictsOf('1to1', 'rate', { Partyline: [9, 5, 12], NATS: [10, 10, 10] })
    expect(found(noisy, 'behind')).toMatchObject({ met: true })
    const clear = verdictsOf('1to1', 'rate', { Partyline: [9, 9.1, 9], NATS: [10, 10, 10] })
    expect(found(clear, 'behind')).toMatchObject({ met: false, measured: '1to1 0.90 ×' })
  })

  test('want three times Mosquitto also where another peer is best', () => {
    const figures = { Partyline: [25], Redis: [12], Mosquitto: [10] }
    expect(found(verdictsOf('qos1-w20', 'rate', figures), 'QoS 1 and 2').met).toBe(false)
    const better = { ...figures, Partyline: [31] }
    expect(found(verdictsOf('qos1-w20', 'rate', better), 'QoS 1 and 2').met).toBe(true)
  })

  test('say of a figure that the generator was at its end', () => {
    const all = samples('1to1', 'rate', { Partyline: [5, 5], floor: [10, 10] })
    const bound = all.map((one) => ({ ...one, generatorBound: one.contender === 'Partyline' }))
    const verdicts = judge(summarize(workload('1to1'), bound, roles), bound, roles)
    expect(found(verdicts, 'of the floor').measured).toBe('1to1 50 % (generator-bound)')
  })

  test('hold the server that syncs against the one that does not, and against its own disk', () => {
    const fast = { 'Partyline (disk)': [310], Mosquitto: [100] }
    expect(found(verdictsOf('stored-w256', 'rate', fast), 'stored-w256')).toMatchObject({
      met: true,
      measured: '3.10 ×',
    })
    const slow = { 'Partyline (disk)': [290], Mosquitto: [100] }
    expect(found(verdictsOf('stored-w256', 'rate', slow), 'stored-w256').met).toBe(false)
    const alone = samples('stored-w1', 'rate', { 'Partyline (disk)': [300, 500] })
    for (const [metrics, met] of [
      [{ rate: 300, syncs: 900 }, true],
      [{ rate: 300, syncs: 1000 }, false],
    ] as const) {
      const all = alone.map((one) => ({ ...one, metrics }))
      const verdicts = judge(summarize(workload('stored-w1'), all, roles), all, roles)
      expect(found(verdicts, 'one stored message at a time').met).toBe(met)
    }
    const replays = verdictsOf('replay-400', 'rate', { 'Partyline (disk)': [299_999] })
    expect(found(replays, 'replay-400').met).toBe(false)
    expect(found(replays, 'replay-1').met).toBeUndefined()
  })

  test('allow 0.2 ms over the best latency, or the factor where that is more', () => {
    const near = verdictsOf('latency-1k', 'p99', { Partyline: [249], NATS: [50] })
    expect(found(near, 'p99 at most').met).toBe(true)
    const far = verdictsOf('latency-1k', 'p99', { Partyline: [3000], NATS: [2000] })
    expect(found(far, 'p99 at most').met).toBe(false)
  })
})

describe('the page', () => {
  const all = samples('qos1-w20', 'rate', { Partyline: [9e6, 9e6], Mosquitto: [90_000, 90_000] })
  const lost = { ...all[3]!, faults: '7 lost' }
  const rows = summarize(workload('qos1-w20'), [...all.slice(0, 3), lost], roles)
  const verdicts = [{ goal: 'to be quick', measured: '3 ×', met: false }]
  const page = resultsPage(rows, verdicts, facts, 'Partyline', ['throughput.svg'])

  test('names who is missing, who cannot take part, who failed and what was lost', () => {
    expect(page).toContain('Missing: FlashMQ (not here).')
    expect(page).toMatch(/QoS 1, 1 → 1, window 20 \| 9\.0 M \| – \| failed \| \*90 k †\* \| failed/)
    expect(page).toContain('- qos1-w20, Mosquitto: 1 round: 7 lost')
  })

  test('shows a missed goal in bold', () => {
    expect(page).toContain('| **to be quick** | **3 ×** | **no** |')
  })

  test('says of each workload that missed a goal what is known about it', () => {
    const missed = ['qos1-w1', 'qos2']
    const told = resultsPage(rows, [{ ...verdicts[0]!, missed }], facts, 'Partyline', [])
    expect(told).toMatch(/- `qos1-w1`: a message at a time costs two reads and two writes/)
    expect(told).toContain('- `qos2`: not looked into yet.')
    expect(page).not.toContain('Why, and what would reach it')
  })

  test('shows processor time in a table of its own, the least as the best', () => {
    const figures = { Partyline: [40], NATS: [900], Redis: [1200] }
    const cpu = summarize(workload('1to1'), samples('1to1', 'cpu', figures), roles)
    const [, after] = resultsPage(cpu, [], facts, 'Partyline', []).split('## Processor time')
    expect(after).toContain('| 1 → 1 | 40 ns | *900 ns* | 1.2 µs |')
  })

  test('has the same cells for the terminal', () => {
    expect(terminalTable(rows, facts, 'Partyline')).toMatch(/window 20\s+9\.0 M\s+–\s+failed/)
  })

  test('comes with a chart whose text is escaped and whose bars are to scale', () => {
    expect([...drawCharts(rows, facts, 'Partyline').keys()]).toEqual(['acknowledged.svg'])
    const bars = [
      { name: 'a', value: 10 },
      { name: 'b', value: 5 },
    ]
    const svg = drawChart({
      ...{ title: '1 < 2', subtitle: '', format: short, ours: 'a', scalePerGroup: true },
      groups: [{ label: 'x', bars }],
    })
    const widths = [...svg.matchAll(/<rect [^>]*width="([\d.]+)"/g)].map((match) =>
      Number(match[1]),
    )
    expect(svg).toContain('1 &lt; 2')
    expect(widths[0]).toBeCloseTo(2 * widths[1]!)
  })
})
