// How long clients were without service, fault by fault, as a table to read.

import { type Cost, medianOf } from './run.ts'

/** One line a fault, in milliseconds: over all clients, and over those that were cut off. */
export function table(costs: readonly Cost[]): string {
  const names = [...new Set(costs.map(({ fault }) => fault))]
  const rows = names.map((name) => {
    const own = costs.filter(({ fault }) => fault === name)
    const gaps = own.flatMap(({ gaps }) => gaps)
    const reconnects = own.flatMap(({ reconnects }) => reconnects)
    const figures = [own.length, ...both(gaps), reconnects.length, ...both(reconnects)]
    return [name.padEnd(34), ...figures.map((figure) => String(figure).padStart(8))].join('')
  })
  const head = ['seen', 'median', 'max', 'cut', 'median', 'max'].map((word) => word.padStart(8))
  return [[''.padEnd(34), ...head].join(''), ...rows].join('\n')
}

function both(values: readonly number[]): [number, number] {
  return [Math.round(medianOf(values)), Math.round(Math.max(0, ...values))]
}
