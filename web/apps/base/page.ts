/** What every page begins with: who is logged in, the one connection, and what is said of both. */

import { Roomcast, type ClientOptions, type StateChange, type User } from "@roomcast/client";

import { element } from "./element.js";
import { notice } from "./notice.js";

export interface Page {
  readonly main: HTMLElement;
  readonly client: Roomcast;
  readonly me: User;
}

/** What the server says to a page before anything else. */
export interface Settings {
  readonly user: User | null;
  readonly registration: boolean;
  readonly demo: { readonly people: readonly string[]; readonly password: string } | null;
}

/** Asks until there is an answer: a server that is just being started again is no reason to give up. */
export async function settings(): Promise<Settings> {
  for (let pause = 500; ; pause = Math.min(pause * 2, 8_000)) {
    try {
      const response = await fetch("/pages.json", { cache: "no-store" });
      if (response.ok) {
        notice(undefined);
        return (await response.json()) as Settings;
      }
    } catch {
      // Told below.
    }
    notice("bad", "The server cannot be reached. Trying again …");
    await new Promise((done) => setTimeout(done, pause));
  }
}

/** Opens a page for somebody who is logged in; whoever is not goes to sign in, and comes back. */
export async function open(options: ClientOptions = {}): Promise<Page> {
  const { user } = await settings();
  if (user === null) {
    location.replace(signIn());
    return new Promise(() => {});
  }
  const client = new Roomcast(options);
  bar(client, user);
  reloads(client);
  return { main: document.getElementById("main") as HTMLElement, client, me: user };
}

function signIn(): string {
  return `/sign-in?next=${encodeURIComponent(location.pathname + location.hash)}`;
}

/** In `dev` a page is told when its files have changed. */
export function reloads(client: Roomcast): void {
  client.on("event", ({ channel, event }) => {
    if (channel === "global" && event === "reload") location.reload();
  });
}

function bar(client: Roomcast, user: User): void {
  const state = element("span", { class: "state", id: "state" }, "Connecting");
  const leave = element("button", { class: "plain", type: "button", onclick: () => void signOut(client) }, "Sign out");
  document.getElementById("who")?.replaceChildren(state, element("strong", { title: user.name }, user.name), leave);
  const show = (kind: string, text: string) => {
    state.dataset["state"] = kind;
    state.textContent = text;
  };
  let lost = false;
  client.on("lost", () => {
    lost = true;
    show("warn", "Reconnecting");
  });
  client.on("restored", () => (lost = false));
  client.on("state", (change) => {
    switch (change.state) {
      case "connected":
        show("good", "Live");
        return notice(undefined);
      case "disconnected":
        show("bad", "Disconnected");
        return ended(client, change);
      // A blip is nobody's business: `lost` says when it is more.
      case "reconnecting":
        if (lost) show("warn", "Reconnecting");
    }
  });
}

/** Why it does not come back by itself, and what can be done. */
function ended(client: Roomcast, { code, message }: StateChange): void {
  if (code === "aborted") return;
  const again = element("button", { type: "button", onclick: () => void client.connect().catch(() => {}) }, "Connect again");
  const login = element("a", { class: "button", href: signIn() }, "Sign in");
  switch (code) {
    case "session-ended":
    case "unauthorized":
      return notice("bad", "You are signed out.", login);
    case "removed":
      return notice("bad", "An administrator has disconnected this page.", again);
    case "replaced":
      return notice("bad", "Another page has taken over the connection of this one.", again);
    default:
      return notice("bad", message ?? "The connection has ended.", again);
  }
}

async function signOut(client: Roomcast): Promise<void> {
  try {
    await client.fetch("/api/v1/auth/logout", { method: "POST" });
  } catch {
    return notice("bad", "The server cannot be reached: you are still signed in.");
  }
  location.assign("/sign-in");
}
