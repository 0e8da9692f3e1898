/** What was written and is not saved yet, kept in the browser so that it outlives the page. */

import type { Kept } from "./manuscript.js";

export class Drafts {
  readonly #prefix: string;
  readonly #tab: string;

  constructor(user: string, tab: string) {
    this.#prefix = `roomcast:draft:${user}:`;
    this.#tab = tab;
    // Held for as long as the page is there: another one can see that its drafts are being looked after.
    void navigator.locks?.request(lockOf(tab), () => new Promise(() => {}));
  }

  /** Keeps it, or says that it could not: the browser's place for it is full, or shut. */
  put(document: string, kept: Kept): boolean {
    try {
      localStorage.setItem(this.#key(document), JSON.stringify(kept));
      return true;
    } catch {
      return false;
    }
  }

  drop(document: string): void {
    try {
      localStorage.removeItem(this.#key(document));
    } catch {
      // Then there was none.
    }
  }

  /** What this page had begun, or one that is gone. */
  async take(document: string): Promise<Kept | undefined> {
    const begun = `${this.#prefix}${document}:`;
    const own = read(this.#key(document));
    if (own || !navigator.locks) return own;
    const { held } = await navigator.locks.query();
    const alive = new Set(held?.map(({ name }) => name));
    for (const key of keys().filter((key) => key.startsWith(begun))) {
      if (alive.has(lockOf(key.slice(begun.length)))) continue;
      const kept = read(key);
      // From now on it is ours.
      if (kept && this.put(document, kept)) localStorage.removeItem(key);
      if (kept) return kept;
    }
    return undefined;
  }

  #key(document: string): string {
    return `${this.#prefix}${document}:${this.#tab}`;
  }
}

function lockOf(tab: string): string {
  return `roomcast:tab:${tab}`;
}

function keys(): string[] {
  try {
    return Object.keys(localStorage);
  } catch {
    return [];
  }
}

function read(key: string): Kept | undefined {
  try {
    const text = localStorage.getItem(key);
    return text === null ? undefined : (JSON.parse(text) as Kept);
  } catch {
    return undefined;
  }
}
