// Bar charts as SVG, written by hand: one group a row, one bar a contender. They are drawn for a light and a dark page:
// colours that read on both, and text in the middle grey that GitHub uses.

export interface Bar {
  readonly name: string
  /** Undefined leaves a gap that says "–": it did not take part. */
  readonly value: number | undefined
}

export interface Chart {
  readonly title: string
  readonly subtitle: string
  readonly groups: readonly { readonly label: string; readonly bars: readonly Bar[] }[]
  /** Writes a value at the end of its bar. */
  readonly format: (value: number) => string
  /** Bars of this contender are drawn in the strong colour. */
  readonly ours: string
  /** Lengths are relative to the longest bar of each group, not of the whole chart. */
  readonly scalePerGroup: boolean
}

const WIDTH = 760
const LABEL = 110
const VALUE = 70
const BAR = 13
const GAP = 3
const HEAD = 58
const BETWEEN = 30
const OURS = '#d9480f'
const TEXT = '#7d8590'
const SHADES: Readonly<Record<string, string>> = {
  NATS: '#4c8dd6',
  Redis: '#8a6fd1',
  Mosquitto: '#3f9e8f',
  FlashMQ: '#b08a2e',
  Aedes: '#6b9a3a',
  floor: '#9aa0a6',
}

/** The chart as the text of an SVG file. */
export function drawChart(chart: Chart): string {
  const everything = chart.groups.flatMap((group) => group.bars.map((bar) => bar.value ?? 0))
  const longest = Math.max(...everything, 0)
  const parts: string[] = []
  let y = HEAD
  for (const group of chart.groups) {
    parts.push(text(16, y + 10, group.label, 'font-weight="600"'))
    y += 20
    const own = Math.max(...group.bars.map((bar) => bar.value ?? 0))
    const scale = (WIDTH - LABEL - VALUE) / ((chart.scalePerGroup ? own : longest) || 1)
    for (const bar of group.bars) {
      parts.push(drawBar(bar, y, scale, chart))
      y += BAR + GAP
    }
    y += BETWEEN - 20
  }
  const head = [
    text(16, 24, chart.title, 'font-size="16" font-weight="600"'),
    text(16, 42, chart.subtitle),
  ]
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" width="${WIDTH}" height="${y}" font-family="system-ui, sans-serif" font-size="12" fill="${TEXT}" role="img" aria-label="${entities(chart.title)}">`,
    ...head,
    ...parts,
    '</svg>',
    '',
  ].join('\n')
}

function drawBar(bar: Bar, y: number, scale: number, chart: Chart): string {
  const ours = bar.name === chart.ours
  const bold = ours ? 'font-weight="600"' : ''
  const name = text(LABEL - 8, y + 11, bar.name, `text-anchor="end" ${bold}`)
  if (bar.value === undefined) return name + text(LABEL, y + 11, '–')
  const width = Math.max(1, bar.value * scale).toFixed(1)
  const colour = ours ? OURS : (SHADES[bar.name] ?? '#9aa0a6')
  const rectangle = `<rect x="${LABEL}" y="${y}" width="${width}" height="${BAR}" rx="2" fill="${colour}"/>`
  const value = text(LABEL + Number(width) + 6, y + 11, chart.format(bar.value), bold)
  return name + rectangle + value
}

function text(x: number, y: number, words: string, more = ''): string {
  return `<text x="${x}" y="${y}" ${more}>${entities(words)}</text>`
}

function entities(words: string): string {
  return words
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}

/** 4 712 000 → "4.7 M", 59 123 → "59 k", 812 → "812". */
export function short(value: number): string {
  if (value >= 10_000_000) return `${(value / 1e6).toFixed(0)} M`
  if (value >= 1_000_000) return `${(value / 1e6).toFixed(1)} M`
  if (value >= 10_000) return `${(value / 1e3).toFixed(0)} k`
  if (value >= 1000) return `${(value / 1e3).toFixed(1)} k`
  return value < 10 ? value.toFixed(2) : value.toFixed(0)
}
