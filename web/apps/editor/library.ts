/** The documents that one may read, by the roots that they are shared under, as they come, change and go. */

import type { EventFrame, RecordChange, Roomcast, Room } from "@roomcast/client";

import { all, ask } from "../base/api.js";
import type { Version } from "./manuscript.js";

export interface Root {
  readonly id: string;
  readonly name: string;
}

/** A document of the API. */
interface Stored {
  readonly id: string;
  readonly rootId: string;
  readonly data: unknown;
  readonly version: number;
  readonly updatedAt: string;
}

/** A text; what else its data says is left as it is. */
export interface Writing {
  readonly id: string;
  readonly rootId: string;
  readonly rest: Readonly<Record<string, unknown>>;
  readonly version: Version;
}

/** Roots that are listened to at once. */
const MOST = 50;

export class Library {
  readonly #roots = new Map<string, Root>();
  readonly #writings = new Map<string, Writing>();
  readonly #rooms = new Map<string, Room>();
  readonly #loaded = new Set<string>();
  loaded = false;
  /** Roots that are not listened to, because there are too many. */
  left = 0;

  constructor(
    readonly client: Roomcast,
    readonly on: {
      /** Something is to be shown anew. */
      changed: () => void;
      /** A document has been told, or read again. `frame` is where it was told. */
      told: (writing: Writing, frame?: EventFrame) => void;
      gone: (id: string) => void;
    },
  ) {
    client.on("event", ({ event, data }) => {
      if (/^(new|changed|deleted)-record$/.test(event) && /^(DocumentRoot|UserPermission|GroupPermission|Group)$/.test((data as RecordChange)?.type)) this.#reload();
    });
  }

  get roots(): readonly Root[] {
    return [...this.#roots.values()].sort((a, b) => a.name.localeCompare(b.name) || (a.id < b.id ? -1 : 1));
  }

  of(root: string): readonly Writing[] {
    return [...this.#writings.values()].filter(({ rootId }) => rootId === root).sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  get(id: string): Writing | undefined {
    return this.#writings.get(id);
  }

  /** Whether all of them are known. */
  get isComplete(): boolean {
    return this.loaded && [...this.#rooms.keys()].every((id) => this.#loaded.has(id));
  }

  room(root: string): Room | undefined {
    return this.#rooms.get(root);
  }

  async load(): Promise<void> {
    const roots = await all<Root>(this.client, "/document-roots");
    const now = new Set(roots.map(({ id }) => id));
    for (const [id, room] of this.#rooms) if (!now.has(id)) this.#drop(id, room);
    this.#roots.clear();
    for (const root of roots) this.#roots.set(root.id, root);
    this.left = Math.max(0, roots.length - MOST);
    for (const { id } of this.roots.slice(0, MOST)) if (!this.#rooms.has(id)) this.#listen(id);
    this.loaded = true;
    this.on.changed();
  }

  async add(root: string): Promise<string> {
    const { body } = await ask<Stored>(this.client, "POST", "/documents", { rootId: root, type: "text", data: { text: "" } });
    this.#put(body, undefined);
    this.on.changed();
    return body.id;
  }

  async addRoot(name: string): Promise<void> {
    await ask<Root>(this.client, "POST", "/document-roots", { name });
    await this.load();
  }

  /** What the server has of a document now. */
  async fetch(id: string): Promise<Writing> {
    const { body, cursor } = await ask<Stored>(this.client, "GET", `/documents/${id}`);
    return this.#put(body, cursor ?? undefined);
  }

  #reloading: ReturnType<typeof setTimeout> | undefined;
  #reload(): void {
    // Several of them come together.
    clearTimeout(this.#reloading);
    this.#reloading = setTimeout(() => void this.load().catch(() => {}), 100);
  }

  #drop(id: string, room: Room): void {
    room.leave();
    this.#rooms.delete(id);
    this.#loaded.delete(id);
    for (const writing of this.of(id)) {
      this.#writings.delete(writing.id);
      this.on.gone(writing.id);
    }
  }

  #listen(root: string): void {
    const room = this.client.room(`document:${root}`, { load: () => this.#loadRoot(root) });
    this.#rooms.set(root, room);
    room.on("changed-document", ({ id, data, updatedAt }, frame) => {
      const known = this.#writings.get(id);
      if (!known) return;
      const { text, rest } = textIn(data);
      const writing = { ...known, rest, version: { text, etag: undefined, cursor: frame.cursor, updatedAt } };
      this.#writings.set(id, writing);
      this.on.told(writing, frame);
      this.on.changed();
    });
    room.on("new-record", ({ type, record }, frame) => {
      if (type !== "Document") return;
      this.on.told(this.#put(record as unknown as Stored, frame.cursor), frame);
      this.on.changed();
    });
    room.on("deleted-record", ({ type, record }) => {
      if (type !== "Document" || !this.#writings.delete(record.id)) return;
      this.on.gone(record.id);
      this.on.changed();
    });
    room.watch(() => this.on.changed());
    room.join().catch(() => {});
  }

  async #loadRoot(root: string): Promise<string | undefined> {
    // Of the first page: what is said while the others are read is heard as well.
    const first = await ask<{ items: Stored[] }>(this.client, "GET", `/documents?rootId=${root}&limit=1`);
    const cursor = first.cursor ?? undefined;
    const stored = await all<Stored>(this.client, `/documents?rootId=${root}`);
    const now = new Set(stored.map(({ id }) => id));
    for (const { id } of this.of(root)) {
      if (now.has(id)) continue;
      this.#writings.delete(id);
      this.on.gone(id);
    }
    for (const one of stored) this.on.told(this.#put(one, cursor));
    this.#loaded.add(root);
    this.on.changed();
    return cursor;
  }

  #put({ id, rootId, data, version, updatedAt }: Stored, cursor: string | undefined): Writing {
    const { text, rest } = textIn(data);
    const writing = { id, rootId, rest, version: { text, etag: `"${version}"`, cursor, updatedAt } };
    this.#writings.set(id, writing);
    return writing;
  }
}

/** The text of a document. Others may have written what they like into it: what is no text is shown, and kept beside. */
export function textIn(data: unknown): { text: string; rest: Record<string, unknown> } {
  const fields = typeof data === "object" && data !== null && !Array.isArray(data) ? (data as Record<string, unknown>) : { data };
  const { text, ...rest } = fields;
  return { text: typeof text === "string" ? text.replace(/\r\n?/g, "\n") : "", rest };
}

/** What a document is called: its first line. */
export function titleOf(text: string): string {
  const line = text.split("\n").find((line) => line.trim() !== "");
  return line?.replace(/^#+\s*/, "").trim().slice(0, 80) || "Untitled";
}
