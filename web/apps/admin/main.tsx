/** The admin page: how many there are of what, the rooms, the connections, and one room looked into. */

import "./admin.css";

import type { Roomcast, User } from "@roomcast/client";
import { signal } from "@preact/signals";
import { render, type JSX } from "preact";

import { ask } from "../base/api.js";
import { denied } from "../base/denied.js";
import { question } from "../base/dialog.js";
import { Figures, type Sample, bytes, millis, number } from "../base/figures.js";
import { open } from "../base/page.js";
import { Inspector, clock } from "./inspector.js";
import { List } from "./list.js";
import { Table } from "./table.js";

interface LiveRoom {
  readonly channel: string;
  readonly connections: number;
  readonly members?: number;
}

interface Connection {
  readonly socket: string;
  readonly user: User | null;
  readonly transport: string;
  readonly address: string | null;
  readonly since: string;
  readonly channels: readonly string[];
  readonly channelCount: number;
  readonly waitingBytes: number;
}

const { main, client, me } = await open();

/** Where one is: `rooms`, `connections`, or `room/…`, and what is filtered. */
const place = signal(location.hash.slice(1));
const last = signal<Sample | undefined>(undefined);
const live = signal(false);
/** What was just done, for whoever did it. */
const done = signal("");

function begin(client: Roomcast): void {
  const rooms = new List<LiveRoom>(client, "/admin/rooms", "-connections");
  const connections = new List<Connection>(client, "/admin/connections", "-since");
  const figures = new Figures(client, () => {
    last.value = figures.last;
    // Not every change of a connection is one of a room's size.
    shown().soon();
  });
  const shown = () => (place.value.startsWith("connections") ? connections : rooms);
  const go = () => {
    place.value = location.hash.slice(1);
    if (place.value.startsWith("connections")) connections.ask({ channel: new URLSearchParams(place.value.split("?")[1]).get("channel") ?? "" });
    else rooms.now();
  };
  client.room("admin").on("connected-clients", () => shown().soon());
  client.on("state", ({ state }) => {
    live.value = state === "connected";
    if (live.value) shown().now();
  });
  addEventListener("hashchange", go);
  go();
  render(<Admin rooms={rooms} connections={connections} />, main);
}

function Admin({ rooms, connections }: { rooms: List<LiveRoom>; connections: List<Connection> }): JSX.Element {
  const at = place.value;
  const room = at.startsWith("room/") ? decodeURIComponent(at.slice(5)) : undefined;
  const tab = at.startsWith("connections") ? "connections" : "rooms";
  return (
    <>
      <h1>Admin</h1>
      <Tiles sample={last.value} stale={!live.value} />
      <p class="hidden-text" role="status">
        {done.value}
      </p>
      {room === undefined ? (
        <>
          <nav class="tabs" aria-label="Lists">
            <a href="#rooms" aria-current={tab === "rooms" ? "page" : undefined}>
              Rooms
            </a>
            <a href="#connections" aria-current={tab === "connections" ? "page" : undefined}>
              Connections
            </a>
          </nav>
          {done.value !== "" && <p class="done">{done.value}</p>}
          {tab === "rooms" ? <Rooms list={rooms} /> : <Connections list={connections} />}
        </>
      ) : (
        <Inspector client={client} channel={room} connections={rooms.listed.value?.items.find(({ channel }) => channel === room)?.connections} />
      )}
    </>
  );
}

