/** When a page goes to sleep and wakes up: timers stand still meanwhile, and connections break unseen. */

import type { Unsubscribe } from "./emitter.js";

export function wake(told: { sleep: () => void; wake: () => void }): Unsubscribe {
  if (typeof globalThis.addEventListener !== "function" || typeof document === "undefined") return () => {};
  const stop = new AbortController();
  const { signal } = stop;
  addEventListener("online", told.wake, { signal });
  // An open connection keeps a page out of the back/forward cache.
  addEventListener("pagehide", told.sleep, { signal });
  addEventListener("pageshow", told.wake, { signal });
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && told.wake(), { signal });
  document.addEventListener("resume", told.wake, { signal });
  return () => stop.abort();
}
