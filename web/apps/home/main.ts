/** The start page: what there is to try, as whoever one is. */

import "./home.css";

import { Roomcast } from "@roomcast/client";

import { element } from "../base/element.js";
import { reloads, settings } from "../base/page.js";

const TRY = [
  ["/chat", "Chat", "Rooms, who is here, who is typing. Cut the network and come back: nothing is lost."],
  ["/editor", "Editor", "Write one document together: each change is saved over HTTP and arrives in every other window."],
  ["/dashboard", "Dashboard", "The server's CPU, memory, requests and delivery times, second by second over SSE. For administrators."],
  ["/admin", "Admin", "Rooms and connections as they come and go; look into one, speak in it, end a connection."],
  ["/docs", "API", "Every operation with parameters, answers, and a command to copy."],
] as const;

const { user, demo } = await settings();

const who = document.getElementById("who");
if (user) {
  who?.replaceChildren(element("strong", {}, user.name), element("a", { class: "button", href: "/sign-in" }, "Switch"));
  const client = new Roomcast();
  reloads(client);
  client.connect().catch(() => {});
} else {
  who?.replaceChildren(element("a", { class: "button primary", href: "/sign-in" }, "Sign in"));
}

document.getElementById("main")?.replaceChildren(
  element(
    "section",
    { class: "hello" },
    element("h1", {}, "What changes is heard at once."),
    element("p", { class: "quiet" }, "Applications change data over HTTP; everyone who should know hears of it over WebSocket or server-sent events, in order, and nothing is lost on the way."),
    demo && element("p", {}, `This is a demo. ${demo.people.join(", ")} have the password `, element("code", {}, demo.password), ". Open a private window to be two of them."),
  ),
  element(
    "ul",
    { class: "plain-list tries" },
    ...TRY.map(([href, title, text]) => element("li", {}, element("a", { class: "card", href }, element("h2", {}, title), element("p", { class: "quiet" }, text)))),
  ),
  element(
    "section",
    { class: "card own" },
    element("h2", {}, "In a page of yours"),
    element("p", { class: "quiet" }, "The client is a file of this server; it needs no build."),
    element("pre", { tabindex: "0", "aria-label": "Example" }, element("code", {}, `import { Roomcast } from "${location.origin}/client.js";

const room = new Roomcast({ url: "${location.origin}" }).room("document:42");
room.on("changed-document", ({ id, data }) => show(id, data));
await room.join();`)),
  ),
);
