// The demo's panel: where each picture of this page came from, by what Fugitive tells the page.
// It is no part of Fugitive: the page works without it, and any page can do the same.

const SOURCES = {
  memory: "memory",
  store: "this browser's store",
  "tier-1": "a peer",
  "tier-2": "a peer's peer",
  network: "the origin",
};

const element = (name, text = "", source) => {
  const made = document.createElement(name);
  made.textContent = text;
  if (source) made.dataset.source = source;
  return made;
};

const size = (bytes) =>
  bytes < 1e3 ? `${bytes} B` : bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} KB` : `${(bytes / 1e6).toFixed(1)} MB`;

const panel = element("details");
panel.className = "panel";
panel.open = matchMedia("(min-width: 60rem)").matches;
const summary = element("summary");
const title = element("span", "Fugitive");
const saved = element("b");
summary.append(element("i"), title, saved);
const share = element("div");
share.className = "share";
const table = element("table");
const list = element("ol");
const label = element("label");
const outlines = element("input");
outlines.type = "checkbox";
outlines.checked = localStorage.getItem("outlines") !== "no";
label.append(outlines, " outline pictures by source");
const given = element("p");
given.setAttribute("role", "status");
const wishes = element("p");
const pause = element("button", "Pause");
const forget = element("button", "Forget");
wishes.append(pause, forget);
panel.append(summary, share, table, given, wishes, list, label);

let isPaused = false;
pause.addEventListener("click", () => window.fugitive.pause(!isPaused).then(draw));
forget.addEventListener("click", async () => {
  await window.fugitive.forget();
  clearInterval(every);
  panel.replaceChildren(summary, element("p", "Forgotten. Nothing of Fugitive is left in this browser but that wish."));
});

const outline = () => {
  document.documentElement.classList.toggle("outlined", outlines.checked);
  localStorage.setItem("outlines", outlines.checked ? "yes" : "no");
};
outlines.addEventListener("change", outline);

// On this page; a video asks many times for one URL.
const seen = new Map();

// The elements that show a URL; a CSS background has none.
const shownBy = (url) =>
  [...document.querySelectorAll("img, video")].filter(
    (shown) => [shown.currentSrc, shown.src, shown.poster].includes(url),
  );

const served = (event) => {
  const { url, source, bytes, ms } = event.detail;
  const row = seen.get(url) ?? { url, bytes: 0, ms, sources: new Set() };
  row.bytes += bytes;
  row.source = source;
  row.sources.add(source);
  seen.delete(url);
  seen.set(url, row);
  for (const shown of shownBy(url)) shown.dataset.source = source;
  draw();
};

let every, drawing;
const draw = () => {
  drawing ??= setTimeout(async () => {
    drawing = undefined;
    const stats = await window.fugitive?.stats?.().catch(() => undefined);
    table.replaceChildren();
    share.replaceChildren();
    const total = stats ? Object.keys(SOURCES).reduce((sum, key) => sum + (stats[key]?.bytes ?? 0), 0) : 0;
    for (const [source, words] of Object.entries(SOURCES)) {
      const { requests = 0, bytes = 0 } = stats?.[source] ?? {};
      const row = element("tr");
      const name = element("td");
      name.append(element("i", "", source), words);
      row.append(name, element("td", `${requests}`), element("td", size(bytes)));
      table.append(row);
      const part = element("i", "", source);
      part.style.width = total ? `${(100 * bytes) / total}%` : "0";
      share.append(part);
    }
    const { quiet, "uploaded-today": today = 0, "upload-cap": cap = 0 } = stats ?? {};
    isPaused = quiet === "paused";
    pause.textContent = isPaused ? "Go on" : "Pause";
    const says = quiet ? `Gives nothing: ${quiet}. ` : "";
    const text = `${says}Given today: ${size(today)}${cap ? ` of ${size(cap)}` : ""}`;
    // A screen reader says what has changed, and only that.
    if (given.textContent !== text) given.textContent = text;
    const peers = stats?.peers ?? 0;
    panel.toggleAttribute("data-peers", peers > 0);
    title.textContent = peers === 1 ? "1 peer" : `${peers} peers`;
    saved.textContent = total ? `origin spared ${Math.round(100 - (100 * (stats.network?.bytes ?? 0)) / total)} %` : "";
    list.replaceChildren(
      ...[...seen.values()].reverse().map(({ url, source, bytes, ms }) => {
        const row = element("li");
        const name = element("span", decodeURI(new URL(url).pathname.replace(/^\/media\//, "")));
        row.append(element("i", "", source), name, element("small", `${size(bytes)} · ${Math.round(ms)} ms`));
        return row;
      }),
    );
    for (const { url, source } of seen.values()) {
      for (const shown of shownBy(url)) shown.dataset.source = source;
    }
  }, 150);
};

const begin = () => {
  if (!window.fugitive || new URLSearchParams(location.search).get("fugitive") === "off") return;
  document.body.append(panel);
  outline();
  window.fugitive.addEventListener("served", served);
  every = setInterval(draw, 2000);
  draw();
};

// `fugitive.js` is async: where it comes after this script, waiting for the page would miss what was
// served until then.
if (window.fugitive) begin();
else document.querySelector('script[src="/fugitive.js"]')?.addEventListener("load", begin);
