/** By asking again and again, for networks that let neither a WebSocket nor a stream through. */

import type { Cursor, EventFrame, Member } from "../protocol.js";
import { type Ask, type End, type Open, address, refusal, request } from "./link.js";

interface Answer {
  readonly events: readonly EventFrame[];
  readonly cursor: Cursor;
  readonly recovered?: boolean;
}

/** Seconds that the server may wait before it answers. */
const WAIT = 25;

export const polling: Open = (ask, listener) => {
  const stop = new AbortController();
  const poll = async (): Promise<End> => {
    let cursor = ask.cursor;
    for (let first = true; ; first = false) {
      const wait = first ? 0 : WAIT;
      const url = address({ ...ask, cursor }, "api/v1/events", { wait: String(wait) });
      const response = await ask.fetch(url, request(ask, stop.signal));
      if (response.status !== 200) return refusal(response);
      const answer = (await response.json()) as Answer;
      // Who is there is not replayed between two polls, so it is asked for.
      const presence = await members(ask, stop.signal);
      if (stop.signal.aborted) return {};
      if (first || answer.recovered === false) {
        listener.frame({
          type: "welcome",
          socket: ask.socket,
          user: null,
          channels: ask.channels,
          cursor: answer.cursor,
          ...(answer.recovered === undefined ? {} : { recovered: answer.recovered }),
          heartbeat: WAIT,
          presence,
        });
      } else {
        for (const [channel, list] of Object.entries(presence)) {
          listener.frame({ type: "event", channel, event: "presence-list", data: { members: list }, time: "" });
        }
      }
      for (const event of answer.events) listener.frame(event);
      cursor = answer.cursor;
      listener.frame({ type: "heartbeat", cursor });
    }
  };
  poll()
    .catch(() => ({}))
    .then((end) => {
      if (!stop.signal.aborted) listener.end(end);
    });
  return { close: () => stop.abort() };
};

async function members(ask: Ask, signal: AbortSignal): Promise<Record<string, readonly Member[]>> {
  const lists: Record<string, readonly Member[]> = {};
  for (const channel of ask.channels.filter((name) => name.startsWith("presence:"))) {
    const url = new URL(`api/v1/channels/${encodeURIComponent(channel)}/presence?limit=1000`, ask.base);
    const response = await ask.fetch(url, request(ask, signal));
    if (response.ok) lists[channel] = ((await response.json()) as { items: readonly Member[] }).items;
  }
  return lists;
}
