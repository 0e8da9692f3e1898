/** What every transport is to the client: something that brings frames, and ends. */

import type { Cursor, ServerFrame } from "../protocol.js";

export type TransportName = "websocket" | "sse" | "polling";

/** What a connection asks for. */
export interface Ask {
  /** Where the server is, with a slash at the end. */
  readonly base: URL;
  readonly channels: readonly string[];
  readonly cursor?: Cursor | undefined;
  readonly socket: string;
  readonly token?: string | undefined;
  readonly fetch: typeof fetch;
  readonly WebSocket?: typeof WebSocket | undefined;
}

/** How a connection ended. */
export interface End {
  /** The close code of a WebSocket. */
  readonly code?: number;
  /** The status of an answer that was no stream. */
  readonly status?: number;
  /** Milliseconds to wait, where the server said so. */
  readonly retry?: number | undefined;
}

export interface Listener {
  frame(frame: ServerFrame): void;
  /** Once, and nothing after it. */
  end(end: End): void;
}

export interface Link {
  /** Only where commands can be sent. */
  readonly send?: (text: string) => void;
  /** Ends it; the listener hears nothing more. */
  close(): void;
}

export type Open = (ask: Ask, listener: Listener) => Link;

export function address(ask: Ask, path: string, extra: Record<string, string> = {}): URL {
  const url = new URL(path, ask.base);
  for (const channel of ask.channels) url.searchParams.append("channel", channel);
  if (ask.cursor !== undefined) url.searchParams.set("cursor", ask.cursor);
  for (const [name, value] of Object.entries(extra)) url.searchParams.set(name, value);
  return url;
}

export function request(ask: Ask, signal: AbortSignal): RequestInit {
  // A token wins over a cookie, so none is sent with it.
  const credentials = ask.token === undefined ? "include" : "omit";
  const headers: Record<string, string> = ask.token === undefined ? {} : { authorization: `Bearer ${ask.token}` };
  return { headers, credentials, cache: "no-store", signal };
}

export function refusal(response: Response): End {
  const seconds = Number(response.headers.get("retry-after") ?? Number.NaN);
  return { status: response.status, retry: Number.isFinite(seconds) ? seconds * 1_000 : undefined };
}
