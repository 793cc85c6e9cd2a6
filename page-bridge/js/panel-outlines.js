// Outlines what the page shows by where it came from, while the panel is open: an attribute of each
// image and one sheet of the document, which both go away again.

import { COLOURS, DARK } from "./panel-style.js";
import { sheet } from "./overlay.js";

const NAME = "data-fugitive-source";
/** More elements are not looked through for backgrounds. */
const MOST = 5_000;

const rules = (colours) =>
  Object.entries(colours)
    .map(([source, colour]) => `[${NAME}=${source}] { outline-color: ${colour} !important; }`)
    .join("\n");
const STYLE = `
  [${NAME}] { outline: 4px solid !important; outline-offset: -4px !important; }
  [${NAME}=network] { outline-style: dashed !important; }
  ${rules(COLOURS)}
  @media (prefers-color-scheme: dark) { ${rules(DARK)} }
  @media print { [${NAME}] { outline: none !important; } }
`;

/** `served` is what was served on this page, by URL. */
export class Outlines {
  #served;
  #sheet = sheet(STYLE);
  /** URLs whose elements were looked for behind all others. */
  #sought = new Set();

  constructor(served) {
    this.#served = served;
  }

  /** All that is shown now. */
  draw() {
    if (!document.adoptedStyleSheets.includes(this.#sheet)) {
      document.adoptedStyleSheets = [...document.adoptedStyleSheets, this.#sheet];
    }
    const shown = new Set();
    for (const element of document.querySelectorAll("img, video")) {
      const urls = [element.currentSrc, element.src, element.poster].filter(Boolean);
      for (const url of urls) shown.add(plain(url));
      this.#mark(element, urls);
    }
    const behind = [...this.#served.keys()].filter(
      (url) => !shown.has(url) && !this.#sought.has(url),
    );
    if (behind.length === 0) return;
    for (const url of behind) this.#sought.add(url);
    for (const element of [...document.querySelectorAll("body, body *")].slice(0, MOST)) {
      const image = getComputedStyle(element).backgroundImage;
      this.#mark(element, [...image.matchAll(/url\("(.*?)"\)/g)].map(([, url]) => url));
    }
  }

  clear() {
    const others = document.adoptedStyleSheets.filter((other) => other !== this.#sheet);
    document.adoptedStyleSheets = others;
    for (const element of document.querySelectorAll(`[${NAME}]`)) element.removeAttribute(NAME);
    this.#sought.clear();
  }

  #mark(element, urls) {
    const found = urls.map((url) => this.#served.get(plain(url))).find(Boolean);
    if (found && element.getAttribute(NAME) !== found.source) {
      element.setAttribute(NAME, found.source);
    }
  }
}

const plain = (url) => url.split("#")[0];
