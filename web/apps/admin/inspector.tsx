/** One room: who is in it, what was said, what is being said, and saying something. */

import type { EventFrame, Member, Roomcast, Room } from "@roomcast/client";
import { signal, useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";

import { type Page, ask, words } from "../base/api.js";
import { number } from "../base/figures.js";

/** Events that are shown; older ones are looked up in the history. */
const SHOWN = 200;

interface Here {
  readonly items: readonly Member[];
  readonly count: number;
}

/** What the page knows of the room that it looks into. */
class Inspected {
  readonly room: Room;
  readonly state = signal<string>("joining");
  readonly history = signal<readonly EventFrame[] | undefined>(undefined);
  readonly tail = signal<readonly EventFrame[]>([]);
  readonly here = signal<Here | undefined>(undefined);
  readonly failed = signal<string | undefined>(undefined);
  readonly missed = signal(0);
  readonly paused = signal(false);
  #away: (() => void)[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    readonly client: Roomcast,
    readonly channel: string,
  ) {
    this.room = client.room(channel);
  }

  open(): void {
    this.#away = [
      this.room.onAny((frame) => this.#heard(frame)),
      this.room.watch(() => {
        this.state.value = this.room.state;
        this.#lookSoon();
      }),
    ];
    this.room.join().then(
      () => (this.state.value = this.room.state),
      (error: unknown) => (this.failed.value = words(error)),
    );
    void this.#load();
  }

  close(): void {
    for (const away of this.#away.splice(0)) away();
    clearTimeout(this.#timer);
    this.room.leave();
  }

  async #load(): Promise<void> {
    const path = `/channels/${encodeURIComponent(this.channel)}`;
    try {
      const { body } = await ask<Page<EventFrame>>(this.client, "GET", `${path}/history?before=&limit=50`);
      this.history.value = [...body.items].reverse();
    } catch (error) {
      this.failed.value = words(error);
    }
    await this.#look();
  }

  async #look(): Promise<void> {
    const of = this.channel.startsWith("presence:") ? this.channel : `presence:${this.channel}`;
    try {
      this.here.value = (await ask<Here>(this.client, "GET", `/channels/${encodeURIComponent(of)}/presence?limit=100`)).body;
    } catch {
      // Not every room has one.
    }
  }

  #lookSoon(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.#look();
    }, 1_000);
  }

  #heard(frame: EventFrame): void {
    if (/^(user-|presence-|connected-clients)/.test(frame.event)) this.#lookSoon();
    if (this.paused.value) this.missed.value += 1;
    else this.tail.value = [frame, ...this.tail.value].slice(0, SHOWN);
  }
}

export function Inspector({ client, channel, connections }: { client: Roomcast; channel: string; connections: number | undefined }): JSX.Element {
  const inspected = useSignal<Inspected | undefined>(undefined);
  useEffect(() => {
    const now = new Inspected(client, channel);
    inspected.value = now;
    now.open();
    return () => now.close();
  }, [client, channel]);
  const now = inspected.value;
  return (
    <>
      <p>
        <a href="#rooms">‹ All rooms</a>
      </p>
      <div class="spread">
        <h2 class="mono">{channel}</h2>
        <span class="quiet">
          {connections === undefined ? "" : `${number.format(connections)} connections · `}
          <a href={`#connections?channel=${encodeURIComponent(channel)}`}>show them</a>
        </span>
      </div>
      {now && (
        <div class="inspector">
          {now.failed.value !== undefined && <p class="error" role="alert">{now.failed.value}</p>}
          <Publish now={now} />
          <HereNow here={now.here.value} />
          <Live now={now} />
          <Past history={now.history.value} />
        </div>
      )}
    </>
  );
}

function HereNow({ here }: { here: Here | undefined }): JSX.Element {
  return (
    <section class="card" aria-label="Members">
      <h3>Said to be here: {here ? number.format(here.count) : "–"}</h3>
      {here && here.items.length > 0 ? (
        <ul class="plain-list members">
          {here.items.map(({ user, meta, since }) => (
            <li key={user.id}>
              <strong>{user.name}</strong> <span class="quiet small">since {clock(since)}</span>
              {JSON.stringify(meta) !== "{}" && <code class="meta">{JSON.stringify(meta)}</code>}
            </li>
          ))}
        </ul>
      ) : (
        <p class="quiet">Nobody is in its presence channel.</p>
      )}
    </section>
  );
}

