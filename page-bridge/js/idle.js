/** A page that never rests goes first for this long, in milliseconds. */
const RESTS_WITHIN = 300;

/** Resolves when the page has nothing of its own to do. */
export function idle() {
  return new Promise((done) => {
    if (globalThis.requestIdleCallback) requestIdleCallback(done, { timeout: RESTS_WITHIN });
    else setTimeout(done);
  });
}
