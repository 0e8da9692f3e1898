/** The client with the real server: what its users are promised. */

import Ws from "ws";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";

import { Roomcast, RoomcastError, type TransportName } from "../src/index.js";
import { Line, Server, until } from "./server.js";

let server: Server;
const clients: Roomcast[] = [];
const lines: Line[] = [];

beforeAll(async () => {
  server = await Server.start({ ROOMCAST_PRESENCE_GRACE: "300ms", ROOMCAST_MESSAGES_PER_SECOND: "10000" }, RULES);
});
afterAll(() => server.stop());
afterEach(() => {
  for (const client of clients.splice(0)) client.disconnect();
  for (const line of lines.splice(0)) line.close();
});

/** Those with a token that names it publish in a note. */
const RULES = '[kinds.note]\njoin = "granted"\npublish = "members"\n';

/** A WebSocket that notes what is sent. */
function recording(sent: string[]): typeof WebSocket {
  return class extends Ws {
    override send(text: string): void {
      sent.push(text);
      super.send(text);
    }
  } as unknown as typeof WebSocket;
}

type Options = ConstructorParameters<typeof Roomcast>[0];
async function client(user: string, channels: string[], options: Options = {}): Promise<Roomcast> {
  const made = await server.client(user, channels, options);
  clients.push(made);
  return made;
}

async function line(): Promise<Line> {
  const made = await Line.to(server);
  lines.push(made);
  return made;
}

const names = (list: readonly { user: { name: string } }[]) => list.map(({ user }) => user.name).sort();

describe.each<TransportName>(["websocket", "sse", "polling"])("over %s", (transport) => {
  it("hears what is said, in order, through cuts, once", async () => {
    const [cable, channel] = [await line(), `order:cuts-${transport}`];
    const ada = await client("ada", [channel], { url: cable.url, transports: [transport] });
    const room = ada.room<{ n: number }>(channel);
    const heard: number[] = [];
    room.on("n", (n) => heard.push(n));
    await room.join();
    expect(ada.transport).toBe(transport);
    for (let n = 0; n < 60; n++) {
      await server.says([channel], "n", n);
      if (n % 15 === 7) cable.cut();
    }
    await until("all were heard", () => heard.length >= 60);
    expect(heard).toEqual([...Array(60).keys()]);
  });

  it("joins with the state that was loaded, and misses nothing after it", async () => {
    const channel = `order:load-${transport}`;
    const before = await server.says([channel], "n", 1);
    const ada = await client("ada", [channel], { transports: [transport] });
    const heard: number[] = [];
    const room = ada.room<{ n: number }>(channel, {
      load: async (reason) => {
        expect(reason).toBe("initial");
        for (const n of [2, 3]) await server.says([channel], "n", n);
        return before;
      },
    });
    room.on("n", (n) => heard.push(n));
    expect(await room.join()).toEqual({ wasRecovering: false, recovered: true });
    await server.says([channel], "n", 4);
    await until("the rest was heard", () => heard.length >= 3);
    expect(heard).toEqual([2, 3, 4]);
  });

  it("is told that a channel may not be joined, and the others do not suffer", async () => {
    const channel = `order:mine-${transport}`;
    const ada = await client("ada", [channel], { transports: [transport] });
    const [mine, other] = [ada.room<{ n: number }>(channel), ada.room("order:not-mine")];
    const heard: number[] = [];
    mine.on("n", (n) => heard.push(n));
    const refused = other.join().catch((error: RoomcastError) => error.code);
    await mine.join();
    expect(await refused).toBe("forbidden");
    expect([mine.state, other.state]).toEqual(["joined", "denied"]);
    await server.says([channel], "n", 1);
    await until("it was heard", () => heard.length === 1);
  });

  it("adds a room while it is connected, and loses nothing in the other", async () => {
    const channels = [`order:a-${transport}`, `order:b-${transport}`];
    const ada = await client("ada", channels, { transports: [transport] });
    const heard: [string, number][] = [];
    ada.on("event", (frame) => frame.event === "n" && heard.push([frame.channel, frame.data as number]));
    const [a, b] = channels.map((name) => ada.room<{ n: number }>(name)) as [ReturnType<typeof ada.room>, ReturnType<typeof ada.room>];
    await a.join();
    const saying = (async () => {
      for (let n = 0; n < 20; n++) await server.says([channels[0] as string], "n", n);
    })();
    await b.join();
    await saying;
    await server.says([channels[1] as string], "n", 99);
    await until("both were heard", () => heard.some(([, n]) => n === 99));
    expect(heard.filter(([name]) => name === channels[0]).map(([, n]) => n)).toEqual([...Array(20).keys()]);
  });

  it("goes on with a new token when its own has ended, and asks for none before", async () => {
    const [cable, channel] = [await line(), `order:token-${transport}`];
    const tokens = [await server.token("ada", [channel], 2), await server.token("ada", [channel])];
    const token = () => tokens.shift() ?? null;
    const ada = await client("ada", [channel], { url: cable.url, transports: [transport], token });
    const room = ada.room<{ n: number }>(channel);
    const heard: number[] = [];
    room.on("n", (n) => heard.push(n));
    await room.join();
    await until("the first token was used up", () => tokens.length === 0);
    await server.says([channel], "n", 1);
    await until("it was heard with the second one", () => heard.length === 1);
    cable.cut();
    await server.says([channel], "n", 2);
    await until("it came back with it", () => heard.length === 2);
    expect([ada.state, heard]).toEqual(["connected", [1, 2]]);
  });
});

