// Every screen, in light and dark, wide and narrow: nothing that keeps people out, nothing wider than the screen.
import type { BrowserContext } from "playwright-core";
import { describe, expect, test } from "vitest";

import { HERE, Stage, type Look, barriers } from "../support/stage.ts";

const LOOKS: [string, Look][] = [
  ["light", { colorScheme: "light" }],
  ["dark", { colorScheme: "dark" }],
  ["390 px wide, light", { colorScheme: "light", width: 390, height: 760 }],
  ["390 px wide, dark", { colorScheme: "dark", width: 390, height: 760 }],
];

describe.skipIf(!HERE)("screens", () => {
  const stage = Stage.here();

  test.each(LOOKS)("%s", async (_, look) => {
    const ada = await stage.person("ada", look);
    const root = await stage.administrator("root", look);
    const nobody = await stage.profile(look);
    const { id: room } = await (await ada.request.post("/api/v1/rooms", { data: { name: "A room with a name that is too long for where it stands" } })).json();
    for (const text of ["Short.", "https://example.org/", "longwordwithoutanyspace".repeat(20)]) await ada.request.post(`/api/v1/rooms/${room}/messages`, { data: { text } });
    const { id: folder } = await (await ada.request.post("/api/v1/document-roots", { data: { name: "Folder" } })).json();
    const { id: document } = await (await ada.request.post("/api/v1/documents", { data: { rootId: folder, type: "text", data: { text: "# Title\n\nText." } } })).json();
    const screens: [BrowserContext, string, string][] = [
      [nobody, "/", "What changes is heard at once."],
      [nobody, "/sign-in", "Sign in"],
      [ada, "/", "What changes is heard at once."],
      [ada, "/chat", "Rooms"],
      [ada, `/chat#${room}`, "A room with"],
      [ada, "/chat#no-such-room", "There is no such room"],
      [ada, "/editor", "Folder"],
      [ada, `/editor#${document}`, "Saved"],
      [ada, "/editor#no-such-document", "There is no such document"],
      [root, "/admin", "global"],
      [root, "/admin#connections", "this page"],
      [root, `/admin#room/${encodeURIComponent(`chat:${room}`)}`, "chat-message"],
      [root, "/dashboard", "Delivery"],
      [ada, "/admin", "For administrators"],
    ];
    for (const [who, path, text] of screens) {
      const page = await stage.open(who, path);
      await page.getByText(text).and(page.locator(":visible")).first().waitFor();
      expect({ path, barriers: await barriers(page) }).toEqual({ path, barriers: [] });
      const wider = await page.evaluate(() => globalThis.document.documentElement.scrollWidth - globalThis.innerWidth);
      expect({ path, wider }).toEqual({ path, wider: 0 });
      await page.close();
    }
  });

  test("a page can be used with the keyboard alone, and the first stop leads past the bar", async () => {
    const kim = await stage.person("kim");
    const editor = await stage.open(kim, "/editor");
    await editor.getByText("Nothing is shared with you yet.").waitFor();
    await editor.keyboard.press("Tab");
    expect(await editor.evaluate(() => document.activeElement?.textContent)).toBe("To the content");
    const page = await stage.open(kim, "/chat");
    await page.getByRole("button", { name: "New room" }).waitFor();
    await page.getByRole("button", { name: "New room" }).focus();
    await page.keyboard.press("Enter");
    await page.keyboard.type("By keyboard");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "By keyboard" }).waitFor();
    await page.keyboard.type("Written at once");
    await page.keyboard.press("Enter");
    await page.getByRole("log").getByText("Written at once").waitFor();
    await page.getByRole("button", { name: "New room" }).focus();
    await page.keyboard.press("Enter");
    await page.keyboard.press("Escape");
    expect(await page.getByRole("dialog").count()).toBe(0);
  });

  test("a page that is told of changed files loads itself again", async () => {
    const page = await stage.open(await stage.person("dev"), "/chat");
    await page.locator('#state[data-state="good"]').waitFor();
    const loaded = page.waitForEvent("load");
    await stage.server.says(["global"], "reload", { files: ["chat.html"] }, { volatile: true });
    await loaded;
    await page.locator('#state[data-state="good"]').waitFor();
  });
});
