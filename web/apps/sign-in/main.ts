/** Signing in, and making an account where the server lets people do so. */

import "./sign-in.css";

import { Refused, ask, words } from "../base/api.js";
import { element } from "../base/element.js";
import { settings, type Settings } from "../base/page.js";

/** Where to go afterwards: a path of this server, whatever the address says. */
function next(): string {
  const wanted = new URLSearchParams(location.search).get("next") ?? "/";
  const url = new URL(wanted, location.origin);
  return url.origin === location.origin ? url.pathname + url.search + url.hash : "/";
}

const client = { fetch: (input: string | URL, init?: RequestInit) => fetch(input, init) };

async function signIn(username: string, password: string): Promise<void> {
  await ask(client, "POST", "/auth/login", { username, password });
  location.replace(next());
}

function show({ user, registration, demo }: Settings): void {
  const making = () => mode === "make";
  let mode: "enter" | "make" = "enter";
  const name = element("input", { id: "username", name: "username", autocomplete: "username", required: true, maxlength: 64, autocapitalize: "none", spellcheck: "false" });
  const password = element("input", { id: "password", name: "password", type: "password", autocomplete: "current-password", required: true, minlength: 8, "aria-describedby": "hint" });
  const hint = element("p", { class: "quiet small", id: "hint" }, "At least 8 characters.");
  const failed = element("p", { class: "error", role: "alert" });
  const go = element("button", { class: "primary", type: "submit" });
  const title = element("h1");
  const other = element("button", { class: "plain", type: "button", onclick: () => become(making() ? "enter" : "make") });
  const become = (to: typeof mode) => {
    mode = to;
    title.textContent = making() ? "Make an account" : "Sign in";
    go.textContent = making() ? "Make an account" : "Sign in";
    other.textContent = making() ? "I have an account" : "Make an account";
    password.autocomplete = making() ? "new-password" : "current-password";
    hint.hidden = !making();
    failed.textContent = "";
    document.title = `${title.textContent} · Roomcast`;
  };
  become("enter");
  const busy = (is: boolean) => {
    for (const button of form.querySelectorAll("button")) button.disabled = is;
  };
  const submit = async (username: string, secret: string) => {
    busy(true);
    failed.textContent = "";
    try {
      if (making()) await ask(client, "POST", "/auth/register", { username, password: secret });
      await signIn(username, secret);
    } catch (error) {
      failed.textContent = error instanceof Refused && error.status === 401 ? "That is not a name and password that belong together." : words(error);
      busy(false);
      password.focus();
    }
  };
  // A form that was sent without its script would have the password in an address, were it not a post.
  const form = element(
    "form",
    {
      class: "stack card",
      method: "post",
      onsubmit: (event: SubmitEvent) => {
        event.preventDefault();
        void submit(name.value, password.value);
      },
    },
    title,
    user && element("p", { class: "quiet" }, `You are signed in as ${user.name}. `, element("a", { href: next() }, "Go on")),
    element("div", { class: "field" }, element("label", { for: "username" }, "Name"), name),
    element("div", { class: "field" }, element("label", { for: "password" }, "Password"), password, hint),
    failed,
    element("div", { class: "spread" }, go, registration ? other : element("span", { class: "quiet small" }, "An administrator makes accounts.")),
  );
  const people = demo?.people.map((who) =>
    element("button", { type: "button", onclick: () => void (become("enter"), submit(who, demo.password)) }, who),
  );
  document.getElementById("main")?.replaceChildren(
    element("a", { class: "brand", href: "/" }, "Roomcast"),
    form,
    people
      ? element("section", { class: "card" }, element("h2", {}, "Or as one of the demo people"), element("p", { class: "quiet small" }, "root is an administrator. Open a private window to be two of them at once."), element("div", { class: "row" }, ...people))
      : "",
  );
  name.focus();
}

show(await settings());