it("goes from one transport to the next where the network lets none through, and loses nothing", async () => {
  const [cable, channel] = [await line(), "order:fallback"];
  const ada = await client("ada", [channel], { url: cable.url });
  const room = ada.room<{ n: number }>(channel);
  const heard: number[] = [];
  room.on("n", (n) => heard.push(n));
  await room.join();
  expect(ada.transport).toBe("websocket");
  await server.says([channel], "n", 1);
  await until("the first was heard", () => heard.length === 1);
  cable.upgrades = false;
  cable.cut();
  await server.says([channel], "n", 2);
  await until("it has fallen back", () => ada.transport === "sse");
  await server.says([channel], "n", 3);
  await until("all were heard", () => heard.length === 3);
  expect(heard).toEqual([1, 2, 3]);
});

it("comes back after the server was killed, with what was said at the end", async () => {
  const own = await Server.start();
  const ada = await own.client("ada", ["order:1"]);
  clients.push(ada);
  const room = ada.room<{ n: number }>("order:1");
  const heard: number[] = [];
  const states: string[] = [];
  room.on("n", (n) => heard.push(n));
  ada.on("state", ({ state }) => states.push(state));
  await room.join();
  await own.says(["order:1"], "n", 1);
  await own.end("SIGKILL");
  await until("it noticed", () => ada.state === "reconnecting");
  await own.begin();
  await own.says(["order:1"], "n", 2);
  await until("both were heard", () => heard.length === 2);
  expect(heard).toEqual([1, 2]);
  expect(states.filter((state) => state === "disconnected")).toEqual([]);
  ada.disconnect();
  await own.stop();
});

it("publishes with an answer, sends what waited once it is back, in order, and does not wait with what is volatile", async () => {
  const [cable, channel] = [await line(), "note:1"];
  const [ada, bob] = [await client("ada", [channel], { url: cable.url }), await client("bob", [channel])];
  const [own, other] = [ada.room<{ n: number }>(channel), bob.room<{ n: number }>(channel)];
  const heard: number[] = [];
  other.on("n", (n) => heard.push(n));
  own.on("n", (n) => heard.push(-n));
  await Promise.all([own.join(), other.join()]);
  expect(await own.publish("n", 1)).toMatch(/^[0-9a-f]{8}-\d+$/);
  expect(await own.publish("n", 2, { volatile: true })).toBeUndefined();
  cable.up = false;
  cable.cut();
  await until("it noticed", () => ada.state === "reconnecting");
  const waiting = [own.publish("n", 3), own.publish("n", 4)];
  await expect(own.publish("n", 5, { volatile: true })).rejects.toMatchObject({ code: "offline" });
  cable.up = true;
  await Promise.all(waiting);
  await until("bob has heard", () => heard.length >= 4);
  // Who says it does not hear it.
  expect(heard).toEqual([1, 2, 3, 4]);
  await expect(ada.room<{ hello: number }>("global").publish("hello", 1)).rejects.toBeInstanceOf(RoomcastError);
});

it("joins a room once however often it is asked for, and leaves it with the last", async () => {
  const channel = "order:often";
  const sent: string[] = [];
  const ada = await client("ada", [channel], { WebSocket: recording(sent) });
  const room = ada.room(channel);
  await Promise.all([room.join(), room.join()]);
  room.leave();
  expect(room.state).toBe("joined");
  room.leave();
  expect(room.state).toBe("idle");
  await until("it has left", () => sent.some((frame) => frame.includes('"leave"')));
  expect(sent.filter((frame) => frame.includes('"join"'))).toHaveLength(1);
});

it("knows who is there, through changes and reconnects", async () => {
  const channel = "presence:lobby";
  const cable = await line();
  const ada = await client("ada", [], { url: cable.url });
  const bob = await client("bob", []);
  const [seen, other] = [ada.room(channel, { meta: { color: "red" } }), bob.room(channel, { meta: { color: "blue" } })];
  await seen.join();
  expect(names(seen.members)).toEqual(["ada"]);
  await other.join();
  await until("bob is seen", () => seen.members.length === 2);
  await other.describe({ color: "green" });
  await until("his colour is seen", () => seen.members.some(({ meta }) => (meta as { color: string }).color === "green"));
  cable.cut();
  await until("it noticed", () => ada.state === "reconnecting");
  await until("ada is back", () => ada.state === "connected" && seen.state === "joined" && seen.members.length === 2);
  expect(other.members.find(({ user }) => user.name === "ada")?.meta).toEqual({ color: "red" });
  other.leave();
  await until("bob is gone", () => seen.members.length === 1);
});

it("notices a line that is dead without a word, and comes back", async () => {
  const own = await Server.start({ ROOMCAST_HEARTBEAT: "1s", ROOMCAST_PING_TIMEOUT: "1s" });
  const cable = await Line.to(own);
  lines.push(cable);
  const ada = await own.client("ada", ["order:1"], { url: cable.url });
  clients.push(ada);
  await ada.room("order:1").join();
  cable.freeze();
  await until("it noticed", () => ada.state !== "connected", 28_000);
  cable.thaw();
  cable.cut();
  await until("it is back", () => ada.state === "connected");
  ada.disconnect();
  await own.stop();
});
