// The bridge's life in a page: where its engine runs, when it ends.
//
// One file for two places. In the window it waits for its turn, compiles the wasm once, owns the peer
// connections (Rust, `Bridge`) and starts this same file as a dedicated worker, where the engine
// host (Rust, `Host`) runs; where a worker cannot have data channels the host runs in the window.

import { watch } from "./consent.js";
import init, { Bridge, Host } from "./fugitive_bridge.js";
import { idle } from "./idle.js";
import { isForgotten } from "./off.js";
import { adopt, expect, foretell, prefetch, timed } from "./page.js";
import { choose, position } from "./position.js";
import { offerPanel } from "./show.js";
import { collect } from "./signals.js";
import { CLIENT, Turn, vouch } from "./turn.js";

export { consent, pause } from "./consent.js";
export { forget, remove } from "./off.js";
export { get, prefetch, reloaded, stats } from "./page.js";
export { showPanel } from "./show.js";

const WASM = new URL("./__BRIDGE_WASM__", import.meta.url);
/** What has time is done when the page has been there for this long, in milliseconds. */
const LATER = 1_000;
const UP = "up";
const STOP = "stop";
const TICKET = "fugitive:ticket";
const BEEN = "fugitive:been";
/** So many pages are remembered, and for so many milliseconds after the last. */
const MOST_BEEN = 12;
const BEEN_FOR = 7 * 86_400_000;
/** A longer path is not worth it. */
const LONGEST_PATH = 256;
/** A worker that says nothing for this long will not, in milliseconds. */
const WORKER_WITHIN = 10_000;

/** When what was there, for the page's own timeline. */
const mark = (step) => performance.mark(`fugitive:${step}`);
const warn = (what, error) => console.warn(`fugitive: ${what}: ${error?.message ?? error}`);

if (!globalThis.document) {
  onmessage = async ({ data: [module, ...options] }) => {
    try {
      // Exposed where, and only where, a channel can be transferred to.
      if (!globalThis.RTCDataChannel) throw "no data channels in workers here";
      await init({ module_or_path: module });
      const host = new Host(...options, (message, transfer) => postMessage(message, transfer));
      onmessage = ({ data }) => {
        if (Array.isArray(data)) return host.heard(data);
        if (data !== STOP) return host.told(data);
        stop();
      };
      const stop = () => {
        host.stop();
        close();
      };
      vouch(stop);
      postMessage(UP);
    } catch (error) {
      postMessage(String(error?.message ?? error));
    }
  };
}

let renew = () => {};
/** Lets the page go first: no two steps of ours are one long task. */
let rest;

/** Whether peers may be looked for near where the visitor is, which the server is then told. */
export async function precise(yes) {
  await choose(yes);
  renew();
}

/**
 * Called by the page loader with the data- attributes of its tag, once the worker is in control;
 * `isFirst` where it was not when the page loaded.
 */
export async function start(settings, isFirst) {
  // Made ready in case it is visited: until it is, nothing of it is anybody's business.
  if (document.prerendering) {
    const options = { once: true };
    await new Promise((visited) => document.addEventListener("prerenderingchange", visited, options));
  }
  mark("script");
  // Where the page was there before us, nothing of ours is urgent.
  rest = () => (isFirst ? idle() : globalThis.scheduler?.yield?.());
  await rest();
  if (isForgotten()) return;
  if (isFirst) adoptLater();
  offerPanel(settings).catch((error) => warn("no panel", error));
  let shown, agreed, isOff;
  const begin = () => {
    const life = (shown = new AbortController());
    const again = () => {
      if (life.signal.aborted) return;
      life.abort();
      begin();
    };
    live(settings, life, () => agreed, again).catch((error) => {
      if (!life.signal.aborted) warn("no bridge", error);
      life.abort();
    });
    look(life.signal);
    foretell(() => life.hasSwarm, life.signal);
    timed(life.signal);
  };
  const show = () => {
    if (!agreed || isOff || shown?.signal.aborted === false) return;
    begin();
  };
  renew = () => {
    if (!agreed || isOff) return;
    shown?.abort();
    show();
  };
  // Everything goes at once, so that the page may enter the back/forward cache.
  const end = () => shown?.abort();
  addEventListener("pagehide", end);
  addEventListener("pageshow", (event) => event.persisted && show());
  // A hidden tab that is not let run is of no use to others, and is not to keep them waiting.
  document.addEventListener("freeze", end);
  document.addEventListener("resume", show);
  // The worker leaves, for all pages.
  navigator.serviceWorker.addEventListener("message", ({ data }) => {
    if (data?.fugitive !== "off") return;
    isOff = true;
    forgetPages();
    shown?.abort();
  });
  watch(settings, (now) => {
    if (now === agreed || isOff) return;
    const before = agreed;
    agreed = now;
    if (agreed) return before ? shown.look?.() : show();
    forgetPages();
    if (!shown) return;
    shown.abort();
    // Its requests are not to wait for what will not come.
    navigator.serviceWorker.controller?.postMessage({ fugitive: "alone" });
  });
}

