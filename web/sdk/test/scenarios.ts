/** What holds with any server that keeps to the protocol: run with the real one, and with one as small as can be. */

import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";

import { type ClientOptions, type Room, type Roomcast, type TransportName } from "../src/index.js";
import { Line, type Server, until } from "./server.js";

/** What a scenario needs of a server. Members publish in a `note:`. */
export type Host = Pick<Server, "address" | "says" | "token" | "client" | "stop">;

interface Said {
  n: number;
}
const TRANSPORTS: TransportName[] = ["websocket", "sse", "polling"];
/** A cursor of another log. */
const ELSEWHERE = "00000000-1";

export function scenarios(start: () => Promise<Host>): void {
  let host: Host;
  const [clients, lines]: [Roomcast[], Line[]] = [[], []];
  let count = 0;

  beforeAll(async () => {
    host = await start();
  });
  afterAll(() => host.stop());
  afterEach(() => {
    for (const client of clients.splice(0)) client.disconnect();
    for (const line of lines.splice(0)) line.close();
  });

  /** Names that no other scenario has. */
  const names = (kind: string, many: number) => Array.from({ length: many }, () => `${kind}:${++count}`) as [string, string, string];

  /** A client behind a line of its own, and all the numbers that it hears. */
  async function ada(channels: string[], options: ClientOptions = {}) {
    const line = await Line.to(host);
    lines.push(line);
    const client = await host.client("ada", channels, { url: line.url, ...options });
    clients.push(client);
    const heard: number[] = [];
    client.on("event", (frame) => frame.event === "n" && heard.push(frame.data as number));
    return { client, line, heard };
  }

  describe.each(TRANSPORTS)("over %s", (transport) => {
    it("hears once what comes twice, because another room has to go back further", async () => {
      const [a, b] = names("order", 2);
      const { client, heard } = await ada([a, b], { transports: [transport] });
      await client.room(a).join();
      const before = await host.says([b], "n", 1);
      for (const n of [2, 3]) await host.says([a], "n", n);
      await host.says([b], "n", 4);
      await until("the first room has heard", () => heard.length >= 2);
      const again: number[] = [];
      for (const name of [a, b]) client.room<Said>(name).on("n", (n) => again.push(n));
      await client.room(b, { load: async () => before }).join();
      await host.says([a], "n", 5);
      await host.says([b], "n", 6);
      await until("all were heard", () => heard.includes(5) && heard.includes(6));
      expect(heard).toEqual([2, 3, 4, 5, 6]);
      expect(again).toEqual([4, 5, 6]);
    });

    it("loads anew what cannot be had, and hears what is said meanwhile after that", async () => {
      const [a] = names("order", 1);
      const { client, heard } = await ada([a], { transports: [transport] });
      const reasons: string[] = [];
      const room = client.room<Said>(a, {
        load: async (reason) => {
          reasons.push(reason);
          if (reason === "initial") return ELSEWHERE;
          const cursor = await host.says([a], "n", 1);
          await host.says([a], "n", 2);
          expect([heard, room.state]).toEqual([[], "joining"]);
          return cursor;
        },
      });
      expect(await room.join()).toEqual({ wasRecovering: false, recovered: false });
      await until("the rest was heard", () => heard.length > 0);
      expect([reasons, heard, room.state]).toEqual([["initial", "gap"], [2], "joined"]);
    });

    it("hears nothing more of a room that was left while it was away", async () => {
      const [a, b] = names("order", 2);
      const { client, line, heard } = await ada([a, b], { transports: [transport] });
      await Promise.all([client.room(a).join(), client.room(b).join()]);
      line.up = false;
      line.cut();
      await until("it noticed", () => client.state === "reconnecting");
      client.room(a).leave();
      await host.says([a], "n", 1);
      line.up = true;
      await host.says([b], "n", 2);
      await host.says([a], "n", 3);
      await host.says([b], "n", 4);
      await until("the other was heard", () => heard.includes(4));
      expect(heard).toEqual([2, 4]);
    });

    it("is in a room that is joined while it connects", async () => {
      const [a, b] = names("order", 2);
      const late: Promise<unknown>[] = [];
      const { client, heard } = await ada([a, b], {
        transports: [transport],
        debug: (_, what) => what === "connecting" && late.length === 0 && late.push(client.room(b).join()),
      });
      await client.room(a).join();
      await Promise.all(late);
      await host.says([b], "n", 1);
      await until("it was heard", () => heard.length === 1);
    });

    it("asks for a token again where one is refused, and ends where the second is, too", async () => {
      const [a] = names("order", 1);
      const good = await host.token("ada", [a]);
      const tokens = ["bad", good];
      const { client } = await ada([a], { transports: [transport], token: () => tokens.shift() });
      await client.room(a).join();
      expect(client.state).toBe("connected");
      let asked = 0;
      const other = await ada([a], { transports: [transport], token: () => (++asked, "bad") });
      await expect(other.client.connect()).rejects.toMatchObject({ code: "unauthorized" });
      expect([other.client.state, asked]).toEqual(["disconnected", 2]);
    });
  });

  it("goes from one transport to the next as the network closes them, with one cursor", async () => {
    const [a] = names("order", 1);
    const { client, line, heard } = await ada([a]);
    const seen: (string | null)[] = [];
    const says = async (n: number, transport: TransportName) => {
      await host.says([a], "n", n);
      await until(`${n} was heard over ${transport}`, () => client.transport === transport && heard.includes(n));
      seen.push(client.transport);
    };
    await client.room(a).join();
    await says(1, "websocket");
    line.upgrades = false;
    line.cut();
    await says(2, "sse");
    line.streams = false;
    line.cut();
    await says(3, "polling");
    await says(4, "polling");
    expect([heard, seen]).toEqual([[1, 2, 3, 4], ["websocket", "sse", "polling", "polling"]]);
  });

  it("publishes what has waited, in order, and refuses what is too much", async () => {
    const [a] = names("note", 1);
    const { client, line } = await ada([a], { queue: { max: 3 } });
    const room = client.room<Said>(a);
    const other = await ada([a]);
    await Promise.all([room.join(), other.client.room(a).join()]);
    line.up = false;
    line.cut();
    await until("it noticed", () => client.state === "reconnecting");
    const waiting = [1, 2, 3].map((n) => room.publish("n", n));
    await expect(room.publish("n", 4)).rejects.toMatchObject({ code: "offline" });
    line.up = true;
    await Promise.all(waiting);
    await room.publish("n", 5);
    await until("all were heard", () => other.heard.length >= 4);
    expect(other.heard).toEqual([1, 2, 3, 5]);
  });

  it("publishes in a room whose state is being loaded anew", async () => {
    const [a] = names("note", 1);
    const { client } = await ada([a]);
    const said: string[] = [];
    const room: Room<Said> = client.room<Said>(a, {
      load: async (reason) => {
        if (reason === "initial") return ELSEWHERE;
        await host.says([a], "other", 1);
        const cursor = await room.publish("n", 1);
        said.push(cursor as string);
        return cursor;
      },
    });
    await room.join();
    expect(said).toHaveLength(1);
  });

  it("is let in where it ought to be, and what it may not have does not hurt", async () => {
    const [a, b] = names("order", 2);
    const { client, heard, line } = await ada([a]);
    const refused = client.room(b).join().catch((error) => error);
    await client.room(a).join();
    expect(await refused).toMatchObject({ code: "forbidden" });
    line.cut();
    await host.says([a], "n", 1);
    await until("it was heard", () => heard.length === 1);
    expect(client.room(b).state).toBe("denied");
  });
}
