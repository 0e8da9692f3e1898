/** Rooms, events and commands, with a server that says when it answers, what, and whether at all. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import type { ClientOptions, TransportName } from "../src/index.js";
import { type Call, Fake, type Made, type Peer, at, clientOf, event } from "./fake.js";
import { until } from "./server.js";

interface Said {
  n: number;
}
const CHANNEL = "order:1";
let fake: Fake;
const made: Made[] = [];

beforeEach(async () => {
  fake = await Fake.start();
});
afterEach(async () => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  for (const { client } of made.splice(0)) client.disconnect();
  await fake.stop();
});

function make(options: ClientOptions = {}): Made {
  const one = clientOf(fake, { transports: ["websocket"], ...options });
  made.push(one);
  return one;
}

function stopClock(): void {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
}
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

/** A client in one room, over a WebSocket, and the server's end of it. */
async function inRoom(options: ClientOptions = {}) {
  const one = make(options);
  const room = one.client.room<Said>(CHANNEL);
  const joined = room.join();
  const peer = (await fake.next("websocket")).welcome();
  await peer.admits(CHANNEL);
  await joined;
  return { ...one, room, peer };
}

/** The client's next WebSocket, welcomed. */
const back = async (more = {}): Promise<Peer> => (await fake.next("websocket")).welcome({ recovered: true, ...more });

describe("a command", () => {
  it("that is never answered ends in timeout, and its answer is too late", async () => {
    stopClock();
    const { room, peer, client } = await inRoom({ ackTimeout: 3_000 });
    const late = room.publish("n", 1).catch((error) => error);
    const command = await peer.hears("publish");
    await pass(3_000);
    expect(await late).toMatchObject({ code: "timeout", retryable: true });
    peer.acks(command, { cursor: at(11) });
    const next = room.publish("n", 2);
    peer.acks(await peer.hears("publish"), { cursor: at(12) });
    expect([await next, client.state]).toEqual([at(12), "connected"]);
  });

  it.each(["forbidden", "too-large", "invalid-event", "not-joined", "unheard-of"])("is rejected with the code of its error: %s", async (code) => {
    const { room, peer } = await inRoom();
    const [first, second] = [room.publish("n", 1), room.publish("n", 2)];
    const [one, two] = [await peer.hears("publish"), await peer.hears("publish")];
    // Answers come in any order, and one without an id is nobody's.
    peer.says({ type: "error", code: "invalid-message", message: "What?" }, { type: "error", id: two.id, code, message: "No." });
    await expect(second).rejects.toMatchObject({ code, message: "No.", retryable: false });
    peer.acks(one, { cursor: at(11) });
    expect(await first).toBe(at(11));
  });

  it("whose connection breaks before the answer is unknown, and is not sent twice", async () => {
    const { client, room, peer } = await inRoom();
    const broken = room.publish("n", 1).catch((error) => error);
    await peer.hears("publish");
    peer.cut();
    expect(await broken).toMatchObject({ code: "unknown", retryable: false });
    const peer2 = await back();
    await until("it is back", () => room.state === "joined");
    const next = room.publish("n", 2);
    const command = await peer2.hears("publish");
    expect(command.data).toBe(2);
    peer2.acks(command, { cursor: at(12) });
    expect([await next, client.state]).toEqual([at(12), "connected"]);
  });

  it("moves no cursor on beyond what was heard: only the answer to a join does", async () => {
    const { room, peer } = await inRoom();
    const said = room.publish("n", 1);
    peer.acks(await peer.hears("publish"), { cursor: at(12) });
    expect(await said).toBe(at(12));
    // What was said before, by somebody else, is still on its way when the line breaks.
    peer.cut();
    const call = await fake.next("websocket");
    expect(call.cursor).toBe(at(10));
    const heard: number[] = [];
    room.on("n", (n) => heard.push(n));
    call.welcome({ recovered: true }).says(event(CHANNEL, "n", 7, 11));
    await until("it was heard", () => heard.length === 1);
  });
});

