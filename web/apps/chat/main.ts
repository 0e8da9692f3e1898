/** The chat: rooms on the left, what is said in the middle, who is there on the right. */

import "./chat.css";

import { ask } from "../base/api.js";
import { question } from "../base/dialog.js";
import { element } from "../base/element.js";
import { open } from "../base/page.js";
import { Composer } from "./composer.js";
import { Log } from "./log.js";
import { People } from "./people.js";
import { Rooms, type ChatRoom } from "./rooms.js";

const { main, client, me } = await open();
const log = new Log(me.id);
const people = new People(client, me.id, (text) => {
  log.aside(text);
  soon();
});
const composer = new Composer({ say: (text) => (rooms.conversation(rooms.active ?? "")?.say(text), log.toEnd()), typing: (on) => people.says(on) });
const rooms = new Rooms(client, me.id, { changed: () => soon(), said: () => {}, gone: (id) => id === rooms.active && go(undefined) });

const title = element("h2", { class: "title" });
const manage = element("div", { class: "row" });
const empty = element("div", { class: "empty" });
const denied = element("div", { class: "empty", hidden: true }, element("p", {}, "There is no such room, or you may not be in it."));
const loading = element("div", { class: "loading" }, "Loading …");
const room = element("section", { class: "room", hidden: true, "aria-labelledby": "room-title" }, element("header", { class: "spread" }, title, manage), log.element, people.typing, composer.element);
title.id = "room-title";
const here = element("details", { class: "here" }, element("summary", {}, people.heading), people.list);
const wide = matchMedia("(min-width: 900px)");
const unfold = () => here.toggleAttribute("open", wide.matches);
wide.addEventListener("change", unfold);
unfold();

main.replaceChildren(
  element("h1", { class: "hidden-text" }, "Chat"),
  element("aside", { class: "side" }, element("div", { class: "spread" }, element("h2", {}, "Rooms"), element("button", { type: "button", onclick: () => make() }, "New room")), element("nav", { "aria-label": "Rooms" }, rooms.list)),
  element("div", { class: "middle" }, loading, empty, denied, room),
  here,
);

function make(): void {
  question({ title: "New room", text: "Everybody who is signed in may come in.", line: "Name", yes: "Make it" }, async (name) => {
    const { body } = await ask<ChatRoom>(client, "POST", "/rooms", { name });
    rooms.add(body);
    return () => go(body.id);
  });
}

function rename({ id, name }: ChatRoom): void {
  question({ title: "Rename the room", line: "Name", value: name, yes: "Rename" }, async (to) => {
    const { body } = await ask<ChatRoom>(client, "PUT", `/rooms/${id}`, { name: to });
    rooms.add(body);
  });
}

function remove({ id, name }: ChatRoom): void {
  question({ title: `Delete ${name}?`, text: "What was said there is gone with it, for everybody.", yes: "Delete", danger: true }, async () => {
    await ask(client, "DELETE", `/rooms/${id}`);
  });
}

/** The address says where one is, so that a reload and a link lead there. */
function go(id: string | undefined): void {
  if (id === undefined) history.replaceState(null, "", location.pathname);
  else if (location.hash !== `#${id}`) location.hash = id;
  enter();
}

function enter(): void {
  const id = location.hash.slice(1) || undefined;
  if (id === rooms.active) return;
  rooms.active = id;
  people.says(false);
  people.enter(id !== undefined && rooms.get(id) ? id : undefined);
  if (id !== undefined) composer.enter(id);
  render();
  if (id !== undefined && wide.matches) composer.focus();
}

let asked = false;
/** Many things may change at once; they are shown together. */
function soon(): void {
  if (asked) return;
  asked = true;
  queueMicrotask(() => {
    asked = false;
    render();
  });
}

let entered: string | undefined;
function render(): void {
  const all = rooms.rooms;
  if (rooms.loaded && rooms.active === undefined && all[0] && wide.matches) return go(all[0].id);
  rooms.see();
  rooms.render();
  const active = rooms.active === undefined ? undefined : rooms.get(rooms.active);
  const conversation = active && rooms.conversation(active.id);
  const may = conversation?.room.state !== "denied";
  main.classList.toggle("chosen", rooms.active !== undefined);
  loading.hidden = rooms.loaded && (!conversation || conversation.loaded || !may);
  room.hidden = !(active && may);
  denied.hidden = !(rooms.loaded && rooms.active !== undefined && (!active || !may));
  empty.hidden = !(rooms.loaded && rooms.active === undefined);
  if (!empty.hidden) empty.replaceChildren(element("p", {}, all.length === 0 ? "No rooms yet." : "Choose a room."), ...(all.length === 0 ? [element("button", { type: "button", class: "primary", onclick: () => make() }, "Make the first one")] : []));
  // The list may have come after the address was read.
  if (active && entered !== active.id) people.enter(active.id);
  if (entered !== active?.id) manage.replaceChildren();
  entered = active?.id;
  if (active) {
    if (title.textContent !== active.name) title.textContent = active.name;
    const mine = active.ownerId === me.id || me.admin === true;
    if (mine && manage.children.length === 0) {
      manage.replaceChildren(
        element("button", { type: "button", class: "plain", onclick: () => rename(rooms.get(active.id) ?? active) }, "Rename"),
        element("button", { type: "button", class: "plain", onclick: () => remove(rooms.get(active.id) ?? active) }, "Delete"),
      );
    }
  }
  log.show(conversation);
  const unread = rooms.unreadInAll;
  document.title = `${unread > 0 ? `(${unread}) ` : ""}${active ? `${active.name} · ` : ""}Chat · Roomcast`;
}

addEventListener("hashchange", enter);
document.addEventListener("visibilitychange", soon);
const back = element("a", { class: "back", href: "#" }, "‹ Rooms");
room.querySelector("header")?.prepend(back);
enter();
render();
