/** A server that does what a test says, request by request and frame by frame: over WebSocket, streams and polling. */

import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";

import Ws, { WebSocketServer } from "ws";

import { type ClientOptions, type EventFrame, Roomcast, type StateChange } from "../src/index.js";

export type Kind = "websocket" | "sse" | "polling" | "probe" | "other";
export type Frame = Readonly<Record<string, unknown>>;
export interface Command extends Frame {
  readonly type: string;
  readonly id: number;
  readonly channel?: string;
  readonly cursor?: string;
  readonly data?: unknown;
}

/** How long a test waits for what has to come. Kept from before a test stops the clock. */
const PATIENCE = 15_000;
const [after, cancel] = [setTimeout, clearTimeout];

/** A position in the log of this server. */
export const at = (position: number): string => `5f3a9c21-${position}`;

/** An event; a volatile one where it has no position. */
export function event(channel: string, name: string, data: unknown, position?: number): EventFrame {
  const cursor = position === undefined ? {} : { cursor: at(position) };
  return { type: "event", channel, event: name, data, ...cursor, time: "2026-11-21T05:20:11.123Z" };
}

export function welcome(more: Frame = {}): Frame {
  return { type: "welcome", socket: "0190a6d2-7e2a-7cc0-b1f5-3c1f0a9d4e11", user: null, channels: [], cursor: at(10), heartbeat: 25, ...more };
}

/** What comes, one after another, for whoever waits for it. */
class Queue<T> {
  readonly #items: T[] = [];
  readonly #takers: ((item: T) => void)[] = [];

  put(item: T): void {
    const taker = this.#takers.shift();
    if (taker) taker(item);
    else this.#items.push(item);
  }

  take(what: string): Promise<T> {
    return new Promise((resolve, reject) => {
      const item = this.#items.shift();
      if (item !== undefined) return resolve(item);
      const timer = after(() => reject(new Error(`it never came: ${what}`)), PATIENCE);
      this.#takers.push((late) => {
        cancel(timer);
        resolve(late);
      });
    });
  }

  get left(): readonly T[] {
    return this.#items;
  }
}

/** A connection that was let in. */
export class Peer {
  readonly #commands = new Queue<Command>();
  /** All that the client has sent. */
  readonly commands: Command[] = [];
  /** Is kept once the client or the server has ended it. */
  readonly gone: Promise<void>;
  #told: ((command: Command) => void) | undefined;

  constructor(readonly line: Ws | ServerResponse) {
    this.gone = new Promise((done) => line.once("close", () => done()));
    if (!(line instanceof Ws)) return;
    line.on("message", (bytes: Buffer) => {
      const command = JSON.parse(bytes.toString()) as Command;
      this.commands.push(command);
      if (this.#told) this.#told(command);
      else this.#commands.put(command);
    });
  }

  says(...frames: (Frame | EventFrame)[]): this {
    for (const frame of frames as (Frame & { cursor?: string; event?: string; type: string })[]) {
      const text = JSON.stringify(frame);
      if (this.line instanceof Ws) this.line.send(text);
      else this.line.write(`event: ${frame.event ?? frame.type}\n${frame.cursor ? `id: ${frame.cursor}\n` : ""}data: ${text}\n\n`);
    }
    return this;
  }

  /** The next command, which has to be of that type. */
  async hears(type: string): Promise<Command> {
    const command = await this.#commands.take(`a command ${type}`);
    if (command.type !== type) throw new Error(`${type} was to come, and it was ${JSON.stringify(command)}`);
    return command;
  }

  /** What has come and was not asked for. */
  get unheard(): readonly Command[] {
    return this.#commands.left;
  }

  /** From now on each command goes there. */
  answering(told: (command: Command) => void): void {
    this.#told = told;
  }

  acks(command: Command, more: Frame = {}): this {
    return this.says({ type: "ack", id: command.id, ...more });
  }

  /** Lets the client into the room that it asks for next. */
  async admits(channel: string, more: Frame = {}): Promise<Command> {
    const command = await this.hears("join");
    if (command.channel !== channel) throw new Error(`${channel} was to be joined, and it was ${command.channel}`);
    this.acks(command, { channel, cursor: at(10), ...more });
    return command;
  }

  /** A clean end: with a close code, where there is one. */
  ends(code?: number, reason?: string): void {
    if (!(this.line instanceof Ws)) this.line.end();
    else if (code === undefined) this.line.close();
    else this.line.close(code, reason);
  }

  cut(): void {
    if (this.line instanceof Ws) this.line.terminate();
    else this.line.destroy();
  }
}

const upgrades = new WebSocketServer({ noServer: true });

/** A request, which waits until the test says what becomes of it. */
export class Call {
  readonly url: URL;
  readonly kind: Kind;

