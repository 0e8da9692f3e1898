/** Says what happens, to whoever wants to know: by an option, or a word in the browser's storage. */

import type { ClientOptions } from "./options.js";

export function debug(wanted: ClientOptions["debug"], ...words: unknown[]): void {
  if (typeof wanted === "function") wanted("roomcast", ...words);
  else if (wanted ?? stored()) console.debug("roomcast", ...words);
}

function stored(): boolean {
  try {
    return globalThis.localStorage?.getItem("roomcast:debug") !== null && globalThis.localStorage !== undefined;
  } catch {
    return false;
  }
}
