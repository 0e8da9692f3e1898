/** Clients that know nothing of us, with the real server: an EventSource, and a WebSocket, as they come from npm. */

import { EventSource } from "eventsource";
import Ws from "ws";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";

import { Line, Server, until } from "./server.js";

type Json = Record<string, unknown>;
const CHANNEL = "order:1";
/** A cursor of another log. */
const ELSEWHERE = "00000000-1";

let server: Server;
let user: string;
let token: string;
let count = 0;
const ends: (() => void)[] = [];

beforeAll(async () => {
  server = await Server.start({ ROOMCAST_HEARTBEAT: "1s", ROOMCAST_MAX_CONNECTIONS_PER_USER: "5", RUST_LOG: "error" });
});
beforeEach(async () => {
  // Another one each time: what the last test has left open does not count.
  user = `ada-${++count}`;
  token = await server.token(user, [CHANNEL, "order:2"]);
});
afterAll(() => server.stop());
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

async function line(): Promise<Line> {
  const made = await Line.to(server);
  ends.push(() => made.close());
  return made;
}

describe("an EventSource", () => {
  /** What is told to those who listen for each of these events, and to nobody in particular. */
  function open(path: string, events: string[] = ["welcome", "n"], { base = server.url, header = false, shown = token } = {}) {
    const url = new URL(path, base);
    if (!header) url.searchParams.set("token", shown);
    const asked: (string | undefined)[] = [];
    const source = new EventSource(url, {
      fetch: (input, init) => {
        asked.push((init.headers as Record<string, string>)["Last-Event-ID"]);
        const headers = header ? { ...init.headers, authorization: `Bearer ${shown}` } : init.headers;
        return fetch(input, { ...init, headers });
      },
    });
    ends.push(() => source.close());
    const heard: { name: string; id: string; data: string }[] = [];
    for (const name of [...events, "message"]) {
      source.addEventListener(name, (event: MessageEvent) => heard.push({ name, id: event.lastEventId, data: event.data }));
    }
    const failed: { code: number | undefined; closed: boolean }[] = [];
    source.onerror = ({ code }) => failed.push({ code, closed: source.readyState === EventSource.CLOSED });
    return { source, heard, failed, asked, of: (name: string) => heard.filter((one) => one.name === name) };
  }

  it.each([false, true])("is welcomed with a token, in a header: %s, and hears events with their ids", async (header) => {
    const { heard, of } = open(`/sse/events/${CHANNEL}?channel=order:2`, undefined, { header });
    await until("it is welcomed", () => heard.length === 1);
    const welcome = JSON.parse(heard[0]?.data as string) as Json;
    expect(welcome).toMatchObject({ type: "welcome", user: { id: user, name: user }, cursor: heard[0]?.id });
    expect(welcome["channels"]).toEqual(expect.arrayContaining([CHANNEL, "order:2", "global", `user:${user}`]));
    const cursor = await server.says(["order:2"], "n", { text: "Hello." });
    await until("it was heard", () => of("n").length === 1);
    const [said] = of("n");
    expect(said?.id).toBe(cursor);
    expect(JSON.parse(said?.data as string)).toMatchObject({ type: "event", channel: "order:2", event: "n", data: { text: "Hello." }, cursor });
  });

  it("keeps its place with what is volatile, and comes back from there after a cut, with nothing lost and nothing twice", async () => {
    const cable = await line();
    const { of, asked, source } = open(`/sse/events/${CHANNEL}`, undefined, { base: cable.url });
    await until("it is welcomed", () => of("welcome").length === 1);
    const first = await server.says([CHANNEL], "n", 1);
    await server.says([CHANNEL], "n", 2, { volatile: true });
    await until("both were heard", () => of("n").length === 2);
    cable.cut();
    await until("it noticed", () => source.readyState === EventSource.CONNECTING);
    const second = await server.says([CHANNEL], "n", 3);
    // It waits for as long as the server's `retry` has said.
    await until("it is back", () => of("n").length === 3);
    expect([asked, of("n").at(-1)?.id]).toEqual([[undefined, first], second]);
    expect(JSON.parse(of("welcome").at(-1)?.data as string)).toMatchObject({ recovered: true, cursor: first });
    expect(of("n").map(({ data }) => (JSON.parse(data) as Json)["data"])).toEqual([1, 2, 3]);
  });

  it("hears heartbeats as events, whose ids move it on", async () => {
    const { of } = open(`/sse/events/${CHANNEL}`, ["welcome", "heartbeat"]);
    await until("it is welcomed", () => of("welcome").length === 1);
    // In a channel that it is not in: the log goes on without it.
    const cursor = await server.says(["order:2"], "n", 1);
    await until("a heartbeat was heard", () => of("heartbeat").some(({ id }) => id === cursor));
    expect(JSON.parse(of("heartbeat").at(-1)?.data as string)).toMatchObject({ type: "heartbeat", cursor });
  });

  it("gets data alone with format=data: JSON as it is, and text line by line", async () => {
    const { heard, of } = open(`/sse/events/${CHANNEL}?format=data`, ["welcome", "n", "heartbeat"]);
    await until("it is welcomed", () => of("welcome").length === 1);
    const said = [{ text: "a\nb", n: 1.5 }, "one line\nand another\n\nand: a last one", "", "with\r\nother\rends", null];
    for (const data of said) await server.says([CHANNEL], "n", data);
    await until("all were heard", () => of("n").length === said.length);
    // Line ends of any kind are line feeds to an EventSource.
    const expected = ['{"text":"a\\nb","n":1.5}', said[1], "", "with\nother\nends", "null"];
    expect(of("n").map(({ data }) => data)).toEqual(expected);
    // What is no event is as ever.
    expect(JSON.parse(of("welcome")[0]?.data as string)).toMatchObject({ type: "welcome" });
    expect(heard.filter(({ name }) => name === "message")).toEqual([]);
  });

  it("is told that a past is gone", async () => {
    const { of } = open(`/sse/events/${CHANNEL}?lastEventId=${ELSEWHERE}`);
    await until("it is welcomed", () => of("welcome").length === 1);
    expect(JSON.parse(of("welcome")[0]?.data as string)).toMatchObject({ recovered: false });
  });

  it.each([
    [401, "/sse/events", "bad"],
    [403, "/sse/events/order:99", undefined],
    [400, "/sse/events/No!", undefined],
    [400, `/sse/events/${CHANNEL}?cursor=yesterday`, undefined],
  ])("is refused for good with %i: %s", async (status, path, shown = token) => {
    const { failed, heard } = open(path, undefined, { shown });
    await until("it was refused", () => failed.length === 1);
    expect([failed, heard]).toEqual([[{ code: status, closed: true }], []]);
  });

  it("is refused for a while with an event, and comes back by itself", async () => {
    const others = Array.from({ length: 5 }, () => open(`/sse/events/${CHANNEL}`));
    await until("they are in", () => others.every(({ of }) => of("welcome").length === 1));
    const { of, failed, source } = open(`/sse/events/${CHANNEL}`, ["welcome", "disconnect"]);
    await until("it was told", () => of("disconnect").length === 1);
    expect(JSON.parse(of("disconnect")[0]?.data as string)).toMatchObject({ code: "rate-limited", reconnect: true });
    await until("it was ended", () => failed.length === 1);
    expect([failed, source.readyState]).toEqual([[{ code: undefined, closed: false }], EventSource.CONNECTING]);
    for (const other of others) other.source.close();
    await until("it is in", () => of("welcome").length === 1);
  });

  it("is told when its token has ended, and refused when it comes back with it", async () => {
    const shown = await server.token(user, [CHANNEL], 2);
    const { of, failed } = open(`/sse/events/${CHANNEL}`, ["welcome", "token-expiring", "disconnect"], { shown });
    await until("it was told", () => of("disconnect").length === 1);
    expect(JSON.parse(of("disconnect")[0]?.data as string)).toMatchObject({ code: "token-ended", reconnect: false });
    expect([of("welcome").length, of("token-expiring").length]).toEqual([1, 1]);
    await until("it was refused", () => failed.some(({ closed }) => closed));
    expect(failed).toEqual([{ code: undefined, closed: false }, { code: 401, closed: true }]);
  });
});

