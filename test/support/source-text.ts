// Source text with what is not code blanked out, for the checks in test/tidy.test.ts. A small
// scanner and not a parser: it knows strings, templates, comments and regular expressions, keeps
// every line break, and that is all those checks ask of it.

/**
 * The code alone: comments and the insides of string, template and regular expression literals
 * become spaces. Line numbers stay as they were.
 */
export function codeOf(source: string): string {
  let code = ''
  for (let at = 0; at < source.length; ) {
    const end = literalEnd(source, at, code)
    if (end === at) {
      code += source[at++]
    } else {
      code += source.slice(at, end).replace(/[^\n]/g, ' ')
      at = end
    }
  }
  return code
}

/** Where the comment or literal that starts here ends; `at` itself when none starts. */
function literalEnd(source: string, at: number, before: string): number {
  const two = source.slice(at, at + 2)
  if (two === '//') return endOr(source.indexOf('\n', at), source)
  if (two === '/*') return endOr(source.indexOf('*/', at + 2) + 2, source, 1)
  const first = source[at]!
  if (first === "'" || first === '"' || first === '`') return quotedEnd(source, at)
  // A slash after a value divides; after an operator, a bracket or a keyword it opens a pattern.
  if (
    first === '/' &&
    /(^|[=(,:[!&|?{};+\-*%<>~^]|\b(return|typeof|case|in|of))\s*$/.test(before)
  ) {
    return patternEnd(source, at)
  }
  return at
}

function endOr(index: number, source: string, none = -1): number {
  return index === none ? source.length : index
}

function quotedEnd(source: string, at: number): number {
  const quote = source[at]
  let end = at + 1
  while (end < source.length && source[end] !== quote) end += source[end] === '\\' ? 2 : 1
  return end + 1
}

function patternEnd(source: string, at: number): number {
  let inClass = false
  for (let end = at + 1; end < source.length; end++) {
    const char = source[end]
    if (char === '\\') end++
    else if (char === '[') inClass = true
    else if (char === ']') inClass = false
    else if (char === '/' && !inClass) return end + 1
    else if (char === '\n') return at // Not a pattern after all.
  }
  return at
}
