// What a worker answers that was started for it, before its wasm runs: a small picture that is held
// whole, and that the last instance left word of as fresh. Which it is was decided in Rust (`cold.rs`);
// here it is compared, and whatever differs waits for the wasm.

/** The schema of the store that is read here (`store/README.md`). */
const SCHEMA = 1;
/** A block: its sum, a word for each group, and the groups. */
const SUM = 8;
const GROUPS = 16;
const HEADER = SUM + 4 * GROUPS;
/** Above a group's length in its word. */
const HELD = 1 << 30;
const DEFLATED = 2 ** 31;
/** Whoever sends one of these wants something else than the copy as it is. */
const SPECIAL = ["range", "if-range", "cache-control", "pragma"];

/** What Rust calls the sum of a copy's bytes. */
export const digest = async (bytes) => {
  const sum = await crypto.subtle.digest("SHA-256", bytes);
  return btoa(String.fromCharCode(...new Uint8Array(sum)));
};

/** Bytes as a body: of a stream they are with the page sooner than of a buffer. */
export const streamed = (bytes) =>
  new ReadableStream({
    start(stream) {
      if (bytes.length) stream.enqueue(bytes);
      stream.close();
    },
  });

const result = (request) =>
  new Promise((done, failed) => {
    request.onsuccess = () => done(request.result);
    request.onerror = () => failed(request.error);
  });

let opening;
/** The database, if there is one. */
export const open = () => {
  opening ??= (async () => {
    const request = indexedDB.open("fugitive", SCHEMA);
    // There is none: it is Rust that makes it.
    request.onupgradeneeded = () => request.transaction.abort();
    const opened = await result(request);
    opened.onversionchange = close;
    return opened;
  })();
  return opening;
};

/** The wasm runs, and has the database. */
export async function close() {
  const last = opening;
  opening = undefined;
  (await last?.catch(() => undefined))?.close();
}

/** The answer to a request, its length and content id; nothing where it is not for us to say. */
export async function look({ url, cache, headers }) {
  if (cache !== "default" || SPECIAL.some((name) => headers.has(name))) return;
  const held = (await open()).transaction(["resources", "blocks", "meta"]);
  const get = (store, key) => result(held.objectStore(store).get(key));
  const [copy, checked] = await Promise.all([
    get("resources", url.split("#")[0]),
    get("meta", "manifest.checked"),
  ]);
  if (!copy?.cold || !isFresh(copy, checked, headers.get("accept"))) return;
  const block = await get("blocks", [copy.id, 0]);
  const bytes = block && (await read(block));
  // Held in part, or damaged.
  if (bytes?.length !== copy.len || (await digest(bytes)) !== copy.cold.sum) return;
  const all = new Headers(copy.headers);
  all.set("accept-ranges", "bytes");
  all.set("age", Math.floor(copy.cold.age + (Date.now() - copy.stored_at) / 1000));
  all.set("content-length", copy.len);
  const response = new Response(streamed(bytes), { status: copy.status, statusText: "OK", headers: all });
  return { response, id: copy.id, len: copy.len };
}

/** The groups that a block begins with, up to the first that is absent. */
async function read(block) {
  const words = new DataView(block.buffer, block.byteOffset + SUM, 4 * GROUPS);
  const groups = [];
  let at = HEADER;
  let isDeflated = false;
  for (let n = 0; n < GROUPS; n++) {
    const word = words.getUint32(4 * n, true);
    if (!(word & HELD)) break;
    const group = block.subarray(at, (at += word & (HELD - 1)));
    isDeflated ||= word > DEFLATED;
    groups.push(word > DEFLATED ? await inflate(group) : group);
  }
  if (!isDeflated) return block.subarray(HEADER, at);
  return new Uint8Array(await new Blob(groups).arrayBuffer());
}

const inflate = (group) => {
  const stream = new Blob([group]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Response(stream).arrayBuffer();
};

/** By its own headers, or because the manifest, as it was last checked, says that it still is so. */
function isFresh({ cold, stored_at }, checked, accept) {
  if (cold.accept !== accept || cold.manifest !== (checked?.id ?? null)) return false;
  const now = Date.now();
  const since = now - (checked?.at ?? Infinity);
  return (now >= stored_at && now < cold.until) || (since >= 0 && since < cold.proven);
}
