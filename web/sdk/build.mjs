// Builds the package: modules for bundlers with their types, and one file for pages without a build. Holds the size.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const BUDGET = 8 * 1024;

const common = { bundle: true, format: "esm", target: "es2022", logLevel: "warning" };
await build({
  ...common,
  entryPoints: ["src/index.ts", "src/react.ts"],
  outdir: "dist",
  splitting: true,
  packages: "external",
  sourcemap: true,
});
await build({ ...common, entryPoints: ["src/index.ts"], outfile: "dist/client.js", minify: true });
// For pages without modules: all of it is in the global `roomcast`.
await build({
  ...common,
  entryPoints: ["src/index.ts"],
  outfile: "dist/client.global.js",
  minify: true,
  format: "iife",
  globalName: "roomcast",
});
execFileSync("npx", ["tsc", "-p", "tsconfig.build.json"], { stdio: "inherit" });

const bytes = gzipSync(readFileSync("dist/client.js"), { level: 9 }).length;
console.log(`client.js: ${bytes} bytes gzipped, of ${BUDGET}`);
if (bytes > BUDGET) {
  console.error("error: the client is larger than it may be");
  process.exit(1);
}
