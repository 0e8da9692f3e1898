/** Notifications: what the server told this administrator, newest first. */

import type { EventFrame, RecordChange, Roomcast } from "@roomcast/client";
import { signal } from "@preact/signals";
import type { JSX } from "preact";

/** How many are shown. */
const SHOWN = 50;
/** What has a place of its own. */
const NOT_NEWS = /^(connected-clients|metrics|reload|token-expiring|user-|presence-)/;

interface Item {
  readonly key: string;
  readonly time: string;
  readonly text: string;
}

export const news = signal<readonly Item[]>([]);

export function listen(client: Roomcast): void {
  let heard = 0;
  client.on("event", (frame) => {
    if (NOT_NEWS.test(frame.event)) return;
    heard += 1;
    const item = { key: frame.cursor ?? `volatile ${heard}`, time: frame.time, text: told(frame) };
    news.value = [item, ...news.value].slice(0, SHOWN);
  });
}

const WORDS: Record<string, string> = { "new-record": "New", "changed-record": "Changed", "deleted-record": "Deleted" };
const THINGS: Record<string, string> = { DocumentRoot: "folder", UserPermission: "permission", GroupPermission: "permission of a group" };

function told({ event, channel, data }: EventFrame): string {
  const word = WORDS[event];
  if (!word) return `${event} in ${channel}`;
  const { type, record } = data as RecordChange;
  const name = record["name"] ?? record["username"];
  return `${word} ${THINGS[type] ?? type.toLowerCase()}${typeof name === "string" ? `: ${name}` : ""}`;
}

export function News(): JSX.Element {
  return (
    <section class="card news" aria-label="Notifications">
      <h2>Notifications</h2>
      {news.value.length === 0 ? (
        <p class="quiet">Nothing yet. What other people change shows here: a message in the chat makes none, a new room or a changed document does.</p>
      ) : (
        <ol class="plain-list" tabIndex={0} aria-label="The last notifications">
          {news.value.map(({ key, time, text }) => (
            <li key={key}>
              <time class="quiet small" dateTime={time}>
                {new Date(time).toLocaleTimeString()}
              </time>{" "}
              {text}
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}
