// The listeners, plain JavaScript because they must be there before any wasm is: what is not ours is
// never touched, and what goes wrong goes to the network. Everything else is in Rust, but for what is
// answered before that runs.

import * as cold from "./cold.js";

/** A worker of the site's own may have imported this; it is the site's to register and to take away. */
const IS_GUEST = !location.pathname.endsWith("/fugitive-sw.js");
/** What the page's tag says of us, which there the site's worker says. */
const GIVEN = IS_GUEST
  ? { base: "/", ...self.fugitive }
  : { ...Object.fromEntries(new URL(location).searchParams), base: "./" };
/** Below which our files lie. */
const BASE = new URL(GIVEN.base, location);
const WASM = new URL("fugitive/__SW_WASM__", BASE).href;
const VERSION = "__VERSION__";
const CACHE = `fugitive-${VERSION}`;
const MEDIA = ["image", "video", "audio"];
/** Requests that change what is there under their URL (RFC 9111, 4.4), and how names of media end. */
const CHANGES = ["POST", "PUT", "PATCH", "DELETE"];
const NAMES = "avif gif jpeg jpg png svg webp ico mp3 mp4 ogg webm".split(" ");
/** All of these and few others: the browser compiles each of them anew for every page. */
const ENDS = ["*if", "*g", "web*", "ico", "mp*"];
/** What was changed is left to the network for this long: a change takes its time, in milliseconds. */
const CHANGING = 60_000;
/** Where `fugitive.fetch` asks; never a path of the server's. */
const FETCH = "/fugitive/fetch/";
/** After this long no request waits for the wasm to start any more, in milliseconds. */
const START_WITHIN = 1_000;
/** Nor for what is looked up without it, in milliseconds. */
const LOOK_WITHIN = 500;
/** What was found without it is on its way to the page before the wasm is compiled, in milliseconds. */
const HEAD_START = 10;
/** Wasm that could not be had is not fetched again before this, in milliseconds. */
const FETCH_AGAIN = 30_000;
/** An install that hangs says nothing; this one fails, and says so, in milliseconds. */
const INSTALL_WITHIN = 60_000;
/** Nor does an install wait longer for the manifest, in milliseconds. */
const PREPARE_WITHIN = 5_000;
/** Nor does a worker that leaves wait longer for its pages, in milliseconds. */
const LEAVE_WITHIN = 1_000;
const OFF = /[?&]fugitive=off(&|#|$)/;
const STYLES = /\.css($|\?)/;
/** Policies by which the referrer is a whole address, within an origin. */
const WHOLE = [
  "strict-origin-when-cross-origin",
  "no-referrer-when-downgrade",
  "origin-when-cross-origin",
  "same-origin",
  "unsafe-url",
];
/** Other hosts of the site whose media may be listed, as the page's tag names them. */
const HOSTS = new Set([GIVEN.hosts ?? []].flat().join().split(","));
/** Conditional requests are the page's own business with the origin. */
const CONDITIONAL = ["if-none-match", "if-modified-since", "if-match", "if-unmodified-since"];

const warn = (what, error) => console.warn(`fugitive: ${what}: ${error?.message ?? error}`);

const within = (promise, ms, what) =>
  new Promise((done, failed) => {
    const late = setTimeout(() => failed(new Error(`${what} took over ${ms} ms`)), ms);
    promise.then(done, failed).finally(() => clearTimeout(late));
  });

/** Whether the page with this client id has us switched off. */
async function isOffFor(id) {
  return OFF.test((await clients.get(id))?.url ?? "");
}

/**
 * Whether the referrer, which does not say that, is the page's address, as far as it can be told: a style
 * sheet's images have another. A look at the client waits for a thread that is busy with the page.
 */
const isOnFor = ({ url, referrer, referrerPolicy }) =>
  [url, referrer].every((address) => address.startsWith(location.origin + "/")) &&
  WHOLE.includes(referrerPolicy) &&
  !STYLES.test(referrer);

/** The page that was last told something. */
let told = {};

/** What Rust cannot reach without a page of bindings. */
const shell = {
  origin: location.origin,
  script: location.href,
  memory: navigator.deviceMemory,
  cores: navigator.hardwareConcurrency,
  manifest: new URL(GIVEN.manifest ?? "fugitive/manifest.json", BASE).href,
  body: (flow) =>
    new ReadableStream(
      {
        pull: async (stream) => {
          const bytes = await flow.next();
          if (bytes) stream.enqueue(bytes);
          else stream.close();
        },
        cancel: () => flow.cancel(),
      },
      { highWaterMark: 1 },
    ),
  /** Of bytes or a stream; names and values of headers have a line each, so that one call is enough. */
  response(body, status, statusText, lines) {
    const headers = new Headers();
    const all = lines.split("\n");
    for (let n = 0; n + 1 < all.length; n += 2) headers.append(all[n], all[n + 1]);
    const stream = body instanceof Uint8Array ? cold.streamed(body) : body;
    return new Response(stream, { status, statusText, headers });
  },
  /** The client id of the window that holds the swarm, if any does. */
  async holder() {
    const { held } = await navigator.locks.query();
    const name = "fugitive:client:";
    return held.find((lock) => lock.name.startsWith(name))?.name.slice(name.length);
  },
  client: (id) => clients.get(id),
  leave,
  isOff: isOffFor,
  digest: cold.digest,
  async say(id, message) {
    if (told.id !== id) told = { id, client: clients.get(id) };
    const client = await told.client;
    if (client) client.postMessage(message);
    else told = {};
  },
};

/** Nothing is done any more; the pages that are open are the last ones, and go on without us. */
let isOff = false;
/** Off, because what the install put into Cache Storage is gone. */
let isLost = false;
/** A page has a bridge for us: nobody who has taken us away has that. */
let isWanted = false;
let isInstalling = false;
let starting;
/** The same when it has started: what it is asked then waits for nothing. */
let running;
/** The wasm, on its way ahead of the start. */
let fetching;
/** The wasm runs, or cannot: nothing is answered without it any more. */
let isColdOver = false;
let startedAt;
/** What is looked up without it. */
const looking = new Set();
let fetchableAt = 0;
/** The one instance of the Rust worker; a start that failed is tried again by the next request. */
const worker = () => {
  if (!starting) {
    startedAt = performance.now();
    starting = start().catch((error) => {
      starting = undefined;
      isColdOver = true;
      throw error;
    });
  }
  return starting;
};
/** The same for a request, which has the network. */
const workerInTime = () => {
  const ready = worker();
  return within(ready, Math.max(0, startedAt + START_WITHIN - performance.now()), "start");
};

async function start() {
  const ahead = fetching;
  fetching = undefined;
  const got = (await ahead?.catch(() => undefined)) ?? (await wasm());
  // Compiling and starting have the thread for as long as they take.
  const looked = await Promise.all(looking);
  if (looked.some(([hit]) => hit)) await new Promise((done) => setTimeout(done, HEAD_START));
  await wasm_bindgen({ module_or_path: got });
  const ready = (running = new wasm_bindgen.Worker(shell));
  isColdOver = true;
  cold.close();
  return ready;
}

/** From Cache Storage, where the install put it: script and wasm never fall out of step. */
async function wasm() {
  const kept = await caches.match(WASM, { cacheName: CACHE });
  if (kept) return kept;
  if (!isInstalling && !isWanted) {
    // Taken away, by us or by the site: an instance that starts once more leaves nothing behind.
    isOff = isLost = true;
    throw new Error("nothing is installed any more");
  }
  if (performance.now() < fetchableAt) throw new Error("the wasm could not be had");
  fetchableAt = performance.now() + FETCH_AGAIN;
  const fetched = await fetch(WASM);
  if (!fetched.ok) throw new Error(`${WASM}: ${fetched.status}`);
  const cache = await caches.open(CACHE);
  await cache.put(WASM, fetched.clone());
  fetchableAt = 0;
  return fetched;
}

/** Leaves: pages are told, and nothing of ours stays. */
async function leave() {
  if (isOff) return;
  isOff = true;
  // Where pages are open the browser goes on with a new version, however far it has come.
  const { installing, waiting, active } = registration;
  for (const other of [installing, waiting, active]) other?.postMessage({ fugitive: "leave" });
  for (const client of await clients.matchAll()) client.postMessage({ fugitive: "off" });
  // Browsers may do this only when an install has ended, and what is there goes at once.
  const unregistered = IS_GUEST || registration.unregister();
  await clean();
  await unregistered;
  if (IS_GUEST) {
    // The site's worker stays; a page that wants us back has us.
    starting = running = undefined;
    isLost = true;
  }
}

async function clean() {
  const ready = await starting?.catch(() => undefined);
  ready?.close();
  cold.close();
  await caches.delete(CACHE);
  // The bridge of a page lets go of its lock when it is done with the database.
  const ended = AbortSignal.timeout(LEAVE_WITHIN);
  await navigator.locks.request("fugitive:swarm", { signal: ended }, () => {}).catch(() => {});
  await new Promise((done) => {
    const gone = indexedDB.deleteDatabase("fugitive");
    gone.onsuccess = gone.onerror = gone.onblocked = done;
  });
}

/** What is asked for first is then known to be ours to share. */
const prepare = (ready) =>
  within(ready.prepare(), PREPARE_WITHIN, "manifest").catch((error) => warn("install", error));

async function route(event) {
  // What is neither media nor asked for by name bypasses the worker, where the browser can do that.
  const ours = MEDIA.map((requestDestination) => ({ requestDestination }));
  ours.push({ urlPattern: new URLPattern({ pathname: `${FETCH}*` }) });
  // Both, put so that the names are not compared where the method is another.
  const changing = { or: CHANGES.map((requestMethod) => ({ requestMethod })) };
  const named = ENDS.map((end) => ({ urlPattern: new URLPattern({ pathname: `*.${end}` }) }));
  ours.push({ not: { or: [{ not: changing }, { not: { or: named } }] } });
  await event.addRoutes({ condition: { not: { or: ours } }, source: "network" });
}

// Before the event is here for which the browser has started us.
if (self.serviceWorker?.state === "activated") {
  fetching = wasm();
  fetching.catch(() => {});
  cold.open().catch(() => {});
}

addEventListener("install", (event) => {
  if (event.addRoutes && !IS_GUEST) {
    event.waitUntil(route(event).catch((error) => warn("no static routes", error)));
  }
  const install = async () => {
    isInstalling = true;
    const ready = await within(worker(), INSTALL_WITHIN, "install");
    await prepare(ready);
    if (isOff) throw new Error("taken away");
    if (!ready.isWanted()) {
      isOff = true;
      if (!registration.active) await clean();
      throw new Error("the site wants none");
    }
    if (!IS_GUEST) await skipWaiting();
  };
  event.waitUntil(
    install()
      .finally(() => (isInstalling = false))
      .catch((error) => {
        warn("not installed", error);
        if (!IS_GUEST) throw error;
      }),
  );
});

addEventListener("activate", (event) => {
  const old = async () => {
    for (const name of await caches.keys()) {
      if (name.startsWith("fugitive-") && name !== CACHE) await caches.delete(name);
    }
  };
  event.waitUntil(Promise.all([IS_GUEST || clients.claim(), old()]));
});

addEventListener("fetch", (event) => {
  if (isOff) return;
  const { request } = event;
  const { method, destination, cache, headers, referrer, url } = request;
  const isNamed = url.startsWith(location.origin + FETCH);
  if (CHANGES.includes(method)) return changes(event);
  if (method !== "GET" || !(isNamed || MEDIA.includes(destination))) return;
  if (!url.startsWith(location.origin + "/") && !isReadable(request)) return;
  // A named one is never: so Firefox calls whatever has an If-Range.
  if (cache === "no-store" && !isNamed) return;
  if (headers.has("authorization") || CONDITIONAL.some((name) => headers.has(name))) return;
  if (OFF.test(referrer) || isChanging(url)) return;
  event.respondWith(isNamed ? answerNamed(event) : answer(event));
});

/** When which URL was changed. */
const changed = new Map();

/** Not answered, so that nothing of it is different: its end is not seen, and what is held goes at once. */
function changes(event) {
  const { origin, pathname, href } = new URL(event.request.url);
  if (origin !== location.origin || !NAMES.includes(pathname.split(".").pop())) return;
  const url = href.split("#")[0];
  changed.set(url, performance.now());
  event.waitUntil(
    worker()
      .then((ready) => ready.forget(url))
      .catch((error) => warn(url, error)),
  );
}

function isChanging(url) {
  for (const [other, at] of changed) {
    if (performance.now() - at > CHANGING) changed.delete(other);
  }
  return changed.has(url.split("#")[0]);
}

/**
 * Whether a request to another host is one whose answer its page may read. Any other answer is opaque
 * and must stay so: a page could read from ours what it may not read. What the page's policy allows
 * ours may not, so that a host that failed once is left alone.
 */
function isReadable({ url, mode, credentials, destination }) {
  const anonymous = mode === "cors" && credentials !== "include";
  return destination === "image" && anonymous && HOSTS.has(new URL(url).origin);
}

async function answer(event) {
  try {
    const cold = isColdOver ? undefined : await answerCold(event);
    const response = cold ?? (await answerWarm(event, event.request.url, false));
    if (response) return response;
  } catch (error) {
    if (event.request.signal.aborted) throw error;
    warn(event.request.url, error);
  }
  try {
    return await fetch(event.request);
  } catch (error) {
    HOSTS.delete(new URL(event.request.url).origin);
    throw error;
  }
}

async function answerWarm(event, url, isNamed) {
  const ready = running ?? (await workerInTime());
  return await ready.answer(event, url, isNamed, isOnFor(event.request));
}

/** A hit while the wasm starts. */
async function answerCold(event) {
  const { request, clientId } = event;
  if (request.destination !== "image") return;
  const since = performance.now();
  const ready = worker();
  const all = Promise.all([cold.look(request), !isOnFor(request) && isOffFor(clientId)]);
  const looked = within(all, LOOK_WITHIN, "look").catch(() => []);
  looking.add(looked);
  const [hit, isOffHere] = await looked;
  looking.delete(looked);
  if (!hit || isOff || isOffHere) {
    // Who waits for it hears of it.
    ready.catch(() => {});
    return;
  }
  const told = ready.then((worker) => worker.answered(event, since, hit.id, hit.len));
  event.waitUntil(told.catch((error) => warn("answered without the wasm", error)));
  return hit.response;
}

async function answerNamed(event) {
  try {
    const url = decodeURIComponent(event.request.url.slice((location.origin + FETCH).length));
    const response = !isChanging(url) && (await answerWarm(event, url, true));
    if (response) return response;
  } catch (error) {
    if (event.request.signal.aborted) throw error;
    warn(event.request.url, error);
  }
  // Without our header: the page asks the network itself.
  return new Response(null, { status: 404 });
}

addEventListener("message", (event) => {
  if (!event.data?.fugitive) return;
  if (event.data.fugitive === "leave") {
    event.waitUntil(leave().finally(() => event.ports[0]?.postMessage("left")));
    return;
  }
  let isBack = false;
  if (event.data.fugitive === "bridge") {
    // A site that clears all caches, its own among them, has not taken us away.
    isWanted = true;
    isBack = isLost;
    if (isBack) isOff = isLost = false;
  }
  if (isOff) {
    if (event.data.fugitive === "stats") event.ports[0]?.postMessage({});
    return;
  }
  event.waitUntil(
    worker()
      .then(async (ready) => {
        if (isBack) await prepare(ready);
        await ready.heard(event);
      })
      .catch((error) => warn("message", error)),
  );
});
