// What the panel shows, and which of its buttons do what. Values change in place, so that a screen
// reader stays where it is.

import { SOURCES, chart } from "./panel-chart.js";
import { STYLE } from "./panel-style.js";
import { TEXTS } from "./panel-texts.js";
import { element, language, overlay } from "./overlay.js";

const UNITS = ["kilobyte", "megabyte", "gigabyte"];
/** What a page shows beyond this is not listed. */
const MOST = 200;

const lang = language(TEXTS);
const texts = TEXTS[lang];
const number = formatter();
const percent = formatter({ style: "percent" });
const sizes = UNITS.map((unit, at) =>
  formatter({ style: "unit", unit, maximumFractionDigits: at && 1 }),
);
const millis = formatter({ style: "unit", unit: "millisecond", maximumFractionDigits: 0 });

/** Made when first used: each takes a while. */
function formatter(options) {
  let made;
  return {
    format: (value) => (made ??= new Intl.NumberFormat(lang, options)).format(value),
  };
}

function size(bytes) {
  const at = bytes < 999_500 ? 0 : bytes < 999_950_000 ? 1 : 2;
  return sizes[at].format(bytes / 1000 ** (at + 1));
}

/** A reason in the visitor's language; one that is not known, as it is. */
function reason(why) {
  const battery = /^battery (\d+) %$/.exec(why);
  if (battery) return `${texts.reasons.battery} ${percent.format(battery[1] / 100)}`;
  return texts.reasons[why] ?? why;
}

function say(where, text) {
  if (where.textContent !== text) where.textContent = text;
}

/** A number as words, and as a number for whoever reads the page by machine. */
function put(data, value, words) {
  data.value = value;
  say(data, words);
}

const swatch = (source) => {
  const made = element("i", "", { class: "swatch", "aria-hidden": "true" });
  made.dataset.source = source;
  return made;
};

export class View {
  #host;
  #shadow;
  #act;
  #pill = element("button", "", { type: "button", class: "pill", "aria-expanded": "false" });
  #lamp = element("i", "", { class: "lamp", "aria-hidden": "true" });
  #peers = element("span");
  #share = element("b");
  #box = element("section", "", { role: "dialog", "aria-labelledby": "title" });
  #close = element("button", "×", { type: "button", class: "close", "aria-label": texts.close });
  #figures = { spared: element("data"), saved: element("data"), given: element("data") };
  #cap = element("span");
  #state = element("p", "", { class: "state", role: "status", tabindex: "-1" });
  #scale = element("small");
  #draw;
  #rows = {};
  #connected = element("tbody");
  #nobody = element("p", texts.nobody);
  #count = element("data");
  #pause = element("button", texts.pause, { type: "button" });
  #forget = element("button", texts.forget, { type: "button" });
  #precise = toggle(texts.precise, texts.preciseHint);
  #outline = toggle(texts.outline);
  #list = element("ol");
  #isPaused = false;
  #mayUndo = false;

