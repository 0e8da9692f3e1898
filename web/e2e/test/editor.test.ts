// The editor: nobody's words are lost, whoever else writes, and whatever the line does.
import type { BrowserContext, Page } from "playwright-core";
import { describe, expect, test } from "vitest";

import { HERE, Stage } from "../support/stage.ts";

const sheet = (page: Page) => page.getByRole("textbox", { name: "Text" });
const text = async (page: Page) => (await sheet(page).locator(".cm-line").evaluateAll((lines) => lines.map((line) => {
  const copy = line.cloneNode(true) as Element;
  for (const caret of copy.querySelectorAll(".caret")) caret.remove();
  return copy.textContent;
}))).join("\n");
const shows = (page: Page, expected: string) => expect.poll(() => text(page), { timeout: 30_000 }).toBe(expected);
const saved = (page: Page) => page.locator("#save-state", { hasText: /^Saved$/ }).waitFor({ timeout: 30_000 });
const editable = (page: Page) => sheet(page).and(page.locator('[contenteditable="true"]')).waitFor();

/** The text that the server has. */
async function stored(context: BrowserContext, id: string): Promise<string> {
  const { data } = await (await context.request.get(`/api/v1/documents/${id}`)).json();
  return data.text;
}

interface Shared {
  readonly ada: BrowserContext;
  readonly bob: BrowserContext;
  readonly root: string;
  readonly id: string;
  readonly path: string;
}

