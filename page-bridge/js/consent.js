// Whether the visitor lets this browser meet others, who then see its address. Without a yes there is
// no bridge: no connection, no socket, no engine. What the question looks like is in banner.js.

const KEY = "fugitive:consent";
const PAUSED = "fugitive:paused";
const POSITION = "fugitive:position";
const BANNER = "./__BANNER__";

/** Where there is no storage an answer is good for this page. */
let here, isPaused;
let reason = "no consent";
const watching = new Set();

/** Why nobody is met; nothing where others may be. */
export const why = () => reason;

/** The visitor's own answer, as far as there is one. */
function answer() {
  try {
    const kept = localStorage.getItem(KEY);
    return kept === null ? here : kept === "yes";
  } catch {
    return here;
  }
}

/** The visitor's wish to be left alone for a while, here and on later pages. */
function paused() {
  try {
    return localStorage.getItem(PAUSED) !== null;
  } catch {
    return isPaused;
  }
}

/** Meets nobody until it is called with `false`. */
export function pause(yes = true) {
  isPaused = yes;
  try {
    if (yes) localStorage.setItem(PAUSED, "yes");
    else localStorage.removeItem(PAUSED);
  } catch {
    // Forbidden here: good for this page.
  }
  for (const look of watching) look();
}

/** For a site that asks in its own words. Kept until it is called again. */
export function consent(yes) {
  here = Boolean(yes);
  try {
    localStorage.setItem(KEY, here ? "yes" : "no");
    // Who says yes wants us back; the loader looks for this.
    if (here) localStorage.removeItem("fugitive:off");
    else localStorage.removeItem(POSITION);
  } catch {
    // Forbidden here: the next page knows nothing of it.
  }
  for (const look of watching) look();
}

/**
 * Tells whether others may be met ("said" by the visitor, "implied" by the site, or not at all), now
 * and whenever that changes, here or in another tab, and asks where the page wants that.
 */
export function watch({ consent: mode = "ask", ...settings }, tell) {
  let asking;
  const look = () => {
    const said = answer();
    if (said !== undefined) asking?.abort();
    const isImplied = said === undefined && mode === "implied";
    const agreed = said ? "said" : isImplied ? "implied" : undefined;
    reason = !agreed ? "no consent" : paused() ? "paused" : undefined;
    tell(reason ? undefined : agreed);
  };
  watching.add(look);
  // A key of null: all of it was cleared.
  addEventListener("storage", ({ key }) => [KEY, PAUSED, null].includes(key) && look());
  look();
  if (mode === "implied" || mode === "required" || answer() !== undefined) return;
  // Somebody else's page has us in a frame, or a question whose answer is not kept would come again
  // on every page.
  if (window !== top || !isKept()) return;
  asking = new AbortController();
  const file = BANNER;
  import(file)
    .then(({ ask }) => ask(settings, asking.signal))
    .then((said) => said !== undefined && consent(said))
    .catch((error) => console.warn(`fugitive: no question asked: ${error}`));
}

function isKept() {
  try {
    localStorage.getItem(KEY);
    return true;
  } catch {
    return false;
  }
}
