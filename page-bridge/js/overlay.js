// What the question and the panel have in common: they lie over the page in a closed shadow root and
// move nothing. Their style is a constructed sheet, which no policy forbids.

/** The language of the page, else of the visitor, among those that there are. */
export function language(texts) {
  const wished = [document.documentElement.lang, ...navigator.languages];
  const short = wished.map((tag) => tag.split("-")[0].toLowerCase());
  return short.find((tag) => Object.hasOwn(texts, tag)) ?? "en";
}

/** An element with a text and attributes. */
export function element(name, text = "", attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** An element of this name with a shadow root, and that root. */
export function overlay(name, lang, style) {
  const host = element(name, "", { lang });
  const shadow = host.attachShadow({ mode: "closed" });
  shadow.adoptedStyleSheets = [sheet(style)];
  return [host, shadow];
}

/** A style sheet. */
export function sheet(style) {
  const made = new CSSStyleSheet();
  made.replaceSync(style);
  return made;
}
