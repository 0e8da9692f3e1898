/** A list that the server filters, sorts and pages; asked for again when something has changed, at most once a second. */

import type { Roomcast } from "@roomcast/client";
import { signal } from "@preact/signals";

import { ask, words } from "../base/api.js";

export interface Listed<Item> {
  readonly items: readonly Item[];
  readonly next: string | null;
  readonly total: number;
}

/** Rows on a page. */
const ROWS = 50;
const PAUSE = 1_000;

export class List<Item> {
  readonly listed = signal<Listed<Item> | undefined>(undefined);
  readonly failed = signal<string | undefined>(undefined);
  readonly query = signal<Readonly<Record<string, string>>>({});
  /** What to ask for to see each page that was turned to; the first is asked for with nothing. */
  readonly pages = signal<readonly string[]>([]);
  /** Somebody points at a row, or is in it: it is not to run away. */
  readonly held = signal(false);
  #asking = false;
  #again = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #turn = 0;

  constructor(
    readonly client: Roomcast,
    readonly path: string,
    sort: string,
  ) {
    this.query.value = { sort };
  }

  /** Other filters, or another order: from the first page on. */
  ask(change: Readonly<Record<string, string>>): void {
    this.query.value = { ...this.query.value, ...change };
    this.pages.value = [];
    this.now();
  }

  turn(to: "next" | "first"): void {
    const next = this.listed.value?.next;
    if (to === "first") this.pages.value = [];
    else if (next) this.pages.value = [...this.pages.value, next];
    this.now();
  }

  /** Something has changed. */
  soon(): void {
    if (this.held.value) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      if (!this.held.value) this.now();
    }, PAUSE);
  }

  now(): void {
    if (this.#asking) {
      this.#again = true;
      this.#turn += 1;
      return;
    }
    void this.#load();
  }

  async #load(): Promise<void> {
    this.#asking = true;
    const turn = (this.#turn += 1);
    const query = new URLSearchParams({ ...this.query.value, limit: String(ROWS), after: this.pages.value.at(-1) ?? "" });
    for (const [name, value] of [...query]) if (value === "") query.delete(name);
    try {
      const { body } = await ask<Listed<Item>>(this.client, "GET", `${this.path}?${query}`);
      // What was asked for since is what is wanted.
      if (turn === this.#turn) this.listed.value = body;
      this.failed.value = undefined;
    } catch (error) {
      this.failed.value = words(error);
    }
    this.#asking = false;
    if (this.#again) {
      this.#again = false;
      void this.#load();
    }
  }
}