function Live({ now }: { now: Inspected }): JSX.Element {
  const paused = now.paused.value;
  const toggle = () => {
    now.paused.value = !paused;
    now.missed.value = 0;
  };
  return (
    <section class="card" aria-label="Live">
      <div class="spread">
        <h3>Live</h3>
        <button type="button" aria-pressed={paused} onClick={toggle}>
          {paused ? `Go on (${now.missed.value} not shown)` : "Pause"}
        </button>
      </div>
      <Events name="What is said" events={now.tail.value} empty={now.state.value === "joined" ? "Listening; nothing has been said since." : now.state.value === "denied" ? "This room cannot be joined." : "Joining …"} />
    </section>
  );
}

function Past({ history }: { history: readonly EventFrame[] | undefined }): JSX.Element {
  return (
    <section class="card" aria-label="History">
      <h3>History, the last first</h3>
      {history ? <Events name="What was said" events={history} empty="The log has nothing of it." /> : <p class="loading">Loading …</p>}
    </section>
  );
}

function Events({ name, events, empty }: { name: string; events: readonly EventFrame[]; empty: string }): JSX.Element {
  if (events.length === 0) return <p class="quiet">{empty}</p>;
  return (
    <ol class="plain-list events" tabIndex={0} aria-label={name}>
      {events.map((frame, at) => (
        <li key={frame.cursor ?? `${frame.time} ${events.length - at}`}>
          <span class="quiet small">{clock(frame.time)}</span> <strong>{frame.event}</strong> {frame.cursor === undefined && <span class="tag">volatile</span>}
          <code>{short(frame.data)}</code>
        </li>
      ))}
    </ol>
  );
}

function Publish({ now }: { now: Inspected }): JSX.Element {
  const event = useSignal("note");
  const data = useSignal('{"text":"Hello from the admin page."}');
  const volatile = useSignal(false);
  const said = useSignal<{ ok: boolean; text: string } | undefined>(undefined);
  const publish = async (submit: SubmitEvent) => {
    submit.preventDefault();
    said.value = undefined;
    let parsed: unknown;
    try {
      parsed = JSON.parse(data.value);
    } catch (error) {
      said.value = { ok: false, text: `The data is no JSON: ${(error as Error).message}` };
      return;
    }
    try {
      const cursor = await now.room.publish(event.value as never, parsed as never, { volatile: volatile.value, toSelf: true });
      said.value = { ok: true, text: cursor === undefined ? "Told." : `Told and kept, at ${cursor}.` };
    } catch (error) {
      said.value = { ok: false, text: (error as Error).message };
    }
  };
  return (
    <section class="card" aria-label="Publish">
      <h3>Publish here</h3>
      <form class="stack" onSubmit={publish}>
        <div class="field">
          <label for="event">Event</label>
          <input id="event" value={event.value} required maxLength={64} onInput={(input) => (event.value = input.currentTarget.value)} />
        </div>
        <div class="field">
          <label for="data">Data, as JSON</label>
          <textarea id="data" class="mono" rows={3} value={data.value} onInput={(input) => (data.value = input.currentTarget.value)} />
        </div>
        <label class="check">
          <input type="checkbox" checked={volatile.value} onChange={(input) => (volatile.value = input.currentTarget.checked)} /> Volatile: only for whoever is there now
        </label>
        <div class="row">
          <button type="submit" class="primary" disabled={now.state.value !== "joined"}>
            Publish
          </button>
          <button type="button" onClick={() => void copy(now.channel, event.value, data.value, volatile.value)}>
            Copy as curl
          </button>
          <span role="status" class={said.value?.ok === false ? "error" : "quiet small"}>
            {said.value?.text ?? ""}
          </span>
        </div>
      </form>
    </section>
  );
}

async function copy(channel: string, event: string, data: string, volatile: boolean): Promise<void> {
  const body = `{"channels":[${JSON.stringify(channel)}],"event":${JSON.stringify(event)},"data":${data}${volatile ? ',"volatile":true' : ""}}`;
  const quoted = body.replaceAll("'", "'\\''");
  await navigator.clipboard.writeText(`curl ${location.origin}/api/v1/publish -H "Authorization: Bearer $ROOMCAST_API_KEY" -H 'Content-Type: application/json' -d '${quoted}'`);
}

export function clock(time: string): string {
  return new Date(time).toLocaleTimeString();
}

function short(data: unknown): string {
  const text = JSON.stringify(data) ?? "null";
  return text.length > 400 ? `${text.slice(0, 400)} …` : text;
}
