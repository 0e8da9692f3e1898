/** Saving: what is written goes to the server soon, as the version that it changes; what others have saved comes in. What
 * became of a save without an answer is looked up in the history before anything is said twice. */

import type { EventFrame, Roomcast } from "@roomcast/client";
import { ChangeSet } from "@codemirror/state";

import { Refused, ask, words } from "../base/api.js";
import { type Library, type Writing, textIn } from "./library.js";
import { Manuscript, type Kept, type Version } from "./manuscript.js";

/** How long a pause in writing is, after which it is saved, and how long it may go on without one. */
const PAUSE = 400;
const LONGEST = 2_000;
/** How soon it is tried again where there was no answer. */
const AGAIN = 2_000;

export type SaveState =
  | { readonly is: "saved" }
  | { readonly is: "saving" }
  /** There was no answer; it is kept, and tried again. */
  | { readonly is: "offline" }
  /** The server does not take it. */
  | { readonly is: "refused"; readonly why: string };

export class Saving {
  readonly manuscript: Manuscript;
  state: SaveState = { is: "saved" };
  #rest: Readonly<Record<string, unknown>>;
  /** The newest that was told while a save was on its way. */
  #held: Version | undefined;
  /** What was sent may be there. */
  #unsure: boolean;
  #busy = false;
  #since: number | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(
    readonly client: Roomcast,
    readonly library: Library,
    writing: Writing,
    kept: Kept | undefined,
    readonly on: { apply: (changes: ChangeSet) => void; changed: () => void },
  ) {
    this.id = writing.id;
    this.root = writing.rootId;
    this.#rest = writing.rest;
    this.manuscript = kept ? Manuscript.from(kept) : new Manuscript(writing.version);
    this.#unsure = this.manuscript.isSending;
    if (kept) {
      if (!this.#unsure && this.#isNews(writing.version)) this.manuscript.receive(writing.version);
      this.#soon(0);
    }
  }

  readonly id: string;
  readonly root: string;

  /** Somebody has written here. */
  write(changes: ChangeSet): void {
    this.manuscript.write(changes);
    if (this.state.is !== "offline") this.#become({ is: "saving" });
    this.#soon(PAUSE);
  }

  /** Somebody else has saved, or it was read again. */
  told({ version, rest }: Writing, frame?: EventFrame): void {
    this.#rest = rest;
    if (!this.#isNews(version)) return;
    // Ours may be in it: what becomes of that comes first.
    if (this.manuscript.isSending) this.#held = frame ? version : { ...version, etag: undefined };
    else this.#apply(this.manuscript.receive(version));
  }

  /** Tries at once: there is a connection again, or somebody asks for it. */
  now(): void {
    if (this.manuscript.isUnsaved) this.#soon(0);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #soon(pause: number): void {
    const now = Date.now();
    this.#since ??= now;
    clearTimeout(this.#timer);
    if (this.#closed) return;
    this.#timer = setTimeout(() => void this.#save(), Math.max(0, Math.min(pause, this.#since + LONGEST - now)));
  }

  async #save(): Promise<void> {
    if (this.#busy || this.#closed) return;
    this.#busy = true;
    this.#since = undefined;
    let again: number | undefined;
    try {
      await this.#send();
      this.#become(this.manuscript.isUnsaved ? { is: "saving" } : { is: "saved" });
      if (this.manuscript.isUnsaved) again = PAUSE;
    } catch (error) {
      if (error instanceof Refused && !error.passes) {
        this.manuscript.refused();
        this.#become({ is: "refused", why: words(error) });
      } else {
        // Without an answer nobody knows whether it was kept; a refusal is an answer.
        this.#unsure = this.manuscript.isSending;
        this.#become({ is: "offline" });
        again = error instanceof Refused && error.retryAfter ? error.retryAfter * 1_000 : AGAIN;
      }
    }
    this.#busy = false;
    if (again !== undefined) this.#soon(again);
  }

  async #send(): Promise<void> {
    // More than a few times only where very many write at once; then it goes on a little later.
    for (let round = 0; round < 5 && !this.#closed; round++) {
      if (this.#unsure) await this.#lookUp();
      if (this.manuscript.base.etag === undefined) {
        const { version } = await this.library.fetch(this.id);
        this.#apply(this.manuscript.receive(version));
      }
      const text = this.manuscript.send();
      if (text === undefined) return;
      this.#become({ is: "saving" });
      const headers = { "if-match": this.manuscript.base.etag as string };
      try {
        const { etag, cursor } = await ask(this.client, "PUT", `/documents/${this.id}`, { data: { ...this.#rest, text } }, headers);
        this.manuscript.sent({ etag: etag ?? undefined, cursor: cursor ?? undefined, updatedAt: undefined });
        this.#release();
        return;
      } catch (error) {
        if (!(error instanceof Refused) || error.status !== 412) throw error;
        // Somebody was faster, or it was ourselves: a save whose answer was lost.
        this.#unsure = true;
      }
    }
  }

  /** Goes through what was saved since: was ours among it? */
  async #lookUp(): Promise<void> {
    let { cursor } = this.manuscript.base;
    while (cursor !== undefined) {
      const path = `/channels/${encodeURIComponent(`document:${this.root}`)}/history?after=${cursor}&limit=200`;
      const { body } = await ask<{ items: EventFrame[]; next: string | null; recovered?: boolean }>(this.client, "GET", path);
      if (body.recovered === false) break;
      for (const { event, data, cursor } of body.items) {
        const { id, data: stored, updatedAt } = data as { id: string; data: unknown; updatedAt: string };
        const version = { text: textIn(stored).text, etag: undefined, cursor, updatedAt };
        if (event === "changed-document" && id === this.id && this.#isNews(version)) this.#apply(this.manuscript.recognise(version));
      }
      cursor = body.next ?? undefined;
    }
    const { version } = await this.library.fetch(this.id);
    this.#apply(this.manuscript.recognise(version));
    this.manuscript.refused();
    this.#unsure = false;
    this.#release();
  }

  /** What was told meanwhile, where it is still news. */
  #release(): void {
    const held = this.#held;
    this.#held = undefined;
    if (held && this.#isNews(held)) this.#apply(this.manuscript.receive(held));
  }

  #isNews({ cursor, updatedAt }: Version): boolean {
    const { base } = this.manuscript;
    if (base.updatedAt !== undefined && updatedAt !== undefined) return updatedAt > base.updatedAt;
    return !isAtOrBefore(cursor, base.cursor);
  }

  #apply(changes: ChangeSet): void {
    if (!changes.empty) this.on.apply(changes);
    this.on.changed();
  }

  #become(state: SaveState): void {
    this.state = state;
    this.on.changed();
  }
}

/** Whether one position of the log is not after another. Those of two logs cannot be compared: then it is after. */
function isAtOrBefore(cursor: string | undefined, other: string | undefined): boolean {
  if (cursor === undefined || other === undefined) return false;
  const [epoch, position] = cursor.split("-");
  const [of, until] = other.split("-");
  return epoch === of && Number(position) <= Number(until);
}
