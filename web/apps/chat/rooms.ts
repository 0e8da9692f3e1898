/** The list of rooms, with what is unread in each. */

import type { RecordChange, Roomcast } from "@roomcast/client";

import { all } from "../base/api.js";
import { element, keep } from "../base/element.js";
import { Conversation } from "./conversation.js";

export interface ChatRoom {
  readonly id: string;
  readonly name: string;
  readonly groupId: string | null;
  readonly ownerId: string;
}

/** Rooms that are listened to at once: a connection may be in 128 channels, and this page needs some for who is there. */
const MOST = 100;

export class Rooms {
  readonly list = element("ul", { class: "plain-list rooms" });
  readonly #rooms = new Map<string, ChatRoom>();
  readonly #conversations = new Map<string, Conversation>();
  readonly #read: Record<string, string>;
  readonly #key: string;
  active: string | undefined;
  loaded = false;

  constructor(
    readonly client: Roomcast,
    readonly me: string,
    readonly on: { changed: () => void; said: (room: string) => void; gone: (room: string) => void },
  ) {
    this.#key = `roomcast:read:${me}`;
    this.#read = stored(this.#key);
    const global = client.room("global", { load: () => this.#load() });
    client.on("event", ({ event, data }) => this.#heard(event, data as RecordChange));
    void global.join();
  }

  get rooms(): readonly ChatRoom[] {
    return [...this.#rooms.values()].sort((a, b) => a.name.localeCompare(b.name) || (a.id < b.id ? -1 : 1));
  }

  get(id: string): ChatRoom | undefined {
    return this.#rooms.get(id);
  }

  conversation(id: string): Conversation | undefined {
    return this.#conversations.get(id);
  }

  add(room: ChatRoom): void {
    this.#rooms.set(room.id, room);
    this.#follow();
    this.on.changed();
  }

  unread(id: string): number {
    const read = this.#read[id] ?? "";
    const messages = this.#conversations.get(id)?.messages ?? [];
    return messages.filter((message) => message.id > read && message.user.id !== this.me).length;
  }

  get unreadInAll(): number {
    return this.rooms.reduce((sum, { id }) => sum + this.unread(id), 0);
  }

  /** What is there in the active room has been seen, if somebody looks. */
  see(): void {
    const last = this.active && this.#conversations.get(this.active)?.last?.id;
    if (!last || document.visibilityState !== "visible" || this.#read[this.active as string] === last) return;
    this.#read[this.active as string] = last;
    try {
      localStorage.setItem(this.#key, JSON.stringify(this.#read));
    } catch {
      // Then it is unread again after a reload.
    }
  }

  render(): void {
    keep(
      this.list,
      this.rooms,
      ({ id }) => id,
      ({ id }) => element("li", {}, element("a", { href: `#${id}` }, element("span", { class: "name" }), element("span", { class: "badge", hidden: true }))),
      (item, room) => this.#update(item, room),
    );
  }

  #update(item: HTMLElement, { id, name, groupId }: ChatRoom): void {
    const [link, words, badge] = [item.querySelector("a"), item.querySelector(".name"), item.querySelector<HTMLElement>(".badge")];
    if (!link || !words || !badge) return;
    if (id === this.active) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
    words.textContent = groupId ? `${name} (group)` : name;
    const unread = this.unread(id);
    badge.hidden = unread === 0;
    badge.textContent = unread >= 50 ? "50+" : String(unread);
    badge.setAttribute("aria-label", `${unread} unread`);
  }

  async #load(): Promise<string | null> {
    // The position comes first: what is said while the list is read is heard as well.
    const response = await this.client.fetch("/api/v1/rooms?limit=1");
    const rooms = await all<ChatRoom>(this.client, "/rooms");
    this.#rooms.clear();
    for (const room of rooms) this.#rooms.set(room.id, room);
    this.loaded = true;
    this.#follow();
    this.on.changed();
    return response.headers.get("event-cursor");
  }

  #heard(event: string, change: RecordChange): void {
    if (change?.type !== "Room" || !/^(new|changed|deleted)-record$/.test(event)) return;
    const { record } = change;
    if (event === "deleted-record") {
      this.#rooms.delete(record.id);
      this.#conversations.get(record.id)?.room.leave();
      this.#conversations.delete(record.id);
      this.on.gone(record.id);
    } else {
      this.#rooms.set(record.id, record as unknown as ChatRoom);
      this.#follow();
    }
    this.on.changed();
  }

  /** Listens in every room, for what is unread. */
  #follow(): void {
    for (const { id } of this.rooms) {
      if (this.#conversations.has(id) || this.#conversations.size >= MOST) continue;
      const conversation = new Conversation(this.client, id, this.me, (said) => {
        if (said) this.on.said(id);
        this.on.changed();
      });
      this.#conversations.set(id, conversation);
      conversation.room.join().catch(() => {});
    }
    for (const [id, conversation] of this.#conversations) {
      if (this.#rooms.has(id)) continue;
      conversation.room.leave();
      this.#conversations.delete(id);
    }
  }
}

function stored(key: string): Record<string, string> {
  try {
    return JSON.parse(localStorage.getItem(key) ?? "{}") as Record<string, string>;
  } catch {
    return {};
  }
}
