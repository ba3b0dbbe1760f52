/** Stands for a value where only its identity matters. */
export type Mark = object

/**
 * Creates a function that returns the mark of a value: the same one as long as it gets the same value.
 * A cached token keeps the mark. If it kept the value, every former configuration and every former list
 * of revocations would stay in memory for as long as some token had been judged by it.
 */
export function createMarker<Value>(): (value: Value) => Mark {
  let last: Value | undefined
  let mark: Mark = {}
  return (value) => {
    if (value !== last) {
      last = value
      mark = {}
    }
    return mark
  }
}