function Tiles({ sample, stale }: { sample: Sample | undefined; stale: boolean }): JSX.Element {
  const tiles: [string, string][] = [
    ["Connections", sample ? number.format(sample.connections) : "–"],
    ["Users", sample ? number.format(sample.users) : "–"],
    ["Rooms", sample ? number.format(sample.rooms) : "–"],
    ["Events a second", sample ? number.format(sample.published) : "–"],
    ["Delivered a second", sample ? number.format(sample.delivered) : "–"],
    ["Delivery, 99 in 100 within", sample ? millis(sample.latencyP99) : "–"],
  ];
  return (
    <dl class={stale ? "tiles stale" : "tiles"}>
      {tiles.map(([name, value]) => (
        <div key={name} class="card">
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

const KINDS = ["global", "admin", "user", "group", "document", "chat", "presence", "server"];

function Rooms({ list }: { list: List<LiveRoom> }): JSX.Element {
  return (
    <Table
      list={list}
      caption="Rooms"
      search="Part of a channel's name"
      keyOf={({ channel }) => channel}
      empty={<p>Nobody is in a room.</p>}
      columns={[
        { name: "Channel", sorts: ["channel"], show: ({ channel }) => <a class="mono" href={`#room/${encodeURIComponent(channel)}`}>{channel}</a> },
        { name: "Connections", number: true, sorts: ["-connections", "connections"], show: ({ connections }) => number.format(connections) },
        { name: "Members", number: true, show: ({ members }) => (members === undefined ? "–" : number.format(members)) },
      ]}
    >
      <select aria-label="Kind" value={list.query.value["kind"] ?? ""} onChange={(event) => list.ask({ kind: event.currentTarget.value })}>
        <option value="">All kinds</option>
        {KINDS.map((kind) => (
          <option key={kind}>{kind}</option>
        ))}
      </select>
    </Table>
  );
}

function Connections({ list }: { list: List<Connection> }): JSX.Element {
  const channel = list.query.value["channel"] ?? "";
  return (
    <Table
      list={list}
      caption="Connections"
      search="Part of a name, address or socket id"
      keyOf={({ socket }) => socket}
      empty={<p>Nobody is connected.</p>}
      columns={[
        { name: "User", sorts: ["name"], show: (connection) => who(connection) },
        { name: "Over", show: ({ transport }) => transport },
        { name: "Address", show: ({ address }) => address ?? "–" },
        { name: "Since", sorts: ["-since", "since"], show: ({ since }) => clock(since) },
        { name: "Rooms", number: true, show: ({ channels, channelCount }) => <span title={channels.join("\n")}>{number.format(channelCount)}</span> },
        { name: "Waiting", number: true, sorts: ["-waiting"], show: ({ waitingBytes }) => bytes(waitingBytes) },
        { name: "Action", show: (connection) => <button type="button" class="danger" aria-label={`Disconnect ${connection.user?.name ?? "a guest"}`} onClick={() => end(connection, list)}>Disconnect</button> },
      ]}
    >
      <select aria-label="Transport" value={list.query.value["transport"] ?? ""} onChange={(event) => list.ask({ transport: event.currentTarget.value })}>
        <option value="">All transports</option>
        {["websocket", "sse", "polling"].map((transport) => (
          <option key={transport}>{transport}</option>
        ))}
      </select>
      {channel !== "" && (
        <a class="button" href="#connections">
          In {channel} ✕
        </a>
      )}
    </Table>
  );
}

function who({ user, socket }: Connection): JSX.Element {
  return (
    <>
      <strong>{user?.name ?? "Nobody"}</strong>
      {user?.admin && <span class="tag">admin</span>}
      {socket === client.socketId && <span class="tag">this page</span>}
      <div class="mono quiet small">{socket}</div>
    </>
  );
}

function end({ socket, user }: Connection, list: List<Connection>): void {
  const name = user?.name ?? "a guest";
  question(
    {
      title: `Disconnect ${name}?`,
      text: `The connection ends for good: its page does not come back by itself.${socket === client.socketId ? " It is that of this page." : ""}`,
      yes: "Disconnect",
      danger: true,
    },
    async () => {
      await ask(client, "DELETE", `/admin/connections/${socket}`);
      done.value = `${name} was disconnected.`;
      list.now();
    },
  );
}

if (me.admin) begin(client);
else main.replaceChildren(denied(me.name));
