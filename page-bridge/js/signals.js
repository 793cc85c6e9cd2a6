// What the browser tells of the visitor, the device and its line: collected here, judged by the
// engine's manners. All of it is optional, and some browsers tell next to nothing.

/** A page that is never done loading serves after this, in milliseconds. */
const LOADS_WITHIN = 20_000;
/** What tells no event of its own is looked at this often, in milliseconds. */
const EVERY = 30_000;

/** Tells now, and whenever something changes, until `ended`. Returns how to have it told again. */
export function collect(settings, consent, tell, ended) {
  const { connection } = navigator;
  const options = { signal: ended };
  const limits = own(settings);
  const matches = (query) => matchMedia(query).matches;
  let battery, hiddenSince, others;

  const look = () => {
    if (ended.aborted) return;
    const isHidden = document.visibilityState === "hidden";
    hiddenSince = isHidden ? (hiddenSince ?? Date.now()) : undefined;
    const signals = {
      consent: consent(),
      gpc: navigator.globalPrivacyControl === true,
      loading: document.readyState !== "complete" && performance.now() < LOADS_WITHIN,
      hidden: isHidden ? Math.floor((Date.now() - hiddenSince) / 1000) : undefined,
      others: others === true,
      battery: battery?.level,
      charging: battery?.charging,
      line: connection?.type,
      speed: connection?.effectiveType,
      saveData: connection?.saveData,
      reducedData: matches("(prefers-reduced-data: reduce)"),
      memory: navigator.deviceMemory,
      cores: navigator.hardwareConcurrency,
      phone: navigator.userAgentData?.mobile ?? matches("(pointer: coarse)"),
    };
    tell({ signals, limits });
  };
  // Whether another tab waits for what this one holds.
  const lookAround = async () => {
    look();
    const { pending } = await navigator.locks.query();
    others = pending.some(({ name }) => name === "fugitive:swarm");
    look();
  };

  document.addEventListener("readystatechange", look, options);
  document.addEventListener("visibilitychange", lookAround, options);
  connection?.addEventListener?.("change", look, options);
  const lessData = matchMedia("(prefers-reduced-data: reduce)");
  lessData.addEventListener("change", look, options);
  const wait = setTimeout(look, Math.max(0, LOADS_WITHIN - performance.now()) + 1);
  const every = setInterval(lookAround, EVERY);
  ended.addEventListener("abort", () => (clearTimeout(wait), clearInterval(every)));
  // Refused where a policy of the page's forbids it.
  navigator.getBattery?.().then((found) => {
    battery = found;
    battery.addEventListener("levelchange", look, options);
    battery.addEventListener("chargingchange", look, options);
    look();
  }, () => {});
  lookAround();
  return lookAround;
}

/** Limits of the page's own, by the names that the manifest has for them. */
function own(settings) {
  return Object.entries(settings)
    .map(([name, value]) => [name.replace(/[A-Z]/g, (big) => "_" + big.toLowerCase()), +value])
    .filter(([, value]) => value >= 0);
}
