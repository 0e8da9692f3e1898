/** A running server, a browser, and people in it, each with a profile of their own. Whatever a page complains of is
 * remembered, and the test that has not expected it fails. */

import { createRequire } from "node:module";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";

import WebSocket from "ws";
import { type Browser, type BrowserContext, type Page, chromium } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect } from "vitest";

import { Line, Server } from "../../sdk/test/server.ts";

/** Under whichever of these names it is on the path. */
const NAMES = ["chromium", "chromium-browser", "google-chrome"];
const CHROMIUM = (process.env["PATH"] ?? "").split(delimiter).flatMap((folder) => NAMES.map((name) => join(folder, name))).find((path) => existsSync(path));
/** Without a browser these tests are left out, and `make test` says so; where everything is required they fail. */
export const HERE = CHROMIUM !== undefined || process.env["ROOMCAST_TEST_REQUIRE"] !== undefined;

// A page that a test makes up counts as one of the internet, which may not speak with this machine.
const FLAGS = ["--disable-features=LocalNetworkAccessChecks", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"];
const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
export const PASSWORD = "correct horse battery";

/** What a browser says of requests that fail: where a test cuts the line, that is what it wants. */
const NETWORK = /net::ERR_|Failed to load resource|WebSocket connection to/;
/** And of an answer that is one of the editor's two: that somebody else was faster. */
const FASTER = /status of 412/;

export interface Look {
  readonly colorScheme?: "light" | "dark";
  readonly width?: number;
  readonly height?: number;
}

export class Stage {
  browser!: Browser;
  server!: Server;
  line!: Line;
  readonly #contexts: BrowserContext[] = [];
  #complaints: string[] = [];
  /** Requests may fail in this test. */
  rough = false;

  /** Sets it up for the tests of a file. */
  static here(settings: Record<string, string> = {}): Stage {
    const stage = new Stage();
    beforeAll(async () => {
      stage.server = await Server.start({ ROOMCAST_LOGINS_PER_SECOND: "1000", ROOMCAST_PRESENCE_GRACE: "2s", ...settings });
      stage.line = await Line.to(stage.server);
      stage.browser = await chromium.launch({ executablePath: CHROMIUM ?? "chromium", args: FLAGS });
    });
    afterEach(async () => {
      for (const context of stage.#contexts.splice(0)) await context.close();
      stage.line.thaw();
      stage.line.up = stage.line.upgrades = true;
      const complaints = stage.#complaints.splice(0).filter((text) => !FASTER.test(text) && !(stage.rough && NETWORK.test(text)));
      stage.rough = false;
      expect(complaints).toEqual([]);
    });
    afterAll(async () => {
      await stage.browser?.close();
      stage.line?.close();
      await stage.server?.stop();
    });
    return stage;
  }

  /** A profile of its own, through the line that can be cut. */
  async profile({ colorScheme = "light", width = 1280, height = 800 }: Look = {}): Promise<BrowserContext> {
    const context = await this.browser.newContext({ baseURL: this.line.url, colorScheme, viewport: { width, height }, reducedMotion: "reduce" });
    context.setDefaultTimeout(15_000);
    this.#contexts.push(context);
    context.on("page", (page) => this.#listen(page));
    return context;
  }

  /** Somebody who is signed in; made, where the server does not know them yet. */
  async person(name: string, look: Look = {}): Promise<BrowserContext> {
    const context = await this.profile(look);
    const data = { username: name, password: PASSWORD };
    // Who is there already is a 409, which is as good.
    await context.request.post("/api/v1/auth/register", { data });
    const answer = await context.request.post("/api/v1/auth/login", { data });
    expect(answer.status()).toBe(200);
    return context;
  }

  async administrator(name: string, look: Look = {}): Promise<BrowserContext> {
    await this.server.adds(name, PASSWORD);
    return this.person(name, look);
  }

  async open(context: BrowserContext, path: string): Promise<Page> {
    const page = await context.newPage();
    await page.goto(path);
    return page;
  }

  /** So many others in a channel, who do nothing but be there: as people of their own, or some people many times. */
  async crowd(size: number, channel: string, people = size): Promise<WebSocket[]> {
    const joined = channel.replace(/^presence:/, "");
    const tokens = await Promise.all(Array.from({ length: people }, (_, at) => this.server.token(`crowd-${at}`, [joined])));
    const sockets: WebSocket[] = [];
    // A few at a time: the kernel lets only so many wait at the door.
    for (let at = 0; at < size; at += 100) {
      const joining = Array.from({ length: Math.min(100, size - at) }, async (_, more) => {
        const token = tokens[(at + more) % people];
        const socket = new WebSocket(`${this.server.url.replace("http", "ws")}/ws?channel=${channel}&token=${token}`);
        await new Promise((done, failed) => socket.once("open", done).once("error", failed));
        return socket;
      });
      sockets.push(...(await Promise.all(joining)));
    }
    return sockets;
  }

  #listen(page: Page): void {
    page.on("console", (message) => {
      if (message.type() === "error") this.#complaints.push(`${page.url()}: ${message.text()}`);
    });
    page.on("pageerror", (error) => this.#complaints.push(`${page.url()}: ${error.stack ?? error.message}`));
  }
}

/** Whatever axe finds wrong with a page as it is now. */
export async function barriers(page: Page): Promise<string[]> {
  // The page's own policy lets no script of ours in, so it goes round it.
  const axe = await import("node:fs/promises").then(({ readFile }) => readFile(AXE, "utf8"));
  await page.evaluate(axe);
  return page.evaluate(async () => {
    const { axe } = globalThis as unknown as { axe: { run: (options: object) => Promise<{ violations: { id: string; nodes: { html: string; failureSummary: string }[] }[] }> } };
    const { violations } = await axe.run({ resultTypes: ["violations"] });
    return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html.slice(0, 200)} ${node.failureSummary}`));
  });
}
