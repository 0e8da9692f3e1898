/** The client: one connection for all rooms of a page, on whichever transport the network lets through. */

import { pause } from "./backoff.js";
import { debug } from "./debug.js";
import { Emitter, type ListenOptions, type Unsubscribe } from "./emitter.js";
import { RoomcastError } from "./error.js";
import { identity } from "./identity.js";
import { Ladder } from "./ladder.js";
import type { ClientEvents, ClientOptions, State, StateChange } from "./options.js";
import { Outgoing } from "./outgoing.js";
import {
  type AckFrame,
  type ClientFrame,
  type Cursor,
  type DisconnectFrame,
  type EventFrame,
  type ServerEvents,
  type ServerFrame,
  type User,
  type WelcomeFrame,
  comesBack,
  covers,
} from "./protocol.js";
import { type EventMap, type Host, type PublishOptions, Room, type RoomOptions } from "./room.js";
import { Timers } from "./timers.js";
import type { Ask, End, Link, Open, TransportName } from "./transport/link.js";
import { polling } from "./transport/polling.js";
import { probe } from "./transport/probe.js";
import { sse } from "./transport/sse.js";
import { websocket } from "./transport/websocket.js";
import { wake } from "./wake.js";

const TRANSPORTS: Record<TransportName, Open> = { websocket, sse, polling };
/** A connection that lived so long was good: the next attempt is a first one. */
const GOOD = 5_000;
/** What is added to the server's heartbeat before the line counts as dead. */
const SLACK = 20_000;

export class Roomcast implements Host {
  readonly #options: ClientOptions;
  readonly #base: URL;
  readonly #socket = identity();
  readonly #events = new Emitter();
  readonly #rooms = new Map<string, Room<never>>();
  readonly #active = new Set<Room<never>>();
  readonly #outgoing: Outgoing;
  readonly #ladder: Ladder;
  #state: State = "idle";
  #user: User | null | undefined;
  #cursor: Cursor | undefined;
  #link: Link | undefined;
  /** The server has welcomed this connection. The state is `connected` also while a stream is opened anew. */
  #live = false;
  /** Counts connections; what an earlier one still says is not listened to. */
  #turn = 0;
  #asked: readonly Room<never>[] = [];
  #opened = 0;
  #attempt = 0;
  #token: string | undefined;
  #renewed = false;
  #heartbeat = 25_000;
  #heard = 0;
  #bye: DisconnectFrame | undefined;
  #lost = false;
  readonly #timers = new Timers<"retry" | "silence" | "lost" | "climb" | "reopen" | "rejoin">();
  #connecting: { resolve: () => void; reject: (error: RoomcastError) => void }[] = [];
  #asleep: Unsubscribe | undefined;

  constructor(options: ClientOptions = {}) {
    this.#options = options;
    const page = globalThis.location?.href;
    const url = options.url ?? page;
    if (url === undefined) throw new TypeError("url is missing: outside of a page the client has to be told where the server is");
    const base = new URL(options.url ? String(options.url) : "/", page);
    if (!base.pathname.endsWith("/")) base.pathname += "/";
    base.search = base.hash = "";
    this.#base = base;
    this.#ladder = new Ladder(options.transports);
    this.#outgoing = new Outgoing(options.ackTimeout ?? 10_000, options.queue);
  }

  get state(): State {
    return this.#state;
  }

  /** Names this client to the server, also across reconnects. */
  get socketId(): string {
    return this.#socket;
  }

  /** Who is logged in; `null` for a guest, and `undefined` as long as that is not known. */
  get user(): User | null | undefined {
    return this.#user;
  }

  get transport(): TransportName | null {
    return this.#state === "connected" ? this.#ladder.transport : null;
  }

  /** The last position in the log that this client has seen. */
  get cursor(): Cursor | undefined {
    return this.#cursor;
  }

