/** How the client ends and comes back, with a server that does what a real one cannot easily be brought to. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import type { ClientOptions, TransportName } from "../src/index.js";
import { Fake, type Made, type Peer, at, clientOf, event } from "./fake.js";
import { until } from "./server.js";

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
  const one = clientOf(fake, options);
  made.push(one);
  return one;
}

/** The clock stands, and goes on with `pass`; what comes over the network comes all the same. */
function stopClock(): void {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
}
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

/** A client in one room, over that transport, and the server's end of it. */
async function connected(transport: TransportName, options: ClientOptions = {}, more = {}): Promise<Made & { peer: Peer; heard: unknown[] }> {
  const one = make({ transports: [transport], ...options });
  const heard: unknown[] = [];
  const room = one.client.room<{ n: number }>(CHANNEL);
  room.on("n", (n) => heard.push(n));
  const joined = room.join();
  const peer = (await fake.next(transport)).welcome(more);
  if (transport === "websocket") await peer.admits(CHANNEL);
  await joined;
  return { ...one, peer, heard };
}

describe.each<TransportName>(["websocket", "sse"])("over %s", (transport) => {
  it("comes back when the server says, with its cursor, and not before", async () => {
    stopClock();
    const { client, peer, attempts, states } = await connected(transport);
    peer.says(event(CHANNEL, "n", 1, 11), { type: "disconnect", code: "shutdown", message: "Soon.", reconnect: true, retry: 7_000 });
    peer.ends(1001, "shutdown");
    await until("it noticed", () => client.state === "reconnecting");
    expect(states.at(-1)).toMatchObject({ retryIn: 7_000, code: "shutdown", message: "Soon." });
    await pass(6_999);
    expect(attempts).toHaveLength(1);
    await pass(1);
    const call = await fake.next(transport);
    expect([call.cursor, call.channels]).toEqual([at(11), [CHANNEL]]);
    call.welcome({ cursor: at(11), recovered: true });
    await until("it is back", () => client.state === "connected");
  });

  it("does not come back when the server says so", async () => {
    stopClock();
    const { client, peer, attempts, states } = await connected(transport);
    peer.says({ type: "disconnect", code: "session-ended", message: "Log in again.", reconnect: false });
    // The code alone would let it come back.
    peer.ends(1001);
    await until("it has ended", () => client.state === "disconnected");
    expect(states.at(-1)).toMatchObject({ code: "session-ended", message: "Log in again." });
    await pass(3_600_000);
    expect(attempts).toHaveLength(1);
  });

  it("ignores frames of types that it does not know, and keys", async () => {
    const { client, peer, heard } = await connected(transport, {}, { mood: { good: true } });
    peer.says({ type: "weather", cursor: at(99), rain: true }, { type: "error", code: "unknown-type", message: "None of yours." });
    peer.says({ ...event(CHANNEL, "n", 1, 11), colour: "red" }, event("order:unknown", "n", 2, 12), event(CHANNEL, "other", 3, 13));
    peer.says({ type: "heartbeat", cursor: at(14), beats: 2 });
    await until("all has come", () => client.cursor === at(14));
    expect([heard, client.state]).toEqual([[1], "connected"]);
  });

  it("takes silence for a dead line, but not as long as there are heartbeats", async () => {
    stopClock();
    const { client, peer } = await connected(transport, {}, { heartbeat: 60 });
    for (let beat = 11; beat < 14; beat++) {
      await pass(79_000);
      peer.says({ type: "heartbeat", cursor: at(beat) });
      await until("it was heard", () => client.cursor === at(beat));
    }
    expect(client.state).toBe("connected");
    await pass(80_000);
    expect(client.state).toBe("reconnecting");
    await pass(5);
    const call = await fake.next(transport);
    expect(call.cursor).toBe(at(13));
  });

  it("gives a connection up that opens and says nothing, and takes another transport", async () => {
    stopClock();
    const next: TransportName = transport === "websocket" ? "sse" : "polling";
    const { client, answered, states } = make({ transports: [transport, next] });
    void client.room(CHANNEL).join();
    for (let attempt = 1; attempt <= 2; attempt++) {
      (await fake.next(transport)).accept();
      await until("it is open", () => answered.filter((name) => name === transport).length === attempt);
      await pass(45_000);
      (await fake.next("probe")).polled({ events: [], cursor: at(10) });
      await until("it will come back", () => states.filter(({ retryIn }) => retryIn !== undefined).length === attempt);
      await pass(5);
    }
    expect((await fake.next(next)).channels).toEqual([CHANNEL]);
  });

  it("comes back when the server lets it in and has no room for it yet", async () => {
    stopClock();
    const { client, states, attempts } = make({ transports: [transport] });
    void client.connect();
    const peer = (await fake.next(transport)).accept();
    peer.says({ type: "disconnect", code: "rate-limited", message: "Too many.", reconnect: true, retry: 5_000 }).ends();
    await until("it was told", () => states.at(-1)?.retryIn === 5_000);
    await pass(4_999);
    expect(attempts).toHaveLength(1);
    await pass(1);
    (await fake.next(transport)).welcome();
    await until("it is in", () => client.state === "connected");
  });
});

