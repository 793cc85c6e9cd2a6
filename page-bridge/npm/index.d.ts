/** Where a response came from. */
export type Source = "memory" | "store" | "tier-1" | "tier-2" | "network";

/** Requests and bytes. */
export interface Count {
  requests: number;
  bytes: number;
}

/** What `stats()` says of this page; nothing of it while the worker is not in control. */
export interface Stats extends Partial<Record<Source, Count>> {
  /** Open connections to other visitors. */
  peers?: number;
  /** Of each of these, the oldest first: round trip in milliseconds, bytes from there and to there. */
  connected?: { rtt?: number | null; got: number; gave: number }[];
  /** Estimated: how much later than the network alone answers were, in milliseconds. */
  "regret-p50"?: number;
  "regret-p95"?: number;
  /** Bytes from others that were thrown away. */
  wasted?: number;
  /** Bytes to others since the page opened. */
  sent?: number;
  /** Why nothing is given to others; nothing where something is. */
  quiet?: string | null;
  /** Bytes to others today, and at most. */
  "uploaded-today"?: number;
  "upload-cap"?: number;
}

/** Told of each response when its last byte went to the page. */
export interface Served {
  url: string;
  source: Source;
  bytes: number;
  ms: number;
}

/** `window.fugitive`. */
export interface Fugitive extends EventTarget {
  /** Whether the worker is in control. */
  readonly ready: Promise<boolean>;
  /** What was served to this page so far, by URL. */
  readonly served: Map<string, Served>;
  /** As `fetch`, through store, peers and hedge. */
  fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;
  /** What comes next, from other visitors only and while nothing is wanted; of a film the beginning. */
  prefetch(urls?: Iterable<string | URL>): Promise<unknown>;
  stats(): Promise<Stats>;
  /** The visitor's answer; `false` closes every connection at once. */
  consent(yes: boolean): Promise<void>;
  /** Meets nobody until it is called with `false`. */
  pause(yes?: boolean): Promise<void>;
  /** Looks for visitors near by: the browser asks, ten kilometres are told. */
  precise(yes: boolean): Promise<unknown>;
  /** Opens the panel; `false` takes it away. */
  showPanel(yes?: boolean): Promise<void>;
  /** Takes everything away, until `consent(true)`. */
  forget(): Promise<void>;
  addEventListener(
    type: "served",
    listener: (event: CustomEvent<Served> & Served) => void,
    options?: AddEventListenerOptions | boolean,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: AddEventListenerOptions | boolean,
  ): void;
}

/** The attributes of the script tag, without `data-`. */
export interface Settings {
  /** The loader, on your site. */
  src?: string;
  signal?: string;
  manifest?: string;
  sw?: string;
  scope?: string;
  hosts?: string;
  worker?: "off";
  consent?: "ask" | "required" | "implied";
  consentTitle?: string;
  consentText?: string;
  consentYes?: string;
  consentNo?: string;
  consentMore?: string;
  consentLang?: string;
  privacy?: string;
  panel?: boolean;
  relayOnly?: boolean;
  visits?: "off";
  /** Limits of this page: `upload`, `daily`, `hiddenUpload`, … */
  [limit: string]: string | number | boolean | undefined;
}

/** Puts Fugitive into this page; `undefined` where it is off, and on a server. */
export function register(settings?: Settings): Promise<Fugitive | undefined>;
