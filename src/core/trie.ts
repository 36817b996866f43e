// Filters with wildcards, level by level. A node with one child keeps it inline, since most
// nodes have one and a Map for each would cost more than the subscriptions themselves.

export class TrieNode<T> {
  value: T | null = null
  /** The only child and its level while there is one; then `children` takes over. */
  #onlyLevel: string | null = null
  #only: TrieNode<T> | null = null
  #children: Map<string, TrieNode<T>> | null = null

  get(level: string): TrieNode<T> | null {
    if (this.#children !== null) return this.#children.get(level) ?? null
    return this.#onlyLevel === level ? this.#only : null
  }

  child(level: string): TrieNode<T> {
    const known = this.get(level)
    if (known !== null) return known
    const node = new TrieNode<T>()
    if (this.#children !== null) this.#children.set(level, node)
    else if (this.#only === null) {
      this.#onlyLevel = level
      this.#only = node
    } else {
      this.#children = new Map([
        [this.#onlyLevel as string, this.#only],
        [level, node],
      ])
      this.#onlyLevel = null
      this.#only = null
    }
    return node
  }

  drop(level: string): void {
    if (this.#children === null) {
      if (this.#onlyLevel !== level) return
      this.#onlyLevel = null
      this.#only = null
      return
    }
    this.#children.delete(level)
    if (this.#children.size === 0) this.#children = null
  }

  get idle(): boolean {
    return this.value === null && this.#only === null && this.#children === null
  }

  /** Children in the order they were made; adding and removing meanwhile is safe. */
  *entries(): Generator<[string, TrieNode<T>]> {
    if (this.#children !== null) yield* this.#children
    else if (this.#only !== null) yield [this.#onlyLevel as string, this.#only]
  }
}

/** Values under topic filters or names, found by the other kind. */
export class Trie<T> {
  readonly root = new TrieNode<T>()

  get(path: string): T | null {
    let node: TrieNode<T> | null = this.root
    for (const level of path.split('/')) {
      node = node.get(level)
      if (node === null) return null
    }
    return node.value
  }

  /** The value there, made if there is none. */
  at(path: string, make: () => T): T {
    let node = this.root
    for (const level of path.split('/')) node = node.child(level)
    node.value ??= make()
    return node.value
  }

  set(path: string, value: T): void {
    let node = this.root
    for (const level of path.split('/')) node = node.child(level)
    node.value = value
  }

  /** Removes the value and every node that is of no use any more. */
  delete(path: string): void {
    const levels = path.split('/')
    const nodes: TrieNode<T>[] = [this.root]
    for (const level of levels) {
      const next = (nodes[nodes.length - 1] as TrieNode<T>).get(level)
      if (next === null) return
      nodes.push(next)
    }
    ;(nodes[levels.length] as TrieNode<T>).value = null
    for (let i = levels.length; i > 0 && (nodes[i] as TrieNode<T>).idle; i--) {
      ;(nodes[i - 1] as TrieNode<T>).drop(levels[i - 1] as string)
    }
  }

  /** Keys are filters: visits the value of each that matches the topic name. */
  matching(name: string, visit: (value: T) => void): void {
    const levels = name.split('/')
    // Wildcards at the start do not see names that begin with $. [MQTT-4.7.2-1]
    this.#descend(this.root, levels, 0, name.startsWith('$'), visit)
  }

  #descend(
    node: TrieNode<T>,
    levels: readonly string[],
    depth: number,
    hidden: boolean,
    visit: (value: T) => void,
  ): void {
    if (!hidden) {
      const rest = node.get('#') // Matches the parent level too: "a/#" matches "a".
      if (rest !== null && rest.value !== null) visit(rest.value)
    }
    if (depth === levels.length) {
      if (node.value !== null) visit(node.value)
      return
    }
    const exact = node.get(levels[depth] as string)
    if (exact !== null) this.#descend(exact, levels, depth + 1, false, visit)
    if (hidden) return
    const any = node.get('+')
    if (any !== null) this.#descend(any, levels, depth + 1, false, visit)
  }

  /** Keys are names: yields the value of each that the filter matches, lazily. */
  *matched(filter: string): Generator<T> {
    yield* this.#collect(this.root, filter.split('/'), 0)
  }

  *#collect(node: TrieNode<T>, levels: readonly string[], depth: number): Generator<T> {
    if (depth === levels.length) {
      if (node.value !== null) yield node.value
      return
    }
    const level = levels[depth] as string
    if (level === '#') {
      yield* this.#everything(node, depth === 0)
    } else if (level === '+') {
      for (const [name, child] of node.entries()) {
        if (depth === 0 && name.startsWith('$')) continue // [MQTT-4.7.2-1]
        yield* this.#collect(child, levels, depth + 1)
      }
    } else {
      const child = node.get(level)
      if (child !== null) yield* this.#collect(child, levels, depth + 1)
    }
  }

  *#everything(node: TrieNode<T>, atRoot: boolean): Generator<T> {
    if (node.value !== null) yield node.value
    for (const [name, child] of node.entries()) {
      if (atRoot && name.startsWith('$')) continue
      yield* this.#everything(child, false)
    }
  }
}
