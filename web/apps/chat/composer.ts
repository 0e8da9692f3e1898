/** Where one writes. What was begun in a room is still there when one comes back to it. */

import { element } from "../base/element.js";

const MOST = 4_000;

export class Composer {
  readonly #text = element("textarea", { id: "text", rows: 1, placeholder: "Write a message", maxlength: MOST, "aria-label": "Message" });
  readonly element: HTMLFormElement;
  readonly #begun = new Map<string, string>();
  #room: string | undefined;

  constructor(readonly on: { say: (text: string) => void; typing: (on: boolean) => void }) {
    this.element = element(
      "form",
      {
        class: "composer",
        onsubmit: (event: SubmitEvent) => {
          event.preventDefault();
          this.#send();
        },
      },
      this.#text,
      element("button", { class: "primary", type: "submit" }, "Send"),
    );
    this.#text.addEventListener("keydown", (event) => {
      // While an input method composes, Enter is its own.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#send();
    });
    this.#text.addEventListener("input", () => {
      this.#grow();
      on.typing(this.#text.value.trim() !== "");
    });
  }

  enter(room: string): void {
    if (room === this.#room) return;
    if (this.#room !== undefined) this.#begun.set(this.#room, this.#text.value);
    this.#room = room;
    this.#text.value = this.#begun.get(room) ?? "";
    this.#grow();
  }

  focus(): void {
    this.#text.focus();
  }

  #send(): void {
    const text = this.#text.value.trim();
    if (text === "") return;
    this.#text.value = "";
    this.#grow();
    this.on.typing(false);
    this.on.say(text);
  }

  #grow(): void {
    this.#text.rows = Math.min(8, this.#text.value.split("\n").length);
  }
}
