/** Holds the event loop, as too much work would. */
export function block(ms: number): void {
  const endMs = performance.now() + ms
  while (performance.now() < endMs);
}

/** Holds it again and again, with room for one turn in between, until it is told to end. */
export function keepBusy(ms: number): () => void {
  let isBusy = true
  const again = () => {
    block(ms)
    if (isBusy) setImmediate(again)
  }
  setImmediate(again)
  return () => {
    isBusy = false
  }
}
