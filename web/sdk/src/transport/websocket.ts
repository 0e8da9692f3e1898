/** Over a WebSocket: frames both ways. */

import type { ServerFrame } from "../protocol.js";
import { type Open, address } from "./link.js";

/** How long it may take to open, in milliseconds; a proxy that swallows upgrades does not answer at all. */
const OPEN_TIME = 10_000;

export const websocket: Open = (ask, listener) => {
  const url = address(ask, "ws", { socket: ask.socket, ...(ask.token === undefined ? {} : { token: ask.token }) });
  url.protocol = url.protocol.replace("http", "ws");
  const Socket = ask.WebSocket ?? globalThis.WebSocket;
  const socket = new Socket(url.href);
  let over = false;
  const end = (code: number) => {
    if (over) return;
    over = true;
    clearTimeout(slow);
    listener.end({ code });
  };
  const slow = setTimeout(() => {
    socket.close();
    end(1006);
  }, OPEN_TIME);
  socket.onopen = () => clearTimeout(slow);
  socket.onmessage = (message: MessageEvent) => {
    if (!over) listener.frame(JSON.parse(String(message.data)) as ServerFrame);
  };
  socket.onclose = (event: CloseEvent) => end(event.code);
  // The close that follows says all that there is to say.
  socket.onerror = () => {};
  return {
    send: (text) => socket.send(text),
    close() {
      over = true;
      clearTimeout(slow);
      socket.close(1000);
    },
  };
};
