/** Asks over HTTP what a WebSocket is not told when it is refused: whether the login and every channel are good. */

import { type Ask, type End, address, refusal, request } from "./link.js";

/** How long the answer may take, in milliseconds. */
const TIME = 10_000;

/** The status of a poll that asks for the same, and begins anew, so that it is answered at once. Nothing, where there is
 * no answer. */
export async function probe(ask: Ask): Promise<End> {
  const url = address({ ...ask, cursor: undefined }, "api/v1/events");
  try {
    return refusal(await ask.fetch(url, request(ask, AbortSignal.timeout(TIME))));
  } catch {
    return {};
  }
}