describe("a WebSocket that is closed without a word", () => {
  // 1005 stands for no code at all.
  it.each([1001, 1005, 1011, 1012, 1013, 1014, 3000, 4000, 4399, 4500, 4508, 4999])("with %i comes back", async (code) => {
    const { peer, states } = await connected("websocket");
    peer.ends(code === 1005 ? undefined : code);
    const call = await fake.next("websocket");
    expect([call.cursor, call.channels]).toEqual([at(10), [CHANNEL]]);
    expect(states.map(({ state }) => state)).toEqual(["connecting", "connected", "reconnecting"]);
  });

  it("with no close frame comes back", async () => {
    const { peer } = await connected("websocket");
    peer.cut();
    expect((await fake.next("websocket")).cursor).toBe(at(10));
  });

  // All from 4400 to 4499 are final, also those that nobody has thought of yet.
  it.each([1000, 1002, 1003, 1007, 1008, 1009, 4400, 4401, 4403, 4409, 4418])("with %i stays away until it is asked", async (code) => {
    stopClock();
    const { client, peer, attempts, states } = await connected("websocket");
    peer.ends(code, "for good");
    await until("it has ended", () => client.state === "disconnected");
    expect(states.at(-1)).toMatchObject({ state: "disconnected", previous: "connected", code: String(code) });
    await pass(3_600_000);
    expect(attempts).toHaveLength(1);
    const again = client.connect();
    const call = await fake.next("websocket");
    expect(call.cursor).toBe(at(10));
    call.welcome({ recovered: true });
    await again;
  });

  it("with 4401 asks for a token once more", async () => {
    const asked: string[] = [];
    const token = (reason: string) => `token-${asked.push(reason)}`;
    const { client, peer } = await connected("websocket", { token });
    peer.ends(4401, "token-ended");
    const call = await fake.next("websocket");
    expect([call.token, asked]).toEqual(["token-2", ["connect", "ended"]]);
    call.welcome({ recovered: true });
    await until("it is back", () => client.state === "connected");
  });
});

describe.each<TransportName>(["websocket", "sse", "polling"])("at the door of %s", (transport) => {
  /** Refuses the next attempt, and the question after it that a WebSocket needs. */
  async function refuse(status: number, headers: Record<string, string> = {}): Promise<string | undefined> {
    const call = await fake.next(transport);
    call.refuse(status, headers);
    if (transport === "websocket") (await fake.next("probe")).refuse(status, headers);
    return call.token;
  }
  async function letIn(): Promise<string | undefined> {
    const call = await fake.next(transport);
    if (transport === "polling") call.polled({ events: [], cursor: at(10) });
    else call.welcome();
    return call.token;
  }

  it("asks for a token once more where its own is refused, and comes in with that", async () => {
    const asked: string[] = [];
    const { client } = make({ transports: [transport], token: (reason) => `token-${asked.push(reason)}` });
    const connecting = client.connect();
    expect(await refuse(401)).toBe("token-1");
    expect(await letIn()).toBe("token-2");
    await connecting;
    expect(asked).toEqual(["connect", "ended"]);
  });

  it("ends with unauthorized where the second token is refused, too", async () => {
    stopClock();
    const asked: string[] = [];
    const { client, states, attempts } = make({ transports: [transport], token: (reason) => `token-${asked.push(reason)}` });
    const connecting = client.connect();
    expect([await refuse(401), await refuse(401)]).toEqual(["token-1", "token-2"]);
    await expect(connecting).rejects.toMatchObject({ code: "unauthorized", retryable: false });
    expect(states.at(-1)).toMatchObject({ state: "disconnected", code: "unauthorized" });
    const count = attempts.length;
    await pass(3_600_000);
    expect([attempts.length, asked.length]).toEqual([count, 2]);
  });

  it("ends with unauthorized at once where there is no token to ask for", async () => {
    const { client } = make({ transports: [transport] });
    const connecting = client.connect();
    await refuse(401);
    await expect(connecting).rejects.toMatchObject({ code: "unauthorized" });
  });

  it("leaves nobody waiting for a room when the login is gone, and has the room back with the next connection", async () => {
    const { client } = make({ transports: [transport] });
    const room = client.room(CHANNEL);
    const joining = room.join();
    await refuse(401);
    await expect(joining).rejects.toMatchObject({ code: "unauthorized", retryable: false });
    expect(client.state).toBe("disconnected");
    const again = client.connect();
    const call = await fake.next(transport);
    if (transport === "polling") call.polled({ events: [], cursor: at(10) });
    else if (transport === "sse") call.welcome();
    else await call.welcome().admits(CHANNEL);
    await again;
    await until("the room is there", () => room.state === "joined");
  });

  it.each([503, 429])("comes back as late as a %i says", async (status) => {
    stopClock();
    const { client, states, attempts } = make({ transports: [transport] });
    const connecting = client.connect();
    await refuse(status, { "retry-after": "4" });
    await until("it was told", () => states.at(-1)?.retryIn === 4_000);
    const count = attempts.length;
    await pass(3_999);
    expect(attempts).toHaveLength(count);
    await pass(1);
    await letIn();
    await connecting;
  });
});

