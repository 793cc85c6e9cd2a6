// Where the visitor is, for pairing with those who are near: only after the visitor switched that on,
// and to a tenth of a degree, some ten kilometres. Nothing finer is kept or leaves the page.

const KEY = "fugitive:position";
/** The browser may ask the visitor, who may take a while. */
const ASK = { maximumAge: 3_600_000, timeout: 120_000 };

/** Latitude + 90 and longitude + 180, in tenths of a degree; nothing unless it is switched on. */
export function position() {
  try {
    return localStorage.getItem(KEY)?.split(",").map(Number);
  } catch {
    return undefined;
  }
}

/** Switches it on or off. Fails where the browser or the visitor does not want to say it. */
export async function choose(yes) {
  if (!yes) return localStorage.removeItem(KEY);
  const { coords } = await new Promise((done, failed) =>
    navigator.geolocation.getCurrentPosition(done, failed, ASK),
  );
  const tenths = [coords.latitude + 90, coords.longitude + 180].map((at) => Math.round(at * 10));
  localStorage.setItem(KEY, String(tenths));
}