describe("a WebSocket", () => {
  function open(query: string, { base = server.url, header = false } = {}) {
    const url = `${base.replace("http", "ws")}/ws?${query}${header ? "" : `&token=${token}`}`;
    const socket = new Ws(url, header ? { headers: { authorization: `Bearer ${token}` } } : {});
    ends.push(() => socket.terminate());
    const frames: Json[] = [];
    const closed: [number, string][] = [];
    socket.on("message", (bytes: Buffer) => frames.push(JSON.parse(bytes.toString()) as Json));
    socket.on("close", (code, reason) => closed.push([code, reason.toString()]));
    socket.on("error", () => {});
    return {
      socket,
      frames,
      closed,
      says: (frame: Json) => socket.send(JSON.stringify(frame)),
      /** The first frame like that. */
      get: async (what: Json): Promise<Json> => {
        const like = () => frames.find((frame) => Object.entries(what).every(([key, value]) => frame[key] === value));
        await until(JSON.stringify(what), () => like() !== undefined);
        return like() as Json;
      },
    };
  }

  /** The answer to a handshake that is no WebSocket. */
  async function refusal(query: string, shown = token, headers = {}): Promise<{ status: number | undefined; retry: unknown; problem: Json }> {
    const socket = new Ws(`${server.url.replace("http", "ws")}/ws?${query}&token=${shown}`, { headers });
    socket.on("error", () => {});
    return await new Promise((done) => {
      socket.on("unexpected-response", async (_, response) => {
        const text = (await response.setEncoding("utf8").toArray()).join("");
        done({ status: response.statusCode, retry: response.headers["retry-after"], problem: JSON.parse(text) as Json });
      });
    });
  }

  it.each([false, true])("is welcomed with a token, in a header: %s, and hears what is said", async (header) => {
    const { get, frames } = open(`channel=${CHANNEL}`, { header });
    const welcome = await get({ type: "welcome" });
    expect([frames[0], welcome["user"]]).toMatchObject([welcome, { id: user, name: user, admin: false }]);
    const cursor = await server.says([CHANNEL], "n", { text: "Hello." });
    expect(await get({ event: "n" })).toMatchObject({ type: "event", channel: CHANNEL, data: { text: "Hello." }, cursor });
  });

  it("comes back with its cursor after a cut, with nothing lost and nothing twice", async () => {
    const cable = await line();
    const first = open(`channel=${CHANNEL}`, { base: cable.url });
    await first.get({ type: "welcome" });
    const cursor = await server.says([CHANNEL], "n", 1);
    await first.get({ cursor, type: "event" });
    cable.cut();
    await until("it noticed", () => first.closed.length === 1);
    expect(first.closed).toEqual([[1006, ""]]);
    const missed = [await server.says([CHANNEL], "n", 2), await server.says([CHANNEL], "n", 3)];
    const second = open(`channel=${CHANNEL}&cursor=${cursor}`, { base: cable.url });
    expect(await second.get({ type: "welcome" })).toMatchObject({ recovered: true, cursor });
    await server.says([CHANNEL], "n", 4);
    await second.get({ event: "n", data: 4 });
    const events = second.frames.filter(({ type }) => type === "event");
    expect(events.map(({ data }) => data)).toEqual([2, 3, 4]);
    expect(events.slice(0, 2).map((frame) => frame["cursor"])).toEqual(missed);
    expect(await open(`channel=${CHANNEL}&cursor=${ELSEWHERE}`).get({ type: "welcome" })).toMatchObject({ recovered: false });
  });

  it("hears heartbeats as frames, and lives by the pongs of its library", async () => {
    const { get, socket, frames, closed } = open(`channel=${CHANNEL}`);
    let pings = 0;
    socket.on("ping", () => (pings += 1));
    expect(await get({ type: "welcome" })).toMatchObject({ heartbeat: 1 });
    await until("the server has asked twice whether it lives", () => pings >= 2);
    const { type, cursor } = await get({ type: "heartbeat" });
    expect([type, cursor]).toEqual(["heartbeat", frames[0]?.["cursor"]]);
    expect(closed).toEqual([]);
  });

  it("joins, asks and leaves by commands, each answered once, and what is wrong with a code", async () => {
    const { get, says } = open("");
    await get({ type: "welcome" });
    says({ type: "join", id: "a-1", channel: CHANNEL });
    const { cursor } = await get({ type: "ack", id: "a-1" });
    await server.says([CHANNEL], "n", 1);
    expect(await get({ event: "n" })).toMatchObject({ channel: CHANNEL });
    says({ type: "join", id: 2, channel: "order:99" });
    says({ type: "publish", id: 3, channel: CHANNEL, event: "n", data: 1 });
    says({ type: "dance", id: 4 });
    says({ type: "join", id: 5, channel: CHANNEL, cursor: cursor as string });
    says({ type: "leave", id: 6, channel: CHANNEL });
    says({ type: "ping", id: 7 });
    await get({ id: 7 });
    const answers = await Promise.all([2, 3, 4, 5, 6].map((id) => get({ id })));
    expect(answers).toMatchObject([
      { type: "error", code: "forbidden" },
      { type: "error", code: "forbidden" },
      { type: "error", code: "unknown-type" },
      { type: "ack", channel: CHANNEL, recovered: true, events: [{ event: "n", data: 1 }] },
      { type: "ack", channel: CHANNEL },
    ]);
  });

  it.each([
    [400, "invalid-channel", "channel=No!"],
    [400, "invalid-cursor", `channel=${CHANNEL}&cursor=yesterday`],
    [403, "forbidden", `channel=${CHANNEL}&channel=order:99`],
  ])("is refused with %i and a problem: %s", async (status, _, query) => {
    const { problem, ...rest } = await refusal(query);
    expect([rest.status, problem]).toMatchObject([status, { status, code: expect.any(String), detail: expect.any(String) }]);
  });

  it("is refused with 401 where the token is bad, and where there is none", async () => {
    expect(await refusal("", "bad")).toMatchObject({ status: 401, problem: { status: 401, code: "unauthorized" } });
    expect(await refusal("", "")).toMatchObject({ status: 401 });
  });

  it("is refused with 403 from the page of somebody else", async () => {
    expect(await refusal("", token, { origin: "https://example.org" })).toMatchObject({ status: 403, problem: { code: "forbidden" } });
  });

  it("is refused with 429 where there are too many, and told when to come back", async () => {
    const others = Array.from({ length: 5 }, () => open(""));
    await Promise.all(others.map(({ get }) => get({ type: "welcome" })));
    const { status, retry, problem } = await refusal("");
    expect([status, problem["code"]]).toEqual([429, "rate-limited"]);
    expect(Number(retry)).toBeGreaterThan(0);
  });

  it.each([
    [1003, "unsupported-data", (socket: Ws) => socket.send(Buffer.from([1, 2, 3]))],
    [1009, "too-large", (socket: Ws) => socket.send("x".repeat(70_000))],
  ])("is ended with %i, %s, and the word of it first", async (code, word, wrong) => {
    const { get, socket, closed, frames } = open("");
    await get({ type: "welcome" });
    wrong(socket);
    await until("it was ended", () => closed.length === 1);
    expect([closed, frames.at(-1)]).toMatchObject([[[code, word]], { type: "disconnect", code: word, reconnect: false }]);
  });

  it("is ended with 4409 where a newer one has its id, and with 4401 where its token ends", async () => {
    const id = "0190a6d2-7e2a-7cc0-b1f5-3c1f0a9d4e11";
    const old = open(`socket=${id}`);
    await old.get({ type: "welcome", socket: id });
    const newer = open(`socket=${id}`);
    await newer.get({ type: "welcome", socket: id });
    await until("the old one was ended", () => old.closed.length === 1);
    const short = await server.token(user, [], 1);
    const ended = open("");
    await ended.get({ type: "welcome" });
    ended.says({ type: "token", id: 1, token: short });
    await until("the other was ended", () => ended.closed.length === 1);
    expect([old.closed, ended.closed]).toEqual([[[4409, "replaced"]], [[4401, "token-ended"]]]);
    expect([old.frames.at(-1), ended.frames.at(-1)]).toMatchObject([
      { type: "disconnect", code: "replaced", reconnect: false },
      { type: "disconnect", code: "token-ended", reconnect: false },
    ]);
  });

  it("is ended with 1001 when the server shuts down, told when to come back, and goes on then", async () => {
    const own = await Server.start();
    // The same secret made it.
    const { get, closed, frames } = open(`channel=${CHANNEL}`, { base: own.url });
    await get({ type: "welcome" });
    await own.end("SIGTERM");
    await until("it was ended", () => closed.length === 1);
    expect([closed, frames.at(-1)]).toMatchObject([[[1001, "shutdown"]], { type: "disconnect", code: "shutdown", reconnect: true, retry: expect.any(Number) }]);
    const cursor = frames[0]?.["cursor"];
    await own.begin();
    const said = await own.says([CHANNEL], "n", 1);
    const second = open(`channel=${CHANNEL}&cursor=${cursor}`, { base: own.url });
    expect(await second.get({ type: "welcome" })).toMatchObject({ recovered: true, cursor });
    expect(await second.get({ event: "n" })).toMatchObject({ cursor: said, data: 1 });
    await own.stop();
  });
});
