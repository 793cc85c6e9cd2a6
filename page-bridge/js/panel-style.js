// How the panel looks: light and dark, at 360 pixels and wider, of a size that what it shows does not
// change.

export const COLOURS = {
  memory: "#7b6ef0",
  store: "#2f80d8",
  "tier-1": "#0f9d6b",
  "tier-2": "#7aa615",
  network: "#d9781a",
};
export const DARK = {
  memory: "#a79dff",
  store: "#6db3ff",
  "tier-1": "#3ddba0",
  "tier-2": "#b9e34f",
  network: "#ffb44d",
};

const rules = (colours) =>
  Object.entries(colours)
    .map(([source, colour]) => `[data-source=${source}] { --source: ${colour}; }`)
    .join("\n");

export const STYLE = `
  :host { all: initial !important; display: contents !important; color-scheme: light dark !important; }
  * { box-sizing: border-box; }
  section, .pill {
    position: fixed;
    inset: auto 0.75rem 0.75rem auto;
    z-index: 2147483646;
    --sheet: #fffffff2;
    --ink: #1d1a24;
    --quiet: #625d6d;
    --line: #e2dde3;
    --fill: #f4f1f5;
    --accent: #0b7a53;
    border: 1px solid var(--line);
    background: var(--sheet);
    color: var(--ink);
    box-shadow: 0 0.75rem 2.5rem #140a1e33;
    backdrop-filter: blur(16px) saturate(1.4);
    font: 0.8125rem/1.4 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
    font-variant-numeric: tabular-nums;
  }
  ${rules(COLOURS)}
  @media (prefers-color-scheme: dark) {
    section, .pill {
      --sheet: #1b1822f2;
      --ink: #f1edf5;
      --quiet: #aca5b9;
      --line: #37313f;
      --fill: #2a2532;
      --accent: #3ddba0;
    }
    ${rules(DARK)}
  }
  [hidden] { display: none !important; }
  .pill {
    display: flex;
    align-items: center;
    gap: 0.6rem;
    min-width: 13rem;
    min-height: 2.75rem;
    padding: 0.4rem 1rem;
    border-radius: 1.5rem;
    font-weight: 600;
    cursor: pointer;
  }
  .pill b { flex: 1; text-align: right; font-weight: 400; color: var(--quiet); }
  .lamp { width: 0.6rem; height: 0.6rem; border-radius: 50%; background: var(--quiet); }
  .lamp[data-on] { background: var(--accent); box-shadow: 0 0 0 4px #0f9d6b40; }
  section {
    display: flex;
    flex-direction: column;
    width: min(22.5rem, calc(100vw - 1.5rem));
    max-height: min(46rem, calc(100vh - 1.5rem));
    overflow: hidden;
    border-radius: 0.9rem;
  }
  header {
    display: flex;
    align-items: center;
    gap: 0.6rem;
    padding: 0.5rem 0.5rem 0.5rem 1rem;
    border-bottom: 1px solid var(--line);
  }
  h2 { flex: 1; margin: 0; font-size: 0.9375rem; letter-spacing: -0.01em; }
  h3 { margin: 0 0 0.3rem; font-size: 0.8125rem; }
  .body { padding: 0 1rem 0.75rem; overflow: auto; overscroll-behavior: contain; }
  .figures { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 0.75rem; margin: 0.8rem 0 0.3rem; }
  .figures div { display: flex; flex-direction: column-reverse; justify-content: flex-end; }
  .figures dt span { display: block; }
  .figures dt { min-height: 2.625rem; color: var(--quiet); font-size: 0.75rem; line-height: 0.875rem; }
  .figures dd { height: 1.75rem; margin: 0; font-size: 1.25rem; font-weight: 650; letter-spacing: -0.02em; line-height: 1.75rem; white-space: nowrap; }
  .state {
    display: flex;
    align-items: center;
    min-height: 2.9rem;
    margin: 0 0 0.75rem;
    padding: 0.25rem 0.75rem;
    border-radius: 0.6rem;
    background: var(--fill);
  }
  .chart { position: relative; margin-bottom: 0.6rem; }
  .chart small { position: absolute; inset: 0 auto auto 0; color: var(--quiet); font-size: 0.6875rem; }
  svg { display: block; width: 100%; height: 3.25rem; border-bottom: 1px solid var(--line); }
  path { fill: var(--source); }
  table { width: 100%; border-spacing: 0; table-layout: fixed; }
  caption, .only-heard {
    position: absolute;
    width: 1px;
    height: 1px;
    overflow: hidden;
    clip-path: inset(50%);
    white-space: nowrap;
  }
  th, td { padding: 0.15rem 0; text-align: right; font-weight: 400; white-space: nowrap; }
  th:first-child { width: 48%; text-align: left; overflow: hidden; text-overflow: ellipsis; }
  .peers th:first-child { width: 28%; }
  thead th { color: var(--quiet); font-size: 0.75rem; }
  .swatch {
    display: inline-block;
    width: 0.65rem;
    height: 0.65rem;
    margin-right: 0.55rem;
    border-radius: 0.2rem;
    background: var(--source);
    forced-color-adjust: none;
  }
  .peers, .controls, details { margin-top: 0.75rem; padding-top: 0.75rem; border-top: 1px solid var(--line); }
  .list { height: 6.75rem; overflow: auto; overscroll-behavior: contain; }
  .list p { margin: 0; color: var(--quiet); }
  .buttons { display: grid; grid-template-columns: 1fr 1fr; gap: 0.6rem; }
  button { font: inherit; color: inherit; cursor: pointer; }
  .buttons button {
    min-height: 2.5rem;
    padding: 0.25rem 0.75rem;
    border: 1px solid var(--line);
    border-radius: 0.6rem;
    background: var(--fill);
    font-weight: 600;
  }
  .buttons button:hover, .close:hover { border-color: var(--quiet); }
  .close {
    width: 2.5rem;
    height: 2.5rem;
    border: 1px solid transparent;
    border-radius: 0.6rem;
    background: none;
    font-size: 1.25rem;
    line-height: 1;
  }
  .switch {
    display: flex;
    align-items: center;
    gap: 0.75rem;
    width: 100%;
    min-height: 2.5rem;
    margin-top: 0.4rem;
    padding: 0.2rem 0;
    border: 0;
    background: none;
    text-align: left;
  }
  .switch span { flex: 1; }
  .switch small { display: block; color: var(--quiet); font-size: 0.75rem; }
  .switch i {
    flex: none;
    width: 2.5rem;
    height: 1.5rem;
    padding: 0.1875rem;
    border: 1px solid var(--quiet);
    border-radius: 0.75rem;
    background: var(--fill);
  }
  .switch i::after {
    display: block;
    width: 1rem;
    height: 1rem;
    border-radius: 50%;
    background: var(--quiet);
    content: "";
  }
  .switch[aria-checked=true] i { border-color: var(--accent); background: var(--accent); }
  .switch[aria-checked=true] i::after { margin-left: auto; background: var(--sheet); }
  .switch:disabled, .buttons button:disabled { opacity: 0.5; cursor: default; }
  summary { padding: 0.3rem 0; font-weight: 600; cursor: pointer; }
  ol { height: 9rem; margin: 0; padding: 0; overflow: auto; list-style: none; overscroll-behavior: contain; }
  li { display: flex; align-items: center; padding: 0.1rem 0; white-space: nowrap; }
  li span:not(.swatch, .only-heard) { flex: 1; overflow: hidden; text-overflow: ellipsis; }
  li .swatch { flex: none; }
  li small { margin-left: 0.75rem; color: var(--quiet); }
  :focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
  .body :focus-visible { outline-offset: -1px; }
  @media (forced-colors: active) {
    :focus-visible { outline-color: Highlight; }
    .switch[aria-checked=true] i { background: Highlight; }
    .switch i::after { background: ButtonText; }
  }
  @media print { :host { display: none !important; } }
`;
