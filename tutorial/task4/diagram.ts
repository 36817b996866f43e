// Draws architecture.svg, the picture of task 4. The picture is made from this file and from nothing
// else: change it here, then run  npx tsx diagram.ts  in this folder. A test compares the two.
import { writeFileSync } from 'node:fs'

const BLUE = '#1d4ed8' // A message on its way in.
const GREEN = '#15803d' // The acknowledgement.
const ORANGE = '#c2410c' // The message on its way out.
const INK = '#1f2937'
const GREY = '#6b7280'

type Anchor = 'start' | 'middle' | 'end'
type TextStyle = { size?: number; weight?: number; fill?: string; anchor?: Anchor }

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}

function text(x: number, y: number, words: string, style: TextStyle = {}): string {
  const { size = 14, weight = 400, fill = INK, anchor = 'middle' } = style
  return `<text x="${x}" y="${y}" font-size="${size}" font-weight="${weight}" fill="${fill}" text-anchor="${anchor}">${escaped(words)}</text>`
}

/** Several lines of text below each other, 18 units apart. */
function lines(x: number, y: number, all: string[], style: TextStyle = {}): string {
  return all.map((words, i) => text(x, y + i * 18, words, style)).join('\n')
}

type BoxStyle = { fill?: string; stroke?: string; dashed?: boolean; radius?: number }

function box(x: number, y: number, width: number, height: number, style: BoxStyle = {}): string {
  const { fill = '#ffffff', stroke = INK, dashed = false, radius = 8 } = style
  const dash = dashed ? ' stroke-dasharray="6 4"' : ''
  return `<rect x="${x}" y="${y}" width="${width}" height="${height}" rx="${radius}" fill="${fill}" stroke="${stroke}" stroke-width="1.5"${dash}/>`
}

const heads: Record<string, string> = { [BLUE]: 'blue', [GREEN]: 'green', [ORANGE]: 'orange' }

function arrow(points: Array<[number, number]>, colour: string, dashed = false): string {
  const [start, ...rest] = points
  const path = `M${start?.join(' ')} ${rest.map((point) => `L${point.join(' ')}`).join(' ')}`
  const dash = dashed ? ' stroke-dasharray="6 4"' : ''
  const head = heads[colour] ?? 'grey'
  return `<path d="${path}" fill="none" stroke="${colour}" stroke-width="2.5"${dash} marker-end="url(#${head})"/>`
}

function badge(x: number, y: number, number: number, colour: string): string {
  return `<circle cx="${x}" cy="${y}" r="11" fill="${colour}"/>
${text(x, y + 5, String(number), { size: 14, weight: 700, fill: '#ffffff' })}`
}

function marker(id: string, colour: string): string {
  return `<marker id="${id}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="6" markerHeight="6" orient="auto-start-reverse"><path d="M0 0 L10 5 L0 10 z" fill="${colour}"/></marker>`
}

/** The band of one layer: its name and purpose on the left, what its loss means on the right. */
function layer(
  y: number,
  height: number,
  fill: string,
  name: string,
  purpose: string[],
  loss: string[],
): string {
  return [
    `<rect x="16" y="${y}" width="1168" height="${height}" rx="12" fill="${fill}"/>`,
    text(34, y + 30, name, { size: 17, weight: 700, anchor: 'start' }),
    lines(34, y + 54, purpose, { size: 13, fill: GREY, anchor: 'start' }),
    text(906, y + 30, 'If one is lost', { size: 13, weight: 700, anchor: 'start' }),
    lines(906, y + 54, loss, { size: 13, fill: GREY, anchor: 'start' }),
  ].join('\n')
}

function clients(): string {
  return [
    layer(
      64,
      106,
      '#f3f4f6',
      'Clients',
      ['know one address and', 'reconnect when cut off'],
      ['nobody else notices'],
    ),
    box(260, 86, 180, 62),
    text(350, 112, 'Publisher', { size: 16, weight: 600 }),
    text(350, 133, 'says “goal” to SPORTS', { size: 12, fill: GREY }),
    text(560, 122, 'many more …', { fill: GREY }),
    box(680, 86, 180, 62),
    text(770, 112, 'Subscriber', { size: 16, weight: 600 }),
    text(770, 133, 'wants SPORTS', { size: 12, fill: GREY }),
  ].join('\n')
}