/** Adopts when nobody waits for anything else, or on the way out. */
function adoptLater() {
  const once = new AbortController();
  const adopts = () => {
    if (once.signal.aborted) return;
    once.abort();
    adopt();
  };
  addEventListener("pagehide", adopts, { signal: once.signal });
  setTimeout(() => idle().then(adopts), LATER);
}

/** What the page shows is told of at once; what it may show next is fetched when it has that. */
function look(ended) {
  const later = (then) => {
    const after = setTimeout(then, LATER);
    ended.addEventListener("abort", () => clearTimeout(after));
  };
  const quiet = () => idle().then(() => ended.aborted || prefetch());
  expect();
  addEventListener("load", expect, { once: true, signal: ended });
  later(quiet);
  let page = location.pathname;
  const turned = () => {
    if (location.pathname === page) return;
    page = location.pathname;
    later(() => {
      expect();
      quiet();
    });
  };
  // Some sites turn a page into the next one without leaving it.
  globalThis.navigation?.addEventListener("currententrychange", turned, { signal: ended });
}

async function live(settings, life, consent, again) {
  const ended = life.signal;
  const pause = async () => {
    await rest();
    ended.throwIfAborted();
  };
  await pause();
  const turn = new Turn(ended, again);
  /** As whom peers know the tab that has it until we have connections; nothing where none has. */
  const twin = await turn.comes(() => compiled().catch(() => {}));
  mark("turn");
  await pause();
  let phase = twin === undefined ? "now" : "next";
  /** Until it is another tab's. */
  const ours = new AbortController();
  ended.addEventListener("abort", () => ours.abort());

  const clients = new Set();
  let opened;
  const made = new Promise((done) => (opened = done));
  const page = {
    opened() {
      mark("open");
      opened();
    },
    hold(client) {
      if (clients.has(client)) return;
      clients.add(client);
      const { signal } = ours;
      const hold = () => new Promise((free) => signal.addEventListener("abort", free));
      navigator.locks.request(CLIENT + client, { signal }, hold).catch(() => {});
    },
    keep(ticket) {
      mark("joined");
      try {
        sessionStorage.setItem(TICKET, ticket);
        if (isOneVisit) localStorage.removeItem(BEEN);
        else goesTo(location.pathname);
      } catch {
        // Forbidden here: the next page joins as a stranger.
      }
    },
  };
  let bridge, host, told;
  // The site wants no visit to be told from the pages of another.
  const isOneVisit = settings.visits === "off";
  life.look = collect(
    settings,
    consent,
    (signals) => {
      told = signals;
      told.signals.turn = phase;
      host?.tell(told);
    },
    ended,
  );
  await pause();
  const hear = (message) => ended.aborted || bridge.heard(message);
  // The window's half is there before the host can say anything to it.
  const options = compiled().then(async (module) => {
    await rest();
    await init({ module_or_path: module });
    mark("wasm");
    await rest();
    const post = (message, transfer) => host.post(message, transfer);
    bridge = new Bridge(page, post, settings.relayOnly !== undefined);
    const [url, path] = [signalUrl(settings), location.pathname];
    return [module, url, path, ticket(twin), told, position(), twin, isOneVisit ? [] : been()];
  });
  ended.addEventListener("abort", () => {
    // A port does not say that its other end is gone.
    navigator.serviceWorker.controller?.postMessage({ fugitive: "closing" });
    bridge?.stop();
    host?.stop();
  });
  if (settings.worker !== "off") {
    host = await inWorker(options, hear, life, turn.worker).catch(async (error) => {
      ended.throwIfAborted();
      await options;
      console.info(`fugitive: engine in the window: ${error?.message ?? error}`);
    });
  }
  host ??= inWindow(await options, hear);
  mark("host");
  await rest();
  if (ended.aborted) return host.stop();
  // Something may have changed since it was started.
  host.tell(told);
  await turn.take(made);
  if (ended.aborted) return;
  life.hasSwarm = true;
  phase = "now";
  life.look();

  const { serviceWorker } = navigator;
  const offer = () => {
    const { port1, port2 } = new MessageChannel();
    const handed = twin !== undefined;
    serviceWorker.controller?.postMessage({ fugitive: "bridge", handed }, [port1]);
    if (serviceWorker.controller) bridge.port(port2);
  };
  const hearWorker = ({ data, ports }) => {
    if (data?.fugitive === "port" && ports[0]) bridge.port(ports[0]);
  };
  serviceWorker.addEventListener("controllerchange", offer, { signal: ours.signal });
  serviceWorker.addEventListener("message", hearWorker, { signal: ours.signal });
  offer();
  turn.up({
    me: () => bridge.me(),
    open: () => bridge.open(),
    look: life.look,
    drain() {
      life.hasSwarm = false;
      phase = "over";
      life.look();
      ours.abort();
    },
  });
}

