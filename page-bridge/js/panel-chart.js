// A small chart of what came from where: one bar for every two seconds, the sources on top of each
// other, as wide as the last two minutes.

export const SOURCES = ["memory", "store", "tier-1", "tier-2", "network"];

const SVG = "http://www.w3.org/2000/svg";
const BARS = 60;
/** Of one bar, in milliseconds. */
const EVERY = 2_000;
const HEIGHT = 48;
/** What came in a longer time than this nobody looked at, and it has no place of its own. */
const GAP = 15_000;
/** The scale ends no lower, in bytes: else a favicon would fill it. */
const LEAST = 64_000;

/** The chart, and how to have it drawn; that returns the bytes of its highest bar. */
export function chart(label) {
  const svg = document.createElementNS(SVG, "svg");
  const attributes = { viewBox: `0 0 ${BARS * 4} ${HEIGHT}`, preserveAspectRatio: "none" };
  for (const [name, value] of Object.entries({ ...attributes, role: "img", "aria-label": label })) {
    svg.setAttribute(name, value);
  }
  const paths = SOURCES.map((source) => {
    const path = document.createElementNS(SVG, "path");
    path.dataset.source = source;
    svg.append(path);
    return path;
  });
  const draw = (samples) => {
    const bars = count(samples);
    const sums = bars.map((bar) => bar.reduce((sum, bytes) => sum + bytes, 0));
    const highest = Math.max(LEAST, ...sums);
    const tops = bars.map(() => HEIGHT);
    for (const [source, path] of paths.entries()) {
      let way = "";
      for (const [at, bar] of bars.entries()) {
        const height = (bar[source] / highest) * HEIGHT;
        if (height < 0.1) continue;
        tops[at] -= height;
        way += `M${at * 4} ${tops[at].toFixed(1)}h3v${height.toFixed(1)}h-3z`;
      }
      path.setAttribute("d", way);
    }
    return highest;
  };
  return [svg, draw];
}

/** Bytes by source of each bar, the oldest first. A sample is a time and the bytes until then. */
function count(samples) {
  const bars = Array.from({ length: BARS }, () => SOURCES.map(() => 0));
  const last = Math.floor(Date.now() / EVERY);
  for (const [at, [time, ...bytes]] of samples.entries()) {
    const before = samples[at - 1];
    const bar = bars[BARS - 1 - (last - Math.floor(time / EVERY))];
    if (!before || !bar || time - before[0] > GAP) continue;
    // What was forgotten counts from nothing again.
    for (const source of SOURCES.keys()) bar[source] += Math.max(0, bytes[source] - before[source + 1]);
  }
  return bars;
}

/** A sample of what `fugitive.stats()` says, and of those before it what the chart still shows. */
export function sampled(samples, stats) {
  const since = Date.now() - BARS * EVERY;
  const now = [Date.now(), ...SOURCES.map((source) => stats[source]?.bytes ?? 0)];
  return [...samples.filter(([time]) => time > since), now];
}
