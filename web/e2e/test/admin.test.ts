// What administrators see: who is where, what is said, and how the server does; and what others do not.
import type { Page } from "playwright-core";
import { describe, expect, test } from "vitest";

import { HERE, Stage } from "../support/stage.ts";

const tile = (page: Page, name: string) => page.locator(".tiles > div", { hasText: name }).locator("dd");
const rows = (page: Page) => page.locator("tbody tr");

describe.skipIf(!HERE)("the admin page", () => {
  const stage = Stage.here({ ROOMCAST_MAX_CONNECTIONS_PER_IP: "3000" });

  test("rooms and connections come and go before one's eyes, and can be searched and sorted", async () => {
    const page = await stage.open(await stage.administrator("root"), "/admin");
    await page.getByRole("link", { name: "global" }).waitFor();
    await expect.poll(() => tile(page, "Connections").textContent()).toBe("1");
    const crowd = await stage.crowd(120, "presence:chat:somewhere");
    await expect.poll(() => tile(page, "Connections").textContent(), { timeout: 20_000 }).toBe("121");
    const room = rows(page).filter({ has: page.getByRole("link", { name: "presence:chat:somewhere", exact: true }) });
    await expect.poll(() => room.locator("td").allTextContents()).toEqual(["presence:chat:somewhere", "120", "120"]);
    await page.getByRole("button", { name: "Next page" }).click();
    await page.getByText("Page 2").waitFor();
    await page.getByLabel("Part of a channel's name").fill("somewhere");
    await expect.poll(() => rows(page).count()).toBe(1);
    await page.getByLabel("Part of a channel's name").fill("nowhere at all");
    await page.getByText("Nothing is like that.").waitFor();

    await page.getByRole("link", { name: "Connections", exact: true }).click();
    await page.getByLabel("Part of a name, address or socket id").fill("crowd-7");
    await expect.poll(() => rows(page).count()).toBe(11);
    await page.getByRole("button", { name: "User" }).click();
    await expect.poll(() => rows(page).first().locator("strong").textContent()).toBe("crowd-7");
    for (const one of crowd) one.close();
    await page.mouse.move(0, 0);
    await expect.poll(() => tile(page, "Connections").textContent(), { timeout: 20_000 }).toBe("1");
    await page.getByText("Nothing is like that.").waitFor();
  });

  test("somebody is disconnected, after a question, and their page says so", async () => {
    const bob = await stage.open(await stage.person("bob"), "/chat");
    await bob.locator('#state[data-state="good"]').waitFor();
    const page = await stage.open(await stage.administrator("root"), "/admin#connections");
    await page.getByRole("button", { name: "Disconnect bob" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
    expect(await bob.getByText("An administrator has disconnected this page.").count()).toBe(0);
    await page.getByRole("button", { name: "Disconnect bob" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Disconnect" }).click();
    await bob.getByText("An administrator has disconnected this page.").waitFor();
    await page.locator(".done", { hasText: "bob was disconnected." }).waitFor();
    await page.mouse.move(0, 0);
    await expect.poll(() => page.getByRole("button", { name: "Disconnect bob" }).count(), { timeout: 10_000 }).toBe(0);
    await bob.getByRole("button", { name: "Connect again" }).click();
    await bob.locator('#state[data-state="good"]').waitFor();
    await page.getByRole("button", { name: "Disconnect bob" }).waitFor();
  });

  test("a room is looked into: who is there, what was said, what is said, and saying something", async () => {
    const ada = await stage.person("ada");
    const { id } = await (await ada.request.post("/api/v1/rooms", { data: { name: "Observed" } })).json();
    await ada.request.post(`/api/v1/rooms/${id}/messages`, { data: { text: "said before" } });
    const chat = await stage.open(ada, `/chat#${id}`);
    await chat.getByRole("log").getByText("said before").waitFor();
    const page = await stage.open(await stage.administrator("root"), "/admin");
    await page.getByRole("link", { name: `chat:${id}`, exact: true }).click();
    await page.getByRole("region", { name: "Members" }).getByText("ada").waitFor();
    await page.getByRole("region", { name: "History" }).getByText("said before").waitFor();
    // It listens; how many are in the room may have been said already.
    await expect.poll(() => page.getByRole("region", { name: "Live" }).getByText("Joining …").count()).toBe(0);
    await ada.request.post(`/api/v1/rooms/${id}/messages`, { data: { text: "said <i>now</i>" } });
    await page.getByRole("region", { name: "Live" }).getByText("said <i>now</i>").waitFor();
    await page.getByRole("button", { name: "Pause" }).click();
    await ada.request.post(`/api/v1/rooms/${id}/messages`, { data: { text: "said unseen" } });
    // The room's own number may come meanwhile, too.
    await page.getByRole("button", { name: /^Go on \([1-9] not shown\)$/ }).click();

    const { user } = await (await ada.request.get("/pages.json")).json();
    await page.getByLabel("Event", { exact: true }).fill("typing");
    await page.getByLabel("Data, as JSON").fill("{not json");
    await page.getByLabel("Volatile").check();
    await page.getByRole("button", { name: "Publish" }).click();
    await page.getByText("The data is no JSON").waitFor();
    await page.getByLabel("Data, as JSON").fill(JSON.stringify({ user: user.id, on: true }));
    await page.getByRole("button", { name: "Publish" }).click();
    await page.getByText("Told.").waitFor();
    // The room's own number is volatile, too, and comes when it comes.
    const told = page.getByRole("region", { name: "Live" }).getByRole("listitem").filter({ hasText: "typing" });
    await told.getByText("volatile").waitFor();
    await page.getByLabel("Event", { exact: true }).fill("welcome");
    await page.getByRole("button", { name: "Publish" }).click();
    await page.getByText("reserved").waitFor();
    await page.getByRole("link", { name: "show them" }).click();
    await page.mouse.move(0, 0);
    await expect.poll(() => rows(page).locator("strong").allTextContents()).toEqual(["ada"]);
  });

  test("2,000 rooms and connections are as good to use as none", async () => {
    const page = await stage.open(await stage.administrator("root"), "/admin");
    const crowd = await stage.crowd(2_000, "presence:chat:big", 40);
    await expect.poll(() => tile(page, "Connections").textContent(), { timeout: 40_000 }).toBe("2,001");
    await page.getByRole("link", { name: "Connections", exact: true }).click();
    await page.getByText("2,001 connections").waitFor();
    expect(await rows(page).count()).toBe(50);
    await page.getByLabel("Part of a name, address or socket id").fill("root");
    await expect.poll(() => rows(page).count()).toBe(1);
    for (const one of crowd) one.terminate();
  });

  test("others are told whom it is for", async () => {
    for (const path of ["/admin", "/dashboard"]) {
      const page = await stage.open(await stage.person("bob"), path);
      await page.getByRole("heading", { name: "For administrators" }).waitFor();
      expect(await page.locator(".tiles, .chart").count()).toBe(0);
    }
  });

  test("the dashboard shows the last minutes at once, goes on by itself, and tells what others change", async () => {
    stage.rough = true;
    const page = await stage.open(await stage.administrator("root"), "/dashboard");
    for (const name of ["CPU, of one core", "Memory", "Requests a second", "Connections", "Events a second", "Delivery"]) {
      await page.getByRole("region", { name }).locator("canvas").waitFor();
    }
    await expect.poll(() => page.getByRole("region", { name: "Connections" }).locator(".now").textContent()).toBe("1");
    const ada = await stage.person("ada");
    await ada.request.post("/api/v1/rooms", { data: { name: "News <b>for</b> root" } });
    await page.getByRole("region", { name: "Notifications" }).getByText("New room: News <b>for</b> root").first().waitFor();
    const chat = await stage.open(ada, "/chat");
    await expect.poll(() => page.getByRole("region", { name: "Connections" }).locator(".now").textContent()).toBe("2");
    await chat.close();
    await page.getByRole("button", { name: "Show as table" }).click();
    expect(await page.getByRole("table").locator("tbody tr").count()).toBeGreaterThan(2);
    // Nothing that is not so any more looks as if it were.
    stage.line.freeze();
    await page.getByText(/Last heard \d+ s ago/).waitFor();
    stage.line.thaw();
    stage.line.cut();
    await page.getByText(/Last heard \d+ s ago/).waitFor({ state: "hidden", timeout: 20_000 });
  });
});
