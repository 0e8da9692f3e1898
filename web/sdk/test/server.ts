/** A running server of ours, with people who have tokens; and a line to it that can be cut. */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { type AddressInfo, type Socket, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

import WebSocket from "ws";

import { Roomcast, type ClientOptions } from "../src/index.js";

const PROGRAM = process.env.ROOMCAST_PROGRAM ?? resolve(import.meta.dirname, "../../../target/debug/roomcast");
const KEY = "k".repeat(40);

export class Server {
  readonly #folder = mkdtempSync(join(tmpdir(), "roomcast-"));
  #process: ChildProcess | undefined;
  address = "127.0.0.1:0";

  static async start(settings: Record<string, string> = {}, rules = ""): Promise<Server> {
    const server = new Server({ ROOMCAST_CHANNELS: rules && "channels.toml", ...settings });
    writeFileSync(join(server.#folder, "channels.toml"), rules);
    await server.begin();
    return server;
  }

  private constructor(readonly settings: Record<string, string>) {}

  async begin(): Promise<void> {
    const child = spawn(PROGRAM, ["serve"], {
      cwd: this.#folder,
      env: {
        ROOMCAST_LISTEN: this.address,
        ROOMCAST_REGISTRATION: "open",
        ROOMCAST_API_KEY: KEY,
        ROOMCAST_TOKEN_SECRET: "s".repeat(40),
        RUST_LOG: "warn",
        ...this.settings,
      },
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#process = child;
    for await (const line of createInterface({ input: child.stdout as NodeJS.ReadableStream })) {
      this.address = line.replace("listening on http://", "");
      return;
    }
    throw new Error("the server ended before it listened");
  }

  /** An administrator; whoever is there already stays. */
  async adds(name: string, password: string): Promise<void> {
    const child = spawn(PROGRAM, ["user", "add", name, "--admin", "--password-stdin"], {
      cwd: this.#folder,
      env: { RUST_LOG: "warn" },
      stdio: ["pipe", "ignore", "ignore"],
    });
    child.stdin?.end(`${password}\n`);
    await new Promise((done) => child.once("exit", done));
  }

  /** SIGKILL, or a clean end. */
  async end(signal: "SIGKILL" | "SIGTERM" = "SIGTERM"): Promise<void> {
    const child = this.#process as ChildProcess;
    const ended = new Promise((done) => child.once("exit", done));
    child.kill(signal);
    await ended;
  }

  async stop(): Promise<void> {
    await this.end("SIGKILL");
    rmSync(this.#folder, { recursive: true });
  }

  get url(): string {
    return `http://${this.address}`;
  }

  /** Says something in channels, as a back end. */
  async says(channels: string[], event: string, data: unknown, more: object = {}): Promise<string> {
    const body = JSON.stringify({ channels, event, data, ...more });
    const headers = { authorization: `Bearer ${KEY}`, "content-type": "application/json" };
    // Not fetch, which is a page's own where a test has one.
    const answer = await new Promise<string>((done, failed) => {
      const asking = request(`${this.url}/api/v1/publish`, { method: "POST", headers }, async (response) => {
        const text = (await response.setEncoding("utf8").toArray()).join("");
        if (response.statusCode === 200) done(text);
        else failed(new Error(text));
      });
      asking.on("error", failed).end(body);
    });
    return (JSON.parse(answer) as { cursor: string }).cursor;
  }

  /** How many connections somebody has. */
  async here(name: string): Promise<number> {
    const answer = await fetch(`${this.url}/api/v1/admin/connections?search=${name}`, { headers: { authorization: `Bearer ${KEY}` } });
    return ((await answer.json()) as { total: number }).total;
  }

  /** A token for a user of an application's own, who may join these. */
  async token(user: string, channels: string[], seconds = 3_600): Promise<string> {
    const child = spawn(PROGRAM, ["token", "--user", user, "--name", user, "--ttl", `${seconds}s`, ...channels.flatMap((name) => ["--channel", name])], {
      cwd: this.#folder,
      env: { ROOMCAST_TOKEN_SECRET: "s".repeat(40) },
      stdio: ["ignore", "pipe", "inherit"],
    });
    for await (const line of createInterface({ input: child.stdout as NodeJS.ReadableStream })) return line;
    throw new Error("no token was made");
  }

  /** A client of that user. */
  async client(user: string, channels: string[], options: ClientOptions = {}): Promise<Roomcast> {
    const token = await this.token(user, channels);
    return new Roomcast({
      url: this.url,
      token: () => token,
      WebSocket: WebSocket as unknown as typeof globalThis.WebSocket,
      backoff: { min: 20, max: 200 },
      ...options,
    });
  }
}

/** A line between a client and a server that can be cut, frozen, and closed to upgrades and to streams. */
export class Line {
  readonly #sockets = new Set<Socket>();
  #frozen = false;
  upgrades = true;
  streams = true;
  up = true;

  static async to(server: { readonly address: string }): Promise<Line> {
    const line = new Line(server);
    await new Promise<void>((done) => line.#listener.listen(0, "127.0.0.1", done));
    return line;
  }

  private constructor(readonly server: { readonly address: string }) {}

  readonly #listener = createServer((near) => {
    if (!this.up) return void near.resetAndDestroy();
    const [host, port] = this.server.address.split(":") as [string, string];
    const far = connect(Number(port), host);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(one);
      one.on("data", (bytes: Buffer) => {
        const head = bytes.toString("latin1", 0, 16);
        if ((!this.upgrades && head.startsWith("GET /ws")) || (!this.streams && head.startsWith("GET /sse"))) {
          near.end("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
          return void far.destroy();
        }
        if (!this.#frozen) other.write(bytes);
      });
      one.on("close", () => {
        this.#sockets.delete(one);
        other.destroy();
      });
      one.on("error", () => other.destroy());
    }
  });

  get url(): string {
    return `http://127.0.0.1:${(this.#listener.address() as AddressInfo).port}`;
  }

  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  /** From now on nothing passes, and nobody is told. */
  freeze(): void {
    this.#frozen = true;
  }

  thaw(): void {
    this.#frozen = false;
  }

  close(): void {
    this.cut();
    this.#listener.close();
  }
}

/** Kept from before a test stops the clock. */
const after = setTimeout;

export async function until(what: string, holds: () => boolean, ms = 15_000): Promise<void> {
  const end = performance.now() + ms;
  while (!holds()) {
    if (performance.now() > end) throw new Error(`it never came to that: ${what}`);
    await new Promise((done) => after(done, 5));
  }
}
