// Taking all of it away: the worker, what it keeps, what this page keeps.

const CACHES = "fugitive-";
const DATABASE = "fugitive";
/** Read by the page loader: a page that finds it does not register again. */
const OFF = "fugitive:off";
/** Any other worker's script is the site's. */
const WORKER = "/fugitive-sw.js";
/** What is not done in this time is not waited for, in milliseconds. */
const WITHIN = 3_000;

const briefly = (promise) =>
  Promise.race([promise, new Promise((done) => setTimeout(done, WITHIN))]);

/** For good: until `fugitive.consent(true)`, from the next page on. */
export async function forget(isOurs) {
  for (const kept of [localStorage, sessionStorage]) {
    for (const key of Object.keys(kept)) if (key.startsWith("fugitive:")) kept.removeItem(key);
  }
  localStorage.setItem(OFF, "off");
  await remove(isOurs);
}

/** Whether the visitor wants none of us: where the worker is the site's own it is in control all the same. */
export function isForgotten() {
  try {
    return localStorage.getItem(OFF) !== null;
  } catch {
    return false;
  }
}

/** Takes that back: the next page is as the first one was, but nothing of what was kept comes again. */
export function undoForget() {
  localStorage.removeItem(OFF);
}

/** The next page that wants us registers again. */
export async function remove(isOurs) {
  const { serviceWorker } = navigator;
  for (const registration of await serviceWorker.getRegistrations()) {
    const { active, waiting, installing } = registration;
    const sample = active ?? waiting ?? installing;
    if (!isOurs(sample)) continue;
    // One that is still being installed makes nothing more then.
    await briefly(farewell(sample));
    // A worker of the site's own that has us in it stays, without us. Browsers may do this only when an
    // install that hangs has ended.
    if (new URL(sample.scriptURL).pathname.endsWith(WORKER)) await briefly(registration.unregister());
  }
  for (const name of await caches.keys()) {
    if (name.startsWith(CACHES)) await caches.delete(name);
  }
  await new Promise((done) => {
    const gone = indexedDB.deleteDatabase(DATABASE);
    gone.onsuccess = gone.onerror = gone.onblocked = done;
  });
}

/** The worker tells every page and lets go of what it has. */
function farewell(worker) {
  return new Promise((done) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = done;
    worker.postMessage({ fugitive: "leave" }, [port2]);
  });
}
