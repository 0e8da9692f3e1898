/** What needs no server. */

import { expect, it } from "vitest";

import { pause } from "../src/backoff.js";
import { Emitter } from "../src/emitter.js";
import { comesBack, covers } from "../src/protocol.js";

it("waits up to 1 s, 2 s, 4 s and so on to 30 s, anywhere below", () => {
  const longest = [0, 1, 2, 3, 4, 5, 6, 60].map((attempt) => pause(attempt, {}, () => 1));
  expect(longest).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
  expect(pause(3, {}, () => 0)).toBe(0);
  expect(pause(3, { min: 10, max: 50 }, () => 0.5)).toBe(25);
});

it("comes back after what passes, and not after what is final", () => {
  expect([1001, 1006, 1011, 1012, 1013, 4508].filter(comesBack)).toHaveLength(6);
  expect([1000, 1002, 1003, 1007, 1008, 1009, 4401, 4403, 4409].filter(comesBack)).toEqual([]);
});

it("compares cursors of one log by their numbers, and those of two not at all", () => {
  expect(covers("aaaaaaaa-10", "aaaaaaaa-9")).toBe(true);
  expect(covers("aaaaaaaa-9", "aaaaaaaa-10")).toBe(false);
  expect(covers("aaaaaaaa-9", "aaaaaaaa-9")).toBe(true);
  expect(covers("bbbbbbbb-10", "aaaaaaaa-9")).toBe(false);
  expect(covers(undefined, "aaaaaaaa-9")).toBe(false);
});

it("takes listeners away by what on() gave, and by a signal", () => {
  const [emitter, heard, stop] = [new Emitter(), [] as string[], new AbortController()];
  const remove = emitter.add("x", () => heard.push("first"));
  emitter.add("x", () => heard.push("second"), { signal: stop.signal });
  emitter.emit("x");
  remove();
  emitter.emit("x");
  stop.abort();
  emitter.emit("x");
  expect(heard).toEqual(["first", "second", "second"]);
});