  constructor(
    readonly request: IncomingMessage,
    readonly answer: ServerResponse | { socket: Duplex; head: Buffer },
  ) {
    this.url = new URL(request.url ?? "/", "http://fake");
    this.kind = this.#kind();
  }

  #kind(): Kind {
    if (this.url.pathname === "/ws") return "websocket";
    if (this.url.pathname === "/sse/events") return "sse";
    if (this.url.pathname !== "/api/v1/events") return "other";
    return this.url.searchParams.has("wait") ? "polling" : "probe";
  }

  get channels(): string[] {
    return this.url.searchParams.getAll("channel");
  }

  get cursor(): string | null {
    return this.url.searchParams.get("cursor");
  }

  get token(): string | undefined {
    return this.request.headers.authorization?.replace("Bearer ", "") ?? this.url.searchParams.get("token") ?? undefined;
  }

  /** An answer that is no connection. */
  refuse(status: number, headers: Record<string, string> = {}, body = "{}"): void {
    if (!("socket" in this.answer && "head" in this.answer)) {
      this.answer.writeHead(status, headers).end(body);
      return;
    }
    const lines = Object.entries({ "content-length": String(body.length), connection: "close", ...headers });
    this.answer.socket.end(`HTTP/1.1 ${status} No\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n${body}`);
  }

  /** The answer to a poll. */
  polled(answer: Frame): void {
    this.refuse(200, { "content-type": "application/json" }, JSON.stringify(answer));
  }

  /** Opens the connection, and says nothing yet. */
  accept(): Peer {
    if (!("head" in this.answer)) {
      this.answer.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
      return new Peer(this.answer);
    }
    let peer: Peer | undefined;
    upgrades.handleUpgrade(this.request, this.answer.socket as Socket, this.answer.head, (socket) => (peer = new Peer(socket)));
    if (!peer) throw new Error("that was no handshake");
    return peer;
  }

  welcome(more: Frame = {}): Peer {
    return this.accept().says(welcome(more));
  }

  cut(): void {
    this.request.socket.destroy();
  }
}

export class Fake {
  readonly #calls = new Queue<Call>();
  readonly #sockets = new Set<Socket>();
  /** Answers by itself, where a test does not want to. */
  answers: ((call: Call) => void) | undefined;

  static async start(): Promise<Fake> {
    const fake = new Fake();
    await new Promise<void>((done) => fake.#server.listen(0, "127.0.0.1", done));
    return fake;
  }

  readonly #server = createServer((request, response) => this.#asked(new Call(request, response)))
    .on("upgrade", (request, socket, head) => {
      socket.on("error", () => socket.destroy());
      this.#asked(new Call(request, { socket, head }));
    })
    .on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });

  #asked(call: Call): void {
    if (this.answers) this.answers(call);
    else this.#calls.put(call);
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get url(): string {
    return `http://${this.address}`;
  }

  /** The next request, which has to be of that kind. */
  async next(kind: Kind): Promise<Call> {
    const call = await this.#calls.take(`a request, ${kind}`);
    if (call.kind !== kind) throw new Error(`${kind} was to come, and it was ${call.kind}: ${call.request.url}`);
    return call;
  }

  /** The requests that nobody has asked for. */
  get unasked(): readonly Kind[] {
    return this.#calls.left.map(({ kind }) => kind);
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((done) => this.#server.close(done));
  }
}

export interface Made {
  readonly client: Roomcast;
  /** Each attempt to connect, at the moment of the attempt. */
  readonly attempts: string[];
  /** Each of them that was answered. */
  readonly answered: string[];
  readonly states: StateChange[];
}

/** A client of that server, with what it tries and tells. */
export function clientOf(fake: Fake, options: ClientOptions = {}): Made {
  const [attempts, answered]: [string[], string[]] = [[], []];
  const WebSocket = class extends Ws {
    constructor(url: string) {
      attempts.push("websocket");
      super(url);
      this.on("open", () => answered.push("websocket"));
    }
  } as unknown as typeof globalThis.WebSocket;
  const client = new Roomcast({
    url: fake.url,
    WebSocket,
    backoff: { min: 1, max: 5 },
    ...options,
    fetch: async (input, init) => {
      const name = new URL(String(input)).pathname.startsWith("/sse") ? "sse" : "polling";
      attempts.push(name);
      const response = await fetch(input, init);
      answered.push(name);
      return response;
    },
  });
  const states: StateChange[] = [];
  client.on("state", (change) => states.push(change));
  return { client, attempts, answered, states };
}
