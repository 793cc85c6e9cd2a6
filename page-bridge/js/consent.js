// Whether the visitor lets this browser meet others, who then see its address. Without a yes there is
// no bridge: no connection, no socket, no engine. What the question looks like is in banner.js.

const KEY = "fugitive:consent";
const BANNER = "__BANNER__";

/** Where there is no storage an answer is good for this page. */
let here;
const watching = new Set();

/** The visitor's own answer, as far as there is one. */
function answer() {
  try {
    const kept = localStorage.getItem(KEY);
    return kept === null ? here : kept === "yes";
  } catch {
    return here;
  }
}

/** For a site that asks in its own words. Kept until it is called again. */
export function consent(yes) {
  here = Boolean(yes);
  try {
    localStorage.setItem(KEY, here ? "yes" : "no");
    // Who says yes wants us back; the loader looks for this.
    if (here) localStorage.removeItem("fugitive:off");
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
    tell(said ? "said" : isImplied ? "implied" : undefined);
  };
  watching.add(look);
  // A key of null: all of it was cleared.
  addEventListener("storage", ({ key }) => (key === KEY || key === null) && look());
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
