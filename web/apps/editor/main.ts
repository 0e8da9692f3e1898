/** The editor: the documents on the left, one of them to write in, and who else is there. */

import "./editor.css";

import { ask, words } from "../base/api.js";
import { question } from "../base/dialog.js";
import { element, keep } from "../base/element.js";
import { notice } from "../base/notice.js";
import { open } from "../base/page.js";
import { Company } from "./company.js";
import { Drafts } from "./drafts.js";
import { Library, type Root, titleOf } from "./library.js";
import { Saving } from "./saving.js";
import { Writing, colourOf } from "./writing.js";

const { main, client, me } = await open();
const drafts = new Drafts(me.id, client.socketId);
const library = new Library(client, {
  changed: () => soon(),
  told: (writing, frame) => writing.id === shown?.saving.id && shown.saving.told(writing, frame),
  gone: (id) => {
    if (id !== shown?.saving.id) return;
    shown.gone = true;
    shown.writing.readOnly(true);
    soon();
  },
});
const company = new Company(client, me.id, () => soon());

/** What is open. */
interface Shown {
  readonly saving: Saving;
  readonly writing: Writing;
  /** Whether one may write; not known at once. */
  access: "read" | "write" | undefined;
  gone: boolean;
  isKept: boolean;
}
let shown: Shown | undefined;
let wanted: string | undefined;
/** What is just being opened. */
let opening: string | undefined;

const list = element("div", { class: "roots" });
const title = element("h2", { class: "title", id: "document-title" });
const state = element("span", { class: "state", id: "save-state", role: "status" });
const people = element("ul", { class: "plain-list here", "aria-label": "Here" });
const remove = element("button", { type: "button", class: "plain" }, "Delete");
const copy = element("button", { type: "button", class: "plain", hidden: true }, "Copy the text");
const sheet = element("div", { class: "sheet" });
const document_ = element(
  "section",
  { class: "document", hidden: true, "aria-labelledby": "document-title" },
  element("header", { class: "row" }, element("a", { class: "back", href: "#" }, "‹ Documents"), title, state, people, copy, remove),
  sheet,
);
const empty = element("div", { class: "empty", hidden: true });
const loading = element("div", { class: "loading" }, "Loading …");
main.replaceChildren(
  element("h1", { class: "hidden-text" }, "Editor"),
  element(
    "aside",
    { class: "side" },
    element("div", { class: "spread" }, element("h2", {}, "Documents"), element("button", { type: "button", onclick: () => makeRoot() }, "New folder")),
    list,
  ),
  element("div", { class: "middle" }, loading, empty, document_),
);

copy.addEventListener("click", () => void navigator.clipboard.writeText(shown?.saving.manuscript.text ?? ""));
remove.addEventListener("click", () => {
  const id = shown?.saving.id;
  question({ title: "Delete this document?", text: "It is gone for everybody who can read it.", yes: "Delete", danger: true }, async () => {
    await ask(client, "DELETE", `/documents/${id}`);
    if (id) drafts.drop(id);
    location.hash = "";
    await library.load();
  });
});

function makeRoot(): void {
  question({ title: "New folder", text: "Documents are shared by the folder that they are in.", line: "Name", yes: "Make it" }, (name) => library.addRoot(name));
}

async function make(root: string): Promise<void> {
  try {
    location.hash = await library.add(root);
  } catch (error) {
    notice("bad", `No document could be made: ${words(error)}`);
  }
}

async function enter(): Promise<void> {
  const id = location.hash.slice(1) || undefined;
  if (id === wanted && (shown?.saving.id === id || (id !== undefined && opening === id))) return;
  wanted = id;
  leave();
  soon();
  const writing = id === undefined ? undefined : library.get(id);
  if (id === undefined || !writing) return;
  opening = id;
  const kept = await drafts.take(id);
  // Somebody has gone on to another one meanwhile.
  if (wanted !== id) return;
  opening = undefined;
  const saving: Saving = new Saving(client, library, writing, kept, {
    apply: (changes) => page.writing.apply(changes),
    changed: () => {
      keepDraft(false);
      soon();
    },
  });
  const page: Shown = {
    saving,
    writing: new Writing(saving.manuscript.text, {
      write: (changes) => saving.write(changes),
      moved: (anchor, head) => company.at(anchor, head),
    }),
    access: undefined,
    gone: false,
    isKept: true,
  };
  page.writing.readOnly(true);
  shown = page;
  sheet.replaceChildren(page.writing.element);
  company.enter(writing.rootId, id);
  soon();
  await learnAccess(page);
}

/** Nobody is let write before it is known that they may: what they wrote would be nowhere. */
async function learnAccess(page: Shown): Promise<void> {
  while (shown === page && page.access === undefined) {
    try {
      const { body } = await ask<Root & { access: "read" | "write" | null }>(client, "GET", `/document-roots/${page.saving.root}`);
      page.access = body.access ?? "read";
    } catch {
      await new Promise((done) => setTimeout(done, 1_000));
    }
  }
  if (shown !== page) return;
  if (page.access === "write" && !page.gone) {
    page.writing.readOnly(false);
    page.writing.focus();
  }
  soon();
}