  /** Connects; the promise is kept once it is, and broken when it is not to be. Joining a room connects, too. */
  connect(): Promise<void> {
    if (this.#state === "connected") return Promise.resolve();
    const connecting = new Promise<void>((resolve, reject) => this.#connecting.push({ resolve, reject }));
    connecting.catch(() => {});
    if (this.#state === "idle" || this.#state === "disconnected") {
      this.#asleep ??= wake({ sleep: () => this.#close(), wake: () => this.#wake() });
      this.#attempt = 0;
      this.#renewed = false;
      this.#become("connecting");
      void this.#open();
    }
    return connecting;
  }

  /** Ends the connection, until `connect` is called. Rooms stay, and come back with it. */
  disconnect(): void {
    this.#end("disconnected", { code: "aborted", message: "The page has disconnected." });
  }

  /** The room of a channel: the same one each time. */
  room<Events extends EventMap = ServerEvents>(channel: string, options?: RoomOptions): Room<Events> {
    let room = this.#rooms.get(channel);
    if (!room) {
      room = new Room<never>(this, channel, { ...options });
      this.#rooms.set(channel, room);
    } else if (options) {
      room.configure(options);
    }
    return room as unknown as Room<Events>;
  }

  on<Name extends keyof ClientEvents>(event: Name, listener: ClientEvents[Name], options?: ListenOptions): Unsubscribe {
    return this.#events.add(event, listener as never, options);
  }

  /** `fetch` for the server's API: names this client, so that it does not hear of its own changes, and shows the login. An
   * answer that nobody is logged in ends the connection. */
  async fetch(input: string | URL, init: RequestInit = {}): Promise<Response> {
    const url = new URL(String(input), this.#base);
    if (url.origin !== this.#base.origin) throw new TypeError(`${url.origin} is another server than ${this.#base.origin}`);
    const headers = new Headers(init.headers);
    headers.set("x-socket-id", this.#socket);
    if (this.#token !== undefined && !headers.has("authorization")) headers.set("authorization", `Bearer ${this.#token}`);
    const credentials = headers.has("authorization") ? "omit" : "include";
    const response = await this.#fetch(url, { credentials, ...init, headers });
    if (response.status === 401 && this.#state !== "idle") this.#unauthorized("The login has ended.");
    return response;
  }

  // What rooms ask for.

  /** @internal */
  enter(room: Room<never>): void {
    this.#active.add(room);
    if (!this.#live) return void this.connect();
    if (this.#link?.send) this.#join(room);
    else this.#reopen();
  }

  /** @internal */
  exit(room: Room<never>): void {
    this.#active.delete(room);
    this.#outgoing.forget(room.channel);
    if (!this.#live) return;
    if (this.#link?.send) this.#command({ type: "leave", channel: room.channel }).catch(() => {});
    else this.#reopen();
  }

  /** @internal */
  publish(channel: string, event: string, data: unknown, options: PublishOptions): Promise<Cursor | undefined> {
    const frame = {
      type: "publish" as const,
      channel,
      event,
      data: data ?? null,
      ...(options.volatile ? { volatile: true as const } : {}),
      ...(options.toSelf ? { toSelf: true as const } : {}),
    };
    const room = this.#rooms.get(channel);
    if (room?.inside) return this.#command(frame).then((ack) => ack.cursor);
    // Joined, or about to be: then it can wait.
    if (options.volatile || options.queue === false || !room?.state.startsWith("join")) {
      return Promise.reject(new RoomcastError("offline", `There is no connection to ${channel} now.`));
    }
    return this.#outgoing.wait(frame).then((ack) => ack.cursor);
  }

  /** @internal */
  heard(frame: EventFrame): void {
    this.#events.emit("event", frame);
  }

  /** @internal */
  async describe(room: Room<never>, meta: unknown): Promise<void> {
    if (!room.inside || !this.#link?.send) return;
    const ack = await this.#command({ type: "presence", channel: room.channel, meta });
    if (ack.members) room.list(ack.members, ack.count);
  }

  // Connecting.

  async #open(): Promise<void> {
    this.#close();
    const turn = this.#turn;
    // Kept until it has ended: to ask for one at each return would be a burden on whoever makes them.
    if (this.#options.token && (this.#token === undefined || this.#renewed)) {
      try {
        const token = await this.#options.token(this.#renewed ? "ended" : "connect");
        if (turn !== this.#turn) return;
        if (!token) return this.#unauthorized("There is no token any more.");
        this.#token = token;
      } catch (error) {
        if (turn !== this.#turn) return;
        if (error instanceof RoomcastError && error.code === "unauthorized") return this.#unauthorized(error.message);
        return this.#retry({});
      }
    }
    const name = this.#ladder.transport;
    // Over a WebSocket a new room is joined by a command, which knows the cursor of its own state and says what one is.
    const channels = [...this.#active].filter((room) => name !== "websocket" || (room.entered && room.meta === undefined));
    // What came of them is in their state, up to where the client is.
    for (const room of channels) if (room.entered) room.seen = this.#cursor ?? room.seen;
    this.#asked = channels;
    this.#bye = undefined;
    this.#opened = Date.now();
    this.#debug("connecting", name, channels.map((room) => room.channel), this.#cursor);
    const listener = {
      frame: (frame: ServerFrame) => {
        if (turn === this.#turn) this.#frame(frame);
      },
      end: (end: End) => {
        if (turn === this.#turn) this.#ended(end);
      },
    };
    this.#link = TRANSPORTS[name](this.#ask(channels), listener);
    this.#listen();
  }

  #ask(rooms: readonly Room<never>[]): Ask {
    return {
      base: this.#base,
      channels: rooms.map((room) => room.channel),
      cursor: from(this.#cursor, rooms),
      socket: this.#socket,
      token: this.#token,
      fetch: this.#fetch,
      WebSocket: this.#options.WebSocket,
    };
  }

  readonly #fetch: typeof fetch = (input, init) => (this.#options.fetch ?? globalThis.fetch)(input, init);

  #frame(frame: ServerFrame): void {
    this.#heard = Date.now();
    this.#listen();
    switch (frame.type) {
      case "welcome":
        return this.#welcome(frame);
      case "event": {
        this.#see(frame.cursor);
        if (frame.event === "token-expiring") void this.#renew();
        const room = this.#rooms.get(frame.channel);
        return room ? room.hear(frame) : this.heard(frame);
      }
      case "heartbeat":
        return this.#see(frame.cursor);
      case "ack":
        // Of a join it is where the connection is now; the rooms know by themselves how far they are. Of a publish it is
        // where the event is, and what came before it may not be here yet.
        if (frame.channel) this.#see(frame.cursor);
        return this.#outgoing.acked(frame);
      case "error":
        return this.#outgoing.failed(frame);
      case "disconnect":
        this.#bye = frame;
    }
  }

  #see(cursor: Cursor | undefined): void {
    if (cursor !== undefined) this.#cursor = cursor;
  }

  #welcome(frame: WelcomeFrame): void {
    this.#debug("welcome", frame.cursor, "recovered", frame.recovered);
    this.#user = frame.user ?? this.#user ?? null;
    this.#heartbeat = frame.heartbeat * 1_000;
    this.#listen();
    this.#cursor = frame.cursor;
    this.#renewed = false;
    this.#climb();
    for (const name of ["retry", "lost"] as const) this.#timers.stop(name);
    this.#become("connected");
    if (this.#lost) this.#events.emit("restored");
    this.#lost = false;
    for (const { resolve } of this.#connecting.splice(0)) resolve();
    const recovered = frame.recovered ?? true;
    const late = [...this.#active].filter((room) => !this.#asked.includes(room));
    this.#live = true;
    for (const room of this.#asked) {
      const members = frame.presence?.[room.channel];
      if (members) room.list(members, frame.presenceCounts?.[room.channel]);
      if (this.#active.has(room)) this.#entered(room, recovered);
      else this.exit(room);
    }
    for (const room of late) if (this.#active.has(room)) this.enter(room);
  }

  #join(room: Room<never>): void {
    const { channel, meta, visit } = room;
    // What is volatile alone has no past; a room that comes back by itself goes on from where the client was.
    const cursor = channel.startsWith("presence:") ? undefined : room.seen;
    const turn = this.#turn;
    const frame = {
      type: "join" as const,
      channel,
      ...(cursor === undefined ? {} : { cursor }),
      ...(meta === undefined ? {} : { meta }),
    };
    const joined = (ack: AckFrame) => {
      // Left since, and perhaps joined again: that has an answer of its own.
      if (visit !== room.visit) return;
      if (ack.members) room.list(ack.members, ack.count);
      this.#entered(room, ack.recovered ?? true, ack.events);
      // Described anew since.
      if (JSON.stringify(meta) !== JSON.stringify(room.meta)) this.describe(room, room.meta).catch(() => {});
    };
    this.#command(frame, joined).catch((error: RoomcastError) => {
      if (turn !== this.#turn || visit !== room.visit) return;
      if (!error.retryable) return this.#deny(room, error);
      // Not now: a little later, on the same connection.
      this.#timers.after("rejoin", pause(1, this.#options.backoff), () => {
        for (const late of this.#active) if (!late.inside) this.#join(late);
      });
    });
  }

  #entered(room: Room<never>, recovered: boolean, missed?: readonly EventFrame[]): void {
    // Before anybody is told, so that nothing goes ahead of what has waited.
    for (const { frame, resolve, reject } of this.#outgoing.take(room.channel)) this.#command(frame).then(resolve, reject);
    room.welcomed(recovered, missed);
  }

  #deny(room: Room<never>, error: RoomcastError): void {
    this.#active.delete(room);
    this.#outgoing.forget(room.channel, error);
    room.denied(error);
  }

  #command(frame: ClientFrame, then?: (ack: AckFrame) => void): Promise<AckFrame> {
    const send = this.#link?.send;
    if (!send) {
      const message = "Publishing needs a WebSocket, which the network does not let through; use your HTTP API.";
      return Promise.reject(new RoomcastError("unavailable", message));
    }
    return this.#outgoing.send(frame, send, then);
  }

  // Ending, and coming back.

  #ended(end: End): void {
    const [bye, welcomed] = [this.#bye, this.#live];
    this.#debug("ended", end, bye?.code);
    this.#close();
    for (const room of this.#active) room.interrupted();
    this.#outgoing.interrupted();
    if (welcomed && Date.now() - this.#opened > GOOD) this.#attempt = 0;
    if (bye && !bye.reconnect) {
      if (bye.code === "token-ended" && this.#again()) return;
      return this.#end("disconnected", { code: bye.code, message: bye.message });
    }
    if (welcomed && end.code !== undefined && !bye && !comesBack(end.code)) {
      if (end.code === 4401 && this.#again()) return;
      return this.#end("disconnected", { code: String(end.code), message: "The server has ended the connection." });
    }
    if (welcomed || bye) return this.#retry({ retry: bye?.retry ?? end.retry });
    // It never began. A WebSocket does not tell why, and an answer may be that of a proxy: the same is asked in another way.
    if (end.status === 401 || end.retry !== undefined) void this.#judge(end);
    else void this.#probe();
  }

  /** Asks over HTTP whether the login and every channel are good. */
  async #probe(): Promise<void> {
    const turn = this.#turn;
    const end = await probe(this.#ask([...this.#active]));
    if (turn === this.#turn) await this.#judge(end);
  }

  async #judge(end: End): Promise<void> {
    const turn = this.#turn;
    switch (end.status) {
      case 401:
        if (!this.#again()) this.#unauthorized("Nobody is logged in.");
        return;
      case 400:
      case 403: {
        // One channel that may not be had refuses all; the others are not to suffer for it.
        let denied = false;
        for (const room of [...this.#active]) {
          const one = await probe(this.#ask([room]));
          if (turn !== this.#turn) return;
          if (one.status !== 403 && one.status !== 400) continue;
          denied = true;
          const code = one.status === 403 ? "forbidden" : "invalid-channel";
          this.#deny(room, new RoomcastError(code, `You may not join ${room.channel}.`));
        }
        if (denied) return void this.#open();
        return this.#end("disconnected", { code: "forbidden", message: "The server does not let this page in." });
      }
      case 200:
        // The network does not let this transport through: another one does.
        this.#descend();
        return this.#retry({});
      default:
        return this.#retry({ retry: end.retry });
    }
  }

  #descend(): void {
    if (!this.#ladder.descend()) return;
    this.#attempt = 0;
    this.#debug("falling back to", this.#ladder.transport);
  }

  /** Once it has fallen back, tries the first transport again after a while. */
  #climb(): void {
    this.#timers.stop("climb");
    const wait = this.#ladder.holds();
    if (wait === undefined) return;
    this.#timers.after("climb", wait, () => {
      this.#ladder.climb();
      void this.#open();
    });
  }

  #again(): boolean {
    // Once: a second refusal is meant.
    if (!this.#options.token || this.#renewed) return false;
    this.#renewed = true;
    this.#become("reconnecting");
    void this.#open();
    return true;
  }

  async #renew(): Promise<void> {
    if (!this.#options.token) return;
    const turn = this.#turn;
    const token = await Promise.resolve(this.#options.token("ended")).catch(() => undefined);
    if (!token || turn !== this.#turn) return;
    this.#token = token;
    if (this.#link?.send) await this.#command({ type: "token", token }).catch(() => {});
    else this.#reopen();
  }

  #retry({ retry }: { retry?: number | undefined }): void {
    const retryIn = retry ?? pause(this.#attempt, this.#options.backoff);
    this.#attempt += 1;
    const [code, message] = [this.#bye?.code, this.#bye?.message];
    this.#become(this.#state === "connecting" ? "connecting" : "reconnecting", { retryIn, ...(code ? { code } : {}), ...(message ? { message } : {}) });
    this.#timers.after("retry", retryIn, () => void this.#open());
    if (!this.#lost && !this.#timers.has("lost")) {
      this.#timers.after("lost", this.#options.lostAfter ?? 5_000, () => {
        this.#lost = true;
        this.#events.emit("lost");
      });
    }
  }

  /** A stream takes no commands: to change its rooms it is opened anew, from where it was. */
  #reopen(): void {
    this.#timers.after("reopen", 10, () => {
      if (this.#live) void this.#open();
    });
  }

  #wake(): void {
    if (this.#state === "idle" || this.#state === "disconnected") return;
    const asleep = this.#link === undefined;
    const stale = Date.now() - this.#heard > this.#heartbeat + 1_000;
    if (!asleep && !(this.#state === "connected" && stale)) return;
    for (const room of this.#active) room.interrupted();
    this.#outgoing.interrupted();
    this.#become("reconnecting");
    this.#attempt = 0;
    void this.#open();
  }

  #listen(): void {
    this.#timers.after("silence", this.#heartbeat + SLACK, () => this.#ended({ code: 1006 }));
  }

  #close(): void {
    this.#turn += 1;
    this.#live = false;
    for (const room of this.#active) room.inside = false;
    for (const name of ["retry", "silence", "climb", "reopen", "rejoin"] as const) this.#timers.stop(name);
    this.#link?.close();
    this.#link = undefined;
  }

  #unauthorized(message: string): void {
    this.#end("disconnected", { code: "unauthorized", message });
  }

  #end(state: State, why: { code: string; message: string }): void {
    this.#close();
    this.#token = undefined;
    this.#timers.stop("lost");
    this.#asleep?.();
    this.#asleep = undefined;
    this.#outgoing.ended(new RoomcastError("offline", why.message));
    // Whatever it is, the same does not work later by itself.
    const code = why.code === "aborted" ? why.code : /^(unauthorized|(session|token)-ended|4401)$/.test(why.code) ? "unauthorized" : "forbidden";
    const error = new RoomcastError(code, why.message);
    for (const room of this.#active) room.ended(error);
    for (const { reject } of this.#connecting.splice(0)) reject(error);
    this.#become(state, why);
  }

  #become(state: State, more: Omit<StateChange, "state" | "previous"> = {}): void {
    const previous = this.#state;
    if (state === previous && more.retryIn === undefined) return;
    this.#state = state;
    this.#debug(state, more);
    this.#events.emit("state", { state, previous, ...more });
  }

  #debug(...words: unknown[]): void {
    debug(this.#options.debug, ...words);
  }
}

/** Where to go on: from the client's cursor, or from before it where the state of a new room is older. */
function from(cursor: Cursor | undefined, rooms: readonly Room<never>[]): Cursor | undefined {
  let first = cursor;
  for (const { seen } of rooms) if (seen !== undefined && (first === undefined || covers(first, seen))) first = seen;
  return first;
}
