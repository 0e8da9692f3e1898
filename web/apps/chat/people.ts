/** Who is in a room, and who is typing there. */

import type { Member, Roomcast, Room } from "@roomcast/client";

import { element, keep } from "../base/element.js";

/** That somebody types is said at most so often, and believed for so long. */
const SAID = 2_000;
const BELIEVED = 5_000;
/** Names that are shown; a room may have hundreds. */
const SHOWN = 100;
/** With more people than that, who comes and goes is not worth a line. */
const CROWD = 50;

interface Typing {
  typing: { readonly user: string; readonly on: boolean };
  [event: string]: unknown;
}

export class People {
  readonly list = element("ul", { class: "plain-list people" });
  readonly heading = element("h2", {}, "Here");
  readonly typing = element("p", { class: "typing quiet small", "aria-live": "polite" });
  #presence: Room | undefined;
  #chat: Room<Typing> | undefined;
  #away: (() => void)[] = [];
  readonly #typing = new Map<string, ReturnType<typeof setTimeout>>();
  #said = 0;

  constructor(
    readonly client: Roomcast,
    readonly me: string,
    readonly aside: (text: string) => void,
  ) {}

  /** Goes into a room, and out of the one before. */
  enter(id: string | undefined): void {
    this.#presence?.leave();
    for (const away of this.#away.splice(0)) away();
    for (const user of [...this.#typing.keys()]) this.#stops(user);
    this.#presence = this.#chat = undefined;
    this.#said = 0;
    if (id === undefined) return this.render();
    const presence = (this.#presence = this.client.room(`presence:chat:${id}`));
    const chat = (this.#chat = this.client.room<Typing>(`chat:${id}`));
    const told = (word: string) => (member: Member) => {
      if (member.user.id !== this.me && presence.count <= CROWD) this.aside(`${member.user.name} ${word}`);
      this.render();
    };
    this.#away = [
      presence.on("user-joined", told("joined")),
      presence.on("user-left", told("left")),
      presence.watch(() => this.render()),
      chat.on("typing", ({ user, on }) => (on ? this.#types(user) : this.#stops(user))),
      // Who has said it types no more.
      chat.on("chat-message", (message) => this.#stops((message as { user: { id: string } }).user.id)),
    ];
    presence.join().catch(() => {});
    this.render();
  }

  /** Called with every key: tells the others, now and then. */
  says(on: boolean): void {
    const now = Date.now();
    if (on ? now - this.#said < SAID : this.#said === 0) return;
    this.#said = on ? now : 0;
    // Nobody needs it later: where there is no connection for it now, it is not said.
    this.#chat?.publish("typing", { user: this.me, on }, { volatile: true }).catch(() => {});
  }

  render(): void {
    const members = [...(this.#presence?.members ?? [])].sort((a, b) => a.user.name.localeCompare(b.user.name));
    const count = this.#presence?.count ?? 0;
    this.heading.textContent = `Here: ${count}`;
    const more = count - Math.min(members.length, SHOWN);
    keep(
      this.list,
      [...members.slice(0, SHOWN).map(({ user }) => ({ id: user.id, text: user.id === this.me ? `${user.name} (you)` : user.name })), ...(more > 0 ? [{ id: "more", text: `and ${more} more` }] : [])],
      ({ id }) => id,
      ({ text }) => element("li", {}, text),
      (made, { text }) => {
        if (made.textContent !== text) made.textContent = text;
      },
    );
    this.#renderTyping();
  }

  #types(user: string): void {
    // Whoever publishes could say that of anybody: a name is shown of who is here.
    if (user === this.me || typeof user !== "string") return;
    clearTimeout(this.#typing.get(user));
    this.#typing.set(
      user,
      setTimeout(() => this.#stops(user), BELIEVED),
    );
    this.#renderTyping();
  }

  #stops(user: string): void {
    clearTimeout(this.#typing.get(user));
    if (this.#typing.delete(user)) this.#renderTyping();
  }

  #renderTyping(): void {
    const here = this.#presence?.members ?? [];
    const names = here.filter(({ user }) => this.#typing.has(user.id)).map(({ user }) => user.name);
    const text = names.length === 0 ? "" : names.length === 1 ? `${names[0]} is typing …` : names.length <= 3 ? `${names.join(", ")} are typing …` : "Several people are typing …";
    if (this.typing.textContent !== text) this.typing.textContent = text;
  }
}
