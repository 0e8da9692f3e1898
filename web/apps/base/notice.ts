/** One line above a page that says what is wrong with it as a whole, and what can be done. */

/** Shows it, or takes it away. */
export function notice(kind: "warn" | "bad" | undefined, ...words: (Node | string)[]): void {
  const line = document.getElementById("notice");
  if (!line) return;
  line.hidden = kind === undefined;
  line.dataset["kind"] = kind ?? "";
  // Words that stay the same are not to be read out again.
  if (line.children.length > 0 || line.textContent !== words.join("")) line.replaceChildren(...words);
}