function balancers(): string {
  return [
    layer(
      212,
      150,
      '#eff6ff',
      'Load balancers',
      ['give each client to the', 'least busy healthy node;', 'two, so that neither is', 'needed'],
      ['the other takes the shared', 'address within seconds;', 'clients reconnect'],
    ),
    box(260, 226, 600, 30, { fill: '#dbeafe', stroke: BLUE, radius: 15 }),
    text(560, 246, 'one shared address (VRRP): held by one of the two', { weight: 600 }),
    `<path d="M425 256 L425 280" stroke="${BLUE}" stroke-width="6"/>`,
    box(260, 280, 220, 66),
    text(370, 308, 'HAProxy 1', { size: 16, weight: 600 }),
    text(370, 330, 'holds the address now', { size: 12, fill: GREY }),
    box(640, 280, 220, 66, { dashed: true }),
    text(750, 308, 'HAProxy 2', { size: 16, weight: 600 }),
    text(750, 330, 'waits, ready to take it', { size: 12, fill: GREY }),
    `<path d="M488 313 L632 313" stroke="${GREY}" stroke-width="1.5" stroke-dasharray="3 4" marker-start="url(#grey)" marker-end="url(#grey)"/>`,
    text(560, 304, '“I am alive”', { size: 12, fill: GREY }),
  ].join('\n')
}

/** From node to node, past the disks. */
function straight(from: number, to: number, y = 469): string {
  return `<path d="M${from} ${y} L${to} ${y}" stroke="${GREY}" stroke-width="1.5" stroke-dasharray="3 4" marker-start="url(#grey)" marker-end="url(#grey)"/>`
}

function nodes(): string {
  const one = (x: number, name: string) =>
    [
      box(x, 430, 180, 78),
      text(x + 90, 460, `Partyline ${name}`, { size: 16, weight: 600 }),
      text(x + 90, 482, 'filters topics, delivers', { size: 12, fill: GREY }),
    ].join('\n')
  return [
    layer(
      408,
      122,
      '#fff7ed',
      'Broker nodes',
      ['all equal, any number;', 'own nothing that cannot', 'be rebuilt from the log'],
      ['its clients reconnect; any', 'other node claims their', 'sessions and goes on'],
    ),
    one(260, 'A'),
    one(470, 'B'),
    one(680, 'C'),
    straight(441, 468),
    straight(651, 678),
  ].join('\n')
}

function log(): string {
  const one = (x: number, name: string, role: string) => {
    const cells = [0, 1, 2, 3, 4, 5].map((i) => {
      const newest = i === 5
      return `<rect x="${x + 24 + i * 22}" y="674" width="22" height="24" fill="${newest ? '#1d4ed8' : '#ffffff'}" stroke="${INK}"/>
${text(x + 35 + i * 22, 691, String(41 + i), { size: 11, fill: newest ? '#ffffff' : GREY })}`
    })
    return [
      box(x, 610, 180, 104),
      text(x + 90, 636, name, { size: 16, weight: 600 }),
      text(x + 90, 657, role, { size: 12, fill: GREY }),
      ...cells,
    ].join('\n')
  }
  return [
    layer(
      588,
      168,
      '#f0fdf4',
      'The log',
      [
        'three NATS JetStream',
        'servers keep the same',
        'record on three disks;',
        'what two have is safe;',
        'sessions and retained',
        'messages lie there too',
      ],
      [
        'two are still a majority:',
        'nothing is lost; if it was',
        'the leader, the others elect',
        'a new one in seconds',
        'If two are lost: nothing is',
        'acknowledged till one is back',
      ],
    ),
    one(260, 'NATS 1', 'leader: decides the order'),
    one(470, 'NATS 2', 'follower: copies'),
    one(680, 'NATS 3', 'follower: copies'),
  ].join('\n')
}

