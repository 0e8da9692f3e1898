/** What a client is told, and what it tells. */

import type { BackoffOptions } from "./backoff.js";
import type { EventFrame } from "./protocol.js";
import type { TransportName } from "./transport/link.js";

/** `disconnected` is final until `connect` is called; `reconnecting` is by itself. */
export type State = "idle" | "connecting" | "connected" | "reconnecting" | "disconnected";

export interface StateChange {
  readonly state: State;
  readonly previous: State;
  /** Why, where the server said so: a word of `disconnect`, or an error's code. */
  readonly code?: string;
  readonly message?: string;
  /** Milliseconds to the next attempt. */
  readonly retryIn?: number;
}

export interface ClientOptions {
  /** Where the server is; the page's own origin if nothing is said. */
  url?: string | URL;
  /** Gives a token for who has no cookie: when connecting, and anew when it has ended. Nothing, or an error with the code
   * `unauthorized`, says that there is no login any more. */
  token?: (reason: "connect" | "ended") => string | null | undefined | Promise<string | null | undefined>;
  /** Tried in this order; all three if nothing is said. */
  transports?: readonly TransportName[];
  backoff?: BackoffOptions;
  /** How long a command may take, in milliseconds: 10,000. */
  ackTimeout?: number;
  /** After how many milliseconds without a connection `lost` is told: 5,000. */
  lostAfter?: number;
  /** What may wait while there is no connection: 100 events, for 60,000 ms. */
  queue?: { max?: number; ttl?: number };
  /** `true`, or where to: says what happens, without what events say. `localStorage["roomcast:debug"]` does the same. */
  debug?: boolean | ((...words: unknown[]) => void);
  fetch?: typeof fetch;
  WebSocket?: typeof WebSocket;
}

export interface ClientEvents {
  state: (change: StateChange) => void;
  /** There has been no connection for longer than a moment: time to show it. */
  lost: () => void;
  restored: () => void;
  /** Every event, of every room. */
  event: (frame: EventFrame) => void;
}
