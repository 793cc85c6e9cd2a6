// The way to the panel, which is loaded where it is shown and nowhere else. What it is, is in panel.js.

import { why } from "./consent.js";
import { idle } from "./idle.js";

const PANEL = "./__PANEL__";

const panel = () => {
  // A name, because a bundler would look for a literal.
  const file = PANEL;
  return import(file);
};

/** Opens the panel, or takes it away. */
export async function showPanel(yes = true) {
  (await panel()).show(yes);
}

/** Shows it where the page's tag wants it, once the page has what it needs itself. */
export async function offerPanel(settings) {
  if (settings.panel === undefined) return;
  if (document.readyState !== "complete") {
    await new Promise((done) => addEventListener("load", done, { once: true }));
  }
  await idle();
  const { offer } = await panel();
  await idle();
  // Two things at once would be one too many: it begins as a button while the visitor is asked.
  offer(why() !== "no consent");
}