let compiling;
/** The module, compiled once for window and worker. */
function compiled() {
  compiling ??= WebAssembly.compileStreaming(fetch(WASM))
    // A host that does not know application/wasm.
    .catch(async () => WebAssembly.compile(await (await fetch(WASM)).arrayBuffer()));
  return compiling;
}

/** The host in a dedicated worker, which loads while the wasm compiles. */
function inWorker(options, hear, life, name) {
  return new Promise((up, failed) => {
    // Throws where the page's policy forbids it, or where we come from another host.
    const worker = new Worker(import.meta.url, { type: "module", name });
    let isUp = false;
    const give = (why) => {
      worker.terminate();
      failed(why);
    };
    const late = setTimeout(give, WORKER_WITHIN, "its worker does not start");
    worker.onerror = (event) => give(event.message || "its worker does not load");
    worker.onmessage = ({ data }) => {
      clearTimeout(late);
      if (data !== UP) return give(data);
      isUp = true;
      worker.onmessage = ({ data }) => hear(data);
      worker.onerror = (event) => {
        warn("the engine's worker failed", event);
        life.abort();
      };
      up({
        post: (message, transfer) => worker.postMessage(message, transfer),
        tell: (signals) => worker.postMessage(signals),
        // It leaves the server and ends itself.
        stop: () => worker.postMessage(STOP),
      });
    };
    life.signal.addEventListener("abort", () => isUp || give("page hidden"));
    options.then((options) => worker.postMessage(options), give);
  });
}

/** The host in this window. */
function inWindow([, ...options], hear) {
  const host = new Host(...options, (message) => queueMicrotask(() => hear(message)));
  return {
    post: (message) => queueMicrotask(() => host.heard(message)),
    tell: (signals) => host.told(signals),
    stop: () => host.stop(),
  };
}

function signalUrl({ signal = "/fugitive/signal" }) {
  return new URL(signal, location.href).href.replace(/^http/, "ws");
}

function ticket(twin) {
  try {
    const kept = sessionStorage.getItem(TICKET) ?? undefined;
    // A tab that was made a copy of has the same.
    return twin && kept?.startsWith(twin) ? undefined : kept;
  } catch {
    return undefined;
  }
}

/** Where this browser was, the latest page first: it may still have what they show. */
function been() {
  try {
    const { at, pages } = JSON.parse(localStorage.getItem(BEEN));
    return Date.now() - at < BEEN_FOR ? pages.map(String) : [];
  } catch {
    return [];
  }
}

function goesTo(page) {
  const pages = [page, ...been().filter((other) => other !== page)];
  const kept = pages.filter(({ length }) => length <= LONGEST_PATH).slice(0, MOST_BEEN);
  localStorage.setItem(BEEN, JSON.stringify({ at: Date.now(), pages: kept }));
}

function forgetPages() {
  try {
    sessionStorage.removeItem(TICKET);
    localStorage.removeItem(BEEN);
  } catch {
    // Nor was one kept.
  }
}
