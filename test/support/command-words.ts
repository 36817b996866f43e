// What follows a command for developers: numbers in a row and options it knows. Anything else ends the process with
// how the command is used, before it does for an hour what nobody asked for.

export interface Words {
  readonly numbers: readonly number[]
  readonly options: readonly string[]
}

/** `most` is how many numbers it takes; `known` matches every option that means something. */
export function commandWords(usage: string, most: number, known = /(?!)/): Words {
  const words = process.argv.slice(2)
  const options = words.filter((word) => word.startsWith('--'))
  const others = words.filter((word) => !word.startsWith('--'))
  const numbers = others.map((word) => (/^\d+$/.test(word) ? Number(word) : Number.NaN))
  if (
    numbers.length <= most &&
    !numbers.some(Number.isNaN) &&
    options.every((o) => known.test(o))
  ) {
    return { numbers, options }
  }
  process.stderr.write(`usage: ${usage}\n`)
  process.exit(2)
}
