// @vitest-environment happy-dom
/** The hooks, under StrictMode, which mounts everything twice. */

import { act, createElement, StrictMode } from "react";
import { createRoot } from "react-dom/client";
import Ws from "ws";
import { afterAll, beforeAll, expect, it } from "vitest";

import { RoomcastProvider, useConnection, usePresence, useRoom, useRoomEvent } from "../src/react.js";
import { Server, until } from "./server.js";

let server: Server;
beforeAll(async () => {
  server = await Server.start();
});
afterAll(() => server.stop());

it("joins once under StrictMode, shows what comes and who is there, and leaves in the end", async () => {
  (globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }).IS_REACT_ACT_ENVIRONMENT = true;
  const sent: string[] = [];
  const Recording = class extends Ws {
    override send(text: string): void {
      sent.push(text);
      super.send(text);
    }
  } as unknown as typeof WebSocket;
  const client = await server.client("ada", ["order:7"], { WebSocket: Recording, fetch: globalThis.fetch });
  const heard: unknown[] = [];
  const Order = () => {
    const room = useRoom<{ paid: { total: number } }>("order:7");
    useRoomEvent(room, "paid", (data) => heard.push(data));
    const [connection, here] = [useConnection(), usePresence("presence:lobby")];
    return createElement("p", null, `${connection}: ${here.map(({ user }) => user.name).join(", ")}`);
  };
  const [page, body] = [document.createElement("div"), { current: "" }];
  const root = createRoot(page);
  await act(async () => root.render(createElement(StrictMode, null, createElement(RoomcastProvider, { client }, createElement(Order)))));
  const shows = async (what: string, text: string) => {
    await until(what, () => {
      body.current = page.textContent ?? "";
      return body.current === text;
    });
  };
  await act(async () => {
    await until("it is in both rooms", () => client.room("order:7").state === "joined" && client.room("presence:lobby").state === "joined");
  });
  await shows("who is there is shown", "connected: ada");
  expect(sent.filter((frame) => frame.includes('"join"'))).toHaveLength(2);
  await server.says(["order:7"], "paid", { total: 19.9 });
  await until("it was heard", () => heard.length === 1);
  expect(heard).toEqual([{ total: 19.9 }]);
  await act(async () => root.unmount());
  await until("it has left", () => sent.filter((frame) => frame.includes('"leave"')).length === 2);
  client.disconnect();
});
