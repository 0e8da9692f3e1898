/** Who else has documents of a root open, which, and where in them they are. It is told by presence, so nobody can say it
 * of somebody else, and who is gone is not shown. */

import type { Member, Roomcast, Room } from "@roomcast/client";

import { type Place, colourOf } from "./writing.js";

/** How often one's own place is told. */
const PAUSE = 120;

interface Where {
  readonly document?: string;
  readonly anchor?: number;
  readonly head?: number;
}

export class Company {
  #room: Room | undefined;
  #away: (() => void) | undefined;
  #where: Where = {};
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    readonly client: Roomcast,
    readonly me: string,
    readonly changed: () => void,
  ) {}

  /** Goes to a document, and away from the one before. */
  enter(root: string, document: string): void {
    this.#where = { document, anchor: 0, head: 0 };
    const room = this.client.room(`presence:document:${root}`, { meta: this.#where });
    if (room === this.#room) return this.#tell();
    this.leave();
    this.#room = room;
    this.#away = room.watch(this.changed);
    room.join().catch(() => {});
  }

  leave(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#away?.();
    this.#room?.leave();
    this.#room = undefined;
  }

  at(anchor: number, head: number): void {
    this.#where = { ...this.#where, anchor, head };
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#tell();
    }, PAUSE);
  }

  /** Who is in a document. */
  in(document: string): readonly Member<Where>[] {
    const members = (this.#room?.members ?? []) as readonly Member<Where>[];
    return members.filter(({ user, meta }) => user.id === this.me || meta?.document === document).sort((a, b) => a.user.name.localeCompare(b.user.name));
  }

  places(document: string): Place[] {
    const others = this.in(document).filter(({ user }) => user.id !== this.me);
    return others.map(({ user, meta }) => ({ user: user.id, name: user.name, colour: colourOf(user.id), anchor: Number(meta.anchor), head: Number(meta.head) }));
  }

  #tell(): void {
    this.#room?.describe(this.#where).catch(() => {});
  }
}
