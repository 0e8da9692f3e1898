/** Where one writes: CodeMirror, with the others' cursors in it. It stands in a shadow root, because there it brings its
 * styles in a way that the page's policy allows. */

import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { Annotation, type ChangeSet, Compartment, EditorState, type Range, StateEffect, StateField, Transaction } from "@codemirror/state";
import { Decoration, type DecorationSet, EditorView, WidgetType, keymap, placeholder } from "@codemirror/view";

/** Somebody else's place in the text. */
export interface Place {
  readonly user: string;
  readonly name: string;
  /** One of the eight colours. */
  readonly colour: number;
  readonly anchor: number;
  readonly head: number;
}

/** What came from the server is not to be undone, and not to be saved again. */
const theirs = Annotation.define<boolean>();
const setPlaces = StateEffect.define<readonly Place[]>();

class Caret extends WidgetType {
  constructor(readonly place: Place) {
    super();
  }
  override eq({ place }: Caret): boolean {
    return place.user === this.place.user && place.name === this.place.name && place.colour === this.place.colour;
  }
  override toDOM(): HTMLElement {
    const caret = document.createElement("span");
    caret.className = `caret c${this.place.colour}`;
    caret.setAttribute("aria-hidden", "true");
    const name = document.createElement("span");
    name.textContent = this.place.name;
    caret.append(name);
    return caret;
  }
}

const places = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(shown, transaction) {
    let now = shown.map(transaction.changes);
    for (const effect of transaction.effects) {
      if (effect.is(setPlaces)) now = decorated(effect.value, transaction.newDoc.length);
    }
    return now;
  },
  provide: (field) => EditorView.decorations.from(field),
});

function decorated(all: readonly Place[], length: number): DecorationSet {
  const ranges: Range<Decoration>[] = [];
  for (const place of all) {
    const [anchor, head] = [within(place.anchor, length), within(place.head, length)];
    if (anchor !== head) ranges.push(Decoration.mark({ class: `chosen c${place.colour}` }).range(Math.min(anchor, head), Math.max(anchor, head)));
    ranges.push(Decoration.widget({ widget: new Caret(place), side: 1 }).range(head));
  }
  return Decoration.set(ranges, true);
}

/** Others say where they are; a number that is none, or beyond the end, is theirs to be wrong about. */
function within(place: number, length: number): number {
  return Number.isFinite(place) ? Math.max(0, Math.min(length, Math.trunc(place))) : 0;
}

const COLOURS = ["#c2410c", "#15803d", "#7e22ce", "#be123c", "#0e7490", "#a16207", "#4338ca", "#9d174d"];

const look = EditorView.theme({
  "&": { height: "100%", fontSize: "1rem", color: "var(--ink)", backgroundColor: "var(--surface)" },
  // The caret shows where the focus is; the line above shows that it is here.
  "&.cm-focused": { outline: "none", boxShadow: "inset 0 2px 0 var(--accent)" },
  ".cm-scroller": { fontFamily: "inherit", lineHeight: "1.65", overflow: "auto" },
  ".cm-content": { maxWidth: "78ch", margin: "0 auto", padding: "24px 20px 40vh", caretColor: "var(--ink)" },
  ".cm-cursor": { borderLeftColor: "var(--ink)" },
  ".cm-placeholder": { color: "var(--quiet)" },
  ".caret": { position: "relative", borderLeft: "2px solid", marginLeft: "-1px", marginRight: "-1px" },
  ".caret > span": { position: "absolute", left: "-2px", top: "-1.35em", font: "600 11px/1.4 system-ui, sans-serif", padding: "0 5px", borderRadius: "4px 4px 4px 0", color: "#fff", whiteSpace: "nowrap", pointerEvents: "none" },
  ...Object.fromEntries(
    COLOURS.flatMap((colour, at) => [
      [`.caret.c${at}`, { borderLeftColor: colour }],
      [`.caret.c${at} > span`, { backgroundColor: colour }],
      [`.chosen.c${at}`, { backgroundColor: `${colour}44` }],
    ]),
  ),
});

export class Writing {
  readonly element = document.createElement("div");
  readonly #view: EditorView;
  readonly #mode = new Compartment();

  constructor(
    text: string,
    readonly on: { write: (changes: ChangeSet) => void; moved: (anchor: number, head: number) => void },
  ) {
    this.element.className = "writing";
    const root = this.element.attachShadow({ mode: "open" });
    const inside = document.createElement("div");
    // The page's styles do not reach in here.
    inside.style.height = "100%";
    root.append(inside);
    const state = EditorState.create({
      doc: text,
      extensions: [
        history(),
        keymap.of([...defaultKeymap, ...historyKeymap]),
        EditorView.lineWrapping,
        EditorState.lineSeparator.of("\n"),
        EditorView.contentAttributes.of({ "aria-label": "Text", spellcheck: "true", autocapitalize: "sentences" }),
        placeholder("Write something"),
        places,
        look,
        this.#mode.of([]),
        EditorView.updateListener.of((update) => {
          for (const transaction of update.transactions) {
            if (transaction.docChanged && !transaction.annotation(theirs)) on.write(transaction.changes);
          }
          if (update.selectionSet || update.docChanged) this.#moved();
        }),
      ],
    });
    this.#view = new EditorView({ state, parent: inside, root });
  }

  /** What others have written. */
  apply(changes: ChangeSet): void {
    this.#view.dispatch({ changes, annotations: [theirs.of(true), Transaction.addToHistory.of(false)] });
  }

  show(all: readonly Place[]): void {
    this.#view.dispatch({ effects: setPlaces.of(all) });
  }

  readOnly(is: boolean): void {
    const extensions = is ? [EditorState.readOnly.of(true), EditorView.editable.of(false), EditorView.contentAttributes.of({ tabindex: "0", "aria-readonly": "true" })] : [];
    this.#view.dispatch({ effects: this.#mode.reconfigure(extensions) });
  }

  get place(): { anchor: number; head: number } {
    const { anchor, head } = this.#view.state.selection.main;
    return { anchor, head };
  }

  focus(): void {
    this.#view.focus();
  }

  close(): void {
    this.#view.destroy();
  }

  #moved(): void {
    const { anchor, head } = this.place;
    this.on.moved(anchor, head);
  }
}

/** The colour of a user, the same in every window. */
export function colourOf(user: string): number {
  let sum = 0;
  for (const letter of user) sum = (sum * 31 + letter.charCodeAt(0)) % 65_521;
  return sum % COLOURS.length;
}
