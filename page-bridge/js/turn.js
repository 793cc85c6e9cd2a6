// Which of a site's tabs has the swarm: one at a time, and one that is seen where there is one. Who
// holds the lock has it; what tabs say to each other only decides when it changes hands. What the
// one that has it does with it is in bridge.js.

const SWARM = "fugitive:swarm";
/** By this the Service Worker finds the window that has it; its client id follows. */
export const CLIENT = "fugitive:client:";
const CHANNEL = "fugitive";
/** A tab that is seen and still has to wait asks again after this, in milliseconds. */
const ASKS_EVERY = 10_000;
/** One that has it and says nothing for this long is frozen, in milliseconds. */
const ANSWERS_WITHIN = 2_000;
/** A window that leaves the answer to its worker so often is. */
const VOUCHED = 3;
/** It moves from a tab that is hidden at most this often, in milliseconds. */
const MOVES_EVERY = 30_000;
/** Whoever takes over does so without connections of its own after this, in milliseconds. */
const MAKES_WITHIN = 3_000;
/** What was begun before is finished within this, in milliseconds. */
const DRAINS_WITHIN = 5_000;
/** Where the one that had it has just gone, its next page comes within this, in milliseconds. */
const COMES_BACK_WITHIN = 200;

/** When it last moved, as far as this page has heard. */
let moved = -MOVES_EVERY;

const now = () => performance.now();
const isHidden = () => document.visibilityState === "hidden";

/** A tab's turn, from when it begins to wait until `ended`. */
export class Turn {
  #id = crypto.randomUUID();
  #channel = new BroadcastChannel(CHANNEL);
  #queued = new AbortController();
  #has = false;
  #ended;
  #again;
  #comes;
  #takes;
  #timer;
  #isAsking = false;
  #vouched = 0;
  /** From whom we take over. */
  #before;
  /** Who takes over from us, and until when we wait for it. */
  #heir;
  #waits = 0;
  #up;
  #isOver = false;

