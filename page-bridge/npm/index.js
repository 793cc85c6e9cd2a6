// Fugitive for pages that are built with modules. The client files themselves are copied to the site
// (`fugitive-client public/`): a Service Worker has to come from there, under a name of its own.

/**
 * Puts Fugitive into this page, as its script tag would, and gives what the tag gives the page:
 * `window.fugitive`. Nothing where the page's address says `?fugitive=off`, and on a server, where
 * there is no page.
 */
export async function register({ src = "/fugitive.js", ...settings } = {}) {
  if (!globalThis.document) return undefined;
  if (window.fugitive) return window.fugitive;
  const script = document.createElement("script");
  for (const [name, value] of Object.entries(settings)) {
    if (value !== undefined && value !== false) script.dataset[name] = value === true ? "" : value;
  }
  script.src = src;
  script.async = true;
  await new Promise((done, failed) => {
    script.onload = done;
    script.onerror = () => failed(new Error(`no ${script.src}: are the client files there?`));
    document.head.append(script);
  });
  return window.fugitive;
}