describe("polling", () => {
  it("comes back as late as the server says when it shuts down, and with its cursor", async () => {
    stopClock();
    const { client, states, attempts } = make({ transports: ["polling"] });
    const connecting = client.connect();
    (await fake.next("polling")).polled({ events: [], cursor: at(10), more: "of this" });
    await connecting;
    (await fake.next("polling")).refuse(503, { "retry-after": "3" });
    await until("it was told", () => states.at(-1)?.retryIn === 3_000);
    await pass(2_999);
    expect(attempts).toHaveLength(2);
    await pass(1);
    expect((await fake.next("polling")).cursor).toBe(at(10));
  });

  it("takes silence for a dead line", async () => {
    stopClock();
    const { client } = make({ transports: ["polling"] });
    const connecting = client.connect();
    (await fake.next("polling")).polled({ events: [], cursor: at(10) });
    await connecting;
    await fake.next("polling");
    await pass(44_999);
    expect(client.state).toBe("connected");
    await pass(1);
    expect(client.state).toBe("reconnecting");
    await pass(5);
    expect((await fake.next("polling")).cursor).toBe(at(10));
  });
});

describe("the pauses", () => {
  /** An attempt that the network swallows, and how long it is until the next. */
  async function fails({ states }: Made): Promise<number> {
    const count = states.length;
    (await fake.next("websocket")).cut();
    (await fake.next("probe")).cut();
    await until("it will come back", () => states.length > count);
    return states.at(-1)?.retryIn as number;
  }

  it.each([
    [1, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]],
    [0.25, [250, 500, 1_000, 2_000, 4_000, 7_500, 7_500]],
  ])("grow to 30 s, at random below: with %d", async (random, expected) => {
    stopClock();
    vi.spyOn(Math, "random").mockReturnValue(random);
    const one = make({ backoff: {} });
    void one.client.connect();
    for (const [attempt, ms] of expected.entries()) {
      expect(await fails(one)).toBe(ms);
      await pass(ms - 1);
      expect(one.attempts.filter((name) => name === "websocket")).toHaveLength(attempt + 1);
      await pass(1);
    }
    expect(one.states.every(({ state }) => state === "connecting")).toBe(true);
  });

  it("go on growing where a connection breaks at once, and begin anew after one that was good", async () => {
    stopClock();
    vi.spyOn(Math, "random").mockReturnValue(1);
    const one = make({ backoff: {} });
    void one.client.connect();
    const breaks = async (lived: number): Promise<number | undefined> => {
      const peer = (await fake.next("websocket")).welcome();
      await until("it is in", () => one.client.state === "connected");
      await pass(lived);
      peer.cut();
      await until("it noticed", () => one.client.state === "reconnecting");
      const { retryIn } = one.states.at(-1) as { retryIn?: number };
      await pass(retryIn as number);
      return retryIn;
    };
    expect([await breaks(100), await breaks(100), await breaks(6_000), await breaks(100)]).toEqual([1_000, 2_000, 1_000, 2_000]);
  });

  it("are told as lost when they last, and as restored", async () => {
    stopClock();
    const { client, peer } = await connected("websocket", { backoff: { min: 6_000, max: 6_000 } });
    vi.spyOn(Math, "random").mockReturnValue(1);
    const told: string[] = [];
    client.on("lost", () => told.push("lost"));
    client.on("restored", () => told.push("restored"));
    peer.cut();
    await until("it noticed", () => client.state === "reconnecting");
    await pass(4_999);
    expect(told).toEqual([]);
    await pass(1);
    expect(told).toEqual(["lost"]);
    await pass(1_000);
    (await fake.next("websocket")).welcome({ recovered: true });
    await until("it is back", () => told.length === 2);
    expect(told).toEqual(["lost", "restored"]);
  });
});

it("goes on with a token that it is given ahead of the end, on the same connection", async () => {
  const asked: string[] = [];
  const { client, peer } = await connected("websocket", { token: (reason) => `token-${asked.push(reason)}` });
  peer.says(event("user:ada", "token-expiring", { expiresAt: "2026-11-21T05:21:11.000Z", inMs: 60_000 }));
  const command = await peer.hears("token");
  expect(command["token"]).toBe("token-2");
  peer.acks(command, { expiresAt: "2026-11-21T06:20:11.000Z" }).cut();
  await until("it noticed", () => client.state === "reconnecting");
  expect([(await fake.next("websocket")).token, asked]).toEqual(["token-2", ["connect", "ended"]]);
});
