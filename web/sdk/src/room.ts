/** A room: one channel, joined once however often it is asked for, with its listeners and who is there. */

import { Emitter, type ListenOptions, type Unsubscribe } from "./emitter.js";
import { RoomcastError } from "./error.js";
import { type Cursor, type EventFrame, type Member, type ServerEvents, covers } from "./protocol.js";

export type RoomState = "idle" | "joining" | "joined" | "denied";

/** `true` where nothing was missed. */
export interface Joined {
  /** It was joined before, and came back. */
  readonly wasRecovering: boolean;
  /** Nothing is missing since then, or since the cursor that `load` gave. */
  readonly recovered: boolean;
}

export interface RoomOptions {
  /** Reads the state that the room's events change, and gives the cursor of that state: the `Event-Cursor` of the answer
   * it was read from. Called before the first join, and again where what was missed cannot be had. What is said
   * meanwhile is kept back until it is done, and what it has seen already is left out. */
  load?: (reason: "initial" | "gap") => Promise<Cursor | null | undefined | void>;
  /** What others see of you, in a presence channel. */
  meta?: unknown;
}

export interface PublishOptions {
  /** For whoever is there now; never kept, and not waited with while there is no connection. */
  volatile?: boolean;
  /** Hear it yourself. */
  toSelf?: boolean;
  /** `false`: fail at once while there is no connection. */
  queue?: boolean;
}

/** What a room needs of its client. @internal */
export interface Host {
  enter(room: Room<never>): void;
  exit(room: Room<never>): void;
  publish(channel: string, event: string, data: unknown, options: PublishOptions): Promise<Cursor | undefined>;
  describe(room: Room<never>, meta: unknown): Promise<void>;
  heard(frame: EventFrame): void;
}

export type EventMap = object;

export class Room<Events extends EventMap = ServerEvents> {
  readonly channel: string;
  readonly #host: Host;
  readonly #listeners = new Emitter();
  readonly #members = new Map<string, Member>();
  #count: number | undefined;
  #list: readonly Member[] = [];
  #uses = 0;
  #state: RoomState = "idle";
  #options: RoomOptions;
  #waiting: { resolve: (joined: Joined) => void; reject: (error: RoomcastError) => void }[] = [];
  /** What came while the state is being loaded. */
  #held: EventFrame[] | undefined;
  /** All kept events up to here are in the state that the page has. @internal */
  seen: Cursor | undefined;
  /** The server has let it in before, so it comes back with the client's cursor. @internal */
  entered = false;
  /** The server has it in on this connection. @internal */
  inside = false;
  /** Counts how often it was left. @internal */
  visit = 0;

  /** @internal */
  constructor(host: Host, channel: string, options: RoomOptions) {
    this.#host = host;
    this.channel = channel;
    this.#options = options;
  }

  get state(): RoomState {
    return this.#state;
  }

  /** Who is there, of a presence channel; in a crowd the first of them. */
  get members(): readonly Member[] {
    return this.#list;
  }

  /** How many are there, of a presence channel. */
  get count(): number {
    return this.#count ?? this.#list.length;
  }

  /** What others see of you. */
  get meta(): unknown {
    return this.#options.meta;
  }

  /** @internal */
  configure(options: RoomOptions): void {
    this.#options = { ...this.#options, ...options };
  }

