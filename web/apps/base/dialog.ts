/** Dialogs: a question, and perhaps a line to write. The browser keeps the focus in them and closes them on Escape. */

import { element } from "./element.js";
import { words } from "./api.js";

export interface Question {
  readonly title: string;
  readonly text?: string;
  /** What the line is called, if there is one. */
  readonly line?: string;
  readonly value?: string;
  readonly max?: number;
  readonly yes: string;
  readonly danger?: boolean;
}

/** Asks, and does it while the dialog is open, so that a refusal is read where it was asked for. What that returns is done
 * once the dialog is closed, and the focus is where it was before. */
export function question(asked: Question, act: (line: string) => Promise<void | (() => void)>): void {
  const line = asked.line === undefined ? undefined : element("input", { id: "dialog-line", maxlength: asked.max ?? 100, required: true, value: asked.value ?? "", autocomplete: "off" });
  const failed = element("p", { class: "error", role: "alert" });
  const yes = element("button", { class: asked.danger ? "danger" : "primary", type: "submit" }, asked.yes);
  const close = () => {
    dialog.close();
    dialog.remove();
  };
  const form = element(
    "form",
    {
      method: "dialog",
      onsubmit: async (event: SubmitEvent) => {
        event.preventDefault();
        yes.disabled = true;
        failed.textContent = "";
        try {
          const then = await act(line?.value ?? "");
          close();
          then?.();
        } catch (error) {
          failed.textContent = words(error);
        }
        yes.disabled = false;
      },
    },
    element("h2", { id: "dialog-title" }, asked.title),
    asked.text !== undefined && element("p", {}, asked.text),
    line && element("div", { class: "field" }, element("label", { for: "dialog-line" }, asked.line ?? ""), line),
    failed,
    element("div", { class: "row" }, yes, element("button", { type: "button", onclick: close }, "Cancel")),
  );
  const dialog = element("dialog", { "aria-labelledby": "dialog-title", onclose: () => dialog.remove() }, form);
  document.body.append(dialog);
  dialog.showModal();
  line?.select();
}
