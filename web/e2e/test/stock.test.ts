// Pages that know nothing of our client: the browser's own EventSource, htmx, and Turbo.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

import type { Page } from "playwright-core";
import { describe, expect, test } from "vitest";

import { HERE, Stage } from "../support/stage.ts";

const require = createRequire(import.meta.url);
const script = (name: string) => readFileSync(require.resolve(name), "utf8");

describe.skipIf(!HERE)("a page without our client", () => {
  const stage = Stage.here();

  /** A page as somebody else's server would render it, at the same address. */
  async function render(name: string, html: string, scripts: string[] = []): Promise<Page> {
    const context = await stage.person("ada");
    const page = await context.newPage();
    const body = `<!doctype html><title>${name}</title><body>${html}${scripts.map((text) => `<script>${text.replaceAll("</script", "<\\/script")}</script>`).join("")}`;
    await page.route(`**/own/${name}`, (route) => route.fulfill({ contentType: "text/html", body }));
    await page.goto(`/own/${name}`);
    return page;
  }

  /** What was told while nobody is known to listen yet would be missed, so each is told as what comes after a cursor. */
  const says = (event: string, data: unknown) => stage.server.says(["global"], event, data);

  test("EventSource hears named events, and comes back by itself to where it was", async () => {
    stage.rough = true;
    const page = await render("plain", "<ol></ol>");
    await page.evaluate(() => {
      const source = new EventSource("/sse/events/global");
      source.addEventListener("note", ({ data, lastEventId }) => {
        const item = document.createElement("li");
        item.textContent = `${JSON.parse(data).data.n}`;
        item.title = lastEventId;
        document.querySelector("ol")?.append(item);
      });
      return new Promise((done) => source.addEventListener("welcome", done, { once: true }));
    });
    const items = () => page.locator("li").allTextContents();
    const cursor = await says("note", { n: 1 });
    await expect.poll(items).toEqual(["1"]);
    expect(await page.locator("li").getAttribute("title")).toBe(cursor);
    stage.line.up = false;
    stage.line.cut();
    await says("note", { n: 2 });
    await says("note", { n: 3 });
    stage.line.up = true;
    await expect.poll(items, { timeout: 30_000 }).toEqual(["1", "2", "3"]);
  });

  test("htmx swaps in what comes as a message, and loads anew on a named event", async () => {
    const page = await render(
      "htmx",
      `<ul id="list" hx-sse:connect="/sse/events/global?format=message" hx-swap="beforeend"></ul>
       <div id="stream" hx-sse:connect="/sse/events/global?format=data"></div>
       <p id="price" hx-get="/own/price" hx-trigger="priced from:#stream">old</p>`,
      [script("htmx.org/dist/htmx.js"), script("htmx.org/dist/ext/hx-sse.js")],
    );
    await page.route("**/own/price", (route) => route.fulfill({ contentType: "text/html", body: "new" }));
    await expect.poll(async () => (await stage.server.here("ada")) >= 2).toBe(true);
    await says("row", "<li>one</li>\n<li>two</li>");
    await expect.poll(() => page.locator("#list li").allTextContents()).toEqual(["one", "two"]);
    expect(await page.locator("#price").textContent()).toBe("old");
    await says("priced", "7");
    await expect.poll(() => page.locator("#price").textContent()).toBe("new");
  });

  test("Turbo does what a stream says", async () => {
    const page = await render("turbo", `<p id="total">0</p><turbo-stream-source src="/sse/events/global?format=message"></turbo-stream-source>`, [script("@hotwired/turbo/dist/turbo.es2017-umd.js")]);
    await expect.poll(async () => (await stage.server.here("ada")) >= 1).toBe(true);
    await says("total", `<turbo-stream action="update" target="total"><template>19.90</template></turbo-stream>`);
    await expect.poll(() => page.locator("#total").textContent()).toBe("19.90");
  });

  test("a page without modules has the client from one script tag, and one with an import map by its name", async () => {
    const global_ = await render("global", `<script src="/client.global.js"></script>`, [
      `const client = new roomcast.Roomcast(); client.on("event", ({ event }) => (document.title = event)); client.connect().then(() => (document.title = "connected"));`,
    ]);
    await expect.poll(() => global_.title()).toBe("connected");
    await says("heard", 1);
    await expect.poll(() => global_.title()).toBe("heard");
    const mapped = await render(
      "mapped",
      `<script type="importmap">{ "imports": { "@roomcast/client": "/client.js" } }</script>
       <script type="module">
         import { Roomcast } from "@roomcast/client";
         await new Roomcast().connect();
         document.title = "connected";
       </script>`,
    );
    await expect.poll(() => mapped.title()).toBe("connected");
  });
});
