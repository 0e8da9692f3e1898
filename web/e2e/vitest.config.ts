import { defineConfig } from "vitest/config";

// One browser at a time: the machines have two cores, and the server wants one of them.
export default defineConfig({
  test: { include: ["test/**/*.test.ts"], testTimeout: 60_000, hookTimeout: 60_000, fileParallelism: false, expect: { poll: { timeout: 15_000 } } },
});