  /** `act` has what the buttons do. */
  constructor(act) {
    this.#act = act;
    [this.#host, this.#shadow] = overlay("fugitive-panel", lang, STYLE);
    const label = element("span", `${texts.pill}. `, { class: "only-heard" });
    this.#pill.append(this.#lamp, label, this.#peers, this.#share);
    this.#shadow.append(this.#pill, this.#box);
    this.#pill.addEventListener("click", act.open);
    this.#close.addEventListener("click", act.close);
    this.#box.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      // Nor is it the page's.
      event.stopPropagation();
      act.close();
    });
    this.#pause.addEventListener("click", () => {
      if (this.#mayUndo) act.undo();
      else act.pause(!this.#isPaused);
    });
    this.#forget.addEventListener("click", act.forget);
    this.#outline.addEventListener("click", () => {
      const yes = turn(this.#outline);
      act.outline(yes);
    });
    this.#precise.addEventListener("click", async () => {
      const yes = turn(this.#precise);
      await act.precise(yes).catch(() => {
        if (yes) turn(this.#precise);
        say(this.#state, texts.refused);
      });
    });
  }

  #header() {
    const header = element("header");
    header.append(element("h2", texts.title, { id: "title" }), this.#close);
    return header;
  }

  #body() {
    const figures = element("dl", "", { class: "figures" });
    for (const [name, data] of Object.entries(this.#figures)) {
      const [figure, term, value] = ["div", "dt", "dd"].map((name) => element(name));
      term.textContent = texts[name];
      if (name === "given") term.append(this.#cap);
      value.append(data);
      figure.append(term, value);
      figures.append(figure);
    }
    const frame = element("div", "", { class: "chart" });
    const [svg, draw] = chart(texts.chart);
    this.#draw = draw;
    frame.append(svg, this.#scale);

    const body = element("div", "", { class: "body" });
    body.append(figures, this.#state, frame, this.#sources(), this.#controls());
    body.append(this.#visitors(), this.#page());
    return body;
  }

  #sources() {
    const { source, requests, bytes } = texts;
    const table = tabled(texts.sources, [source, requests, bytes]);
    const rows = element("tbody");
    for (const name of SOURCES) {
      const { row, head, cells } = line(texts[name], 2);
      head.prepend(swatch(name));
      rows.append(row);
      this.#rows[name] = cells;
    }
    table.append(rows);
    return table;
  }

  #controls() {
    const controls = element("div", "", { class: "controls" });
    const buttons = element("div", "", { class: "buttons" });
    buttons.append(this.#pause, this.#forget);
    controls.append(buttons, this.#precise, this.#outline);
    return controls;
  }

  #visitors() {
    const part = element("div", "", { class: "peers" });
    const title = element("h3", `${texts.connected} (Tier 1): `, { id: "connected" });
    title.append(this.#count);
    const { peer, latency, got, gave } = texts;
    const table = tabled(texts.connected, [peer, latency, got, gave]);
    table.hidden = true;
    table.append(this.#connected);
    const list = element("div", "", {
      class: "list",
      role: "group",
      tabindex: "0",
      "aria-labelledby": "connected",
    });
    list.append(this.#nobody, table);
    part.append(title, list);
    return part;
  }

  #page() {
    const details = element("details");
    this.#list.tabIndex = 0;
    this.#list.setAttribute("aria-label", texts.page);
    details.append(element("summary", texts.page), this.#list);
    return details;
  }

  /** Open or not, and then whether a button is left that opens it. */
  show(isOpen, isOffered) {
    // A button is all that most visitors ever see of it.
    if (isOpen && !this.#box.hasChildNodes()) this.#box.append(this.#header(), this.#body());
    this.#box.hidden = !isOpen;
    this.#pill.hidden = isOpen || !isOffered;
    if (!isOpen && !isOffered) this.#host.remove();
    // Last, so that nobody has to tab through it on the way to the page.
    else if (!this.#host.isConnected) document.documentElement.append(this.#host);
  }

  /** The keyboard goes to it. */
  focus() {
    const first = this.#box.hidden ? this.#pill : this.#close;
    first.focus({ preventScroll: true });
  }

  hasFocus() {
    return this.#shadow.activeElement !== null;
  }

  switched({ outline, precise }) {
    this.#outline.setAttribute("aria-checked", outline);
    this.#precise.setAttribute("aria-checked", precise);
  }

  /** What `fugitive.stats()` says, and the samples for the chart. */
  draw(stats, samples, isOpen) {
    const { peers = 0, quiet, connected = [] } = stats;
    const bytes = Object.fromEntries(SOURCES.map((name) => [name, stats[name]?.bytes ?? 0]));
    const total = SOURCES.reduce((sum, name) => sum + bytes[name], 0);
    const saved = total - bytes.network;
    const share = total > 0 ? saved / total : 0;
    this.#lamp.toggleAttribute("data-on", peers > 0);
    say(this.#peers, texts.peers + number.format(peers));
    say(this.#share, `${percent.format(share)} ${texts.saved}`);
    if (!isOpen) return;

    const { "uploaded-today": given = 0, "upload-cap": cap = 0 } = stats;
    put(this.#figures.spared, share, percent.format(share));
    put(this.#figures.saved, saved, size(saved));
    put(this.#figures.given, given, size(given));
    say(this.#cap, cap ? `${texts.of} ${size(cap)}` : "");
    // Without a bridge there is no cap either.
    const gives = cap ? texts.gives : texts.waiting;
    const state = quiet ? texts.quiet + reason(quiet) : gives;
    // A screen reader says what has changed, and only that.
    say(this.#state, state);
    this.#isPaused = quiet === "paused";
    say(this.#pause, this.#isPaused ? texts.resume : texts.pause);
    this.#pause.disabled = quiet === "no consent";

    const highest = this.#draw(samples);
    say(this.#scale, `${size(highest / 2)}/s`);
    for (const name of SOURCES) {
      const [requests, sum] = this.#rows[name];
      const { requests: count = 0 } = stats[name] ?? {};
      put(requests, count, number.format(count));
      put(sum, bytes[name], size(bytes[name]));
    }
    this.#drawConnected(peers, connected);
  }

  #drawConnected(peers, connected) {
    put(this.#count, peers, number.format(peers));
    this.#nobody.hidden = peers > 0;
    this.#connected.parentElement.hidden = connected.length === 0;
    const rows = this.#connected.rows;
    while (rows.length > connected.length) rows[rows.length - 1].remove();
    for (const [at, { rtt, got, gave }] of connected.entries()) {
      if (!rows[at]) this.#connected.append(line(number.format(at + 1), 3).row);
      const cells = rows[at].querySelectorAll("data");
      put(cells[0], rtt ?? "", rtt === null || rtt === undefined ? "…" : millis.format(rtt));
      put(cells[1], got, size(got));
      put(cells[2], gave, size(gave));
    }
  }

  /** What was served on this page, the last first. */
  list(served) {
    const last = [...served.values()].slice(-MOST).reverse();
    this.#list.replaceChildren(
      ...last.map(({ url, source, bytes, ms }) => {
        const row = element("li");
        const name = url.slice(url.lastIndexOf("/") + 1);
        row.append(
          swatch(source),
          element("span", name, { title: url }),
          element("span", ` ${texts[source]} `, { class: "only-heard" }),
          element("small", `${size(bytes)} · ${millis.format(ms)}`),
        );
        return row;
      }),
    );
  }

  /** Nothing more to show, and nothing more to do but to close it. */
  end(why) {
    for (const button of [this.#pause, this.#forget, this.#precise, this.#outline]) {
      button.disabled = true;
    }
    say(this.#state, texts[why]);
    // Nowhere that a key pressed twice would do anything.
    if (this.hasFocus()) this.#state.focus({ preventScroll: true });
  }

  /** What was ended can be taken back, where the other button is: pressing one twice does not. */
  offerUndo() {
    this.#mayUndo = true;
    say(this.#pause, texts.undo);
    this.#pause.disabled = false;
  }
}

/** A table with a title that is only heard, and the titles of its columns. */
function tabled(title, columns) {
  const table = element("table");
  const [head, row] = [element("thead"), element("tr")];
  row.append(...columns.map((column) => element("th", column, { scope: "col" })));
  head.append(row);
  table.append(element("caption", title), head);
  return table;
}

/** A row of a table, with so many numbers. */
function line(title, count) {
  const row = element("tr");
  const head = element("th", title, { scope: "row" });
  const cells = Array.from({ length: count }, () => element("data"));
  row.append(head);
  for (const data of cells) {
    const cell = element("td");
    cell.append(data);
    row.append(cell);
  }
  return { row, head, cells };
}

function toggle(label, hint) {
  const made = element("button", "", { type: "button", class: "switch", role: "switch" });
  const words = element("span", label);
  if (hint) words.append(element("small", hint));
  made.append(words, element("i", "", { "aria-hidden": "true" }));
  return made;
}

/** Switches it over, and says to what. */
function turn(button) {
  const yes = button.getAttribute("aria-checked") !== "true";
  button.setAttribute("aria-checked", yes);
  return yes;
}
