/** Over server-sent events, read with `fetch`: an `EventSource` can neither show a token nor tell why it was refused. */

import { createParser } from "eventsource-parser";

import type { ServerFrame } from "../protocol.js";
import { type Open, address, refusal, request } from "./link.js";

export const sse: Open = (ask, listener) => {
  const stop = new AbortController();
  const read = async () => {
    const response = await ask.fetch(address(ask, "sse/events", { socket: ask.socket }), {
      ...request(ask, stop.signal),
      headers: { ...request(ask, stop.signal).headers, accept: "text/event-stream" },
    });
    if (response.status !== 200 || !response.body) return refusal(response);
    const parser = createParser({
      onEvent: (block) => {
        if (!stop.signal.aborted) listener.frame(JSON.parse(block.data) as ServerFrame);
      },
    });
    const decoder = new TextDecoder();
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return {};
      parser.feed(decoder.decode(value, { stream: true }));
    }
  };
  read()
    .catch(() => ({}))
    .then((end) => {
      if (!stop.signal.aborted) listener.end(end);
    });
  return { close: () => stop.abort() };
};