describe("what waits", () => {
  it("has a bound, in number and in time", async () => {
    stopClock();
    const { client } = make({ queue: { max: 2, ttl: 5_000 } });
    const room = client.room<Said>(CHANNEL);
    void room.join();
    const waiting = [1, 2].map((n) => room.publish("n", n).catch((error) => error));
    await expect(room.publish("n", 3)).rejects.toMatchObject({ code: "offline", retryable: true });
    await expect(room.publish("n", 4, { queue: false })).rejects.toMatchObject({ code: "offline" });
    await pass(5_000);
    expect(await Promise.all(waiting)).toMatchObject([{ code: "offline" }, { code: "offline" }]);
    const peer = (await fake.next("websocket")).welcome();
    await peer.admits(CHANNEL);
    await until("it is in", () => room.state === "joined");
    // There is room again, and what is over is not said any more.
    const next = room.publish("n", 5);
    const command = await peer.hears("publish");
    expect(command.data).toBe(5);
    peer.acks(command, { cursor: at(11) });
    await next;
  });

  it("is sent once the server has let the client in, in order, ahead of what is said then", async () => {
    const { client } = make();
    const room = client.room<Said>(CHANNEL);
    const said: Promise<unknown>[] = [];
    room.watch(() => room.state === "joined" && said.push(room.publish("n", 3)));
    void room.join();
    said.push(room.publish("n", 1), room.publish("n", 2));
    const peer = (await fake.next("websocket")).welcome();
    const join = await peer.hears("join");
    expect(peer.commands).toHaveLength(1);
    peer.acks(join, { channel: CHANNEL, cursor: at(10) });
    for (const n of [1, 2, 3]) {
      const command = await peer.hears("publish");
      expect(command.data).toBe(n);
      peer.acks(command, { cursor: at(10 + n) });
    }
    expect(await Promise.all(said)).toEqual([at(11), at(12), at(13)]);
  });

  it("goes with the room that is left, and with the connection that is ended", async () => {
    const { client } = make();
    const [one, other] = [client.room<Said>(CHANNEL), client.room<Said>("order:2")];
    void one.join();
    void other.join();
    const waiting = [one.publish("n", 1), other.publish("n", 2)].map((said) => said.catch((error) => error));
    one.leave();
    expect(await waiting[0]).toMatchObject({ code: "aborted" });
    client.disconnect();
    expect(await waiting[1]).toMatchObject({ code: "offline" });
  });

  it("is refused where it comes back over a stream, which takes no commands", async () => {
    const { client } = make({ transports: ["sse"] });
    const room = client.room<Said>(CHANNEL);
    const joined = room.join();
    const waiting = room.publish("n", 1).catch((error) => error);
    (await fake.next("sse")).welcome();
    expect(await waiting).toMatchObject({ code: "unavailable" });
    await joined;
    await expect(room.publish("n", 2)).rejects.toMatchObject({ code: "unavailable" });
  });
});

