/** Which transport is used: the first that the network lets through, and the best one again after a while. */

import type { TransportName } from "./transport/link.js";

/** When the best is tried again, in milliseconds, and at most how long after. */
const CLIMB = 60_000;
const MAX_CLIMB = 30 * 60_000;

export class Ladder {
  readonly #transports: readonly TransportName[];
  #rung = 0;
  #failures = 0;
  #climbs = 0;

  constructor(transports: readonly TransportName[] | undefined) {
    this.#transports = transports ?? ["websocket", "sse", "polling"];
    if (this.#transports.length === 0) throw new TypeError("transports is empty; name at least one of websocket, sse and polling");
  }

  get transport(): TransportName {
    return this.#transports[this.#rung] as TransportName;
  }

  /** It works. In how many milliseconds the best one is to be tried again; nothing, where this is the best. */
  holds(): number | undefined {
    this.#failures = 0;
    if (this.#rung === 0) {
      this.#climbs = 0;
      return undefined;
    }
    return Math.min(CLIMB * 2 ** this.#climbs, MAX_CLIMB);
  }

  /** The network does not let it through: one failure may be chance. Whether another one is used now. */
  descend(): boolean {
    this.#failures += 1;
    if ((this.#failures < 2 && this.#climbs === 0) || this.#rung + 1 >= this.#transports.length) return false;
    this.#failures = 0;
    this.#rung += 1;
    return true;
  }

  climb(): void {
    this.#climbs += 1;
    this.#rung = 0;
  }
}
