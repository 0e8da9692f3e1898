// Builds the pages into web/dist, where the server takes them from: a file of HTML for each, and what it needs under names
// with a hash, packed as well. With --watch it goes on, and builds again what has changed.
import { copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { gzipSync } from "node:zlib";
import { context } from "esbuild";

const OUT = "../dist";
const PAGES = {
  index: { title: "Roomcast", entry: "home/main.ts", about: "A realtime server with rooms." },
  "sign-in": { title: "Sign in · Roomcast", entry: "sign-in/main.ts" },
  chat: { title: "Chat · Roomcast", entry: "chat/main.ts" },
  editor: { title: "Editor · Roomcast", entry: "editor/main.ts" },
  admin: { title: "Admin · Roomcast", entry: "admin/main.tsx" },
  dashboard: { title: "Dashboard · Roomcast", entry: "dashboard/main.tsx" },
};
const LINKS = { chat: "Chat", editor: "Editor", dashboard: "Dashboard", admin: "Admin" };

/** What stands there before any script has run: the bar is where it will be, so that nothing jumps. */
function html(name, { title, about }, { script, styles, icon }) {
  const links = Object.entries(LINKS).map(([to, words]) => {
    const current = to === name ? ' aria-current="page"' : "";
    return `<a href="/${to}"${current}>${words}</a>`;
  });
  const bar = `<header class="bar">
<a class="brand" href="/">Roomcast</a>
<nav aria-label="Pages">${links.join("")}</nav>
<div id="who" class="who"></div>
</header>
`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
${about ? `<meta name="description" content="${about}">\n` : ""}<title>${title}</title>
<link rel="icon" href="/assets/${icon}">
${styles.map((file) => `<link rel="stylesheet" href="/assets/${file}">`).join("\n")}
<script type="module" src="/assets/${script}"></script>
</head>
<body class="${name}">
<a class="skip" href="#main">To the content</a>
${name === "sign-in" ? "" : bar}<div id="notice" class="notice" role="status" hidden></div>
<main id="main" tabindex="-1"><noscript><p class="empty">These pages need JavaScript. The API does not: see <a href="/docs">/docs</a>.</p></noscript></main>
</body>
</html>
`;
}

/** Writes the pages for what esbuild has just made. */
function write(meta) {
  const made = Object.entries(meta.outputs).filter(([, about]) => about.entryPoint !== undefined);
  const of = (entry) => made.find(([, about]) => about.entryPoint === entry);
  const [style] = of("base/page.css");
  const [icon] = of("base/mark.svg");
  for (const [name, page] of Object.entries(PAGES)) {
    const [script, about] = of(page.entry);
    const styles = [style, about.cssBundle].filter(Boolean).map((file) => basename(file));
    writeFileSync(join(OUT, `${name}.html`), html(name, page, { script: basename(script), styles, icon: basename(icon) }));
  }
  for (const file of ["client.js", "client.global.js"]) copyFileSync(`../sdk/dist/${file}`, join(OUT, file));
  // What an earlier build left would be in the program for ever.
  const now = new Set(Object.keys(meta.outputs).map((file) => basename(file)));
  for (const file of readdirSync(join(OUT, "assets"))) {
    if (!now.has(file)) rmSync(join(OUT, "assets", file));
  }
  for (const folder of [OUT, join(OUT, "assets")]) {
    for (const file of readdirSync(folder)) {
      if (/\.(html|js|css|svg)$/.test(file)) {
        writeFileSync(join(folder, `${file}.gz`), gzipSync(readFileSync(join(folder, file)), { level: 9 }));
      }
    }
  }
}

mkdirSync(join(OUT, "assets"), { recursive: true });
const building = await context({
  entryPoints: ["base/page.css", "base/mark.svg", ...Object.values(PAGES).map((page) => page.entry)],
  outdir: join(OUT, "assets"),
  entryNames: "[dir]-[hash]",
  chunkNames: "part-[hash]",
  bundle: true,
  splitting: true,
  format: "esm",
  target: "es2022",
  minify: true,
  metafile: true,
  jsx: "automatic",
  jsxImportSource: "preact",
  loader: { ".svg": "copy" },
  logLevel: "warning",
  plugins: [
    {
      name: "pages",
      setup: (build) => build.onEnd(({ errors, metafile }) => void (errors.length === 0 && write(metafile))),
    },
  ],
});
if (process.argv.includes("--watch")) {
  await building.watch();
} else {
  await building.rebuild();
  await building.dispose();
}