function message(): string {
  return [
    arrow(
      [
        [300, 148],
        [300, 224],
      ],
      BLUE,
    ),
    badge(300, 188, 1, BLUE),
    arrow(
      [
        [300, 346],
        [300, 428],
      ],
      BLUE,
    ),
    badge(300, 385, 2, BLUE),
    arrow(
      [
        [300, 508],
        [300, 608],
      ],
      BLUE,
    ),
    badge(300, 559, 3, BLUE),
    arrow(
      [
        [440, 662],
        [468, 662],
      ],
      BLUE,
    ),
    arrow(
      [
        [350, 714],
        [350, 738],
        [770, 738],
        [770, 716],
      ],
      BLUE,
    ),
    badge(560, 738, 4, BLUE),
    arrow(
      [
        [350, 608],
        [350, 510],
      ],
      GREEN,
    ),
    badge(350, 559, 5, GREEN),
    arrow(
      [
        [350, 430],
        [350, 348],
      ],
      GREEN,
    ),
    arrow(
      [
        [350, 224],
        [350, 150],
      ],
      GREEN,
    ),
    badge(350, 188, 6, GREEN),
    arrow(
      [
        [400, 610],
        [400, 575],
        [770, 575],
        [770, 510],
      ],
      ORANGE,
      true,
    ),
    arrow(
      [
        [560, 575],
        [560, 510],
      ],
      ORANGE,
      true,
    ),
    arrow(
      [
        [400, 575],
        [400, 510],
      ],
      ORANGE,
      true,
    ),
    badge(665, 575, 7, ORANGE),
    arrow(
      [
        [770, 430],
        [770, 394],
        [430, 394],
        [430, 348],
      ],
      ORANGE,
    ),
    badge(600, 394, 8, ORANGE),
    arrow(
      [
        [770, 226],
        [770, 150],
      ],
      ORANGE,
    ),
    badge(770, 188, 9, ORANGE),
  ].join('\n')
}

function legend(): string {
  const entry = (x: number, colour: string, words: string) =>
    `<path d="M${x} 782 L${x + 34} 782" stroke="${colour}" stroke-width="2.5" marker-end="url(#${heads[colour]})"/>
${text(x + 44, 787, words, { size: 13, anchor: 'start' })}`
  return [
    entry(34, BLUE, '1–4 the message is stored'),
    entry(300, GREEN, '5–6 then it is acknowledged'),
    entry(580, ORANGE, '7–9 every node reads the log, the subscriber’s node delivers'),
    straight(34, 68, 810),
    text(
      78,
      815,
      'messages without a promise (QoS 0): from node to node through NATS, but onto no disk',
      {
        size: 13,
        anchor: 'start',
      },
    ),
  ].join('\n')
}

/** The whole picture as the text of an SVG file. */
export function diagram(): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1200 836" font-family="Inter, 'Segoe UI', 'Helvetica Neue', 'DejaVu Sans', sans-serif" role="img" aria-labelledby="title description">
<title id="title">Partyline without a single point of failure</title>
<desc id="description">Clients call one shared address held by one of two HAProxy load balancers. These pass each client to one of three equal Partyline nodes. The nodes keep the log of messages on three NATS JetStream servers. A message is stored on two of three disks, then acknowledged, then delivered by the node to which the subscriber is connected. Messages without a promise go from node to node through NATS, but onto no disk.</desc>
<defs>
${[marker('blue', BLUE), marker('green', GREEN), marker('orange', ORANGE), marker('grey', GREY)].join('\n')}
</defs>
<rect width="1200" height="836" fill="#ffffff"/>
${text(34, 42, 'Partyline without a single point of failure', { size: 22, weight: 700, anchor: 'start' })}
${text(1184, 42, 'no part of it is there only once', { fill: GREY, anchor: 'end' })}
${[clients(), balancers(), nodes(), log(), message(), legend()].join('\n')}
</svg>
`
}

if (process.argv[1]?.endsWith('diagram.ts')) {
  writeFileSync(new URL('architecture.svg', import.meta.url), diagram())
}
