/** How the client finds a transport that the network lets through, with a server that says which one that is. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { type ClientOptions, RoomcastError } from "../src/index.js";
import { type Call, Fake, type Made, at, clientOf, event } from "./fake.js";
import { until } from "./server.js";

const CHANNEL = "order:1";
let fake: Fake;
const made: Made[] = [];

beforeEach(async () => {
  fake = await Fake.start();
});
afterEach(async () => {
  vi.useRealTimers();
  for (const { client } of made.splice(0)) client.disconnect();
  await fake.stop();
});

/** A client in one room, and what it hears there. */
function make(options: ClientOptions = {}): Made & { heard: unknown[]; joined: Promise<unknown> } {
  const one = clientOf(fake, options);
  made.push(one);
  const room = one.client.room<{ n: number }>(CHANNEL);
  const heard: unknown[] = [];
  room.on("n", (n) => heard.push(n));
  return { ...one, heard, joined: room.join() };
}

const good = (call: Call) => call.polled({ events: [], cursor: at(99) });

/** How a network keeps a stream out. */
const BLOCKED: [string, (call: Call) => void][] = [
  ["502", (call) => call.refuse(502)],
  ["404", (call) => call.refuse(404)],
  ["403", (call) => call.refuse(403)],
  ["a page of its own", (call) => call.refuse(200, { "content-type": "text/html" }, "<h1>No</h1>")],
  ["a cut", (call) => call.cut()],
];

it.each(BLOCKED)("falls from one transport to the next, with one cursor through all: streams end with %s", async (_, block) => {
  const { client, heard, joined } = make();
  const first = (await fake.next("websocket")).welcome();
  await first.admits(CHANNEL);
  await joined;
  first.says(event(CHANNEL, "n", 1, 11)).cut();
  // Twice, as once may be chance.
  for (let attempt = 0; attempt < 2; attempt++) {
    const call = await fake.next("websocket");
    expect(call.cursor).toBe(at(11));
    call.refuse(502);
    good(await fake.next("probe"));
  }
  const call = await fake.next("sse");
  expect([call.cursor, call.channels]).toEqual([at(11), [CHANNEL]]);
  const second = call.welcome({ cursor: at(11), recovered: true });
  second.says(event(CHANNEL, "n", 2, 12));
  await until("it was heard", () => heard.length === 2);
  expect(client.transport).toBe("sse");
  // A refusal may be asked about more than once.
  let streams = 0;
  const polls: Call[] = [];
  fake.answers = (asked) => {
    if (asked.kind === "probe") good(asked);
    else if (asked.kind === "polling") polls.push(asked);
    else {
      streams += 1;
      block(asked);
    }
  };
  second.cut();
  await until("it polls", () => polls.length === 1);
  const [poll] = polls as [Call];
  expect([poll.cursor, poll.channels, streams]).toEqual([at(12), [CHANNEL], 2]);
  poll.polled({ events: [event(CHANNEL, "n", 3, 13)], cursor: at(14), recovered: true });
  await until("it polls on", () => polls.length === 2);
  expect([polls[1]?.cursor, client.cursor, client.transport, heard]).toEqual([at(14), at(14), "polling", [1, 2, 3]]);
});

it("stays where it is when the server is not there at all, on whichever transport", async () => {
  const { attempts } = make();
  for (let attempt = 0; attempt < 5; attempt++) {
    (await fake.next("websocket")).cut();
    (await fake.next("probe")).cut();
  }
  await fake.next("websocket");
  expect(attempts).not.toContain("sse");
});

it("stays where it is when the server has said goodbye, however often", async () => {
  const { client } = make({ transports: ["sse", "polling"] });
  for (let attempt = 0; attempt < 4; attempt++) {
    const peer = (await fake.next("sse")).accept();
    peer.says({ type: "disconnect", code: "rate-limited", message: "Too many.", reconnect: true, retry: 1 }).ends();
  }
  (await fake.next("sse")).welcome();
  await until("it is in", () => client.state === "connected");
});

it("ends where the server lets nobody in from this page, and says so", async () => {
  const { client, states } = make({ transports: ["sse"] });
  const connecting = client.connect();
  fake.answers = (call) => call.refuse(403);
  await expect(connecting).rejects.toBeInstanceOf(RoomcastError);
  expect([client.state, client.room(CHANNEL).state]).toEqual(["disconnected", "denied"]);
  expect(states.at(-1)).toMatchObject({ code: "forbidden" });
});

describe("a better transport", () => {
  /** A client that has fallen to streams, and whose minute is over: it tries a WebSocket again. */
  async function climbing() {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
    const one = make();
    for (let attempt = 0; attempt < 2; attempt++) {
      (await fake.next("websocket")).refuse(502);
      good(await fake.next("probe"));
      await until("it will come back", () => one.states.filter(({ retryIn }) => retryIn !== undefined).length > attempt);
      await vi.advanceTimersByTimeAsync(5);
    }
    const stream = (await fake.next("sse")).welcome({ heartbeat: 60 });
    await one.joined;
    await vi.advanceTimersByTimeAsync(59_999);
    expect(fake.unasked).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    return { ...one, stream, call: await fake.next("websocket") };
  }

  it("is tried after a minute, and taken with the cursor of the other", async () => {
    const { client, call, heard } = await climbing();
    expect([call.cursor, call.channels]).toEqual([at(10), [CHANNEL]]);
    call.welcome({ recovered: true }).says(event(CHANNEL, "n", 1, 11));
    await until("it was heard", () => heard.length === 1);
    expect(client.transport).toBe("websocket");
  });

  it("is given up at the first refusal, and nothing is lost", async () => {
    const { client, call, heard, states } = await climbing();
    const before = states.length;
    call.refuse(502);
    good(await fake.next("probe"));
    await until("it will come back", () => states.length > before);
    await vi.advanceTimersByTimeAsync(5);
    const back = await fake.next("sse");
    expect(back.cursor).toBe(at(10));
    back.welcome({ recovered: true }).says(event(CHANNEL, "n", 1, 11));
    await until("it was heard", () => heard.length === 1);
    expect(client.transport).toBe("sse");
  });

  it("keeps what is joined and published while it is tried, until it is there", async () => {
    const { client, call } = await climbing();
    const other = client.room<{ n: number }>("order:2");
    const joined = other.join();
    const published = [client.room<{ n: number }>(CHANNEL).publish("n", 1), other.publish("n", 2)];
    expect(other.state).toBe("joining");
    const peer = call.welcome({ recovered: true });
    peer.answering((command) => peer.acks(command, { cursor: at(11), ...(command.channel ? { channel: command.channel } : {}) }));
    await Promise.all([joined, ...published]);
    expect(peer.commands.map(({ type, channel }) => [type, channel])).toEqual(
      expect.arrayContaining([["publish", CHANNEL], ["join", "order:2"], ["publish", "order:2"]]),
    );
    expect(peer.commands).toHaveLength(3);
  });
});