  /** Joins, and comes back by itself after every interruption until each `join` has had its `leave`. */
  join(): Promise<Joined> {
    this.#uses += 1;
    if (this.#state === "joined" && !this.#held) return Promise.resolve({ wasRecovering: false, recovered: true });
    const joining = new Promise<Joined>((resolve, reject) => this.#waiting.push({ resolve, reject }));
    // Whoever does not look at the promise has the state to look at.
    joining.catch(() => {});
    if (this.#state === "idle" || this.#state === "denied") {
      this.#become("joining");
      this.#begin();
    }
    return joining;
  }

  /** Takes one `join` back; with the last one the room is left. */
  leave(): void {
    if (this.#uses === 0) return;
    this.#uses -= 1;
    if (this.#uses > 0) return;
    this.#reset();
    this.#become("idle");
    this.#settle(new RoomcastError("aborted", `${this.channel} was left.`));
    this.#host.exit(this as unknown as Room<never>);
  }

  /** Hears an event by its name: its data, and the whole of it. */
  on<Name extends keyof Events & string>(
    event: Name,
    listener: (data: Events[Name], frame: EventFrame<Events[Name]>) => void,
    options?: ListenOptions,
  ): Unsubscribe {
    return this.#listeners.add(`event ${event}`, listener as never, options);
  }

  /** Hears every event. */
  onAny(listener: (frame: EventFrame) => void, options?: ListenOptions): Unsubscribe {
    return this.#listeners.add("any", listener as never, options);
  }

  /** Is told when the state of the room or who is there has changed. */
  watch(listener: () => void, options?: ListenOptions): Unsubscribe {
    return this.#listeners.add("change", listener, options);
  }

  /** Tells the others, and you only with `toSelf`. Resolves with the event's cursor once the server has kept it, and with
   * nothing for what is volatile. */
  publish<Name extends keyof Events & string>(
    event: Name,
    data: Events[Name],
    options: PublishOptions = {},
  ): Promise<Cursor | undefined> {
    return this.#host.publish(this.channel, event, data, options);
  }

  /** Changes what others see of you, in a presence channel; it is said again after each interruption. */
  describe(meta: unknown): Promise<void> {
    this.#options.meta = meta;
    return this.#host.describe(this as unknown as Room<never>, meta);
  }

  /** @internal The server has let it in. */
  welcomed(recovered: boolean, missed: readonly EventFrame[] = []): void {
    const wasRecovering = this.entered;
    this.entered = this.inside = true;
    if (recovered || !this.#options.load) {
      this.#become("joined");
      for (const frame of missed) this.hear(frame);
      this.#settle({ wasRecovering, recovered });
    } else {
      void this.#load("gap", () => this.#settle({ wasRecovering, recovered }));
    }
  }

  /** @internal The server does not let it in. */
  denied(error: RoomcastError): void {
    this.#reset();
    this.#become("denied");
    this.#settle(error);
  }

  /** @internal The connection is gone; the room comes back with the next one. */
  interrupted(): void {
    if (this.#state === "joined") this.#become("joining");
  }

  /** @internal There will be none by itself: whoever waits is told. Who asks for one again has the room back. */
  ended(error: RoomcastError): void {
    this.interrupted();
    this.#settle(error);
  }

  /** @internal */
  hear(frame: EventFrame): void {
    // Left, and the server does not know yet. What nobody needs to join is heard without.
    if (this.#state === "idle" && this.visit > 0) return;
    if (this.#held) {
      this.#held.push(frame);
      return;
    }
    if (frame.cursor !== undefined) {
      // Asked for again from further back, for another room's sake.
      if (covers(this.seen, frame.cursor)) return;
      this.seen = frame.cursor;
    }
    this.#follow(frame);
    this.#host.heard(frame);
    this.#listeners.emit(`event ${frame.event}`, frame.data, frame);
    this.#listeners.emit("any", frame);
  }

  /** @internal The list of who is there. */
  list(members: readonly Member[], count?: number): void {
    this.#members.clear();
    for (const member of members) this.#members.set(member.user.id, member);
    this.#count = count;
    this.#changed();
  }

  #follow(frame: EventFrame): void {
    if (!this.channel.startsWith("presence:")) return;
    switch (frame.event) {
      case "user-joined":
      case "user-updated":
        this.#members.set((frame.data as Member).user.id, frame.data as Member);
        break;
      case "user-left":
        this.#members.delete((frame.data as Member).user.id);
        break;
      case "presence-count":
        this.#count = (frame.data as ServerEvents["presence-count"]).count;
        break;
      case "presence-list":
        return this.list((frame.data as ServerEvents["presence-list"]).members);
      default:
        return;
    }
    this.#changed();
  }

  #changed(): void {
    this.#list = [...this.#members.values()];
    this.#listeners.emit("change");
  }

  #begin(): void {
    const enter = () => this.#host.enter(this as unknown as Room<never>);
    if (this.#options.load) void this.#load("initial", enter);
    else enter();
  }

  async #load(reason: "initial" | "gap", then: () => void): Promise<void> {
    const held: EventFrame[] = (this.#held = []);
    const { seen } = this;
    let cursor: Cursor | null | undefined | void;
    for (let attempt = 0; ; attempt++) {
      try {
        cursor = await this.#options.load?.(reason);
        break;
      } catch (error) {
        if (this.#held !== held) return;
        if (attempt === 2) {
          const why = error instanceof Error ? error.message : String(error);
          this.#host.exit(this as unknown as Room<never>);
          this.denied(new RoomcastError("unavailable", `The state of ${this.channel} could not be loaded: ${why}`));
          return;
        }
        await new Promise((resolve) => setTimeout(resolve, 1_000 * 2 ** attempt));
      }
    }
    // Left meanwhile, or begun anew.
    if (this.#held !== held) return;
    this.#held = undefined;
    this.seen = cursor ?? seen;
    if (reason === "gap") this.#become("joined");
    for (const frame of held) this.hear(frame);
    then();
  }

  #reset(): void {
    this.#held = undefined;
    this.entered = this.inside = false;
    this.visit += 1;
    this.seen = undefined;
    this.#members.clear();
    this.#list = [];
    this.#count = undefined;
  }

  #become(state: RoomState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#listeners.emit("change");
  }

  #settle(how: Joined | RoomcastError): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { resolve, reject } of waiting) how instanceof RoomcastError ? reject(how) : resolve(how);
  }
}