function leave(): void {
  if (!shown) return;
  keepDraft();
  shown.saving.close();
  shown.writing.close();
  shown = undefined;
  company.leave();
  sheet.replaceChildren();
}

let draftTimer: ReturnType<typeof setTimeout> | undefined;
/** What is not saved is kept in the browser, soon after it was written, and at once when the page goes. */
function keepDraft(now = true): void {
  clearTimeout(draftTimer);
  if (!now) {
    draftTimer = setTimeout(keepDraft, 150);
    return;
  }
  if (!shown) return;
  const { id, manuscript } = shown.saving;
  if (manuscript.isUnsaved) shown.isKept = drafts.put(id, manuscript.kept);
  else drafts.drop(id);
}

function saveState({ saving, access, gone, isKept }: Shown): [kind: string, text: string] {
  const unsaved = saving.manuscript.isUnsaved;
  const where = isKept ? "kept in this browser" : "copy it before you leave";
  if (gone) return unsaved ? ["bad", `Deleted by somebody; what you wrote is ${where}`] : ["bad", "Deleted by somebody"];
  if (access === "read") return ["", "Read only"];
  switch (saving.state.is) {
    case "refused":
      return ["bad", `Not saved: ${saving.state.why} It is ${where}.`];
    case "offline":
      return ["warn", isKept ? "Offline, changes kept in this browser" : "Offline, changes kept in this tab"];
    default:
      return unsaved ? ["", "Saving …"] : ["good", "Saved"];
  }
}

let asked = false;
function soon(): void {
  if (asked) return;
  asked = true;
  queueMicrotask(() => {
    asked = false;
    render();
  });
}

function render(): void {
  const { roots } = library;
  main.classList.toggle("chosen", wanted !== undefined);
  renderList(roots);
  if (wanted !== undefined && !shown && library.get(wanted)) void enter();
  const missing = wanted !== undefined && !shown && library.isComplete && !library.get(wanted);
  loading.hidden = library.loaded && (wanted === undefined || shown !== undefined || missing);
  document_.hidden = !shown;
  empty.hidden = !library.loaded || shown !== undefined || (wanted !== undefined && !missing);
  if (!empty.hidden) {
    const text = missing ? "There is no such document, or you may not read it." : roots.length === 0 ? "Nothing is shared with you yet. Make a folder to begin." : "Choose a document, or make one.";
    if (empty.textContent !== text) empty.replaceChildren(element("p", {}, text));
  }
  document.title = "Editor · Roomcast";
  if (!shown) return;
  const { saving, writing } = shown;
  const name = titleOf(saving.manuscript.text);
  if (title.textContent !== name) title.textContent = name;
  document.title = `${name} · Editor · Roomcast`;
  const [kind, text] = saveState(shown);
  if (state.textContent !== text) state.textContent = text;
  state.dataset["state"] = kind;
  copy.hidden = !(saving.manuscript.isUnsaved && (shown.gone || saving.state.is === "refused"));
  remove.hidden = shown.access !== "write" || shown.gone;
  keep(
    people,
    company.in(saving.id),
    ({ user }) => user.id,
    ({ user }) => element("li", { class: `person p${colourOf(user.id)}`, title: user.name }, user.id === me.id ? `${user.name} (you)` : user.name),
  );
  writing.show(company.places(saving.id));
}

function renderList(roots: readonly Root[]): void {
  keep(
    list,
    roots,
    ({ id }) => id,
    (root) =>
      element(
        "div",
        {},
        element("div", { class: "spread" }, element("h3", {}, root.name), element("button", { type: "button", class: "plain", "aria-label": `New document in ${root.name}`, onclick: () => void make(root.id) }, "+ New")),
        element("ul", { class: "plain-list" }),
      ),
    (made, { id }) => {
      const documents = library.of(id).map((writing) => ({ id: writing.id, title: titleOf(writing.id === shown?.saving.id ? shown.saving.manuscript.text : writing.version.text) }));
      keep(
        made.querySelector("ul") as HTMLElement,
        documents,
        (document) => document.id,
        (document) => element("li", {}, element("a", { href: `#${document.id}` }, document.title)),
        (item, document) => {
          const link = item.firstElementChild as HTMLElement;
          if (link.textContent !== document.title) link.textContent = document.title;
          if (document.id === wanted) link.setAttribute("aria-current", "true");
          else link.removeAttribute("aria-current");
        },
      );
    },
  );
}

client.on("state", ({ state }) => state === "connected" && shown?.saving.now());
addEventListener("hashchange", () => void enter());
addEventListener("pagehide", () => keepDraft());
addEventListener("beforeunload", (event) => {
  keepDraft();
  // In the browser it is safe; where that has no room for it, only here.
  if (shown?.saving.manuscript.isUnsaved && !shown.isKept) event.preventDefault();
});
for (;;) {
  try {
    await library.load();
    break;
  } catch (error) {
    notice("bad", `${words(error)} Trying again …`);
    await new Promise((done) => setTimeout(done, 2_000));
  }
}
notice(undefined);
await enter();
