/** How the server was in the last minutes: what there is, and then each second as it comes. For administrators. */

import type { Roomcast, Room } from "@roomcast/client";

import { ask } from "./api.js";

/** One second. Rates are by the second. */
export interface Sample {
  readonly time: string;
  /** Cores; 0.5 is half of one. */
  readonly cpu: number | null;
  readonly memoryBytes: number | null;
  readonly connections: number;
  readonly users: number;
  readonly rooms: number;
  readonly requests: number;
  readonly published: number;
  readonly delivered: number;
  /** Milliseconds. */
  readonly latencyP50: number | null;
  readonly latencyP99: number | null;
}

interface Told {
  metrics: Sample;
  [event: string]: unknown;
}

/** Ten minutes, as the server keeps them. */
const KEPT = 600;

export class Figures {
  readonly room: Room<Told>;
  samples: readonly Sample[] = [];

  constructor(
    readonly client: Roomcast,
    readonly changed: () => void,
  ) {
    this.room = client.room<Told>("server:metrics", { load: () => this.#load() });
    this.room.on("metrics", (sample) => this.#add([sample]));
    this.room.join().catch(() => {});
  }

  get last(): Sample | undefined {
    return this.samples.at(-1);
  }

  async #load(): Promise<void> {
    const { body } = await ask<{ items: Sample[] }>(this.client, "GET", "/admin/metrics");
    this.#add(body.items);
  }

  /** What was missed is in the list, and what is in the list may be told once more. */
  #add(more: readonly Sample[]): void {
    const all = new Map([...this.samples, ...more].map((sample) => [sample.time, sample]));
    this.samples = [...all.values()].sort((a, b) => (a.time < b.time ? -1 : 1)).slice(-KEPT);
    this.changed();
  }
}

export const number = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });

export function bytes(of: number | null): string {
  if (of === null) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  let value = of;
  while (value >= 1_024 && at < units.length - 1) {
    value /= 1_024;
    at += 1;
  }
  return `${number.format(value)} ${units[at]}`;
}

export function millis(of: number | null): string {
  return of === null ? "–" : `${of < 10 ? of.toFixed(1) : Math.round(of)} ms`;
}
