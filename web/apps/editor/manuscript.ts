/** A text that several people change: what the server has, and what was written here and is not there yet.
 *
 * What was written is kept as changes to what the server has. When the server has something else, the difference is a
 * change too, and each is moved over the other: both stay, wherever they are in the text. */

import { diff } from "@codemirror/merge";
import { ChangeSet, Text } from "@codemirror/state";

/** A text of the server's. */
export interface Version {
  readonly text: string;
  /** Names it, to say which one a save means; unknown, where only the text has been told. */
  readonly etag: string | undefined;
  /** A position in the log from when it was there, or before. */
  readonly cursor: string | undefined;
  readonly updatedAt: string | undefined;
}

/** What a browser keeps of it, so that it outlives the page. */
export interface Kept {
  readonly base: Version;
  readonly text: string;
  /** What is being saved, where nobody knows whether it was. */
  readonly sending: string | undefined;
}

export class Manuscript {
  #base: Version;
  /** From what the server has to what is being saved. */
  #sending: ChangeSet | undefined;
  /** From there, or from what the server has, to what is shown. */
  #unsaved: ChangeSet;
  #text: Text;

  constructor(base: Version) {
    this.#base = base;
    this.#text = textOf(base.text);
    this.#unsaved = ChangeSet.empty(this.#text.length);
  }

  /** Goes on from what was kept. */
  static from({ base, text, sending }: Kept): Manuscript {
    const made = new Manuscript(base);
    made.#sending = sending === undefined ? undefined : between(base.text, sending);
    made.#unsaved = between(sending ?? base.text, text);
    made.#text = textOf(text);
    return made;
  }

  get text(): string {
    return this.#text.toString();
  }

  get base(): Version {
    return this.#base;
  }

  get kept(): Kept {
    return { base: this.#base, text: this.text, sending: this.#sent };
  }

  /** Whether something was written that the server does not have, as far as is known. */
  get isUnsaved(): boolean {
    return this.#sending !== undefined || !this.#unsaved.empty;
  }

  get isSending(): boolean {
    return this.#sending !== undefined;
  }

  get #sent(): string | undefined {
    return this.#sending?.apply(textOf(this.#base.text)).toString();
  }

  /** Somebody has written here. */
  write(changes: ChangeSet): void {
    this.#unsaved = this.#unsaved.compose(changes);
    this.#text = changes.apply(this.#text);
  }

  /** The text to save, if there is something; nothing more is sent until it is known what became of it. */
  send(): string | undefined {
    if (this.#sending) return undefined;
    if (this.#unsaved.empty) return undefined;
    this.#sending = this.#unsaved;
    this.#unsaved = ChangeSet.empty(this.#text.length);
    return this.text;
  }

  /** The server has what was sent. */
  sent(version: Omit<Version, "text">): void {
    const text = this.#sent;
    if (text === undefined) return;
    this.#base = { ...version, text };
    this.#sending = undefined;
  }

  /** The server has refused what was sent, or it never came there. */
  refused(): void {
    if (!this.#sending) return;
    this.#unsaved = this.#sending.compose(this.#unsaved);
    this.#sending = undefined;
  }

  /** The server has another text, which is newer. Says what is to be changed in what is shown. */
  receive(version: Version): ChangeSet {
    this.refused();
    const theirs = between(this.#base.text, version.text);
    const shown = theirs.map(this.#unsaved, true);
    this.#unsaved = this.#unsaved.map(theirs);
    this.#base = version;
    this.#text = shown.apply(this.#text);
    return shown;
  }

  /** A text that was saved while nobody knew what became of ours. If it is ours, it has arrived. */
  recognise(version: Version): ChangeSet {
    if (this.#sent === version.text) {
      this.sent(version);
      return ChangeSet.empty(this.#text.length);
    }
    // Somebody else's. Ours is still on its way, or lost: it stays what it was, moved over theirs.
    const sending = this.#sending;
    if (!sending) return this.receive(version);
    const theirs = between(this.#base.text, version.text);
    const moved = sending.map(theirs);
    const over = theirs.map(sending, true);
    const shown = over.map(this.#unsaved, true);
    this.#unsaved = this.#unsaved.map(over);
    this.#sending = moved;
    this.#base = version;
    this.#text = shown.apply(this.#text);
    return shown;
  }
}

function textOf(text: string): Text {
  return Text.of(text.split("\n"));
}

/** What makes one text the other. */
function between(before: string, after: string): ChangeSet {
  const changes = diff(before, after, { scanLimit: 2_000 }).map(({ fromA, toA, fromB, toB }) => ({
    from: fromA,
    to: toA,
    insert: textOf(after.slice(fromB, toB)),
  }));
  return ChangeSet.of(changes, before.length);
}
