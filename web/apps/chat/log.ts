/** The messages of a room, as they are read: who, when, what; and what of it can be changed. */

import type { ChatMessage } from "@roomcast/client";

import { words } from "../base/api.js";
import { question } from "../base/dialog.js";
import { element, keep, linked } from "../base/element.js";
import type { Conversation, Unsettled } from "./conversation.js";

/** Said within this time by the same person, messages stand under one name. */
const TOGETHER = 5 * 60_000;
/** Nearer to the end than this, whoever reads wants to see what comes. */
const NEAR = 80;

type Line = { key: string; message: ChatMessage; first: boolean } | { key: string; unsettled: Unsettled } | { key: string; aside: string };

export class Log {
  readonly #end = element("button", { type: "button", class: "to-end", hidden: true, onclick: () => this.toEnd() }, "New messages ↓");
  readonly #earlier = element("button", { type: "button", class: "plain earlier", hidden: true }, "Earlier messages");
  readonly #lines = element("div", { role: "log", "aria-label": "Messages", class: "lines" });
  readonly #scroll = element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Conversation", onscroll: () => this.#scrolled() }, this.#earlier, this.#lines);
  readonly element = element("div", { class: "log" }, this.#scroll, this.#end);
  readonly #asides: { at: number; text: string }[] = [];
  #shown: Conversation | undefined;
  #bottom = true;

  constructor(readonly me: string) {
    this.#earlier.addEventListener("click", () => void this.#showEarlier());
    // A narrower window, or a keyboard on a screen, moves the end away.
    new ResizeObserver(() => this.#bottom && this.toEnd()).observe(this.#scroll);
  }

  /** Something that was not said: somebody came, or went. */
  aside(text: string): void {
    this.#asides.push({ at: Date.now(), text });
    if (this.#asides.length > 50) this.#asides.shift();
  }

  show(conversation: Conversation | undefined): void {
    const other = conversation !== this.#shown;
    if (other) {
      this.#shown = conversation;
      this.#asides.length = 0;
      this.#lines.replaceChildren();
      this.#bottom = true;
    }
    const before = this.#lines.lastElementChild;
    this.#lines.setAttribute("aria-busy", String(other || !conversation?.loaded));
    this.#earlier.hidden = !conversation?.hasEarlier;
    keep<Line>(
      this.#lines,
      conversation ? this.#all(conversation) : [],
      ({ key }) => key,
      (line) => this.#make(line),
      (made, line) => this.#update(made, line),
    );
    if (this.#bottom) this.toEnd();
    else if (before !== this.#lines.lastElementChild) this.#end.hidden = false;
  }

  toEnd(): void {
    this.#bottom = true;
    this.#end.hidden = true;
    this.#scroll.scrollTop = this.#scroll.scrollHeight;
  }

  #scrolled(): void {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroll;
    this.#bottom = scrollHeight - scrollTop - clientHeight < NEAR;
    if (this.#bottom) this.#end.hidden = true;
  }

  async #showEarlier(): Promise<void> {
    const { scrollHeight, scrollTop } = this.#scroll;
    this.#earlier.disabled = true;
    try {
      await this.#shown?.earlier();
    } catch (error) {
      this.aside(words(error));
    }
    this.#earlier.disabled = false;
    // What was read stays where it was.
    this.#scroll.scrollTop = scrollTop + this.#scroll.scrollHeight - scrollHeight;
  }

  #all(conversation: Conversation): Line[] {
    const lines: Line[] = [];
    const asides = [...this.#asides];
    let last: ChatMessage | undefined;
    const until = (time: number) => {
      while (asides[0] && asides[0].at <= time) {
        const { at, text } = asides.shift() as { at: number; text: string };
        lines.push({ key: `aside ${at} ${text}`, aside: text });
        last = undefined;
      }
    };
    for (const message of conversation.messages) {
      const time = Date.parse(message.createdAt);
      until(time);
      const first = last?.user.id !== message.user.id || time - Date.parse(last.createdAt) > TOGETHER;
      lines.push({ key: message.id, message, first });
      last = message;
    }
    until(Infinity);
    for (const unsettled of conversation.unsettled) lines.push({ key: unsettled.key, unsettled });
    return lines;
  }

  #make(line: Line): HTMLElement {
    if ("aside" in line) return element("p", { class: "aside" }, line.aside);
    return element("article", { class: "message" });
  }

  #update(made: HTMLElement, line: Line): void {
    if ("aside" in line) return;
    // What has not changed is left alone, with the focus that it may have.
    const is = JSON.stringify(line);
    if (made.dataset["is"] === is) return;
    made.dataset["is"] = is;
    if ("unsettled" in line) made.replaceChildren(...this.#unsettled(line.unsettled));
    else made.replaceChildren(...this.#message(line.message, line.first));
    made.classList.toggle("mine", "unsettled" in line || line.message.user.id === this.me);
    made.classList.toggle("unsettled", "unsettled" in line);
    made.classList.toggle("follows", "message" in line && !line.first);
  }

  #message(message: ChatMessage, first: boolean): Node[] {
    const mine = message.user.id === this.me;
    const head = element("header", {}, element("strong", {}, message.user.name), " ", time(message.createdAt));
    const text = element("p", { class: "text" }, ...linked(message.text));
    if (message.editedAt) text.append(element("span", { class: "quiet small" }, " (edited)"));
    const actions = mine && element("div", { class: "actions" }, this.#button("Edit", message, () => this.#edit(message)), this.#button("Delete", message, () => this.#remove(message)));
    return [first ? head : undefined, text, actions || undefined].filter((node) => node !== undefined);
  }

  #button(word: string, message: ChatMessage, act: () => void): HTMLElement {
    return element("button", { type: "button", class: "plain small", "aria-label": `${word}: ${message.text.slice(0, 40)}`, onclick: act }, word);
  }

  #edit(message: ChatMessage): void {
    const conversation = this.#shown;
    question({ title: "Edit the message", line: "Message", value: message.text, max: 4_000, yes: "Save" }, async (text) => void (await conversation?.edit(message.id, text)));
  }

  #remove(message: ChatMessage): void {
    const conversation = this.#shown;
    question({ title: "Delete the message?", text: message.text.slice(0, 200), yes: "Delete", danger: true }, async () => void (await conversation?.remove(message.id)));
  }

  #unsettled(message: Unsettled): Node[] {
    const text = element("p", { class: "text" }, ...linked(message.text));
    const state = { sending: "Sending …", waiting: "Not sent yet: it is tried again.", refused: `Not sent. ${message.why ?? ""}` }[message.state];
    const line = element("p", { class: message.state === "refused" ? "error small" : "quiet small" }, state);
    if (message.state === "sending") return [text, line];
    line.append(
      " ",
      element("button", { type: "button", class: "plain small", onclick: () => this.#shown?.again(message) }, "Try now"),
      element("button", { type: "button", class: "plain small", onclick: () => this.#shown?.discard(message) }, "Discard"),
    );
    return [text, line];
  }
}

const today = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const earlier = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

function time(at: string): HTMLElement {
  const date = new Date(at);
  const format = date.toDateString() === new Date().toDateString() ? today : earlier;
  return element("time", { datetime: at, class: "quiet small" }, format.format(date));
}
