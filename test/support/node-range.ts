// Whether a version satisfies an `engines.node` range of a package: the part of npm's range
// language that packages use there, so that checking the floor needs no dependency.

type Version = readonly [number, number, number]

/**
 * Whether `version` ("20.19.0") lies in `range` (">=18", "^20.19.0 || >=22.12", "18.x", "*").
 * @throws {Error} for a comparator it does not know, rather than guess
 */
export function accepts(range: string, version: string): boolean {
  const wanted = parse(version)
  return range
    .split('||')
    .some((all) => comparators(all).every(([operator, text]) => holds(operator, text, wanted)))
}

function comparators(all: string): [string, string][] {
  const hyphen = /^\s*(\S+)\s+-\s+(\S+)\s*$/.exec(all)
  if (hyphen)
    return [
      ['>=', hyphen[1]!],
      ['<=', hyphen[2]!],
    ]
  const found = [...all.matchAll(/(>=|<=|>|<|=|\^|~)?\s*v?([\dx*][\w.*-]*)/g)]
  return found.map((match) => [match[1] ?? '=', match[2]!])
}

function holds(operator: string, text: string, version: Version): boolean {
  const low = parse(text)
  const atLeast = compare(version, low) >= 0
  switch (operator) {
    case '>=':
      return atLeast
    case '<':
      return !atLeast
    case '>':
      return compare(version, above(text)) >= 0
    case '<=':
      return compare(version, above(text)) < 0
    case '=':
      return atLeast && compare(version, above(text)) < 0
    case '^':
      return atLeast && compare(version, [low[0] + 1, 0, 0]) < 0
    case '~':
      return atLeast && compare(version, above(digits(text).slice(0, 2).join('.'))) < 0
    default:
      throw new Error(`cannot read "${operator}${text}" as a range of Node versions`)
  }
}

/** The numbers given: "18.x" gives [18], "*" gives []. */
function digits(text: string): number[] {
  const given = text.split('-')[0]!.split('.')
  const open = given.findIndex((part) => !/^\d+$/.test(part))
  return given.slice(0, open < 0 ? given.length : open).map(Number)
}

function parse(text: string): Version {
  const [major = 0, minor = 0, patch = 0] = digits(text)
  return [major, minor, patch]
}

/** The first version beyond all that the text stands for: "18" → 19.0.0, "18.1" → 18.2.0. */
function above(text: string): Version {
  const [major, minor, patch] = digits(text)
  if (major === undefined) return [Number.POSITIVE_INFINITY, 0, 0]
  if (minor === undefined) return [major + 1, 0, 0]
  return patch === undefined ? [major, minor + 1, 0] : [major, minor, patch + 1]
}

function compare(a: Version, b: Version): number {
  return a[0] - b[0] || a[1] - b[1] || a[2] - b[2]
}
