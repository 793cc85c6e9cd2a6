// What `window.fugitive` does, and what a page does once for its worker. Not part of the swarm: it
// works in every tab, whoever has the bridge.

import { why } from "./consent.js";

const { serviceWorker } = navigator;

/** As `fetch`. A plain GET goes through store, peers and hedge; all else is none of our business. */
export async function get(input, init) {
  const request = new Request(input, init);
  const { headers, signal, cache } = request;
  const url = request.url.split("#")[0];
  const usual = new Request(url);
  const isPlain =
    ["method", "credentials", "redirect", "integrity"].every(
      (part) => request[part] === usual[part],
    ) &&
    ["cors", "same-origin"].includes(request.mode) &&
    cache !== "no-store" &&
    [...headers.keys()].every((name) => ["accept", "range", "if-range"].includes(name));
  if (isPlain && serviceWorker.controller) {
    try {
      const named = "/fugitive/fetch/" + encodeURIComponent(url);
      const response = await fetch(named, { headers, signal, cache, mode: "same-origin" });
      if (response.headers.has("x-fugitive")) {
        return Object.defineProperty(response, "url", { value: url });
      }
      // The worker was not asked after all.
      response.body?.cancel();
    } catch (error) {
      if (signal.aborted) throw error;
    }
  }
  return fetch(request);
}

/** Requests and bytes by source, and connected peers. */
export function stats() {
  return new Promise((done) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = ({ data }) => done({ ...data, quiet: why() ?? data.quiet });
    serviceWorker.controller.postMessage({ fugitive: "stats" }, [port2]);
  });
}

/** A hard reload passed the worker by: what it holds of these is older than what the page has. */
export function reloaded(worker) {
  const urls = performance.getEntriesByType("resource").map(({ name }) => name);
  worker.postMessage({ fugitive: "reloaded", urls });
}

/** Has the worker take the images that came before it was in control out of the HTTP cache. */
export function adopt() {
  const urls = performance
    .getEntriesByType("resource")
    .filter(({ initiatorType }) => /^(img|image|css)$/.test(initiatorType))
    .map(({ name }) => name);
  for (const image of document.images) if (image.complete) urls.push(image.currentSrc);
  serviceWorker.controller?.postMessage({ fugitive: "adopt", urls: ours(urls) });
}

/** Tells the worker which page this is and what it shows, or will: peers are asked for it in advance. */
export function expect() {
  const shown = [...document.querySelectorAll("img, video, audio")].flatMap((media) => [
    media.currentSrc || media.src || media.querySelector("source")?.src,
    media.poster,
  ]);
  const here = ours(shown);
  serviceWorker.controller?.postMessage({ fugitive: "expect", page: location.pathname, urls: here });
}

/**
 * Tells the worker how long what the page plays takes, as soon as that is known: peers need not send it
 * faster than it is played.
 */
export function timed(signal) {
  const tell = ({ currentSrc, duration, playbackRate }) => {
    const [url] = ours([currentSrc]);
    const seconds = duration / playbackRate;
    if (!url || !(seconds > 0 && seconds < Infinity)) return;
    serviceWorker.controller?.postMessage({ fugitive: "lasts", url, seconds });
  };
  const isKnown = ({ readyState }) => readyState > 0;
  [...document.querySelectorAll("video, audio")].filter(isKnown).forEach(tell);
  for (const type of ["loadedmetadata", "ratechange"]) {
    addEventListener(type, ({ target }) => tell(target), { capture: true, passive: true, signal });
  }
}

/**
 * Tells the worker which page a link that is pressed opens, so that who is there can be met meanwhile.
 * That is in vain where this page has the swarm, as `hasSwarm` says, and goes.
 */
export function foretell(hasSwarm, signal) {
  const pressed = (event) => {
    const { type, button, pointerType, ctrlKey, metaKey, shiftKey, target: on } = event;
    // A finger may be about to scroll.
    if (button > 1 || (type === "pointerdown" && pointerType === "touch")) return;
    const link = on.closest?.("a[href]:not([download])");
    if (link?.origin !== location.origin || link.pathname === location.pathname) return;
    const { pathname: page, target } = link;
    const isElsewhere = button === 1 || ctrlKey || metaKey || shiftKey || !/^(_self)?$/.test(target);
    // Some sites turn a page into the next one without leaving it.
    const stays = isElsewhere || globalThis.Turbo || link.closest("[hx-boost]");
    if (stays || !hasSwarm()) serviceWorker.controller?.postMessage({ fugitive: "turns", page });
  };
  // A keyboard's press is a click.
  for (const type of ["pointerdown", "click"]) {
    addEventListener(type, pressed, { capture: true, passive: true, signal });
  }
}

/** Of these URLs those that are this site's, each once. */
function ours(urls) {
  const full = urls.filter(Boolean).map((url) => new URL(url, location).href.split("#")[0]);
  return [...new Set(full)].filter((url) => url.startsWith(location.origin + "/"));
}

/**
 * Has the worker get what may be wanted next, from peers only and while nothing else is wanted: what
 * is named, or what the page itself says comes next.
 */
export function prefetch(urls = next()) {
  // What may never be looked at is not worth anybody's data plan.
  const { saveData, type } = navigator.connection ?? {};
  if (saveData || type === "cellular") return;
  const here = ours([...urls]);
  if (here.length) serviceWorker.controller?.postMessage({ fugitive: "prefetch", urls: here });
}

/** Links to what comes next, and images that were not scrolled to yet. */
function next() {
  const links = document.querySelectorAll("link[rel~=next], link[rel~=prefetch]");
  const below = [...document.images].filter((image) => image.loading === "lazy" && !image.complete);
  return [...[...links].map(({ href }) => href), ...below.map(({ src }) => src)];
}
