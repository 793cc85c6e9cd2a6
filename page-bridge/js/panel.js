// The panel: what Fugitive does for this visitor and for others, and the switches for that. Loaded
// only where it is shown.
//
// It lies over the page and moves nothing, neither there nor in itself. What it shows is what
// `fugitive.stats()` says, once a second, while it is open and looked at. What it looks like is in
// panel-view.js.

import { sampled } from "./panel-chart.js";
import { undoForget } from "./off.js";
import { Outlines } from "./panel-outlines.js";
import { View } from "./panel-view.js";

/** For as long as the tab is there: whether it is open, and what the chart showed. */
const KEY = "fugitive:panel";
const POSITION = "fugitive:position";
/** In milliseconds. */
const EVERY = 1_000;
/** A worker that leaves answers nothing, in milliseconds. */
const WITHIN = 5_000;
/** Where there is less room it begins as a button. */
const ROOM = "(min-width: 60rem)";

const { fugitive } = window;
const { serviceWorker } = navigator;

let panel;

/** Opens it and takes the keyboard there, or takes it away. */
export function show(yes) {
  if (!yes) return panel?.close();
  panel ??= new Panel(false);
  panel.open(true);
}

/**
 * A page's tag wants it: open where it may be and there is room, else a button; the visitor's choice is
 * kept.
 */
export function offer(mayOpen) {
  panel ??= new Panel(true);
  if (mayOpen && (kept().open ?? matchMedia(ROOM).matches)) panel.open(false);
}

class Panel {
  #view;
  #outlines = new Outlines(fugitive.served);
  #isOffered;
  #isOpen = false;
  /** What the visitor made of it, if anything. */
  #chosen = kept().open;
  /** Fugitive was switched off: nothing is asked or kept any more. */
  #isOver = false;
  #samples = kept().samples ?? [];
  #isOutlined = kept().outlined ?? true;
  #before;
  #polling;

  constructor(isOffered) {
    this.#isOffered = isOffered;
    this.#view = new View({
      open: () => this.open(true),
      close: () => this.close(),
      pause: (yes) => fugitive.pause(yes).then(() => this.#look()),
      forget: () => this.#forget(),
      undo: () => this.#undo(),
      precise: (yes) => fugitive.precise(yes),
      outline: (yes) => this.#outline(yes),
    });
    this.#view.switched({ outline: this.#isOutlined, precise: isPrecise() });
    this.#view.show(false, isOffered);
    fugitive.addEventListener("served", () => this.#drawServed());
    addEventListener("load", () => this.#drawServed(), true);
    addEventListener("pagehide", () => this.#keep());
    document.addEventListener("visibilitychange", () => this.#look());
    serviceWorker?.addEventListener("message", ({ data }) => data?.fugitive === "off" && this.#end("off"));
    this.#look();
  }

  /** Opens it; the keyboard follows where the visitor wanted it. */
  open(isWanted) {
    this.#isOpen = true;
    if (isWanted) this.#chosen = true;
    this.#before = document.activeElement;
    this.#view.show(true, this.#isOffered);
    if (isWanted) this.#view.focus();
    this.#drawServed();
    this.#look();
    this.#keep();
  }

  close() {
    if (!this.#isOpen) return;
    this.#isOpen = this.#chosen = false;
    const isInside = this.#view.hasFocus();
    this.#view.show(false, this.#isOffered && !this.#isOver);
    this.#outlines.clear();
    this.#keep();
    if (!isInside) return;
    if (this.#isOffered && !this.#isOver) this.#view.focus();
    else this.#before?.focus?.();
  }

  #keep() {
    if (this.#isOver) return;
    const state = { open: this.#chosen, outlined: this.#isOutlined, samples: this.#samples };
    try {
      sessionStorage.setItem(KEY, JSON.stringify(state));
    } catch {
      // Forbidden here: the next page begins anew.
    }
  }

  /** Now, and then again and again while anybody sees it. */
  async #look() {
    clearTimeout(this.#polling);
    const isSeen = this.#isOpen || this.#isOffered;
    if (this.#isOver || !isSeen || document.hidden) return;
    const looking = (this.#polling = setTimeout(() => this.#look(), WITHIN));
    const stats = await fugitive.stats().catch(() => undefined);
    if (looking !== this.#polling || this.#isOver) return;
    clearTimeout(looking);
    this.#polling = setTimeout(() => this.#look(), EVERY);
    if (!stats) return;
    this.#samples = sampled(this.#samples, stats);
    this.#view.draw(stats, this.#samples, this.#isOpen);
  }

  #drawing;
  #drawServed() {
    if (!this.#isOpen || this.#isOver) return;
    this.#drawing ??= (window.requestIdleCallback ?? setTimeout)(() => {
      this.#drawing = undefined;
      if (!this.#isOpen || this.#isOver) return;
      this.#view.list(fugitive.served);
      if (this.#isOutlined) this.#outlines.draw();
    });
  }

  #outline(yes) {
    this.#isOutlined = yes;
    if (yes) this.#outlines.draw();
    else this.#outlines.clear();
    this.#keep();
  }

  async #forget() {
    // Before anything else: what is kept later would not be forgotten.
    this.#end("forgotten");
    await fugitive.forget();
    this.#view.offerUndo();
  }

  #undo() {
    undoForget();
    this.#view.end("undone");
  }

  #end(why) {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#outlines.clear();
    this.#view.end(why);
  }
}

function kept() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}

function isPrecise() {
  try {
    return localStorage.getItem(POSITION) !== null;
  } catch {
    return false;
  }
}
