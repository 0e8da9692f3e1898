/** The HTTP API: JSON in and out, and errors as the server tells them. */

import type { Roomcast } from "@roomcast/client";

/** A refusal of the server, in its own words. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
    /** Seconds until it may be tried again. */
    readonly retryAfter: number | undefined,
    readonly requestId: string | null,
  ) {
    super(message);
  }

  /** Whether the same may work later. */
  get passes(): boolean {
    return this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

export interface Answer<Body> {
  readonly body: Body;
  /** As of when it was read, or where the change stands in the log. */
  readonly cursor: string | null;
  readonly etag: string | null;
}

/** Lists of the API. */
export interface Page<Item> {
  readonly items: readonly Item[];
  readonly next: string | null;
}

/** Asks for something, or changes it. Breaks with [`Refused`], or with a `TypeError` where there was no answer. */
export async function ask<Body>(
  client: Pick<Roomcast, "fetch">,
  method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE",
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer<Body>> {
  const init: RequestInit = { method, headers };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { ...headers, "content-type": "application/json" };
  }
  const response = await client.fetch(`/api/v1${path}`, init);
  if (!response.ok) throw await refused(response);
  const empty = response.status === 204;
  return {
    body: (empty ? undefined : await response.json()) as Body,
    cursor: response.headers.get("event-cursor"),
    etag: response.headers.get("etag"),
  };
}

async function refused(response: Response): Promise<Refused> {
  let message = `The server answered ${response.status}.`;
  try {
    const problem = (await response.json()) as { detail?: string; errors?: { field: string; message: string }[] };
    const fields = problem.errors?.map((error) => `${error.field}: ${error.message}`).join("; ");
    message = fields || problem.detail || message;
  } catch {
    // A proxy, perhaps, which does not speak our language.
  }
  const after = Number(response.headers.get("retry-after"));
  return new Refused(response.status, message, after > 0 ? after : undefined, response.headers.get("x-request-id"));
}

/** All pages of a list, up to so many items. */
export async function all<Item>(client: Pick<Roomcast, "fetch">, path: string, most = 1_000): Promise<Item[]> {
  const items: Item[] = [];
  let after = "";
  while (items.length < most) {
    const more = path.includes("?") ? "&" : "?";
    const { body } = await ask<Page<Item>>(client, "GET", `${path}${more}limit=200${after && `&after=${encodeURIComponent(after)}`}`);
    items.push(...body.items);
    if (body.next === null) break;
    after = body.next;
  }
  return items;
}

/** What went wrong, for people. */
export function words(error: unknown): string {
  if (error instanceof Refused) return error.requestId && error.status >= 500 ? `${error.message} (request ${error.requestId})` : error.message;
  return "The server cannot be reached.";
}
