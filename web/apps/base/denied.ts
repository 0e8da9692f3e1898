/** What somebody sees who may not see a page. */

import { element } from "./element.js";

export function denied(name: string): HTMLElement {
  return element(
    "div",
    { class: "empty" },
    element("h1", {}, "For administrators"),
    element("p", {}, `You are signed in as ${name}, who is none. Another administrator can make you one.`),
    element("p", {}, element("a", { class: "button", href: `/sign-in?next=${encodeURIComponent(location.pathname)}` }, "Sign in as somebody else")),
  );
}
