/**
 * The known word that a mistyped one most likely stands for; undefined where nothing is close.
 * Letter case, `_` and `-` do not count.
 */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  const wanted = plain(word.slice(0, 64))
  let best: string | undefined
  let bestDistance = Number.POSITIVE_INFINITY
  for (const candidate of known) {
    const distance = editDistance(wanted, plain(candidate))
    const limit = Math.max(1, Math.floor(Math.min(wanted.length, candidate.length) / 3))
    if (distance <= limit && distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

function plain(word: string): string {
  return word.toLowerCase().replace(/[_-]/g, '')
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 0; i < a.length; i++) {
    const row = [i + 1]
    for (let j = 0; j < b.length; j++) {
      const change = (previous[j] ?? 0) + (a[i] === b[j] ? 0 : 1)
      row.push(Math.min(change, (previous[j + 1] ?? 0) + 1, (row[j] ?? 0) + 1))
    }
    previous = row
  }
  return previous[b.length] ?? 0
}