  /** `again` is called when it was ours and is no more. */
  constructor(ended, again) {
    this.#ended = ended;
    this.#again = again;
    this.#channel.onmessage = ({ data }) => ended.aborted || this.#heard(data);
    const turned = () => {
      if (!isHidden()) return this.#ask();
      if (this.#has) this.#say("free");
      else if (!this.#before) this.#wait();
    };
    document.addEventListener("visibilitychange", turned, { signal: ended });
    ended.addEventListener("abort", () => {
      this.#wait();
      this.#queued.abort();
      this.#channel.close();
    });
  }

  /** The name of the dedicated worker that vouches for us. */
  get worker() {
    return this.#id;
  }

  /**
   * Resolves when it is to be ours: at once, or, where it says as whom another tab has it still, when
   * we have connections of our own. `near` is called when it is likely to be.
   */
  comes(near) {
    return new Promise((comes, failed) => {
      this.#comes = comes;
      this.#hold({ signal: this.#queued.signal }).then(async () => {
        if (this.#before) return this.#takes?.();
        if (isHidden()) {
          near();
          this.#say("free");
          await pause(COMES_BACK_WITHIN);
        }
        if (!this.#ended.aborted) comes();
      }, failed);
      // Answered after what was asked before: whoever looks then sees us wait.
      navigator.locks.query().then(() => this.#ended.aborted || this.#say("waits"));
      this.#ask();
    });
  }

  /** Resolves when it is ours; `made` when there is no more to wait for. */
  async take(made) {
    if (!this.#has) await Promise.race([made, pause(MAKES_WITHIN)]);
    if (this.#has || this.#ended.aborted) return;
    await new Promise((takes) => {
      this.#takes = takes;
      this.#say("here", this.#before);
      this.#wait(ANSWERS_WITHIN, () => this.#steal(true));
    });
  }

  /** What another tab has to know of it, and how new work is turned away: `me`, `open`, `look`, `drain`. */
  up(up) {
    this.#up = up;
    if (isHidden()) this.#say("free");
  }

  #heard({ say, from, to, after, me }) {
    if (say === "waits") return this.#up?.look();
    if (say === "want") return this.#answer(from);
    if (say === "free") return this.#ask();
    if (say === "yours") moved = now();
    if (say === "taken") return (this.#has || this.#before) && this.#again();
    if (to !== this.#id || this.#has !== (say === "here")) return;
    switch (say) {
      case "alive":
        if (!this.#isAsking) return;
        this.#vouched += 1;
        if (this.#vouched > VOUCHED) return this.#steal(true);
        return this.#askAfter(ASKS_EVERY);
      case "keep":
        // It is seen again.
        if (this.#before) return this.#again();
        this.#vouched = 0;
        return this.#askAfter(after);
      case "come":
        if (this.#before || isHidden()) return;
        this.#wait();
        this.#before = from;
        return this.#comes(me);
      case "yours":
        return this.#steal(false);
      case "here":
        return this.#handOver(from);
    }
  }

  #ask() {
    if (this.#has || this.#before || isHidden() || this.#ended.aborted) return;
    this.#isAsking = true;
    this.#say("want");
    this.#wait(ANSWERS_WITHIN, () => this.#steal(true));
  }

  #askAfter(ms = ASKS_EVERY) {
    this.#isAsking = false;
    this.#wait(ms, () => this.#ask());
  }

  #answer(from) {
    if (!this.#has || this.#isOver) return;
    if (!isHidden()) return this.#say("keep", from);
    const after = Math.max(moved + MOVES_EVERY, this.#waits) - now();
    if (this.#up && after > 0) return this.#say("keep", from, { after });
    if (!this.#up?.open()) {
      // Nothing is lost.
      this.#say("yours", from);
      return this.#again();
    }
    this.#heir = from;
    this.#waits = now() + MAKES_WITHIN + ANSWERS_WITHIN;
    this.#say("come", from, { me: this.#up.me() });
  }

  #handOver(to) {
    if (this.#isOver || to !== this.#heir) return;
    if (!isHidden()) return this.#say("keep", to);
    this.#isOver = true;
    this.#up.drain();
    this.#say("yours", to);
    this.#wait(DRAINS_WITHIN, this.#again);
  }

  /** Whatever its holder says; one that is `frozen` is told for when it is not any more. */
  #steal(frozen) {
    if (this.#has || this.#ended.aborted) return;
    this.#queued.abort();
    if (frozen) this.#take();
    this.#hold({ steal: true }).then(() => (this.#takes ?? this.#comes)(), this.#again);
  }

  /** What leads the Service Worker to one that is frozen leads nowhere any more. */
  async #take() {
    this.#say("taken");
    for (const { name } of (await navigator.locks.query()).held) {
      if (name.startsWith(CLIENT)) navigator.locks.request(name, { steal: true }, () => {});
    }
  }

  /** Resolves when the lock is ours, and holds it until the end, or until it is taken from us. */
  #hold(options) {
    return new Promise((held, failed) => {
      let isHeld = false;
      const hold = () => {
        if (this.#ended.aborted) return;
        isHeld = this.#has = true;
        this.#wait();
        held();
        return new Promise((free) => this.#ended.addEventListener("abort", free));
      };
      navigator.locks.request(SWARM, options, hold).catch((error) => {
        // Handed over, it is not missed.
        if (isHeld) return this.#isOver || this.#ended.aborted || this.#again();
        // Not waited for any more, because another way led to it.
        if (!this.#queued.signal.aborted || this.#ended.aborted) failed(error);
      });
    });
  }

  #wait(ms, then) {
    clearTimeout(this.#timer);
    if (then) this.#timer = setTimeout(then, ms);
  }

  #say(say, to, more) {
    this.#channel.postMessage({ say, from: this.#id, to, ...more });
  }
}

/**
 * In the engine's worker: a window that is busy is not frozen, and what is taken from one that is ends
 * at once.
 */
export function vouch(stop) {
  const channel = new BroadcastChannel(CHANNEL);
  channel.onmessage = ({ data: { say, from } }) => {
    if (from === name) return;
    if (say === "want") channel.postMessage({ say: "alive", from: name, to: from });
    if (say === "taken") stop();
  };
}

/** Timers of a hidden tab are late by up to a second, tasks are not. */
function pause(ms) {
  return new Promise((done) => {
    if (globalThis.scheduler?.postTask) scheduler.postTask(done, { delay: ms });
    else setTimeout(done, ms);
  });
}
