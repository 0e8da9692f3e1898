/** A server as small as can be that keeps to the protocol: what scenarios need of the real one, from the scripted one. */

import WebSocket from "ws";

import { type ClientOptions, type EventFrame, Roomcast } from "../src/index.js";
import { type Call, type Command, Fake, type Peer, at, event, welcome } from "./fake.js";

interface Holder {
  readonly channels: Set<string>;
  readonly tell: (frame: EventFrame) => void;
}

export class Small {
  readonly #log: EventFrame[] = [];
  readonly #holders = new Set<Holder>();

  static async start(): Promise<Small> {
    return new Small(await Fake.start());
  }

  private constructor(readonly fake: Fake) {
    fake.answers = (call) => this.#answer(call);
  }

  get address(): string {
    return this.fake.address;
  }

  get url(): string {
    return this.fake.url;
  }

  stop(): Promise<void> {
    return this.fake.stop();
  }

  async token(_user: string, channels: string[]): Promise<string> {
    return channels.join("+");
  }

  async client(user: string, channels: string[], options: ClientOptions = {}): Promise<Roomcast> {
    const token = await this.token(user, channels);
    const made = { url: this.url, token: () => token, WebSocket: WebSocket as unknown as typeof globalThis.WebSocket, backoff: { min: 20, max: 200 } };
    return new Roomcast({ ...made, ...options });
  }

  async says(channels: string[], name: string, data: unknown): Promise<string> {
    return this.#say(channels[0] as string, name, data);
  }

  get #end(): number {
    return this.#log.length;
  }

  #say(channel: string, name: string, data: unknown, except?: Holder): string {
    const frame = event(channel, name, data, this.#end + 1);
    this.#log.push(frame);
    for (const holder of this.#holders) if (holder !== except && holder.channels.has(channel)) holder.tell(frame);
    return at(this.#end);
  }

  /** What came after a cursor; nothing where that cannot be said. */
  #since(cursor: string | undefined, channels: Set<string>): EventFrame[] | undefined {
    const [epoch, position] = (cursor ?? "").split("-");
    if (epoch !== at(0).split("-")[0] || Number(position) > this.#end) return undefined;
    return this.#log.slice(Number(position)).filter(({ channel }) => channels.has(channel));
  }

  #answer(call: Call): void {
    const granted = call.token?.split("+") ?? [];
    if (call.token === undefined || call.token === "bad") return call.refuse(401);
    if (call.channels.some((channel) => !granted.includes(channel))) return call.refuse(403);
    const channels = new Set(call.channels);
    const missed = this.#since(call.cursor ?? undefined, channels);
    if (call.kind === "polling" || call.kind === "probe") return this.#poll(call, channels, missed);
    const recovered = call.cursor === null ? {} : { recovered: missed !== undefined };
    const cursor = missed ? (call.cursor as string) : at(this.#end);
    const peer = call.accept().says(welcome({ cursor, ...recovered }), ...(missed ?? []));
    const holder: Holder = { channels, tell: (frame) => void peer.says(frame) };
    this.#holders.add(holder);
    void peer.gone.then(() => this.#holders.delete(holder));
    peer.answering((command) => this.#obey(peer, holder, granted, command));
  }

  #obey(peer: Peer, holder: Holder, granted: string[], command: Command): void {
    const { id, type, channel = "" } = command;
    const refuse = (code: string) => peer.says({ type: "error", id, code, message: "No." });
    if (type === "join") {
      if (!granted.includes(channel)) return void refuse("forbidden");
      holder.channels.add(channel);
      const events = this.#since(command.cursor, new Set([channel]));
      const more = command.cursor === undefined ? {} : events ? { recovered: true, events } : { recovered: false };
      peer.acks(command, { channel, cursor: at(this.#end), ...more });
    } else if (type === "leave") {
      holder.channels.delete(channel);
      peer.acks(command, { channel });
    } else if (type === "publish") {
      if (!holder.channels.has(channel)) return void refuse("not-joined");
      const except = command["toSelf"] ? undefined : holder;
      peer.acks(command, { cursor: this.#say(channel, command["event"] as string, command.data, except) });
    } else refuse("unknown-type");
  }

  #poll(call: Call, channels: Set<string>, missed: EventFrame[] | undefined): void {
    const answer = (events: EventFrame[], more = {}) => call.polled({ events, cursor: at(this.#end), ...more });
    if (call.cursor === null) return answer([]);
    if (!missed) return answer([], { recovered: false });
    if (missed.length > 0 || call.url.searchParams.get("wait") === "0") return answer(missed, { recovered: true });
    const holder: Holder = {
      channels,
      tell: (frame) => {
        this.#holders.delete(holder);
        answer([frame], { recovered: true });
      },
    };
    this.#holders.add(holder);
    call.request.socket.once("close", () => this.#holders.delete(holder));
  }
}
