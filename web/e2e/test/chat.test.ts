// The chat, as people use it: two of them, each in a browser of their own.
import type { Page } from "playwright-core";
import { describe, expect, test } from "vitest";

import { HERE, Stage } from "../support/stage.ts";

/** A room of its own for each test, which somebody has made in the page. */
async function make(page: Page, name: string): Promise<void> {
  await page.getByRole("button", { name: "New room" }).click();
  await page.getByLabel("Name").fill(name);
  await page.getByRole("button", { name: "Make it" }).click();
  await page.getByRole("heading", { name, level: 2 }).waitFor();
}

async function say(page: Page, text: string): Promise<void> {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.keyboard.press("Enter");
}

const messages = (page: Page) => page.getByRole("log").locator(".message:not(.unsettled) .text").allTextContents();
const live = (page: Page) => page.locator('#state[data-state="good"]').waitFor();

/** Waits until a page shows exactly these. */
async function shows(page: Page, texts: string[]): Promise<void> {
  await expect.poll(() => messages(page), { timeout: 20_000 }).toEqual(texts);
}

describe.skipIf(!HERE)("the chat", () => {
  const stage = Stage.here();

  test("two people talk: what is said, who types, who is here, what is unread", async () => {
    const ada = await stage.open(await stage.person("ada"), "/chat");
    await make(ada, "Kitchen");
    const bob = await stage.open(await stage.person("bob"), "/chat");
    await bob.getByRole("link", { name: "Kitchen" }).click();
    await ada.getByRole("log").getByText("bob joined").waitFor();
    await expect.poll(() => ada.locator(".people li").allTextContents()).toEqual(["ada (you)", "bob"]);

    await say(ada, "Hello, Bob. <b>not bold</b> https://example.org/x?a=1.");
    await bob.getByRole("log").getByText("Hello, Bob. <b>not bold</b>").waitFor();
    expect(await bob.getByRole("link", { name: "https://example.org/x?a=1" }).getAttribute("href")).toBe("https://example.org/x?a=1");

    await bob.getByLabel("Message", { exact: true }).pressSequentially("Hel");
    await ada.getByText("bob is typing").waitFor();
    await say(bob, "Hello, Ada.");
    await ada.getByRole("log").getByText("Hello, Ada.").waitFor();
    await ada.getByText("bob is typing").waitFor({ state: "hidden" });

    // In another room one sees how much there is.
    await make(ada, "Garden");
    await say(bob, "Are you there?");
    await say(bob, "Well then.");
    await expect.poll(() => ada.getByRole("link", { name: "Kitchen" }).locator(".badge").textContent()).toBe("2");
    expect(await ada.title()).toMatch(/^\(2\) Garden/);
    await ada.getByRole("link", { name: "Kitchen" }).click();
    await shows(ada, ["Hello, Bob. <b>not bold</b> https://example.org/x?a=1.", "Hello, Ada.", "Are you there?", "Well then."]);
    await expect.poll(() => ada.title()).toMatch(/^Kitchen/);

    await bob.close();
    await ada.getByRole("log").getByText("bob left").waitFor();
  });

  test("a message can be changed and taken back, by who said it", async () => {
    const ada = await stage.open(await stage.person("ada"), "/chat");
    await make(ada, "Corrections");
    await say(ada, "Teh first");
    await say(ada, "Gone soon");
    await shows(ada, ["Teh first", "Gone soon"]);
    const bob = await stage.open(await stage.person("bob"), ada.url());
    await shows(bob, ["Teh first", "Gone soon"]);
    expect(await bob.getByRole("button", { name: /^Delete:/ }).count()).toBe(0);
    await ada.getByRole("button", { name: "Edit: Teh first" }).click();
    await ada.getByRole("dialog").getByLabel("Message").fill("The first");
    await ada.getByRole("button", { name: "Save" }).click();
    await ada.getByRole("button", { name: "Delete: Gone soon" }).click();
    await ada.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
    await shows(bob, ["The first (edited)"]);
    await shows(ada, ["The first (edited)"]);
  });

  test("nothing is lost and nothing comes twice when the line is cut, and what was said meanwhile is sent", async () => {
    stage.rough = true;
    const ada = await stage.open(await stage.person("ada"), "/chat");
    await make(ada, "Cut");
    const bob = await stage.open(await stage.person("bob"), ada.url());
    await bob.getByRole("heading", { name: "Cut" }).waitFor();
    await say(bob, "one");
    await shows(ada, ["one"]);
    stage.line.up = false;
    stage.line.cut();
    await ada.locator('#state[data-state="warn"]').waitFor();
    await say(ada, "two");
    await say(ada, "three");
    await ada.getByText("it is tried again").first().waitFor();
    await say(bob, "four");
    stage.line.up = true;
    await expect.poll(async () => [...(await messages(ada))].sort(), { timeout: 30_000 }).toEqual(["four", "one", "three", "two"]);
    const order = await messages(ada);
    expect(order.indexOf("two")).toBeLessThan(order.indexOf("three"));
    await shows(bob, order);
    await live(ada);
  });

  test("a server that is killed and started again goes on under the open page", async () => {
    stage.rough = true;
    const ada = await stage.open(await stage.person("ada"), "/chat");
    await make(ada, "Killed");
    await say(ada, "before");
    await shows(ada, ["before"]);
    await stage.server.end("SIGKILL");
    await say(ada, "meanwhile");
    await stage.server.begin();
    await shows(ada, ["before", "meanwhile"]);
    await live(ada);
    const bob = await stage.open(await stage.person("bob"), ada.url());
    await shows(bob, ["before", "meanwhile"]);
  });

  test("without WebSocket it goes on over an event stream", async () => {
    stage.rough = true;
    stage.line.upgrades = false;
    const ada = await stage.open(await stage.person("ada"), "/chat");
    await make(ada, "Streams");
    const bob = await stage.open(await stage.person("bob"), ada.url());
    await bob.getByRole("heading", { name: "Streams" }).waitFor();
    await live(ada);
    await live(bob);
    await say(ada, "over HTTP");
    await shows(bob, ["over HTTP"]);
    await say(bob, "and back");
    await shows(ada, ["over HTTP", "and back"]);
  });

  test("a reload is no coming and going, and shows the room again", async () => {
    const ada = await stage.open(await stage.person("ada"), "/chat");
    await make(ada, "Reload");
    const bob = await stage.open(await stage.person("bob"), ada.url());
    await ada.getByRole("log").getByText("bob joined").waitFor();
    await say(bob, "I am here");
    await shows(ada, ["I am here"]);
    await bob.reload();
    await shows(bob, ["I am here"]);
    await live(bob);
    await say(bob, "still");
    await shows(ada, ["I am here", "still"]);
    expect(await ada.getByRole("log").getByText("bob left").count()).toBe(0);
    expect(await ada.getByRole("log").getByText("bob joined").count()).toBe(1);
  });

  test("whoever signs out in one tab is out in the other", async () => {
    const context = await stage.person("cleo");
    const one = await stage.open(context, "/chat");
    const other = await stage.open(context, "/chat");
    await live(one);
    await live(other);
    await one.getByRole("button", { name: "Sign out" }).click();
    await one.waitForURL("**/sign-in");
    await other.getByText("You are signed out.").waitFor();
    await other.getByRole("link", { name: "Sign in" }).click();
    await other.waitForURL("**/sign-in?next=%2Fchat*");
  });

  test("500 people in a room are a number and a hundred names", async () => {
    const ada = await stage.open(await stage.person("ada"), "/chat");
    await make(ada, "Crowd");
    const room = new URL(ada.url()).hash.slice(1);
    const crowd = await stage.crowd(500, `presence:chat:${room}`);
    await ada.getByRole("heading", { name: "Here: 501" }).waitFor({ timeout: 40_000 });
    expect(await ada.locator(".people li").count()).toBe(101);
    await ada.getByText("and 401 more").waitFor();
    for (const one of crowd) one.close();
    await ada.getByRole("heading", { name: "Here: 1", exact: true }).waitFor({ timeout: 40_000 });
  });
});
