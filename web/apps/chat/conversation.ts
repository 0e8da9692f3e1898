/** What is said in one room: what the server has, and what of our own it does not have yet. */

import type { ChatMessage, Roomcast, Room } from "@roomcast/client";

import { Refused, ask, words, type Page } from "../base/api.js";

/** Something of our own that is shown at once, and settled by the server's answer. */
export interface Unsettled {
  readonly key: string;
  readonly text: string;
  readonly at: string;
  state: "sending" | "waiting" | "refused";
  why?: string;
  /** It was sent, and no answer came: it may be there. */
  unsure: boolean;
  /** The last message that was there when it was written. */
  readonly after: string;
}

/** Messages that are got at once. */
const PAGE = 50;
/** How long after a failure it is tried again, where nothing else says so. */
const PAUSE = 2_000;

export class Conversation {
  readonly room: Room;
  readonly unsettled: Unsettled[] = [];
  readonly #messages = new Map<string, ChatMessage>();
  #sorted: ChatMessage[] | undefined;
  /** What to ask for to see what was before; `null` where there is nothing. */
  #before: string | null = null;
  #loaded = false;
  #sending = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    readonly client: Roomcast,
    readonly id: string,
    readonly me: string,
    /** Told when something is to be shown anew; with a message that somebody else has just said. */
    readonly changed: (said?: ChatMessage) => void,
  ) {
    this.room = client.room(`chat:${id}`, { load: () => this.#load() });
    this.room.on("chat-message", (message) => {
      const known = this.#messages.has(message.id);
      this.#put(message);
      changed(known ? undefined : message);
    });
    this.room.on("chat-message-changed", (message) => {
      if (this.#messages.has(message.id)) this.#put(message);
      changed();
    });
    this.room.on("chat-message-deleted", ({ id }) => {
      this.#messages.delete(id);
      this.#sorted = undefined;
      changed();
    });
    this.room.watch(() => {
      if (this.room.state === "joined") void this.#flush();
      changed();
    });
  }

  get loaded(): boolean {
    return this.#loaded;
  }

  /** The oldest first. Ids are made in the order of time. */
  get messages(): readonly ChatMessage[] {
    this.#sorted ??= [...this.#messages.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
    return this.#sorted;
  }

  get last(): ChatMessage | undefined {
    return this.messages.at(-1);
  }

  get hasEarlier(): boolean {
    return this.#before !== null;
  }

  async earlier(): Promise<void> {
    if (this.#before === null) return;
    const { body } = await this.#page(this.#before);
    this.#before = body.next;
    for (const message of body.items) this.#put(message);
    this.changed();
  }

  say(text: string): void {
    this.unsettled.push({
      key: crypto.randomUUID(),
      text,
      at: new Date().toISOString(),
      state: "sending",
      unsure: false,
      after: this.last?.id ?? "",
    });
    this.changed();
    void this.#flush();
  }

  again(message: Unsettled): void {
    message.state = "waiting";
    this.changed();
    void this.#flush();
  }

  discard(message: Unsettled): void {
    this.unsettled.splice(this.unsettled.indexOf(message), 1);
    this.changed();
  }

  async edit(id: string, text: string): Promise<void> {
    const { body } = await ask<ChatMessage>(this.client, "PATCH", `/rooms/${this.id}/messages/${id}`, { text });
    this.#put(body);
    this.changed();
  }

  async remove(id: string): Promise<void> {
    await ask(this.client, "DELETE", `/rooms/${this.id}/messages/${id}`);
    this.#messages.delete(id);
    this.#sorted = undefined;
    this.changed();
  }

  async #load(): Promise<string | null> {
    const { body, cursor } = await this.#page("");
    // What was there may have been changed or deleted meanwhile.
    this.#messages.clear();
    this.#sorted = undefined;
    this.#before = body.next;
    this.#loaded = true;
    for (const message of body.items) this.#put(message);
    this.changed();
    return cursor;
  }

  #page(before: string) {
    return ask<Page<ChatMessage>>(this.client, "GET", `/rooms/${this.id}/messages?before=${before}&limit=${PAGE}`);
  }

  #put(message: ChatMessage): void {
    this.#messages.set(message.id, message);
    this.#sorted = undefined;
  }

  /** Sends what waits, one after another, so that it stays in order. */
  async #flush(): Promise<void> {
    if (this.#sending) return;
    this.#sending = true;
    clearTimeout(this.#timer);
    for (let next = this.#next(); next; next = this.#next()) {
      if (!(await this.#send(next))) break;
    }
    this.#sending = false;
  }

  #next(): Unsettled | undefined {
    return this.unsettled.find(({ state }) => state !== "refused");
  }

  /** Whether to go on with the next. */
  async #send(message: Unsettled): Promise<boolean> {
    message.state = "sending";
    this.changed();
    try {
      const said = (message.unsure && (await this.#find(message))) || (await this.#post(message.text));
      this.unsettled.splice(this.unsettled.indexOf(message), 1);
      this.#put(said);
      this.changed();
      return true;
    } catch (error) {
      const passes = !(error instanceof Refused) || error.passes;
      message.state = passes ? "waiting" : "refused";
      message.why = words(error);
      // Without an answer nobody knows; a refusal is one.
      if (!(error instanceof Refused) || error.status >= 500) message.unsure = true;
      this.changed();
      if (!passes) return true;
      const pause = error instanceof Refused && error.retryAfter ? error.retryAfter * 1_000 : PAUSE;
      this.#timer = setTimeout(() => void this.#flush(), pause);
      return false;
    }
  }

  async #post(text: string): Promise<ChatMessage> {
    return (await ask<ChatMessage>(this.client, "POST", `/rooms/${this.id}/messages`, { text })).body;
  }

  /** Looks whether it is there already: sent, but the answer was lost. */
  async #find(message: Unsettled): Promise<ChatMessage | undefined> {
    const { body } = await ask<Page<ChatMessage>>(this.client, "GET", `/rooms/${this.id}/messages?after=${message.after}&limit=1000`);
    return body.items.find(({ id, user, text }) => user.id === this.me && text === message.text && !this.#messages.has(id));
  }
}
