/** The one error that promises of this client are rejected with. */

import type { ErrorCode } from "./protocol.js";

/** `offline`: there is no connection, and it was not to wait for one. `timeout`: no answer came. `aborted`: the caller
 * gave up. `unknown`: the connection broke before the answer, so it may have happened. */
export type ClientErrorCode = ErrorCode | "offline" | "timeout" | "aborted" | "unknown";

export class RoomcastError extends Error {
  override readonly name = "RoomcastError";
  constructor(
    readonly code: ClientErrorCode,
    message: string,
  ) {
    super(message);
  }

  /** Whether the same may work later. */
  get retryable(): boolean {
    return this.code === "offline" || this.code === "timeout" || this.code === "unavailable" || this.code === "rate-limited";
  }
}