describe("a join", () => {
  it.each(["rate-limited", "unavailable"])("that is refused as %s is tried again on the same connection, and the others go on", async (code) => {
    const { client, peer, attempts, room } = await inRoom();
    const heard: number[] = [];
    room.on("n", (n) => heard.push(n));
    const joined = client.room("order:2").join();
    const refused = await peer.hears("join");
    peer.says({ type: "error", id: refused.id, code, message: "Not now." }, event(CHANNEL, "n", 1, 11));
    const again = await peer.admits("order:2", { cursor: at(11) });
    expect(again.id).not.toBe(refused.id);
    await joined;
    expect([heard, attempts, peer.unheard]).toEqual([[1], ["websocket"], []]);
  });

  it("that is never answered is tried again, too", async () => {
    stopClock();
    const { client, peer } = await inRoom();
    const joined = client.room("order:2").join();
    await peer.hears("join");
    await pass(10_000);
    await pass(5);
    await peer.admits("order:2");
    await joined;
  });

  it.each(["forbidden", "invalid-channel", "too-many-channels"])("that is refused as %s is denied, and hurts no other", async (code) => {
    const { client, peer, room } = await inRoom();
    const heard: number[] = [];
    room.on("n", (n) => heard.push(n));
    const other = client.room<Said>("order:2");
    const joined = other.join().catch((error) => error);
    const waiting = other.publish("n", 1).catch((error) => error);
    const refused = await peer.hears("join");
    peer.says({ type: "error", id: refused.id, code, message: "No." }, event(CHANNEL, "n", 1, 11));
    expect([await joined, await waiting]).toMatchObject([{ code }, { code }]);
    await until("the other was heard", () => heard.length === 1);
    expect([room.state, other.state]).toEqual(["joined", "denied"]);
    // It does not come back with it.
    peer.cut();
    expect((await fake.next("websocket")).channels).toEqual([CHANNEL]);
  });

  it("comes once, however it is taken back and asked for while there is no connection", async () => {
    const { client } = make();
    const room = client.room(CHANNEL);
    const first = room.join().catch((error) => error);
    room.leave();
    const joined = room.join();
    expect(await first).toMatchObject({ code: "aborted" });
    const peer = (await fake.next("websocket")).welcome();
    await peer.admits(CHANNEL);
    await joined;
    // As hooks do it, which leave the first a moment after the second.
    const again = room.join();
    room.leave();
    await again;
    const said = room.publish("n" as never, 1 as never);
    peer.acks(await peer.hears("publish"), { cursor: at(11) });
    await said;
    expect(peer.commands.map(({ type }) => type)).toEqual(["join", "publish"]);
  });

  it("comes once from a listener that hears of the connection", async () => {
    const { client } = make();
    const [one, other] = [client.room(CHANNEL), client.room("order:2")];
    const joined: Promise<unknown>[] = [];
    client.on("state", ({ state }) => state === "connected" && joined.push(one.join()));
    one.watch(() => one.state === "joined" && joined.push(other.join()));
    await Promise.all([client.connect(), fake.next("websocket").then((call) => call.welcome()).then(async (peer) => {
      await peer.admits(CHANNEL);
      await peer.admits("order:2");
      await Promise.all(joined);
      expect(peer.commands).toHaveLength(2);
    })]);
  });

  it("is answered for itself, and not by what was asked before the room was left", async () => {
    const { client } = make();
    const connecting = client.connect();
    const peer = (await fake.next("websocket")).welcome();
    await connecting;
    const room = client.room(CHANNEL);
    void room.join();
    room.leave();
    const joined = room.join();
    const [first, leave, second] = [await peer.hears("join"), await peer.hears("leave"), await peer.hears("join")];
    peer.acks(first, { channel: CHANNEL, cursor: at(10) }).acks(leave, { channel: CHANNEL }).says({ type: "heartbeat", cursor: at(11) });
    await until("they were heard", () => client.cursor === at(11));
    expect(room.state).toBe("joining");
    peer.acks(second, { channel: CHANNEL, cursor: at(11) });
    await joined;
  });

  it("that has begun with another description of oneself is followed by the new one", async () => {
    const { client } = make();
    const room = client.room("presence:lobby", { meta: { color: "red" } });
    const joined = room.join();
    const peer = (await fake.next("websocket")).welcome();
    const join = await peer.hears("join");
    expect(join["meta"]).toEqual({ color: "red" });
    await room.describe({ color: "blue" });
    peer.acks(join, { channel: "presence:lobby", cursor: at(10), members: [] });
    await joined;
    expect((await peer.hears("presence"))["meta"]).toEqual({ color: "blue" });
  });
});

describe.each<TransportName>(["sse", "polling"])("over %s, which takes no commands", (transport) => {
  const letIn = (call: Call): Peer | undefined => (transport === "sse" ? call.welcome() : void call.polled({ events: [], cursor: at(10) }));

  it("a room that is joined while it connects is asked for at once", async () => {
    const { client } = make({ transports: [transport] });
    const first = client.room(CHANNEL).join();
    const call = await fake.next(transport);
    expect(call.channels).toEqual([CHANNEL]);
    const second = client.room("order:2").join();
    letIn(call);
    await first;
    // A poll goes on until the new one takes its place.
    let next = await fake.next(transport);
    if (transport === "polling" && next.channels.length === 1) next = await fake.next(transport);
    expect([next.channels, next.cursor]).toEqual([[CHANNEL, "order:2"], at(10)]);
    letIn(next);
    await second;
  });

  it("a room that is left while it connects is asked for no more, also if it was the last", async () => {
    const { client } = make({ transports: [transport] });
    const room = client.room(CHANNEL);
    void room.join();
    const call = await fake.next(transport);
    room.leave();
    letIn(call);
    let next = await fake.next(transport);
    if (transport === "polling" && next.channels.length === 1) next = await fake.next(transport);
    expect(next.channels).toEqual([]);
  });
});

it("hears nothing of a room that it has left, whatever is still on its way, and joins it afresh", async () => {
  const { client, room, peer } = await inRoom();
  const heard: unknown[] = [];
  room.on("n", (n) => heard.push(n));
  client.room<Said>("global").on("n", (n) => heard.push(n));
  room.leave();
  const leave = await peer.hears("leave");
  peer.says(event(CHANNEL, "n", 1, 11), event("global", "n", 2, 12)).acks(leave, { channel: CHANNEL });
  await until("it has come", () => client.cursor === at(12));
  expect(heard).toEqual([2]);
  const joined = room.join();
  expect(await peer.admits(CHANNEL)).not.toHaveProperty("cursor");
  await joined;
  peer.says(event(CHANNEL, "n", 3, 13));
  await until("it was heard", () => heard.length === 2);
});

