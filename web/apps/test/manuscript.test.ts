// Texts that several people change at once, by the rules of the editor: nothing that anybody wrote is lost.
import { ChangeSet, Text } from "@codemirror/state";
import { describe, expect, test } from "vitest";

import { Manuscript, type Version } from "../editor/manuscript.js";

const version = (text: string, etag?: string): Version => ({ text, etag, cursor: undefined, updatedAt: undefined });

/** Writes at a place. */
function write(manuscript: Manuscript, at: number, text: string, remove = 0): void {
  manuscript.write(ChangeSet.of({ from: at, to: at + remove, insert: Text.of(text.split("\n")) }, manuscript.text.length));
}

describe("a manuscript", () => {
  test("keeps what both have written in different paragraphs", () => {
    const mine = new Manuscript(version("one\n\ntwo"));
    write(mine, 3, " of mine");
    const changes = mine.receive(version("one\n\ntwo of theirs"));
    expect(mine.text).toBe("one of mine\n\ntwo of theirs");
    expect(changes.empty).toBe(false);
    expect(mine.send()).toBe("one of mine\n\ntwo of theirs");
  });

  test("keeps both where they have written in one place", () => {
    const mine = new Manuscript(version("ab"));
    write(mine, 1, "MINE");
    mine.receive(version("aTHEIRSb"));
    expect(mine.text).toBe("aTHEIRSMINEb");
  });

  test("keeps what was written into what somebody else has deleted", () => {
    const mine = new Manuscript(version("keep this, drop that"));
    write(mine, 15, "NEVER LOST ");
    mine.receive(version("keep this"));
    expect(mine.text).toContain("NEVER LOST ");
  });

  test("goes on while it saves", () => {
    const mine = new Manuscript(version("a", "1"));
    write(mine, 1, "b");
    expect(mine.send()).toBe("ab");
    write(mine, 2, "c");
    expect(mine.send()).toBeUndefined();
    mine.sent({ etag: "2", cursor: undefined, updatedAt: undefined });
    expect(mine.base).toMatchObject({ text: "ab", etag: "2" });
    expect(mine.send()).toBe("abc");
  });

  test("does not say twice what was saved without an answer", () => {
    const mine = new Manuscript(version("a"));
    write(mine, 1, "b");
    mine.send();
    write(mine, 2, "c");
    mine.recognise(version("xa"));
    expect(mine.text).toBe("xabc");
    mine.recognise(version("xab"));
    mine.recognise(version("xaby"));
    expect(mine.text).toContain("xab");
    expect(mine.text.split("b")).toHaveLength(2);
    expect(mine.isSending).toBe(false);
    expect(mine.send()).toBe(mine.text);
  });

  test("says again what never came", () => {
    const mine = new Manuscript(version("a"));
    write(mine, 1, "b");
    mine.send();
    mine.recognise(version("ax"));
    mine.refused();
    expect(mine.send()).toBe("axb");
  });

  test("is the same after the page has gone and come back", () => {
    const mine = new Manuscript(version("one\ntwo"));
    write(mine, 3, "!");
    mine.send();
    write(mine, 0, "> ");
    const again = Manuscript.from(structuredClone(mine.kept));
    expect(again.text).toBe("> one!\ntwo");
    expect(again.isSending).toBe(true);
    again.recognise(version("one!\ntwo"));
    expect(again.text).toBe("> one!\ntwo");
    expect(again.send()).toBe("> one!\ntwo");
  });

  test("comes to one text, whoever is faster, and loses no word", () => {
    let seed = 20_261_126;
    const dice = (below: number) => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
      return seed % below;
    };
    for (let round = 0; round < 200; round++) {
      let server = version("alpha beta\n\ngamma delta\n", "0");
      const people = [0, 1, 2].map(() => new Manuscript(server));
      const words: string[] = [];
      let edition = 0;
      const save = (person: Manuscript) => {
        if (person.base.text !== server.text) person.receive(server);
        const text = person.send();
        if (text === undefined) return;
        const etag = String(++edition);
        server = version(text, etag);
        person.sent({ etag, cursor: undefined, updatedAt: undefined });
      };
      for (let step = 0; step < 40; step++) {
        const person = people[dice(3)] as Manuscript;
        if (dice(3) > 0) {
          // Only words are added: whatever was ever written has to be there in the end.
          const word = `<${round}.${step}>`;
          const places = [...person.text.matchAll(/\s|$/g)].map(({ index }) => index);
          write(person, places[dice(places.length)] as number, word);
          words.push(word);
        } else {
          save(person);
        }
      }
      for (const person of [...people, ...people]) save(person);
      for (const person of people) {
        if (person.base.text !== server.text) person.receive(server);
        expect(person.text).toBe(server.text);
      }
      for (const word of words) expect(server.text.split(word)).toHaveLength(2);
    }
  });
});
