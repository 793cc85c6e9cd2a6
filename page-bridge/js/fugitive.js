// The page loader: all that a page's critical path carries. It gives the page `window.fugitive`,
// registers the worker, and loads the bridge when it is time; whatever can lie in the bridge's
// module does. What fails here costs the page one line in the console.

(() => {
  if (window.fugitive) return;

  const settings = document.currentScript?.dataset ?? {};
  const { serviceWorker } = navigator;
  const absolute = (url) => new URL(url, location);
  const worker = absolute(settings.sw ?? "/fugitive-sw.js");
  if (settings.manifest) worker.searchParams.set("manifest", absolute(settings.manifest));
  if (settings.hosts) worker.searchParams.set("hosts", settings.hosts.trim().split(/[\s,]+/));
  const isOurs = (other) => other && new URL(other.scriptURL).pathname === worker.pathname;
  const inControl = () => isOurs(serviceWorker?.controller);
  const next = (target, event) =>
    new Promise((done) => target.addEventListener(event, done, { once: true }));
  // A name, because a bundler would look for a literal.
  const file = "./fugitive/__BRIDGE__";
  const bridge = () => import(file);
  const warn = (error) => console.warn("fugitive: " + error);

  if (/[?&]fugitive=off(&|$)/.test(location.search)) {
    // Left alone, and with nothing of ours left where there is something.
    if (inControl()) bridge().then((module) => module.remove(isOurs)).catch(warn);
    return;
  }
  const fugitive = (window.fugitive = new EventTarget());
  // By URL. Whoever comes later than the first answers finds them here.
  const served = (fugitive.served = new Map());
  fugitive.fetch = (input, init) =>
    inControl()
      ? bridge().then((module) => module.get(input, init), () => fetch(input, init))
      : fetch(input, init);
  fugitive.prefetch = async (urls) => inControl() && (await bridge()).prefetch(urls);
  fugitive.stats = async () => (inControl() ? (await bridge()).stats() : {});
  for (const wish of ["consent", "pause", "precise", "showPanel"]) {
    fugitive[wish] = async (yes) => (await bridge())[wish](yes);
  }
  fugitive.forget = async () => (await bridge()).forget(isOurs);

  const begin = async () => {
    if (!serviceWorker) return false;
    serviceWorker.addEventListener("message", ({ data }) => {
      if (data?.fugitive !== "served") return;
      const { fugitive: kind, ...detail } = data;
      const { url, bytes } = detail;
      served.set(url, { ...detail, bytes: bytes + (served.get(url)?.bytes ?? 0) });
      fugitive.dispatchEvent(Object.assign(new CustomEvent(kind, { detail }), detail));
    });
    serviceWorker.startMessages();

    const isFirst = !inControl();
    let coming;
    const start = async () => (await bridge()).start(settings, isFirst);
    if (isFirst) {
      if (document.readyState !== "complete") await next(window, "load");
      await new Promise((done) => (window.requestIdleCallback ?? setTimeout)(done));
      // Forgotten, it is not in control. The first look into this storage holds up the whole page.
      if (localStorage?.getItem("fugitive:off")) return false;
    } else {
      start().catch(warn);
    }
    if (serviceWorker.controller?.scriptURL !== worker.href) {
      const scope = absolute(settings.scope ?? "/").href;
      const there = await serviceWorker.getRegistration(scope);
      const other = there?.scope === scope && (there.active ?? there.waiting ?? there.installing);
      if (other && !isOurs(other)) {
        console.info("fugitive: not registered, this scope has " + other.scriptURL);
        return false;
      }
      if (isFirst && isOurs(there?.active)) (await bridge()).reloaded(there.active);
      const made = await serviceWorker.register(worker, { scope, updateViaCache: "none" });
      coming = made.installing;
    }
    if (isFirst) {
      while (!inControl()) {
        // The site wants none, or its install failed.
        if (coming?.state === "redundant") return false;
        await Promise.any([
          next(serviceWorker, "controllerchange"),
          coming ? next(coming, "statechange") : new Promise(() => {}),
        ]);
      }
      start().catch(warn);
    }
    return true;
  };
  // Whether the worker is in control, once that is known.
  fugitive.ready = begin().catch((error) => (warn(error), false));
})();