describe("what was missed and cannot be had", () => {
  it.each<TransportName>(["websocket", "sse"])("is loaded anew on coming back over %s", async (transport) => {
    const { client } = make({ transports: [transport] });
    const reasons: string[] = [];
    const load = async (reason: string) => at(reasons.push(reason) * 10);
    const [room, bare] = [client.room<Said>(CHANNEL, { load }), client.room<Said>("order:2")];
    const heard: number[] = [];
    for (const one of [room, bare]) one.on("n", (n) => heard.push(n));
    const joined = Promise.all([room.join(), bare.join()]);
    let peer = (await fake.next(transport)).welcome();
    // The one that has nothing to load is there first.
    if (transport === "websocket") for (const name of ["order:2", CHANNEL]) await peer.admits(name);
    else peer = (await fake.next(transport)).welcome();
    await joined;
    peer.cut();
    const call = await fake.next(transport);
    // What the new state has already is not heard again.
    call.welcome({ recovered: false, cursor: at(15) }).says(event(CHANNEL, "n", 1, 20), event(CHANNEL, "n", 2, 21), event("order:2", "n", 3, 22));
    await until("the rest was heard", () => heard.length >= 2);
    expect([heard.sort(), reasons, room.state, bare.state]).toEqual([[2, 3], ["initial", "gap"], "joined", "joined"]);
  });

  it("is loaded anew in the middle of polling", async () => {
    const { client } = make({ transports: ["polling"] });
    const reasons: string[] = [];
    const room = client.room<Said>(CHANNEL, { load: async (reason) => at(reasons.push(reason) * 10) });
    const joined = room.join();
    const call = await fake.next("polling");
    expect(call.cursor).toBe(at(10));
    call.polled({ events: [], cursor: at(10), recovered: true });
    expect(await joined).toEqual({ wasRecovering: false, recovered: true });
    (await fake.next("polling")).polled({ events: [], cursor: at(20), recovered: false });
    expect((await fake.next("polling")).cursor).toBe(at(20));
    await until("it was loaded", () => reasons.length === 2 && room.state === "joined");
    expect(reasons).toEqual(["initial", "gap"]);
  });

  it("takes nothing that is said meanwhile, though a cut comes between and the load gives no cursor", async () => {
    const { client } = make();
    let done: ((cursor: undefined) => void) | undefined;
    const room = client.room<Said>(CHANNEL, {
      load: (reason) => (reason === "initial" ? Promise.resolve(at(5)) : new Promise<undefined>((resolve) => (done = resolve))),
    });
    const heard: number[] = [];
    room.on("n", (n) => heard.push(n));
    const joined = room.join();
    const peer = (await fake.next("websocket")).welcome();
    await peer.admits(CHANNEL, { recovered: false });
    peer.says(event(CHANNEL, "n", 1, 11));
    await until("it has come", () => client.cursor === at(11));
    peer.cut();
    const call = await fake.next("websocket");
    expect(call.cursor).toBe(at(11));
    call.welcome({ recovered: true, cursor: at(11) }).says(event(CHANNEL, "n", 2, 12));
    await until("that has come, too", () => client.cursor === at(12));
    expect(heard).toEqual([]);
    done?.(undefined);
    await joined;
    await until("all were heard", () => heard.length === 2);
    expect(heard).toEqual([1, 2]);
  });

  it("denies the room where it cannot be loaded at the third time of asking", async () => {
    stopClock();
    const { client } = make();
    let asked = 0;
    const room = client.room(CHANNEL, { load: () => Promise.reject(new Error(`no, ${++asked}`)) });
    const joined = room.join().catch((error) => error);
    await pass(0);
    await pass(1_000);
    await pass(2_000);
    expect([await joined, asked, room.state]).toMatchObject([{ code: "unavailable", message: expect.stringContaining("no, 3") }, 3, "denied"]);
  });
});

it("leaves a room on the wire that was left while the connection was away", async () => {
  const { room, peer } = await inRoom();
  peer.cut();
  const call = await fake.next("websocket");
  expect(call.channels).toEqual([CHANNEL]);
  room.leave();
  const peer2 = call.welcome({ recovered: true });
  const command = await peer2.hears("leave");
  expect([command.channel, room.state]).toEqual([CHANNEL, "idle"]);
});