describe.skipIf(!HERE)("the editor", () => {
  const stage = Stage.here();

  /** A document of ada's that bob may read or write. */
  async function share(begin: string, access: "read" | "write" = "write"): Promise<Shared> {
    const ada = await stage.person("ada");
    const bob = await stage.person("bob");
    const { id: user } = await (await bob.request.get("/api/v1/auth/me")).json();
    const { id: root } = await (await ada.request.post("/api/v1/document-roots", { data: { name: `Notes ${Date.now()}` } })).json();
    await ada.request.put(`/api/v1/document-roots/${root}/permissions/users/${user}`, { data: { access } });
    const { id } = await (await ada.request.post("/api/v1/documents", { data: { rootId: root, type: "text", data: { text: begin, kept: [1.50] } } })).json();
    return { ada, bob, root, id, path: `/editor#${id}` };
  }

  test("two people write in different paragraphs at once, see each other, and both keep their text", async () => {
    const { ada, bob, id, path } = await share("first\n\nsecond");
    const [one, two] = [await stage.open(ada, path), await stage.open(bob, path)];
    for (const page of [one, two]) await editable(page);
    await expect.poll(() => one.getByRole("list", { name: "Here" }).locator("li").allTextContents()).toEqual(["ada (you)", "bob"]);
    await sheet(one).locator(".cm-line").first().click();
    await one.keyboard.press("End");
    await sheet(two).locator(".cm-line").last().click();
    await two.keyboard.press("End");
    await Promise.all([one.keyboard.type(" by ada, letter by letter", { delay: 25 }), two.keyboard.type(" by bob, at the same time", { delay: 25 })]);
    const both = "first by ada, letter by letter\n\nsecond by bob, at the same time";
    for (const page of [one, two]) {
      await shows(page, both);
      await saved(page);
    }
    expect(await stored(ada, id)).toBe(both);
    // The other one's cursor stands where they write, under their name.
    await expect.poll(() => sheet(one).locator(".cm-line").last().locator(".caret").textContent()).toBe("bob");
    // What else is in the document is nobody's to lose.
    const { data } = await (await ada.request.get(`/api/v1/documents/${id}`)).json();
    expect(data.kept).toEqual([1.5]);
    // Undo takes back what one has written oneself.
    await one.keyboard.press("Control+z");
    await expect.poll(() => text(two)).not.toContain("letter by letter");
    await expect.poll(() => text(two)).toContain("second by bob, at the same time");
  });

  test("two people write in one paragraph, and every word of both is there", async () => {
    const { ada, bob, id, path } = await share("");
    const [one, two] = [await stage.open(ada, path), await stage.open(bob, path)];
    for (const page of [one, two]) {
      await editable(page);
      await sheet(page).click();
    }
    const words = (who: string) => Array.from({ length: 12 }, (_, at) => `${who}${at} `);
    const write = async (page: Page, who: string) => {
      for (const word of words(who)) await page.keyboard.type(word, { delay: 30 });
    };
    await Promise.all([write(one, "a"), write(two, "b")]);
    for (const page of [one, two]) await saved(page);
    const all = await stored(ada, id);
    await shows(one, all);
    await shows(two, all);
    // Letters of both may stand in one word where they write at the same place; none is lost, and none is there twice.
    const letters = (of: string) => [...of.replace(/\s/g, "")].sort().join("");
    expect(letters(all)).toBe(letters(words("a").join("") + words("b").join("")));
  });

  test("what is written without a connection is kept, also when the page goes, and saved when there is one", async () => {
    stage.rough = true;
    const { ada, bob, id, path } = await share("before");
    const two = await stage.open(bob, path);
    await editable(two);
    let one = await stage.open(ada, path);
    await editable(one);
    stage.line.up = false;
    stage.line.cut();
    await sheet(one).click();
    await one.keyboard.press("Control+End");
    await one.keyboard.type(" and after");
    await one.locator("#save-state", { hasText: "Offline, changes kept in this browser" }).waitFor();
    await one.close();
    stage.line.up = true;
    await sheet(two).click();
    await two.keyboard.press("Control+Home");
    await two.keyboard.type("Meanwhile: ");
    await saved(two);
    one = await stage.open(ada, path);
    await shows(one, "Meanwhile: before and after");
    await saved(one);
    await shows(two, "Meanwhile: before and after");
    expect(await stored(ada, id)).toBe("Meanwhile: before and after");
    const drafts = () => one.evaluate(() => Object.keys(localStorage).filter((key) => key.startsWith("roomcast:draft")));
    await expect.poll(drafts).toEqual([]);
  });

  test("a save whose answer is lost is not said twice", async () => {
    stage.rough = true;
    const { ada, bob, id, path } = await share("x");
    const one = await stage.open(ada, path);
    await editable(one);
    const two = await stage.open(bob, path);
    await editable(two);
    let lost = 0;
    await one.route(`**/api/v1/documents/${id}`, async (route) => {
      if (route.request().method() !== "PUT" || lost > 2) return route.continue();
      lost += 1;
      await route.fetch();
      await route.abort("connectionreset");
    });
    await sheet(one).click();
    await one.keyboard.press("Control+End");
    await one.keyboard.type("yz", { delay: 30 });
    await shows(two, "xyz");
    await sheet(two).click();
    await two.keyboard.press("Control+End");
    await two.keyboard.type("!");
    await one.keyboard.type("?");
    for (const page of [one, two]) await saved(page);
    const all = await stored(ada, id);
    expect([...all].sort().join("")).toBe("!?xyz");
    expect(lost).toBeGreaterThan(0);
    await shows(one, all);
    await shows(two, all);
  });

  test("a server that is killed while somebody writes loses nothing", async () => {
    stage.rough = true;
    const { ada, id, path } = await share("");
    const one = await stage.open(ada, path);
    await editable(one);
    await sheet(one).click();
    let expected = "";
    for (let round = 0; round < 3; round++) {
      const sentence = `${round}: the quick brown fox jumps over the server. `;
      const answer = one.waitForResponse((answer) => answer.request().method() === "PUT" && answer.ok());
      const writing = one.keyboard.type(sentence, { delay: 30 });
      await answer;
      await stage.server.end("SIGKILL");
      await stage.server.begin();
      await writing;
      expected += sentence;
    }
    await saved(one);
    expect(await stored(ada, id)).toBe(expected);
  });

  test("who may only read sees it live, and cannot write", async () => {
    const { ada, bob, path } = await share("Look here.", "read");
    const one = await stage.open(ada, path);
    await editable(one);
    const two = await stage.open(bob, path);
    await two.locator("#save-state", { hasText: "Read only" }).waitFor();
    expect(await sheet(two).getAttribute("contenteditable")).toBe("false");
    await sheet(one).click();
    await one.keyboard.press("Control+End");
    await one.keyboard.type(" And there.");
    await shows(two, "Look here. And there.");
    expect(await two.getByRole("button", { name: "Delete" }).count()).toBe(0);
  });

  test("a document is made, found under its first line, and gone for everybody when it is deleted", async () => {
    const ada = await stage.person("dora");
    const one = await stage.open(ada, "/editor");
    await one.getByText("Nothing is shared with you yet.").waitFor();
    await one.getByRole("button", { name: "New folder" }).click();
    await one.getByLabel("Name").fill("Recipes");
    await one.getByRole("button", { name: "Make it" }).click();
    await one.getByRole("button", { name: "New document in Recipes" }).click();
    await editable(one);
    await sheet(one).click();
    await one.keyboard.type("# Bread\nFlour, water, salt.");
    await saved(one);
    await one.getByRole("link", { name: "Bread" }).waitFor();
    const two = await stage.open(ada, one.url());
    await shows(two, "# Bread\nFlour, water, salt.");
    await one.getByRole("button", { name: "Delete" }).click();
    await one.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
    await two.locator("#save-state", { hasText: "Deleted by somebody" }).waitFor();
    await one.getByText("Choose a document, or make one.").waitFor();
    expect(await one.getByRole("link", { name: "Bread" }).count()).toBe(0);
  });
});
